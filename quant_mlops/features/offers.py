"""Rows offered to the feature store: each series in one piece, in order of time, as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quant_mlops.database.repeats import TimedRows, by_series
from quant_mlops.database.series_copy import SeriesRows
from quant_mlops.features.rows import SERIES_COLUMNS
from quant_mlops.instants import to_microseconds

# Writers of other features, and of most other entities, do not wait for each other.
FEATURE_STRIPES, ENTITY_STRIPES = 16, 8

Series = tuple[str, str, int]


@dataclass(frozen=True)
class Offers:
    """Rows offered by one call.

    Attributes
    ----------
    table : pyarrow.Table
        In the schema of `rows.SCHEMA`, each series in one piece and in order of time.
    pieces : mapping of (entity_key, feature_name, feature_version) to slice
    timed : TimedRows
        The same rows as arrays; NaN for a JSON document and for known to be missing.
    """

    table: pa.Table
    pieces: Mapping[Series, slice]
    timed: TimedRows

    @classmethod
    def of_table(cls, rows: pa.Table) -> Offers:
        """Take rows in any order."""
        table, pieces = by_series(rows, SERIES_COLUMNS)
        return cls(table, pieces, TimedRows.of_table(table, ["value_double"]))

    def __len__(self) -> int:
        count: int = self.table.num_rows
        return count

    @property
    def has_documents(self) -> bool:
        """Whether any value is a JSON document."""
        return bool(self.table["value_json"].null_count < len(self))

    def known_from(self, ingest_time: datetime, rows: npt.NDArray[np.intp]) -> Offers:
        """Return the same offers with another ingest time of some rows."""
        ingest = self.timed.ingest_times.copy()
        ingest[rows] = to_microseconds(ingest_time)
        position = self.table.column_names.index("ingest_time")
        field = self.table.schema.field(position)
        column = pa.array(ingest).cast(field.type)
        return Offers.of_table(self.table.set_column(position, field, column))

    def features(self) -> list[tuple[str, int]]:
        """Return the features, by name and version, in one order for every writer."""
        return sorted({(name, version) for _, name, version in self.pieces})

    def stripes(self) -> list[int]:
        """Return the locks under which these series are written, in one order for every writer."""
        return sorted(
            {
                crc32(f"{name}@{version}".encode()) % FEATURE_STRIPES * ENTITY_STRIPES
                + crc32(entity.encode()) % ENTITY_STRIPES
                for entity, name, version in self.pieces
            }
        )

    def bounds(self) -> dict[str, list[Any]]:
        """Return each series with the first and the last event that is offered of it."""
        ends: Sequence[tuple[datetime, datetime]] = [
            self.timed.part(piece).bounds() for piece in self.pieces.values()
        ]
        entities, names, versions = (list(column) for column in zip(*self.pieces, strict=True))
        return {
            "entities": entities,
            "names": names,
            "versions": versions,
            "firsts": [first for first, _ in ends],
            "lasts": [last for _, last in ends],
        }

    def news(
        self, known: npt.NDArray[np.bool_], origin: Sequence[str | None]
    ) -> Iterator[SeriesRows]:
        """Yield what is not known yet, series by series, each with where it comes from."""
        for series, piece in self.pieces.items():
            new = ~known[piece]
            if new.any():
                rows = self.timed.part(piece)
                yield SeriesRows(
                    (*series, *origin),
                    rows.event_times[new],
                    rows.ingest_times[new],
                    rows.values[0][new],
                )
