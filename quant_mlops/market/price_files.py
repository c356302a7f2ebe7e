"""Reading a price file: every row becomes a bar, or a rejected row with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quant_mlops.errors import PriceFileError
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.price_columns import arrange
from quant_mlops.market.price_judgement import judge
from quant_mlops.market.price_notes import batch_notes, interior_gaps
from quant_mlops.market.price_rows import NUMBERS, PriceRows, place_rows
from quant_mlops.market.price_source import read_source

AVAILABILITY_LAG = timedelta(minutes=15)
_INSTANT = pa.timestamp("us", "UTC")
BARS_SCHEMA = pa.schema(
    [
        pa.field("ticker", pa.string(), nullable=False),
        pa.field("session", pa.date32(), nullable=False),
        pa.field("open", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("close", pa.float64(), nullable=False),
        pa.field("volume", pa.float64()),
        pa.field("adj_close", pa.float64()),
        pa.field("event_time", _INSTANT, nullable=False),
        pa.field("ingest_time", _INSTANT, nullable=False),
        pa.field("availability_observed", pa.bool_(), nullable=False),
    ]
)


@dataclass(frozen=True)
class PriceBatch:
    """What one price file holds.

    Attributes
    ----------
    bars : pyarrow.Table
        `BARS_SCHEMA`, sorted by ticker, event time and ingest time. `event_time` is the close
        of the session; `ingest_time` is known_at where the file gives it and
        `availability_observed` then true, else the close plus the assumed lag. `adj_close` is
        null where the file has none.
    rejected, flagged : pyarrow.Table
        row_number (1-based among the file's data rows), ticker, date as written, reason and
        detail; rejected rows are not in `bars`, flagged ones are and may appear more than once.
    source, sha256 : str
        File name without folders, and digest of its bytes.
    layout : {"long", "wide"}
        Whether a row of the file is one price, or one date with a price of each ticker.
    rows_read : int
        Rows of a long file, filled cells of a wide one; always the number of bars, rejected
        and unchanged rows together.
    unchanged : int
        Later prints that repeated what was already known and were left out.
    empty_cells : int
        Cells of a wide file that hold no price.
    gaps : mapping of str to int
        Sessions without a bar between the first and last of a ticker.
    notes : tuple of str
        Sentences about the file as a whole.

    """

    bars: pa.Table
    rejected: pa.Table
    flagged: pa.Table
    source: str
    sha256: str
    layout: Literal["long", "wide"]
    rows_read: int
    unchanged: int
    empty_cells: int
    gaps: Mapping[str, int]
    notes: tuple[str, ...]

    @property
    def tickers(self) -> list[str]:
        """Tickers with a bar, in code point order."""
        return sorted(self.bars["ticker"].unique().to_pylist())

    @property
    def summary(self) -> Mapping[str, int]:
        """Rows by reason: rejected ones, then omitted, then flagged, each from most to least."""
        counts = _counts(self.rejected)
        if self.unchanged:
            counts["unchanged_restatement"] = self.unchanged
        return MappingProxyType({**counts, **_counts(self.flagged)})


def read_price_file(
    path: str | Path,
    *,
    calendar: TradingCalendar,
    availability_lag: timedelta = AVAILABILITY_LAG,
    now: datetime | None = None,
) -> PriceBatch:
    """Read prices from CSV (also gzipped) or Parquet, long or wide, and check every row.

    Parameters
    ----------
    path : str or Path
        A long file has the columns date, ticker and close and may have open, high, low, volume,
        adj_close and known_at, in any case and order; a wide file has a date column and one
        numeric column of closes for each ticker.
    calendar : TradingCalendar
        Sessions of the exchange the prices are from; with another exchange's calendar, good
        rows are rejected as holidays and event times are hours off.
    availability_lag : timedelta, default 15 minutes
        From the close to the time a price could first be known, for rows without known_at. Too
        short a lag is look-ahead; zero says that a close is known the instant it is made.
    now : datetime, optional
        Aware; the present by default. Sessions that had not closed then are rejected.

    Returns
    -------
    PriceBatch
        Bars in order, and everything that was rejected, left out or doubtful.

    Raises
    ------
    PriceFileError
        The file as a whole cannot be read as prices; one sentence says why and what to do.

    """
    if availability_lag < timedelta(0):
        raise PriceFileError(
            f"an availability lag of {availability_lag} would make prices known before they "
            "exist; give 0 or more"
        )
    source = read_source(Path(path))
    raw = arrange(source)
    rows, notes = place_rows(
        raw,
        file=source.name,
        calendar=calendar,
        availability_lag=availability_lag,
        now=now or datetime.now(UTC),
    )
    result = judge(rows, source.broken)
    rows_read = len(rows) + len(source.broken)
    if len(result.kept) == 0:
        raise _all_rejected(source.name, rows_read, result.rejected)
    gaps = interior_gaps(result.kept)
    return PriceBatch(
        bars=_bars(result.kept),
        rejected=result.rejected,
        flagged=result.flagged,
        source=source.name,
        sha256=source.sha256,
        layout=raw.layout,
        rows_read=rows_read,
        unchanged=result.omitted,
        empty_cells=raw.empty_cells,
        gaps=MappingProxyType(gaps),
        notes=(
            *source.notes,
            *raw.notes,
            *notes,
            *batch_notes(result.kept, gaps=gaps, omitted=result.omitted),
        ),
    )


def _bars(rows: PriceRows) -> pa.Table:
    tickers = pa.array(rows.tickers, pa.string())
    numbers = {name: rows.column(name) for name in NUMBERS}
    arrays = {
        "ticker": tickers.take(pa.array(rows.ticker)),
        "session": pa.array(rows.session),
        **{name: pa.array(values, mask=np.isnan(values)) for name, values in numbers.items()},
        "event_time": pa.array(rows.event_time, _INSTANT),
        "ingest_time": pa.array(rows.ingest_time, _INSTANT),
        "availability_observed": pa.array(~np.isnat(rows.known_at)),
    }
    return pa.table([arrays[name] for name in BARS_SCHEMA.names], schema=BARS_SCHEMA)


def _all_rejected(file: str, rows_read: int, rejected: pa.Table) -> PriceFileError:
    counts = ", ".join(f"{reason} {count:,}" for reason, count in _counts(rejected).items())
    first = rejected.slice(0, 1).to_pylist()[0]
    return PriceFileError(
        f"{file} has no row left: all {rows_read:,} were rejected ({counts}), the first of them "
        f"row {first['row_number']:,} ({first['detail']}); correct the file, or give the "
        "calendar of its exchange if it is another"
    )


def _counts(report: pa.Table) -> dict[str, int]:
    counted = pc.value_counts(report.column("reason")).to_pylist()
    ordered = sorted(counted, key=lambda entry: (-entry["counts"], entry["values"]))
    return {entry["values"]: entry["counts"] for entry in ordered}
