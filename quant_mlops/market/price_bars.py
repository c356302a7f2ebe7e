"""The table `price_bars`: storing bars as they become known, reading a panel as of an instant."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
from psycopg.rows import TupleRow

from quant_mlops.database import Database
from quant_mlops.database.binary_copy import copy_table, stream_arrays
from quant_mlops.database.queries import query
from quant_mlops.database.repeats import Comparison, TimedRows, by_series, compare
from quant_mlops.errors import ConflictingValueError, MarketDataError
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.foreign_restatements import (
    ForeignRestatement,
    find_foreign_restatement,
)
from quant_mlops.market.large_restatements import LargeRestatement, find_large_restatement
from quant_mlops.market.panel import Panel
from quant_mlops.market.price_series import assemble_panel, read_price_series
from quant_mlops.market.strategy_tickers import TickerListing, record_listing

VALUES = ("open", "high", "low", "close", "adj_close", "volume")


@dataclass(frozen=True)
class BarsWritten:
    """What one load of bars did: `stored` are new, `repeated` were known already.

    Attributes
    ----------
    foreign : ForeignRestatement or None
        What of it restates bars of another source.
    large : LargeRestatement or None
        What of it changes a stored close by more than a session may.
    """

    offered: int
    stored: int
    repeated: int
    foreign: ForeignRestatement | None = None
    large: LargeRestatement | None = None

    @property
    def warnings(self) -> list[str]:
        """What of the load somebody should look at, a sentence each."""
        return [found.describe() for found in (self.foreign, self.large) if found is not None]


def write_bars(
    database: Database, bars: pa.Table, *, source: str, listing: TickerListing | None = None
) -> BarsWritten:
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
    listing : TickerListing, optional
        Tickers to record as ingested for strategies, in the same transaction.

    Raises
    ------
    ConflictingValueError
        A bar differs from another, stored or offered, of the same ticker, session and ingest time.
    MarketDataError
        A bar lacks its key, or the database refuses it, for example one without a close.

    """
    if bars.num_rows == 0 and listing is None:
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
            connection.execute(query("lock_price_bars"))
            if listing is not None:
                record_listing(connection, listing)
            if not staged.num_rows:
                return BarsWritten(0, 0, 0)
            return _store(connection, staged)
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise MarketDataError(
            f"the database refused a bar of {source}: {error.diag.message_primary}; nothing was "
            f"stored; correct the bar or leave it out"
        ) from error


def _store(connection: psycopg.Connection[TupleRow], staged: pa.Table) -> BarsWritten:
    offered = staged.num_rows
    staged, series = by_series(staged, ["ticker"])
    comparison, stored = _compare(connection, staged, series)
    if comparison.known.all():
        return BarsWritten(offered, 0, offered)
    connection.execute(query("create_staged_price_bars"))
    if len(comparison.contradictions):
        copy_table(connection, "staged_price_bars", table=staged)
        conflict = connection.execute(query("find_conflicting_price_bar")).fetchone()
        assert conflict is not None
        raise ConflictingValueError(_conflict(*conflict, source=staged["source"][0].as_py()))
    news = staged.filter(pa.array(~comparison.known)) if comparison.known.any() else staged
    copy_table(connection, "staged_price_bars", table=news)
    foreign = find_foreign_restatement(connection, stored)
    large = find_large_restatement(connection, stored)
    new = connection.execute(query("insert_new_price_bars")).rowcount
    return BarsWritten(offered, new, offered - new, foreign, large)


def _compare(
    connection: psycopg.Connection[TupleRow],
    staged: pa.Table,
    series: Mapping[tuple[Any, ...], slice],
) -> tuple[Comparison, list[str]]:
    """Hold the bars against what is stored; return also of which tickers anything is."""
    offered = TimedRows.of_table(staged, VALUES)
    bounds = [offered.part(part).bounds() for part in series.values()]
    parameters = {
        "tickers": [ticker for (ticker,) in series],
        "firsts": [first for first, _ in bounds],
        "lasts": [last for _, last in bounds],
    }
    arrays = stream_arrays(connection, query("select_stored_price_bars"), parameters)
    found: list[str] = []

    def stored() -> Iterator[tuple[tuple[Any, ...], TimedRows]]:
        for ticker, event, ingest, *values in arrays:
            found.append(ticker)
            yield (ticker,), TimedRows(event, ingest, tuple(values))

    return compare(offered, series, stored()), found


def _conflict(
    ticker: str,
    session: date,
    ingest_time: datetime,
    bar_before: Sequence[float | None],
    bar: Sequence[float | None],
    source_before: str,
    offered_before: bool,
    *,
    source: str,
) -> str:
    fields = zip(VALUES, bar_before, bar, strict=True)
    field, before, value = next(entry for entry in fields if _differs(*entry[1:]))
    if offered_before:
        other = "also says"
    else:
        by = "what was stored of it" if source_before == source else f"{source_before}, as stored,"
        other = f"{by} says"
    return (
        f"{source} says that the {field} of {ticker} on {session} was {_said(value)}, and {other} "
        f"{_said(before)}, both as known at {ingest_time.isoformat()}; nothing was stored; give a "
        f"correction a later known_at, or load another source into a home of its own"
    )


def _differs(before: float | None, value: float | None) -> bool:
    if before is None or value is None:
        return before is not value
    # In the database a number is none other than itself, NaN or not.
    return before != value and not (math.isnan(before) and math.isnan(value))


def _said(value: float | None) -> str:
    return "missing" if value is None else repr(value)


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
    series = read_price_series(
        database, calendar, first=first, last=last, as_of=as_of, tickers=tickers
    )
    newest = [np.append(one.days[1:] != one.days[:-1], [True]) for one in series]
    return assemble_panel(calendar, calendar.sessions(first, last), series, newest)
