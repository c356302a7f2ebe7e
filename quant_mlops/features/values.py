"""One value of one feature, as reads return it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class FeatureValue:
    """A value with both of its times, and the time as of which it was asked for.

    Attributes
    ----------
    entity_key, feature_name, feature_version
        The series.
    event_time : datetime
        What the value is about.
    ingest_time : datetime
        When it could first be known.
    as_of_time : datetime
        The instant of the question; both times above are at or before it.
    value : float, dict or None
        None where the value is known to be missing.
    producer : str
        Who wrote it.
    """

    entity_key: str
    feature_name: str
    feature_version: int
    event_time: datetime
    ingest_time: datetime
    as_of_time: datetime
    value: float | dict[str, Any] | None
    producer: str

    @classmethod
    def of_row(cls, row: tuple[Any, ...]) -> FeatureValue:
        """Take a row of the reads: the fields in order, the value as a number and as JSON."""
        entity, name, version, event_time, ingest_time, as_of, number, document, producer = row
        value = number if document is None else document
        return cls(entity, name, version, event_time, ingest_time, as_of, value, producer)
