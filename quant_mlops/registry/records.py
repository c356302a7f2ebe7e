"""Rows of the registry's tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True)
class ModelInfo:
    """One version of one model."""

    model_id: UUID
    name: str
    version: int
    strategy_type: str | None
    params: dict[str, Any]
    description: str | None
    snapshot_id: UUID | None
    created_at: datetime

    @property
    def label(self) -> str:
        """Name and version as people say them, such as momentum v3."""
        return f"{self.name} v{self.version}"


@dataclass(frozen=True)
class ModelWithMetrics:
    """A model and the newest evaluation of each of its metrics.

    Attributes
    ----------
    metrics : dict of str to float
        By metric and data set, such as `sharpe_ratio_test`; what could not be computed is left
        out.
    """

    model: ModelInfo
    metrics: dict[str, float]


@dataclass(frozen=True)
class MetricBound:
    """What the newest value of a metric must be for a model to be found; both ends are included.

    Attributes
    ----------
    at_least, at_most : float or None
        Without either, the metric need only be defined.
    """

    name: str
    dataset: str = "test"
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True)
class TagChange:
    """One setting of a tag, or its removal: then `value` is None."""

    model_id: UUID
    tag: str
    value: str | None
    set_by: str
    set_at: datetime


@dataclass(frozen=True)
class Deletion:
    """A version that was deleted, by whom, and why.

    Attributes
    ----------
    deleted_by, reason : str or None
        None where the caller did not say.
    database_user : str
        Who was connected.
    record : dict
        The rows that went: `model`, and lists of `metrics`, `artifacts`, `tags` and
        `training_runs`.
    """

    deletion_id: int
    name: str
    version: int
    model_id: UUID
    deleted_by: str | None
    database_user: str
    reason: str | None
    deleted_at: datetime
    record: dict[str, Any]


@dataclass(frozen=True)
class Artifact:
    """One file of a model, by its digest."""

    artifact_id: UUID
    model_id: UUID
    artifact_path: str
    artifact_type: str
    checksum: str
    size_bytes: int
    created_at: datetime


@dataclass(frozen=True)
class Deployment:
    """A stretch of time during which one version was live for a strategy; `until` None is open."""

    deployment_id: int
    strategy_id: str
    model_id: UUID
    name: str
    version: int
    live_from: datetime
    live_until: datetime | None
    promoted_by: str
    reason: str
    evidence: dict[str, Any]
    recorded_at: datetime


@dataclass(frozen=True)
class TrainingRunRecord:
    """A training run as it is known to the registry; only a completed one has a model.

    Attributes
    ----------
    status : str
        `running`, `completed` or `failed`.
    error : str or None
        Why it failed.
    strategy_id : str or None
        That of its training set.
    dataset_start, dataset_end : date or None
        First and last session of the training set.
    code_dirty : bool or None
        Whether files had changed since the commit of `code_version`.
    """

    run_id: UUID
    status: str
    started_at: datetime
    finished_at: datetime | None
    error: str | None
    model_id: UUID | None
    name: str | None
    version: int | None
    strategy_id: str | None
    snapshot_id: UUID | None
    dataset_start: date | None
    dataset_end: date | None
    training_key: str
    params: dict[str, Any]
    seed: int | None
    code_version: str | None
    code_dirty: bool | None
    library_versions: dict[str, str] | None
