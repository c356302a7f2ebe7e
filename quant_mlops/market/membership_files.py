"""Reading a membership file: every line becomes what was known of a spell, or refuses the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quant_mlops.errors import MembershipFileError, PriceFileError
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.membership import MEMBERSHIP_SCHEMA
from quant_mlops.market.membership_lines import (
    DAY,
    Days,
    MembershipLines,
    Moments,
    refuse_contradictions,
    refuse_lines,
)
from quant_mlops.market.price_cells import Mask, filled, read_days, read_instants
from quant_mlops.market.price_rows import code_tickers
from quant_mlops.market.price_source import SourceTable, read_source

NEEDED = ("ticker", "start_date", "end_date")
COLUMNS = (*NEEDED, "known_at")
# Some write a spell without an end as one that ends in the year 9999.
EARLIEST, BEYOND = np.datetime64("1900-01-01"), np.datetime64("2200-01-01")


@dataclass(frozen=True)
class MembershipFile:
    """What one membership file says.

    Attributes
    ----------
    rows : pyarrow.Table
        `MEMBERSHIP_SCHEMA`, sorted by entity, start and ingest time.
    source, sha256 : str
        File name without folders, and digest of its bytes.
    lines, spells : int
        Lines read, and spells they are about.
    notes : tuple of str
        Sentences about how the file was read.
    """

    rows: pa.Table
    source: str
    sha256: str
    lines: int
    spells: int
    notes: tuple[str, ...]


def read_membership_file(path: str | Path, *, calendar: TradingCalendar) -> MembershipFile:
    """Read spells of membership from CSV (also gzipped) or Parquet, all of them or none.

    Parameters
    ----------
    path : str or Path
        A file with the columns ticker, start_date, end_date and, if it has it, known_at, in any
        order. `end_date` is the last day of membership, included, and empty for a spell without a
        known end; taken for the first day after it, it would leave every member a day too long.

        Without known_at a start is taken to be known at the midnight that begins its day and an
        end only at the midnight after the last day: before it, nobody is assumed to have known. A
        line with an end then becomes two rows. With known_at each line is one row, as observed
        then, and a spell may have several; an end the day before the start withdraws the spell.
    calendar : TradingCalendar
        Its time zone is that of the midnights, and of times of known_at without a zone.

    Raises
    ------
    MembershipFileError
        The file or one of its lines cannot be read; one sentence names the row, the reason and
        what to do.
    """
    try:
        source = read_source(Path(path))
        columns = _columns(source)
        lines, notes = _read_lines(source, columns, calendar.timezone)
    except PriceFileError as error:
        raise MembershipFileError(str(error)) from error
    newest = refuse_contradictions(source, lines)
    return MembershipFile(
        rows=_rows(lines, calendar.timezone),
        source=source.name,
        sha256=source.sha256,
        lines=len(lines.start),
        spells=len(newest),
        notes=(*source.notes, *notes),
    )


def _columns(source: SourceTable) -> dict[str, pa.Array]:
    names = [name.strip().lower() for name in source.columns.column_names]
    unknown = [name for name in names if name not in COLUMNS]
    absent = [name for name in NEEDED if name not in names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if unknown or absent or twice:
        wrong = [
            f"{what} {', '.join(map(repr, which))}"
            for what, which in (("lacks", absent), ("has also", unknown), ("repeats", twice))
            if which
        ]
        raise MembershipFileError(
            f"{source.name} {' and '.join(wrong)}; its columns must be ticker, start_date and "
            f"end_date, and may be known_at: rename, add or drop columns and read it again"
        )
    return {name: _plain(source.columns.column(i)) for i, name in enumerate(names)}


def _plain(column: pa.ChunkedArray) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, pa.string())
    return pa.concat_arrays(column.chunks)


def _read_lines(
    source: SourceTable, columns: dict[str, pa.Array], zone: ZoneInfo
) -> tuple[MembershipLines, tuple[str, ...]]:
    """Read all cells, refusing the first line of which any cannot be read."""
    for number, _ in source.broken[:1]:
        raise MembershipFileError(
            f"{source.name} row {number:,}: the line has more or fewer cells than line 1 has "
            f"columns; correct it"
        )
    ticker, tickers = code_tickers(columns["ticker"])
    starts, ends = columns["start_date"], columns["end_date"]
    if starts.type != ends.type:
        starts, ends = pc.cast(starts, pa.string()), pc.cast(ends, pa.string())
    # Both columns at once: days written alike are read alike.
    days, how = read_days(
        pa.concat_arrays([starts, ends]), file=source.name, row_number=np.tile(source.row_number, 2)
    )
    start, end = days[: len(starts)], days[len(starts) :]

    def refuse(wrong: Mask, reason: Callable[[int], str], way_out: str) -> None:
        refuse_lines(source, wrong, reason, way_out)

    def cell(name: str) -> Callable[[int], str]:
        return lambda line: f"{name} {columns[name][line].as_py()!r} cannot be read"

    refuse(ticker < 0, lambda _: "there is no ticker", "name it or drop the line")
    refuse(np.isnat(start), cell("start_date"), "write days like 2020-01-31")
    refuse(np.isnat(end) & filled(ends), cell("end_date"), "write days like 2020-01-31")
    for name, column in (("start_date", start), ("end_date", end)):
        far = (column < EARLIEST) | (column >= BEYOND)
        refuse(
            far,
            lambda line, name=name, column=column: (  # type: ignore[misc]
                f"{name} {column[line]} is not between {EARLIEST} and {BEYOND}"
            ),
            "correct it, or leave end_date empty for a spell without an end",
        )
    known_at, known_how = None, None
    if "known_at" in columns:
        known_at, unreadable, known_how = read_instants(columns["known_at"], zone)
        refuse(
            np.isnat(known_at) | unreadable,
            cell("known_at"),
            "give each line the time it was observed, or drop the column",
        )
    notes = tuple(note for note in (how, known_how) if note is not None)
    return MembershipLines(tickers, ticker, start, end, known_at), notes


def _rows(lines: MembershipLines, zone: ZoneInfo) -> pa.Table:
    """Return the lines as rows of the table, each with the time it could first be known."""
    every = np.arange(len(lines.start))
    end, known_at = lines.end, lines.known_at
    if known_at is None:
        ended = np.flatnonzero(~np.isnat(lines.end))
        open_ends = np.full(len(every), np.datetime64("NaT"), dtype="datetime64[D]")
        known_at = np.concatenate(
            [_midnights(lines.start, zone), _midnights(lines.end[ended] + DAY, zone)]
        )
        every, end = np.concatenate([every, ended]), np.concatenate([open_ends, lines.end[ended]])
    ticker, start = lines.ticker[every], lines.start[every]
    order = np.lexsort((known_at, start, ticker))
    names = pa.array(lines.tickers, pa.string())
    return pa.table(
        [
            names.take(pa.array(ticker[order])),
            pa.array(start[order]),
            pa.array(end[order]),
            pa.array(known_at[order], MEMBERSHIP_SCHEMA.field("ingest_time").type),
        ],
        schema=MEMBERSHIP_SCHEMA,
    )


def _midnights(days: Days, zone: ZoneInfo) -> Moments:
    """Return when days begin, in UTC; of two midnights of one day the later, which is no guess."""
    # It takes a third of a second to import, and few strategies name such a file.
    import pandas as pd

    local = pd.DatetimeIndex(days).as_unit("us")
    moments = local.tz_localize(
        zone, ambiguous=np.zeros(len(days), dtype=np.bool_), nonexistent="shift_forward"
    )
    found: Moments = moments.tz_convert("UTC").tz_localize(None).to_numpy()
    return found
