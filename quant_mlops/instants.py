"""Instants as integers: microseconds since 1970-01-01 UTC, exact in both directions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def to_microseconds(moment: datetime) -> int:
    """Return microseconds since 1970-01-01 UTC of an aware datetime, exactly."""
    return (moment - EPOCH) // MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """Return the aware UTC datetime of microseconds since 1970-01-01."""
    return EPOCH + timedelta(microseconds=int(microseconds))
