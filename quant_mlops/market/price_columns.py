"""Which column of a price file is what, for long and for wide files."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from quant_mlops.errors import PriceFileError
from quant_mlops.market.price_cells import filled, read_numbers
from quant_mlops.market.price_source import SourceTable

SYNONYMS = {
    "date": ("timestamp", "datetime", "trade_date", "trading_date", "session", "day", "time"),
    "ticker": ("symbol", "tic", "sym", "asset", "security", "instrument", "entity", "name"),
    "close": ("close_price", "closing_price", "px_last", "last", "price"),
    "open": ("open_price", "px_open"),
    "high": ("high_price", "px_high"),
    "low": ("low_price", "px_low"),
    "volume": ("vol", "px_volume"),
    "adj_close": ("adjclose", "adjusted_close", "close_adj", "adj_close_price", "adjusted"),
    "known_at": ("knowledge_time", "ingest_time", "available_at", "published_at"),
}
NEEDED = ("date", "ticker", "close")
UNNAMED_INDEX = ("", "index", "unnamed: 0", "__index_level_0__")


@dataclass(frozen=True)
class RawPrices:
    """Cells under the names of fields, one entry per price, still as the file has them.

    `row_number` repeats in a wide file, where one row holds a price of each ticker.
    """

    layout: Literal["long", "wide"]
    row_number: NDArray[np.int64]
    columns: dict[str, pa.Array]
    empty_cells: int
    notes: tuple[str, ...]


def arrange(source: SourceTable) -> RawPrices:
    """Find the fields of a long file by name, or unpivot a wide one into closes.

    Raises
    ------
    PriceFileError
        The columns make neither a long nor a wide price file.

    """
    names = source.columns.column_names
    fields = _fields(source.name, names)
    if all(field in fields for field in NEEDED):
        return _long(source, fields)
    date = fields.get("date")
    if date is None:
        date = _index_position(source)
    rest = [i for i in range(len(names)) if i != date]
    strange = [i for i in rest if i not in fields.values()]
    if date is None or not strange or "close" in fields:
        raise _missing(source, fields, "")
    for i in rest:
        if not _is_numeric(source.columns.column(i)):
            raise _missing(source, fields, f", since {names[i]!r} is not numeric")
    if any(names[i].startswith("('") for i in rest):
        raise PriceFileError(
            f"{source.name} has two-level column names such as {names[rest[0]]}; keep one level, "
            "the tickers, or stack it into a table of date, ticker and close"
        )
    _refuse_repeated(source.name, [names[i].strip() for i in rest])
    return _wide(source, date, rest)


def _refuse_repeated(file: str, tickers: list[str]) -> None:
    repeated = [f"{ticker!r}" for ticker, count in Counter(tickers).items() if count > 1]
    if repeated:
        raise PriceFileError(
            f"{file} has more than one column of {', '.join(repeated[:12])}"
            f"{' and more' if len(repeated) > 12 else ''}; keep one of each ticker, or rename the "
            f"others"
        )


def _fields(file: str, names: list[str]) -> dict[str, int]:
    plain = [re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for name in names]
    found: dict[str, int] = {}
    for field, synonyms in SYNONYMS.items():
        if plain.count(field) > 1:
            twice = [name for name, p in zip(names, plain, strict=True) if p == field]
            raise PriceFileError(
                f"{file} has {len(twice)} columns that read as {field}: {', '.join(twice)}; "
                "keep one of them, or rename the others"
            )
        for name in (field, *synonyms):
            if name in plain:
                found[field] = plain.index(name)
                break
    return found


def _index_position(source: SourceTable) -> int | None:
    names = source.columns.column_names
    pandas = (source.columns.schema.metadata or {}).get(b"pandas")
    if pandas:
        index = json.loads(pandas).get("index_columns", [])
        if len(index) == 1 and isinstance(index[0], str) and index[0] in names:
            return int(names.index(index[0]))
    return 0 if names[0].lower() in UNNAMED_INDEX else None


def _is_numeric(column: pa.ChunkedArray) -> bool:
    if pa.types.is_temporal(column.type) or pa.types.is_boolean(column.type):
        return False
    _, unreadable = read_numbers(column)
    return bool(unreadable.sum() * 2 <= filled(column).sum())


def _missing(source: SourceTable, fields: dict[str, int], why_not_wide: str) -> PriceFileError:
    names = source.columns.column_names
    lacking = [field for field in NEEDED if field not in fields]
    return PriceFileError(
        f"{source.name} has the columns {', '.join(repr(n) for n in names[:12])}"
        f"{' and more' if len(names) > 12 else ''} and lacks {', '.join(lacking)}; needed are "
        f"date, ticker and close, or one date column and one numeric column of closes for each "
        f"ticker{why_not_wide}: rename or add the columns on line 1 and read it again"
    )


def _long(source: SourceTable, fields: dict[str, int]) -> RawPrices:
    names = source.columns.column_names
    renamed = [
        f"{names[i]!r} as {field}" for field, i in fields.items() if names[i].lower() != field
    ]
    unused = [repr(name) for i, name in enumerate(names) if i not in fields.values()]
    notes = []
    if renamed:
        notes.append(f"Columns read under another name: {', '.join(renamed)}.")
    if unused:
        notes.append(f"Columns not used: {', '.join(unused)}.")
    columns = {field: _plain(source.columns.column(i)) for field, i in fields.items()}
    return RawPrices("long", source.row_number, columns, 0, tuple(notes))


def _wide(source: SourceTable, date: int, tickers: list[int]) -> RawPrices:
    names = source.columns.column_names
    dates = _plain(source.columns.column(date))
    rows, labels, cells, kinds = [], [], [], set()
    for code, i in enumerate(tickers):
        column = _plain(source.columns.column(i))
        present = np.flatnonzero(filled(column))
        rows.append(present)
        labels.append(np.full(len(present), code, dtype=np.int32))
        cells.append(column.take(pa.array(present)))
        kinds.add(column.type)
    if len(kinds) > 1:
        cells = [pc.cast(cell, pa.string()) for cell in cells]
    row = np.concatenate(rows)
    if len(row) == 0:
        raise PriceFileError(f"{source.name} has dates and no prices at all; export it again")
    dictionary = pa.array([names[i].strip() for i in tickers], pa.string())
    codes = pa.array(np.concatenate(labels))
    notes = [
        f"Read as a wide table: {len(tickers):,} tickers by {len(dates):,} dates of closes; "
        f"empty cells, which mean no price: {len(dates) * len(tickers) - len(row):,}."
    ]
    if names[date].lower() != "date":
        notes.append(f"Columns read under another name: {names[date]!r} as date.")
    columns = {
        "date": dates.take(pa.array(row)),
        "ticker": pa.DictionaryArray.from_arrays(codes, dictionary),
        "close": pa.concat_arrays(cells),
    }
    empty = len(dates) * len(tickers) - len(row)
    return RawPrices("wide", source.row_number[row], columns, empty, tuple(notes))


def _plain(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
