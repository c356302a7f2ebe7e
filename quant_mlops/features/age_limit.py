"""How old a value may be and still count."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from quant_mlops.errors import InvalidValueError
from quant_mlops.instants import MICROSECOND
from quant_mlops.market.calendar import trading_calendar

Instants = npt.NDArray[np.int64]

# What PostgreSQL and datetime both hold: the years 1 to 9999.
EARLIEST, LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999


@dataclass(frozen=True)
class AgeLimit:
    """The age of a value, beyond what its availability lag explains, up to which it counts.

    Attributes
    ----------
    sessions : int
        Sessions that may have closed since its event when the lag has passed.
    lag : timedelta
        Availability lag of the feature: a value that becomes known a month after its event is no
        older for that.
    """

    sessions: int
    lag: timedelta = timedelta(0)


MaxAge = timedelta | int | AgeLimit | None


def oldest_events(times: Instants, max_age: MaxAge, *, calendar: str) -> Instants:
    """Return the oldest event time that is still young enough at each time, microseconds UTC.

    Without a bound all are. An age in sessions is how many sessions of the calendar have closed
    after the event and by the time: on Monday before the close, the close of Friday is 0
    sessions old.

    Raises
    ------
    InvalidValueError
        The age is negative, or neither a duration nor a whole number.
    """
    require_age(max_age)
    if max_age is None:
        return np.full(len(times), EARLIEST)
    if isinstance(max_age, AgeLimit):
        times, max_age = times - max_age.lag // MICROSECOND, max_age.sessions
    if isinstance(max_age, timedelta):
        return np.maximum(times - min(max_age // MICROSECOND, LATEST), EARLIEST)
    closes = trading_calendar(calendar).all_closes
    # More sessions than there are reach as far back as all of them.
    place = np.searchsorted(closes, times, side="right") - 1 - min(int(max_age), len(closes))
    return np.where(place >= 0, closes[np.maximum(place, 0)], EARLIEST)


def require_age(max_age: MaxAge) -> None:
    """Refuse what is no age.

    Raises
    ------
    InvalidValueError
        The age is negative, or neither a duration nor a whole number.
    """
    if max_age is None:
        return
    if isinstance(max_age, AgeLimit):
        max_age = max_age.sessions
    if isinstance(max_age, timedelta):
        if max_age < timedelta(0):
            raise InvalidValueError(f"max_age {max_age} is negative; give a duration of 0 or more")
    elif isinstance(max_age, bool) or not isinstance(max_age, int | np.integer) or max_age < 0:
        raise InvalidValueError(
            f"max_age {max_age!r} is neither a duration nor a number of sessions; give a timedelta "
            f"or a whole number of 0 or more"
        )
