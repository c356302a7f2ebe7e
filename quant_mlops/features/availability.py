"""When a value may be used: a while after its event, or once the exchange opens again."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt

from quant_mlops.errors import InvalidValueError
from quant_mlops.instants import MICROSECOND, from_microseconds
from quant_mlops.market.calendar import TradingCalendar, trading_calendar

NEXT_SESSION_OPEN: Literal["next session open"] = "next session open"

Lag = timedelta | Literal["next session open"]
Instants = npt.NDArray[np.int64]


def available_times(event: Instants, lag: Lag, *, calendar: str) -> Instants:
    """Return when values of events can be known, both in microseconds UTC.

    Parameters
    ----------
    event : ndarray of int64, shape (R,)
    lag : timedelta or "next session open"
    calendar : str
        Exchange whose opens are meant.

    Raises
    ------
    InvalidValueError
        The lag is neither of the two, or negative: a value known before its event looks ahead.
    """
    if lag == NEXT_SESSION_OPEN:
        return next_session_opens(trading_calendar(calendar), event)
    if not isinstance(lag, timedelta) or lag < timedelta(0):
        raise InvalidValueError(
            f"availability_lag {lag!r} is neither a duration of zero or more nor "
            f"{NEXT_SESSION_OPEN!r}; give one of them"
        )
    return event + lag // MICROSECOND


def next_session_opens(calendar: TradingCalendar, events: Instants) -> Instants:
    """Return the first open of the exchange strictly after each event.

    Parameters
    ----------
    calendar : TradingCalendar
    events : ndarray of int64, shape (R,)
        Microseconds UTC.

    Raises
    ------
    MarketDataError
        An event lies outside of what the calendar covers.
    """
    if len(events) == 0:
        return events
    zone = calendar.timezone
    days = [from_microseconds(end).astimezone(zone).date() for end in (events.min(), events.max())]
    # An exchange may open on the evening before the day by which its session is named.
    last = calendar.next(days[1], 2)
    opens = calendar.opens(calendar.sessions(days[0], last))
    return opens[np.searchsorted(opens, events, side="right")]
