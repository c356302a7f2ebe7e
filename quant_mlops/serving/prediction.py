"""One prediction as its caller gets it: the signal, what it was made of, and what is on record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import overload
from uuid import UUID

import numpy as np
import numpy.typing as npt

from quant_mlops.database.binary_copy import EPOCH_MICROSECONDS
from quant_mlops.instants import from_microseconds

# How -infinity arrives, which stands for "nothing was known".
NEVER = int(np.iinfo(np.int64).min) + EPOCH_MICROSECONDS


@dataclass(frozen=True, slots=True)
class FeatureUsed:
    """A feature as known at a decision.

    Attributes
    ----------
    value : float
        NaN where nothing was known, or where it was known to be missing.
    event_time, ingest_time : datetime or None
        What the value is about and when it could first be known; None where nothing was.
    """

    feature_name: str
    feature_version: int
    value: float
    event_time: datetime | None
    ingest_time: datetime | None


@dataclass(frozen=True, slots=True, eq=False)
class FeaturesUsed(Sequence[FeatureUsed]):
    """The features of one decision, made into objects one by one when they are looked at.

    Attributes
    ----------
    versions : mapping of str to int
        In the order of the model.
    values : ndarray of float64, shape (F,)
    event_times, ingest_times : ndarray of int64, shape (F,)
        Microseconds since 1970-01-01 UTC; `NEVER` where nothing was known.
    """

    versions: Mapping[str, int]
    values: npt.NDArray[np.float64]
    event_times: npt.NDArray[np.int64]
    ingest_times: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.versions)

    def __iter__(self) -> Iterator[FeatureUsed]:
        for place, (name, version) in enumerate(self.versions.items()):
            yield FeatureUsed(
                name,
                version,
                float(self.values[place]),
                _instant(int(self.event_times[place])),
                _instant(int(self.ingest_times[place])),
            )

    @overload
    def __getitem__(self, place: int) -> FeatureUsed: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[FeatureUsed, ...]: ...
    def __getitem__(self, place: int | slice) -> FeatureUsed | tuple[FeatureUsed, ...]:
        return tuple(self)[place]

    def __repr__(self) -> str:
        return repr(tuple(self))

    def missing(self) -> tuple[str, ...]:
        """Return the names of the features without a number."""
        there = np.isfinite(self.values).tolist()
        return tuple(name for name, found in zip(self.versions, there, strict=True) if not found)


@dataclass(frozen=True, slots=True)
class Signal:
    """What one model makes of the features of one name.

    Attributes
    ----------
    signal : float
        NaN where a feature is missing.
    model_id, model_label
        The model.
    feature_digest : str or None
        Of the values used; None where one is missing.
    """

    signal: float
    model_id: UUID
    model_label: str
    feature_digest: str | None


@dataclass(frozen=True, slots=True)
class Prediction:
    """A prediction for one name at one decision time.

    Attributes
    ----------
    strategy_id, entity_key : str
    as_of_time : datetime
        The decision time: everything used was known by then.
    session : date
        The session decided on: the first that opens at or after the decision time.
    signal : float
        NaN where a feature is missing.
    model_id, model_label, feature_digest
        As of `Signal`; like the signal those on record, if an earlier call decided otherwise.
    features : sequence of FeatureUsed
        What is known now to have been known at the decision time, in the order of the model.
    missing : tuple of str
        Names of features without a number; with any of them nothing is stored.
    stored : bool
        Whether this call stored it.
    recomputed : Signal or None
        What this call computed, where something else is on record for this time; None where the
        two agree, or nothing was on record.
    """

    strategy_id: str
    entity_key: str
    as_of_time: datetime
    session: date
    signal: float
    model_id: UUID
    model_label: str
    feature_digest: str | None
    features: FeaturesUsed = field(compare=False)
    missing: tuple[str, ...]
    stored: bool = False
    recomputed: Signal | None = None

    @property
    def computed(self) -> Signal:
        """What this call computed, whatever is on record."""
        if self.recomputed is not None:
            return self.recomputed
        return Signal(self.signal, self.model_id, self.model_label, self.feature_digest)


def _instant(microseconds: int) -> datetime | None:
    return None if microseconds == NEVER else from_microseconds(microseconds)
