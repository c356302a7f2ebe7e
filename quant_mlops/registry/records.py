"""Rows of the registry's tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
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
