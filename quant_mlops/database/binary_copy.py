"""Bulk rows in and arrays out: PostgreSQL's binary formats, encoded and decoded by NumPy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

import numpy as np
import numpy.typing as npt
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format
from psycopg.rows import TupleRow

from quant_mlops.errors import DatabaseError

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"
CHUNK_ROWS = 65_536

# PostgreSQL counts from 2000-01-01, NumPy from 1970-01-01.
EPOCH_DAYS = 10_957
EPOCH_MICROSECONDS = EPOCH_DAYS * 86_400_000_000

EARLIEST_DAY = EPOCH_DAYS - 2_451_545
EARLIEST_MICROSECOND = EARLIEST_DAY * 86_400_000_000

FLOAT8_ARRAY_OID = 1022
TIMESTAMPTZ_ARRAY_OID = 1185
DATE_ARRAY_OID = 1182
ARRAY_HEADER_BYTES = 20

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Field:
    """The encoded form of one column in one chunk: a matrix of bytes for each group of rows."""

    sizes: npt.NDArray[np.int64]
    groups: list[tuple[npt.NDArray[np.int64], Bytes]]


def copy_table(connection: psycopg.Connection[TupleRow], target: str, *, table: pa.Table) -> int:
    """Append an Arrow table to a database table by one binary COPY.

    Parameters
    ----------
    connection : psycopg.Connection
        The COPY belongs to its current transaction.
    target : str
        Name of a table with columns of the same names and the matching types: string to
        text, double to double precision, int32 and int64, bool, date32, timestamp[us, UTC].
    table : pyarrow.Table
        Rows in the order in which they should be stored.

    Returns
    -------
    int
        Rows sent.
    """
    columns = sql.SQL(", ").join(sql.Identifier(name) for name in table.column_names)
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        sql.Identifier(target), columns
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(HEADER)
        for chunk in encode_rows(table):
            copy.write(chunk)
        copy.write(TRAILER)
    sent: int = table.num_rows
    return sent


def encode_rows(table: pa.Table) -> Iterator[bytes]:
    """Yield the rows of a table in PostgreSQL's binary COPY format, without header or trailer."""
    for start in range(0, table.num_rows, CHUNK_ROWS):
        yield _encode_chunk(table.slice(start, CHUNK_ROWS))


def _encode_chunk(table: pa.Table) -> bytes:
    fields = [_encode_column(column.combine_chunks()) for column in table.columns]
    row_sizes = 2 + sum(field.sizes for field in fields)
    ends = np.cumsum(row_sizes)
    position = ends - row_sizes
    buffer = np.empty(int(ends[-1]), dtype=np.uint8)
    count = np.frombuffer(len(fields).to_bytes(2, "big"), dtype=np.uint8)
    buffer[position[:, None] + np.arange(2)] = count
    position = position + 2
    for field in fields:
        for rows, matrix in field.groups:
            buffer[position[rows][:, None] + np.arange(matrix.shape[1])] = matrix
        position = position + field.sizes
    return buffer.tobytes()


def _encode_column(column: pa.Array) -> _Field:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    present = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    absent = np.setdiff1d(np.arange(len(column)), present, assume_unique=True)
    sizes = np.full(len(column), 4, dtype=np.int64)
    groups = []
    if absent.size:
        groups.append((absent, np.full((absent.size, 4), 0xFF, dtype=np.uint8)))
    if present.size:
        known = column.take(pa.array(present)) if absent.size else column
        encoded = (
            _encode_text(known)
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
            else [(np.arange(present.size), _with_length(_fixed_width(known)))]
        )
        for rows, matrix in encoded:
            groups.append((present[rows], matrix))
            sizes[present[rows]] = matrix.shape[1]
    return _Field(sizes, groups)


