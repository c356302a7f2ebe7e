"""When a value may be used that is not known until the exchange opens again."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from quant_mlops.features.instants import from_microseconds
from quant_mlops.market.calendar import TradingCalendar

NEXT_SESSION_OPEN: Literal["next session open"] = "next session open"

Instants = npt.NDArray[np.int64]


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
