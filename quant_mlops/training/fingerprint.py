"""The fingerprint of a table: a digest of what it says, whatever file it is kept in."""

from __future__ import annotations

import hashlib
import json
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
        64 hexadecimal digits, the same for any Parquet writer, row-group layout or platform:
        each column enters as its name and type, a byte a row for presence, and its values
        little-endian, with absent ones and negative zeros as zero and one kind of NaN.
    """
    digest = hashlib.sha256()
    columns = [_plain_array(column) for column in table.columns]
    header = {
        "columns": [
            [name, str(column.type)]
            for name, column in zip(table.column_names, columns, strict=True)
        ],
        "rows": table.num_rows,
        "definition": definition,
    }
    digest.update(json.dumps(header, sort_keys=True).encode())
    for column in columns:
        digest.update(column.is_valid().to_numpy(zero_copy_only=False).astype("u1").tobytes())
        digest.update(_canonical_values(column))
    return digest.hexdigest()


def _plain_array(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array, strings without the dictionary they may be encoded by."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        kind = pa.string()
    return column.cast(kind).combine_chunks()


def _canonical_values(array: pa.Array) -> bytes:
    if pa.types.is_string(array.type):
        present = array.fill_null("")
        _, offsets, data = present.buffers()
        ends = np.frombuffer(offsets, dtype=np.int32)[present.offset :][: len(present) + 1]
        text = data.to_pybytes()[ends[0] : ends[-1]] if data is not None and len(ends) else b""
        return bytes(np.diff(ends).astype("<i4").tobytes() + text)
    if pa.types.is_float64(array.type):
        values = array.fill_null(0.0).to_numpy(zero_copy_only=False) + 0.0
        values[np.isnan(values)] = np.nan
        return bytes(values.astype("<f8").tobytes())
    width = pa.int32() if pa.types.is_date32(array.type) else pa.int64()
    integers = array.cast(width).fill_null(0).to_numpy(zero_copy_only=False)
    return bytes(integers.astype("<i8").tobytes())