def _encode_text(column: pa.Array) -> list[tuple[npt.NDArray[np.int64], Bytes]]:
    encoded = pc.dictionary_encode(column)
    words = [str(word).encode() for word in encoded.dictionary.to_pylist()]
    codes = encoded.indices.to_numpy()
    lengths = np.array([len(word) for word in words], dtype=np.int64)
    groups = []
    for length in np.unique(lengths):
        members = np.flatnonzero(lengths == length)
        table = np.frombuffer(b"".join(words[m] for m in members), dtype=np.uint8)
        slot = np.zeros(len(words), dtype=np.int64)
        slot[members] = np.arange(members.size)
        rows = np.flatnonzero(lengths[codes] == length)
        matrix = table.reshape(members.size, length)[slot[codes[rows]]]
        groups.append((rows, _with_length(matrix)))
    return groups


def _fixed_width(column: pa.Array) -> Bytes:
    kind = column.type
    if pa.types.is_timestamp(kind):
        values = column.cast(pa.timestamp("us", kind.tz)).cast(pa.int64()).to_numpy()
        _refuse_before(EARLIEST_MICROSECOND, values, column)
        return _big_endian(values - EPOCH_MICROSECONDS, ">i8")
    if pa.types.is_date32(kind):
        days = column.cast(pa.int32()).to_numpy().astype(np.int64)
        _refuse_before(EARLIEST_DAY, days, column)
        return _big_endian(days - EPOCH_DAYS, ">i4")
    if pa.types.is_boolean(kind):
        return _big_endian(column.to_numpy(zero_copy_only=False), "u1")
    widths = {pa.float64(): ">f8", pa.int64(): ">i8", pa.int32(): ">i4"}
    return _big_endian(column.to_numpy(), widths[kind])


def _refuse_before(earliest: int, values: npt.NDArray[np.int64], column: pa.Array) -> None:
    """Refuse what PostgreSQL cannot hold and the change of epoch would turn into another time."""
    if values.min() < earliest:
        raise DatabaseError(
            f"{values.min()} as a {column.type} lies before 4714 BC, the earliest that PostgreSQL "
            f"holds; leave the row out"
        )


def _big_endian(values: npt.NDArray[Any], dtype: str) -> Bytes:
    converted = np.ascontiguousarray(values.astype(dtype))
    return converted.view(np.uint8).reshape(len(values), converted.dtype.itemsize)


def _with_length(matrix: Bytes) -> Bytes:
    length = np.frombuffer(matrix.shape[1].to_bytes(4, "big"), dtype=np.uint8)
    return np.hstack([np.broadcast_to(length, (len(matrix), 4)), matrix])


class _Float8ArrayLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> npt.NDArray[np.float64]:
        return _array_elements(data, ">f8").astype(np.float64)


class _TimestampArrayLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> npt.NDArray[np.int64]:
        return _array_elements(data, ">i8").astype(np.int64) + EPOCH_MICROSECONDS


class _DateArrayLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> npt.NDArray[np.int64]:
        return _array_elements(data, ">i4").astype(np.int64) + EPOCH_DAYS


ARRAY_LOADERS: Mapping[int, type[Loader]] = {
    FLOAT8_ARRAY_OID: _Float8ArrayLoader,
    TIMESTAMPTZ_ARRAY_OID: _TimestampArrayLoader,
    DATE_ARRAY_OID: _DateArrayLoader,
}


def _array_elements(data: Buffer, dtype: str) -> npt.NDArray[Any]:
    """Read a one-dimensional array without NULLs; the query must not let one through."""
    if len(data) < ARRAY_HEADER_BYTES:
        return np.empty(0, dtype=dtype)
    if data[7]:
        raise ValueError("an array read in bulk has a NULL element; coalesce it in the query")
    element = np.dtype([("length", ">i4"), ("value", dtype)])
    return np.frombuffer(data, dtype=element, offset=ARRAY_HEADER_BYTES)["value"]


def stream_arrays(
    connection: psycopg.Connection[TupleRow],
    statement: LiteralString,
    parameters: Mapping[str, Any],
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query over a binary cursor, its arrays as NumPy arrays.

    double precision[] arrives as float64, timestamptz[] as int64 microseconds and date[] as
    int64 days since 1970-01-01. Rows are fetched one by one as they arrive from the server.
    """
    with connection.cursor(binary=True) as cursor:
        for oid, loader in ARRAY_LOADERS.items():
            cursor.adapters.register_loader(oid, loader)
        yield from cursor.stream(statement, parameters)
