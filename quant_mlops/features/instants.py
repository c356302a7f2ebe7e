"""Times as callers give them, made aware: one by one and by the column."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from quant_mlops.errors import AmbiguousTimeError, InvalidValueError

INSTANT = pa.timestamp("us", tz="UTC")


def as_utc(moment: datetime, *, zone: ZoneInfo) -> datetime:
    """Return an instant in UTC; a naive datetime is wall time in the market's zone.

    Raises
    ------
    AmbiguousTimeError
        The wall time does not exist in the zone, or exists twice, as clocks change.
    InvalidValueError
        It is no datetime: a date, for one, could be any instant of its day.
    """
    if not isinstance(moment, datetime):
        raise InvalidValueError(
            f"{moment!r} is a {type(moment).__name__} where an instant is asked for; give a "
            f"datetime, for example the close of the session"
        )
    try:
        return _in_utc(moment, zone)
    except OverflowError:
        raise InvalidValueError(
            f"{moment.isoformat()} is outside of the years 1 to 9999 in UTC; give another time"
        ) from None


def _in_utc(moment: datetime, zone: ZoneInfo) -> datetime:
    if moment.tzinfo is not None:
        return moment.astimezone(UTC)
    earlier, later = (moment.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if earlier.utcoffset() == later.utcoffset():
        return earlier.astimezone(UTC)
    round_trip = earlier.astimezone(UTC).astimezone(zone).replace(tzinfo=None)
    problem = "exists twice" if round_trip == moment else "does not exist"
    raise AmbiguousTimeError(
        f"{moment.isoformat()} was read as wall time in {zone.key} and {problem} there, as "
        f"clocks change; give a datetime with a time zone"
    )


def column_as_utc(column: pa.ChunkedArray, *, zone: ZoneInfo) -> pa.ChunkedArray:
    """Return a column of times as UTC timestamps in microseconds, naive ones as wall time.

    Raises
    ------
    AmbiguousTimeError
        As `as_utc`, for the first such time.
    InvalidValueError
        The column does not hold instants, or holds them finer than a microsecond.
    """
    if not pa.types.is_timestamp(column.type):
        moments = [None if m is None else as_utc(m, zone=zone) for m in column.to_pylist()]
        return pa.chunked_array([pa.array(moments, INSTANT)])
    try:
        if column.type.tz is not None:
            return column.cast(INSTANT)
        local = column.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        raise InvalidValueError(
            f"a time of type {column.type} does not fit into microseconds; round the times down"
        ) from None
    try:
        return pc.assume_timezone(local, zone.key).cast(INSTANT)
    except pa.ArrowInvalid:
        # Arrow found a time that clocks skip or repeat; say which.
        for moment in local.to_pylist():
            if moment is not None:
                as_utc(moment, zone=zone)
        raise
