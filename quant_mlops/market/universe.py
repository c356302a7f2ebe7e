"""Which tickers could be traded in a session, as known before it opened."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quant_mlops.database import Database
from quant_mlops.database.binary_copy import stream_arrays
from quant_mlops.database.queries import query
from quant_mlops.instants import to_microseconds
from quant_mlops.market.calendar import TradingCalendar

INSTANT = pa.timestamp("us", tz="UTC")


def decision_spine(
    database: Database,
    calendar: TradingCalendar,
    sessions: npt.NDArray[np.datetime64],
    *,
    knowledge_time: datetime,
) -> pa.Table:
    """Return one row for each session and each ticker in the universe of that session.

    A ticker is in the universe of a session if a bar of the session before it was known when
    the session opened.

    Parameters
    ----------
    database : Database
    calendar : TradingCalendar
    sessions : ndarray of datetime64[D]
        Distinct and ascending.
    knowledge_time : datetime
        Aware; bars known only later are treated as not written.

    Returns
    -------
    pyarrow.Table
        `session, entity_key, time`, sorted by session and entity; `time` is the open of the
        session, at which the decision is taken.
    """
    opens = calendar.opens(sessions)
    tickers, members = (
        _members(database, calendar, sessions, opens, knowledge_time)
        if len(sessions)
        else ([], np.zeros((0, 0), dtype=np.bool_))
    )
    row, column = np.nonzero(members)
    entities = pa.DictionaryArray.from_arrays(
        pa.array(column.astype(np.int32)), pa.array(tickers, pa.string())
    )
    return pa.table(
        {
            "session": pa.array(sessions[row]).cast(pa.date32()),
            "entity_key": entities.cast(pa.string()),
            "time": pa.array(opens[row]).cast(INSTANT),
        }
    )


def _members(
    database: Database,
    calendar: TradingCalendar,
    sessions: npt.NDArray[np.datetime64],
    opens: npt.NDArray[np.int64],
    knowledge_time: datetime,
) -> tuple[list[str], npt.NDArray[np.bool_]]:
    """Return the tickers in code point order, and whether each belongs to each session."""
    days = calendar.sessions(calendar.previous(sessions[0].item()), sessions[-1].item())
    earlier = days[np.searchsorted(days, sessions) - 1].astype(np.int64)
    known_by = np.minimum(opens, to_microseconds(knowledge_time))
    parameters = {
        "first": days[0].item(),
        "last": earlier[-1].astype("datetime64[D]").item(),
        "knowledge_time": knowledge_time,
    }
    columns: dict[str, npt.NDArray[np.bool_]] = {}
    with database.transaction() as connection:
        for ticker, day, ingest in stream_arrays(connection, query("select_universe"), parameters):
            place = np.minimum(np.searchsorted(earlier, day), len(earlier) - 1)
            known = (earlier[place] == day) & (ingest <= known_by[place])
            column = np.zeros(len(sessions), dtype=np.bool_)
            column[place[known]] = True
            columns[ticker] = column
    # The server's collation must not show in any result.
    tickers = sorted(columns)
    if not tickers:
        return [], np.zeros((len(sessions), 0), dtype=np.bool_)
    return tickers, np.column_stack([columns[ticker] for ticker in tickers])
