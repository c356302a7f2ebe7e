"""Which tickers could be traded in a session, as known before it opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quant_mlops.database import Database
from quant_mlops.database.binary_copy import stream_arrays
from quant_mlops.database.queries import query
from quant_mlops.instants import to_microseconds
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.membership import members_as_known

INSTANT = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class DecisionSpine:
    """The decisions of some sessions.

    Attributes
    ----------
    table : pyarrow.Table
        `session, entity_key, time`, sorted by session and entity; `time` is the open of the
        session, at which the decision is taken.
    outside_universe : int
        Rows left out since their ticker, which could be traded, was no member of the universe.
    """

    table: pa.Table
    outside_universe: int


def decision_spine(
    database: Database,
    calendar: TradingCalendar,
    sessions: npt.NDArray[np.datetime64],
    *,
    knowledge_time: datetime,
    universe: str | None = None,
    tickers: Sequence[str] | None = None,
) -> DecisionSpine:
    """Return one row for each session and each ticker in the universe of that session.

    A ticker is in the universe of a session if a bar of the session before it was known when
    the session opened, and if it was then known to be a member of the index on that day.

    Parameters
    ----------
    database : Database
    calendar : TradingCalendar
    sessions : ndarray of datetime64[D]
        Distinct and ascending.
    knowledge_time : datetime
        Aware; bars and memberships known only later are treated as not written.
    universe : str, optional
        Name of the index. Without one every ticker with a bar is in: where prices were collected
        for the members of today, results then know in advance who would survive.
    tickers : sequence of str, optional
        No other is in; every one by default. See `traded_tickers`.

    Raises
    ------
    MarketDataError
        Nothing is stored of a universe of that name.
    """
    opens = calendar.opens(sessions)
    found, members = (
        _members(
            database,
            calendar,
            sessions,
            opens=opens,
            knowledge_time=knowledge_time,
            tickers=tickers,
        )
        if len(sessions)
        else ([], np.zeros((0, 0), dtype=np.bool_))
    )
    outside = 0
    if universe is not None and len(sessions):
        belongs = _belong(
            database, universe, found,
            sessions=sessions, opens=opens, knowledge_time=knowledge_time,
        )  # fmt: skip
        outside = int((members & ~belongs).sum())
        members = members & belongs
    row, column = np.nonzero(members)
    entities = pa.DictionaryArray.from_arrays(
        pa.array(column.astype(np.int32)), pa.array(found, pa.string())
    )
    table = pa.table(
        {
            "session": pa.array(sessions[row]).cast(pa.date32()),
            "entity_key": entities.cast(pa.string()),
            "time": pa.array(opens[row]).cast(INSTANT),
        }
    )
    return DecisionSpine(table, outside)


def _belong(
    database: Database,
    universe: str,
    tickers: list[str],
    *,
    sessions: npt.NDArray[np.datetime64],
    opens: npt.NDArray[np.int64],
    knowledge_time: datetime,
) -> npt.NDArray[np.bool_]:
    """Tell for each session which of some tickers were known members of an index."""
    found, members = members_as_known(
        database, universe, sessions=sessions, opens=opens, knowledge_time=knowledge_time
    )
    place = {ticker: i for i, ticker in enumerate(found)}
    # The last column is of those that never were.
    strangers = np.zeros((len(sessions), 1), dtype=np.bool_)
    return np.hstack([members, strangers])[:, [place.get(ticker, -1) for ticker in tickers]]


def _members(
    database: Database,
    calendar: TradingCalendar,
    sessions: npt.NDArray[np.datetime64],
    *,
    opens: npt.NDArray[np.int64],
    knowledge_time: datetime,
    tickers: Sequence[str] | None,
) -> tuple[list[str], npt.NDArray[np.bool_]]:
    """Return the tickers in code point order, and whether each belongs to each session."""
    days = calendar.sessions(calendar.previous(sessions[0].item()), sessions[-1].item())
    earlier = days[np.searchsorted(days, sessions) - 1].astype(np.int64)
    known_by = np.minimum(opens, to_microseconds(knowledge_time))
    parameters = {
        "first": days[0].item(),
        "last": earlier[-1].astype("datetime64[D]").item(),
        "knowledge_time": knowledge_time,
        "tickers": tickers if tickers is None else list(tickers),
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
    names = sorted(columns)
    if not names:
        return [], np.zeros((len(sessions), 0), dtype=np.bool_)
    return names, np.column_stack([columns[name] for name in names])
