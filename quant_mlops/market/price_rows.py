"""The prices of a file as arrays of one length, placed on the calendar of their exchange."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.price_cells import Mask, filled, read_days, read_instants, read_numbers
from quant_mlops.market.price_columns import RawPrices

NUMBERS = ("open", "high", "low", "close", "volume", "adj_close")
# A field outside these bounds is set to null and flagged; close and adj_close reject the row.
POSITIVE_OR_NULL = ("open", "high", "low")
Moments = NDArray[np.datetime64]


@dataclass(frozen=True)
class Clock:
    """What decides whether a date lies in the future, or outside of all known sessions."""

    now: np.datetime64
    today: np.datetime64
    first_day: np.datetime64
    last_day: np.datetime64


@dataclass(frozen=True)
class PriceRows:
    """Prices before and after judgement; every array has one entry per price.

    Attributes
    ----------
    raw : mapping of str to pyarrow.Array
        The file's own cells of all rows, for quoting; `source` points into them.
    ticker : int32 array
        Position in `tickers`, which is sorted, so that codes sort like names; -1 when missing.
    session, has_date : datetime64[D] and bool array
        The day, NaT where the date is missing or unreadable, and whether the cell is filled.
    position : int64 array
        Where the session stands in the calendar, so that neighbours differ by 1; -1 where the
        date is no session.
    event_time, ingest_time, known_at : datetime64[us] array
        UTC; `event_time` is NaT where the date is no session, `known_at` where none is given.
    given : mapping of str to float64 array
        Numbers as written, NaN where missing or unreadable; only columns that the file has.
    numbers : mapping of str to float64 array
        The same with unusable values of fields other than the closes set to NaN.
    unreadable : mapping of str to bool array
        Cells that hold something that is no number.

    """

    raw: Mapping[str, pa.Array]
    tickers: tuple[str, ...]
    clock: Clock
    source: NDArray[np.int64]
    row_number: NDArray[np.int64]
    ticker: NDArray[np.int32]
    session: Moments
    has_date: Mask
    position: NDArray[np.int64]
    event_time: Moments
    ingest_time: Moments
    known_at: Moments
    known_unreadable: Mask
    given: Mapping[str, NDArray[np.float64]]
    numbers: Mapping[str, NDArray[np.float64]]
    unreadable: Mapping[str, Mask]

    def __len__(self) -> int:
        return len(self.row_number)

    def take(self, which: NDArray[np.int64] | Mask) -> PriceRows:
        """Return the rows that a mask or positions select; the raw cells stay shared."""
        changed: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                changed[field.name] = value[which]
            elif field.name in ("given", "numbers", "unreadable"):
                changed[field.name] = {name: array[which] for name, array in value.items()}
        return replace(self, **changed)

    def column(self, name: str) -> NDArray[np.float64]:
        """Return a field's usable numbers, all NaN when the file does not have the column."""
        found = self.numbers.get(name)
        return np.full(len(self), np.nan) if found is None else found


def place_rows(
    raw: RawPrices,
    *,
    file: str,
    calendar: TradingCalendar,
    availability_lag: timedelta,
    now: datetime,
) -> tuple[PriceRows, tuple[str, ...]]:
    """Read all cells and say when each price happened and when it could first be known.

    Parameters
    ----------
    raw : RawPrices
        Cells of the file under the names of fields.
    file : str
        The file's name, for messages.
    calendar : TradingCalendar
        Sessions of the exchange the prices are from.
    availability_lag : timedelta
        From the session's close to `ingest_time` where the file does not say when a price was
        known; too short a lag lets decisions see prices that nobody had yet.
    now : datetime
        Aware; prices of sessions that had not closed then are rejected by the checks.

    Returns
    -------
    rows, notes
        The rows in the file's order, and sentences about how the cells were read.

    """
    cells = raw.columns
    session, how = read_days(cells["date"], file=file, row_number=raw.row_number)
    known_how = None
    known_at, known_unreadable = _no_instants(len(session))
    if "known_at" in cells:
        known_at, known_unreadable, known_how = read_instants(cells["known_at"], calendar.timezone)
    is_session = calendar.are_sessions(session)
    position = np.full(len(session), -1, dtype=np.int64)
    position[is_session] = calendar.positions(session[is_session])
    event_time = np.full(len(session), np.datetime64("NaT"), dtype="datetime64[us]")
    event_time[is_session] = calendar.closes(session[is_session]).astype("datetime64[us]")
    lag = np.timedelta64(availability_lag // timedelta(microseconds=1), "us")
    ticker, tickers = code_tickers(cells["ticker"])
    given, unreadable = {}, {}
    for name in NUMBERS:
        if name in cells:
            given[name], unreadable[name] = read_numbers(cells[name])
    rows = PriceRows(
        raw=cells,
        tickers=tickers,
        clock=Clock(
            now=np.datetime64(now.astimezone(UTC).replace(tzinfo=None), "us"),
            today=np.datetime64(now.astimezone(calendar.timezone).date(), "D"),
            first_day=np.datetime64(calendar.first_day, "D"),
            last_day=np.datetime64(calendar.last_day, "D"),
        ),
        source=np.arange(len(session), dtype=np.int64),
        row_number=raw.row_number,
        ticker=ticker,
        session=session,
        has_date=filled(cells["date"]),
        position=position,
        event_time=event_time,
        ingest_time=np.where(np.isnat(known_at), event_time + lag, known_at),
        known_at=known_at,
        known_unreadable=known_unreadable,
        given=given,
        numbers={name: _usable(name, values) for name, values in given.items()},
        unreadable=unreadable,
    )
    return rows, tuple(note for note in (how, known_how) if note is not None)


def _no_instants(length: int) -> tuple[Moments, Mask]:
    nothing = np.full(length, np.datetime64("NaT"), dtype="datetime64[us]")
    return nothing, np.zeros(length, dtype=np.bool_)


def _usable(name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    if name in POSITIVE_OR_NULL:
        return np.where(values > 0, values, np.nan)
    if name == "volume":
        return np.where(values >= 0, values, np.nan)
    return values


def code_tickers(column: pa.Array) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Code the tickers in sorted order; only an empty cell is missing, since NA is a ticker."""
    text = pc.utf8_trim_whitespace(pc.cast(column, pa.string()))
    encoded = pc.dictionary_encode(pc.if_else(pc.equal(text, ""), None, text))
    distinct = encoded.dictionary.to_pylist()
    order = sorted(range(len(distinct)), key=distinct.__getitem__)
    rank = np.full(len(distinct) + 1, -1, dtype=np.int32)
    rank[order] = np.arange(len(distinct), dtype=np.int32)
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return rank[codes], tuple(distinct[i] for i in order)
