"""The table `price_bars`: storing bars as they become known, reading a panel as of an instant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
import pyarrow as pa
from psycopg.rows import TupleRow

from quant_mlops.database import Database
from quant_mlops.database.binary_copy import copy_table, stream_arrays
from quant_mlops.database.queries import query
from quant_mlops.database.repeats import Comparison, TimedRows, by_series, compare
from quant_mlops.errors import ConflictingValueError, MarketDataError
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.panel import FIELDS, Panel

VALUES = ("open", "high", "low", "close", "adj_close", "volume")


@dataclass(frozen=True)
class BarsWritten:
    """What one load of bars did: `stored` are new, `repeated` were known already."""

    offered: int
    stored: int
    repeated: int


def write_bars(database: Database, bars: pa.Table, *, source: str) -> BarsWritten:
    """Store bars that are not stored yet, all of them or none.

    Parameters
    ----------
    database : Database
    bars : pyarrow.Table
        Columns `ticker, session, event_time, ingest_time, open, high, low, close, adj_close,
        volume, availability_observed`. A bar whose values differ from what is stored for its
        session is a restatement if its `ingest_time` is later than the stored one's.
    source : str
        Where the bars are from, kept with each row.

    Raises
    ------
    ConflictingValueError
        A bar differs from another, stored or offered, of the same ticker, session and ingest time.
    MarketDataError
        A bar lacks its key, or the database refuses it, for example one without a close.

    """
    if bars.num_rows == 0:
        return BarsWritten(0, 0, 0)
    for name in ("ticker", "event_time", "ingest_time"):
        if bars[name].null_count:
            raise MarketDataError(
                f"{bars[name].null_count} of {bars.num_rows} bars of {source} have no {name}; "
                f"nothing was stored; leave them out"
            )
    staged = bars.append_column("source", pa.repeat(source, bars.num_rows))
    try:
        with database.transaction() as connection:
            stored = _store(connection, staged)
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise MarketDataError(
            f"the database refused a bar of {source}: {error.diag.message_primary}; nothing was "
            f"stored; correct the bar or leave it out"
        ) from error
    return BarsWritten(bars.num_rows, stored, bars.num_rows - stored)


def _store(connection: psycopg.Connection[TupleRow], staged: pa.Table) -> int:
    staged, series = by_series(staged, ["ticker"])
    connection.execute(query("lock_price_bars"))
    comparison = _compare(connection, staged, series)
    if comparison.known.all():
        return 0
    connection.execute(query("create_staged_price_bars"))
    news = staged.filter(pa.array(~comparison.known)) if comparison.known.any() else staged
    copy_table(connection, "staged_price_bars", table=news)
    connection.execute("ANALYZE staged_price_bars")
    repeats_itself = connection.execute(query("find_repeated_staged_bar")).fetchone()
    if repeats_itself is None and not comparison.undecided:
        return connection.execute(query("insert_new_price_bars")).rowcount
    conflict = connection.execute(query("find_conflicting_price_bar")).fetchone()
    if conflict is not None:
        raise ConflictingValueError(_conflict(*conflict, source=staged["source"][0].as_py()))
    return connection.execute(query("insert_revised_price_bars")).rowcount


def _compare(
    connection: psycopg.Connection[TupleRow],
    staged: pa.Table,
    series: Mapping[tuple[Any, ...], slice],
) -> Comparison:
    """Hold the bars against what is stored."""
    offered = TimedRows.of_table(staged, VALUES)
    bounds = [offered.part(part).bounds() for part in series.values()]
    parameters = {
        "tickers": [ticker for (ticker,) in series],
        "firsts": [first for first, _ in bounds],
        "lasts": [last for _, last in bounds],
    }
    arrays = stream_arrays(connection, query("select_stored_price_bars"), parameters)
    stored = (
        ((ticker,), TimedRows(event, ingest, tuple(values)))
        for ticker, event, ingest, *values in arrays
    )
    return compare(offered, series, stored, nan_equals_nan=True)


def _conflict(
    ticker: str,
    session: date,
    ingest_time: datetime,
    close_before: float,
    close: float,
    source_before: str,
    offered_before: bool,
    *,
    source: str,
) -> str:
    other = "itself gives" if offered_before else f"{source_before}, which is stored, gives"
    return (
        f"{source} gives {ticker} a close of {close} on {session}, and {other} {close_before}, or "
        f"another field differs, as known at the same time, {ingest_time.isoformat()}; nothing was "
        f"stored; give a correction a later known_at, or load another source into a home of its own"
    )


def read_panel(
    database: Database,
    calendar: TradingCalendar,
    *,
    first: date,
    last: date,
    as_of: datetime,
    tickers: Sequence[str] | None = None,
) -> Panel:
    """Read the prices of consecutive sessions as they were known at one instant.

    Parameters
    ----------
    database : Database
    calendar : TradingCalendar
        Gives the rows of the panel.
    first, last : date
        Bounds of the sessions, both included.
    as_of : datetime
        Aware; of the revisions of a bar, the newest known by then is taken, and none that is
        not known yet.
    tickers : sequence of str, optional
        All tickers with a bar in the range by default.

    Raises
    ------
    MarketDataError
        No bar of the range was known at that time, or `as_of` has no time zone.

    """
    if as_of.tzinfo is None:
        raise MarketDataError(
            f"as_of {as_of.isoformat()} has no time zone and could be any of several instants; "
            f"give an aware datetime, for example in {calendar.timezone.key}"
        )
    sessions = calendar.sessions(first, last)
    days = sessions.astype(np.int64)
    columns: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in FIELDS}
    known_columns: list[npt.NDArray[np.int64]] = []
    found: list[str] = []
    parameters = {
        "first": first,
        "last": last,
        "as_of": as_of,
        "tickers": list(tickers) if tickers is not None else None,
    }
    with database.transaction() as connection:
        for ticker, day, event, ingest, *values in stream_arrays(
            connection, query("select_price_series"), parameters
        ):
            newest = _newest_revisions(event, ingest)
            newest = newest[np.isin(day[newest], days)]
            if len(newest) == 0:
                continue
            row = np.searchsorted(days, day[newest])
            found.append(ticker)
            for name, series in zip(FIELDS, values, strict=True):
                column = np.full(len(sessions), np.nan)
                column[row] = series[newest]
                columns[name].append(column)
            known = np.zeros(len(sessions), dtype=np.int64)
            known[row] = ingest[newest]
            known_columns.append(known)
    if not found:
        raise MarketDataError(
            f"no price bar from {first} to {last} was known at {as_of.isoformat()}; load prices "
            f"with `quant-mlops ingest prices FILE`"
        )
    order = np.argsort(np.array(found))  # the server's collation must not show in any result
    fields = {
        name: np.ascontiguousarray(np.column_stack([series[i] for i in order]))
        for name, series in columns.items()
    }
    return Panel(
        sessions=sessions,
        event_times=calendar.closes(sessions),
        tickers=tuple(found[i] for i in order),
        fields=MappingProxyType(fields),
        known_at=np.ascontiguousarray(np.column_stack([known_columns[i] for i in order])),
    )


def _newest_revisions(
    event: npt.NDArray[np.int64], ingest: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return for each event time the index of its last revision, in order of event time."""
    order = np.lexsort((ingest, event))
    last_of_event = np.append(event[order][1:] != event[order][:-1], [True])
    newest: npt.NDArray[np.int64] = order[last_of_event]
    return newest
