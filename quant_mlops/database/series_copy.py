"""Numeric series into a table by binary COPY: what all rows of a series share is encoded once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from quant_mlops.database.binary_copy import (
    EARLIEST_MICROSECOND,
    EPOCH_MICROSECONDS,
    HEADER,
    TRAILER,
)
from quant_mlops.errors import DatabaseError

BUFFER_BYTES = 1 << 20
ABSENT = b"\xff\xff\xff\xff"

Constant = str | int | None


@dataclass(frozen=True)
class SeriesRows:
    """Rows of one series.

    Attributes
    ----------
    constants : sequence of str, int or None
        Values of the columns that do not vary; an int goes into an integer column of 4 bytes.
    event_times, ingest_times : ndarray of int64, shape (R,)
        Microseconds UTC.
    values : ndarray of float64, shape (R,)
        NaN is stored as NULL.
    """

    constants: Sequence[Constant]
    event_times: npt.NDArray[np.int64]
    ingest_times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


def copy_series(
    connection: psycopg.Connection[TupleRow],
    target: str,
    *,
    constants: Sequence[str],
    varying: tuple[str, str, str],
    series: Iterable[SeriesRows],
) -> int:
    """Append series to a database table by one COPY, and return how many rows were sent.

    Parameters
    ----------
    connection : psycopg.Connection
        The COPY belongs to its current transaction.
    target : str
        Name of the table.
    constants : sequence of str
        Its columns that are the same in all rows of a series.
    varying : tuple of str
        Its columns of event time, ingest time and value.
    series : iterable of SeriesRows
        In the order in which they should be stored.

    Raises
    ------
    DatabaseError
        A time lies before the earliest that PostgreSQL holds.
    """
    names = sql.SQL(", ").join(sql.Identifier(name) for name in (*constants, *varying))
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        sql.Identifier(target), names
    )
    sent = 0
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(HEADER)
        buffer = bytearray()
        for rows in series:
            for block in encode_series(rows):
                buffer += block
            sent += len(rows.values)
            if len(buffer) >= BUFFER_BYTES:
                copy.write(buffer)
                buffer = bytearray()
        copy.write(bytes(buffer) + TRAILER)
    return sent


def encode_series(rows: SeriesRows) -> Iterator[bytes]:
    """Yield the rows of a series in the binary COPY format, those without a value last."""
    prefix = (len(rows.constants) + 3).to_bytes(2, "big")
    prefix += b"".join(_encode(constant) for constant in rows.constants)
    missing = np.isnan(rows.values)
    if not missing.any():
        yield _encode_block(prefix, rows.event_times, rows.ingest_times, rows.values)
        return
    for absent in (False, True):
        part = missing == absent
        values = None if absent else rows.values[part]
        yield _encode_block(prefix, rows.event_times[part], rows.ingest_times[part], values)


def _encode(constant: Constant) -> bytes:
    if constant is None:
        return ABSENT
    if isinstance(constant, int):
        return (4).to_bytes(4, "big") + constant.to_bytes(4, "big", signed=True)
    text = constant.encode()
    return len(text).to_bytes(4, "big") + text


def _encode_block(
    prefix: bytes,
    event: npt.NDArray[np.int64],
    ingest: npt.NDArray[np.int64],
    values: npt.NDArray[np.float64] | None,
) -> bytes:
    fields = [
        ("prefix", f"V{len(prefix)}"),
        ("event_length", ">i4"), ("event", ">i8"),
        ("ingest_length", ">i4"), ("ingest", ">i8"),
        ("value_length", ">i4"),
    ]  # fmt: skip
    if values is not None:
        fields.append(("value", ">f8"))
    block = np.empty(len(event), dtype=fields)
    block["prefix"] = np.void(prefix)
    for name, times in (("event", event), ("ingest", ingest)):
        if len(times) and times.min() < EARLIEST_MICROSECOND:
            raise DatabaseError(
                f"{times.min()} microseconds since 1970 lie before 4714 BC, the earliest that "
                f"PostgreSQL holds; leave the row out"
            )
        block[f"{name}_length"] = 8
        block[name] = times - EPOCH_MICROSECONDS
    block["value_length"] = -1 if values is None else 8
    if values is not None:
        block["value"] = values
    return block.tobytes()
