"""A snapshot's rows as arrays: long for learners, sessions by names for evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quant_mlops.training.learners import Example

Floats = npt.NDArray[np.float64]
Sessions = npt.NDArray[np.datetime64]


@dataclass(frozen=True)
class TrainingRows:
    """Rows of a snapshot in its order.

    Attributes
    ----------
    features : ndarray of float64, shape (R, F)
    label, next_return : ndarray of float64, shape (R,)
        Over the label's horizon, and over one session.
    session : ndarray of datetime64[D], shape (R,)
    entity : ndarray of int64, shape (R,)
        Index into `entities`.
    """

    features: Floats
    label: Floats
    next_return: Floats
    session: Sessions
    entity: npt.NDArray[np.int64]
    entities: tuple[str, ...]

    def within(self, sessions: Sessions) -> TrainingRows:
        """Return the rows of some sessions."""
        chosen = np.isin(self.session, sessions)
        return TrainingRows(
            self.features[chosen],
            self.label[chosen],
            self.next_return[chosen],
            self.session[chosen],
            self.entity[chosen],
            self.entities,
        )

    @cached_property
    def sessions(self) -> Sessions:
        """Distinct sessions, ascending."""
        return np.unique(self.session)

    @cached_property
    def place(self) -> npt.NDArray[np.intp]:
        """Index into `sessions` of each row."""
        return np.searchsorted(self.sessions, self.session)

    def by_session(self, values: Floats) -> Floats:
        """Arrange one value a row as sessions by names, NaN where there is no row."""
        matrix = np.full((len(self.sessions), len(self.entities)), np.nan)
        matrix[self.place, self.entity] = values
        return matrix

    def example(self) -> Example:
        """Return what a learner fits: the features, and the label in excess of its session's."""
        return Example(self.features, self.excess_label())

    def excess_label(self) -> Floats:
        """Return the label minus the mean of its session: what a long-short book can earn."""
        count = np.bincount(self.place)
        return self.label - (np.bincount(self.place, weights=self.label) / count)[self.place]


def training_rows(table: pa.Table, feature_names: Sequence[str]) -> TrainingRows:
    """Read a snapshot's table into arrays."""
    encoded = table["entity_key"].combine_chunks().dictionary_encode()
    return TrainingRows(
        features=np.column_stack([table[name].to_numpy() for name in feature_names]),
        label=table["label"].to_numpy(),
        next_return=table["next_session_return"].to_numpy(),
        session=table["session"].to_numpy().astype("datetime64[D]"),
        entity=encoded.indices.to_numpy().astype(np.int64),
        entities=tuple(encoded.dictionary.to_pylist()),
    )
