"""Served values that were made before prices that count as known by then were loaded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.features.definition import FeatureDefinition
from quant_mlops.features.discrepancy import Explanation
from quant_mlops.features.recomputation import with_history
from quant_mlops.features.served_range import ServedRange
from quant_mlops.instants import MICROSECOND, from_microseconds
from quant_mlops.market.calendar import TradingCalendar


def explain_by_late_prices(
    database: Database,
    calendar: TradingCalendar,
    definition: FeatureDefinition,
    found: ServedRange,
    wrong: npt.NDArray[np.bool_],
) -> Explanation:
    """Say which mismatching values were written before a bar that they should have been made of.

    Parameters
    ----------
    database : Database
    calendar : TradingCalendar
    definition : FeatureDefinition
    found : ServedRange
    wrong : ndarray of bool, shape (S, N)
        The mismatching cells, at least one.

    Returns
    -------
    Explanation
        Of kind "late_prices" with the newest such bar, or "none". Only bars of the value's own
        ticker and lookback count, which were known at the decision about it.
    """
    days = with_history(calendar, found.sessions, definition.lookback)
    closes = calendar.closes(days)
    rows, columns = np.nonzero(wrong)
    places = rows + len(days) - len(found.sessions)
    decisions = found.decisions[rows]
    times = {
        "events": closes[places],
        "first_closes": closes[np.maximum(places - definition.lookback, 0)],
        "decisions": decisions,
        "known_by": decisions - definition.availability_lag // MICROSECOND,
    }
    row = database.fetch_one(
        query("find_late_prices"),
        {
            "name": definition.name,
            "version": definition.version,
            "entities": [found.entities[int(column)] for column in columns],
            **{
                name: [from_microseconds(int(time)) for time in given]
                for name, given in times.items()
            },
        },
    )
    if row is None:
        return Explanation("none", len(rows))
    count, ticker, session = row
    return Explanation("late_prices", len(rows), explained=count, ticker=ticker, session=session)
