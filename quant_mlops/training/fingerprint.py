"""The fingerprint of a table: a digest of what it says, whatever file it is kept in."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa


def fingerprint(table: pa.Table, definition: dict[str, Any]) -> str:
    """Return the SHA-256 of a table's content and of what its columns mean.

    Parameters
    ----------
    table : pyarrow.Table
        Columns of strings, doubles, dates or instants; row order counts, chunks and
        dictionaries do not.
    definition : dict
        Plain values that decide the columns' meaning, such as feature versions and the label.

    Returns
    -------
    str
        64 hexadecimal digits; see `FingerprintStream`.
    """
    stream = FingerprintStream(definition)
    stream.update(table)
    return stream.hexdigest()


class FingerprintStream:
    """The fingerprint of a table that comes in blocks of rows, however they are cut.

    It is the same for any Parquet writer, row-group layout or platform. Of each column three
    digests are kept: of a byte a row for presence, of its values little-endian (for text, the
    lengths), with absent ones and negative zeros as zero and one kind of NaN, and of its text.
    The fingerprint is the digest of these beside the columns' names and types, the number of
    rows and the definition.

    Parameters
    ----------
    definition : dict
        Plain values that decide the columns' meaning.
    """

    def __init__(self, definition: dict[str, Any]) -> None:
        self._definition = definition
        self._columns: dict[str, _Column] = {}
        self._rows = 0

    def update(self, block: pa.Table) -> None:
        """Add the next rows.

        Raises
        ------
        ValueError
            The block has other columns, or columns of other types, than those before it.
        """
        arrays = {
            name: _plain_array(column)
            for name, column in zip(block.column_names, block.columns, strict=True)
        }
        if not self._columns:
            self._columns = {name: _Column(str(array.type)) for name, array in arrays.items()}
        kinds = {name: str(array.type) for name, array in arrays.items()}
        expected = {name: column.kind for name, column in self._columns.items()}
        if list(kinds.items()) != list(expected.items()):
            raise ValueError(f"a block has the columns {kinds} after blocks with {expected}")
        for name, array in arrays.items():
            self._columns[name].update(array)
        self._rows += block.num_rows

    def hexdigest(self) -> str:
        """Return the fingerprint of all rows until now, 64 hexadecimal digits."""
        document = {
            "columns": [[name, *column.summary()] for name, column in self._columns.items()],
            "rows": self._rows,
            "definition": self._definition,
        }
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class _Column:
    kind: str
    presence: Any = field(default_factory=hashlib.sha256)
    values: Any = field(default_factory=hashlib.sha256)
    text: Any = field(default_factory=hashlib.sha256)

    def update(self, array: pa.Array) -> None:
        self.presence.update(array.is_valid().to_numpy(zero_copy_only=False).astype("u1").tobytes())
        if pa.types.is_string(array.type):
            lengths, text = _text(array)
            self.values.update(lengths)
            self.text.update(text)
        else:
            self.values.update(_canonical_numbers(array))

    def summary(self) -> list[str]:
        return [
            self.kind, self.presence.hexdigest(), self.values.hexdigest(), self.text.hexdigest()
        ]  # fmt: skip


def _plain_array(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array, strings without the dictionary they may be encoded by."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        kind = pa.string()
    return column.cast(kind).combine_chunks()


def _text(array: pa.Array) -> tuple[bytes, bytes]:
    """Return the lengths of strings in bytes, little-endian, and their bytes one after another."""
    present = array.fill_null("")
    _, offsets, data = present.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[present.offset :][: len(present) + 1]
    text = data.to_pybytes()[ends[0] : ends[-1]] if data is not None and len(ends) else b""
    return np.diff(ends).astype("<i4").tobytes(), bytes(text)


def _canonical_numbers(array: pa.Array) -> bytes:
    if pa.types.is_float64(array.type):
        values = array.fill_null(0.0).to_numpy(zero_copy_only=False) + 0.0
        values[np.isnan(values)] = np.nan
        return bytes(values.astype("<f8").tobytes())
    width = pa.int32() if pa.types.is_date32(array.type) else pa.int64()
    integers = array.cast(width).fill_null(0).to_numpy(zero_copy_only=False)
    return bytes(integers.astype("<i8").tobytes())
