"""Lineage of a model: the code, data and features it was made of, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.registry.artifacts import list_artifacts
from quant_mlops.registry.deployments import model_deployments
from quant_mlops.registry.records import Artifact, Deployment, ModelInfo, TrainingRunRecord
from quant_mlops.registry.tags import get_tags
from quant_mlops.registry.training_runs import list_training_runs
from quant_mlops.registry.versions import get_model_by_id


@dataclass(frozen=True)
class FeatureUsed:
    """A feature as a model was trained on it; the digest of its logic is empty if unknown."""

    name: str
    version: int
    logic_hash: str


@dataclass(frozen=True)
class TrainingSet:
    """The snapshot a model was trained on.

    Attributes
    ----------
    knowledge_time : datetime
        Nothing that was known only later is in it.
    first_session, last_session : date
        Sessions of decision, both included.
    code_version : str
        Code that collected it.
    features : dict
        Version and logic hash of each feature, by name.
    """

    snapshot_id: UUID
    strategy_id: str
    fingerprint: str
    knowledge_time: datetime
    first_session: date
    last_session: date
    row_count: int
    label: dict[str, Any]
    uri: str
    file_sha256: str
    code_version: str
    features: dict[str, dict[str, Any]]

    @property
    def features_used(self) -> tuple[FeatureUsed, ...]:
        """The features as rows, by name."""
        return tuple(
            FeatureUsed(name, int(entry["version"]), str(entry.get("logic_hash", "")))
            for name, entry in sorted(self.features.items())
        )


@dataclass(frozen=True)
class Lineage:
    """What a model was made of, and where it was live.

    Attributes
    ----------
    training_run : TrainingRunRecord or None
        None for a model that was registered without one.
    snapshot : TrainingSet or None
        None for a model that was registered without one.
    artifacts : tuple of Artifact
        Newest first.
    deployments : tuple of Deployment
        Of this version for any strategy, oldest first.
    """

    model: ModelInfo
    training_run: TrainingRunRecord | None
    snapshot: TrainingSet | None
    artifacts: tuple[Artifact, ...]
    deployments: tuple[Deployment, ...]
    tags: dict[str, str]


def trace_lineage(database: Database, model_id: UUID) -> Lineage:
    """Return the lineage of a model.

    Raises
    ------
    ModelNotFoundError
    """
    model = get_model_by_id(database, model_id)
    runs = list_training_runs(database, model_id=model_id, limit=1)
    sets = database.fetch_rows(TrainingSet, query("select_training_set"), [model.snapshot_id])
    return Lineage(
        model=model,
        training_run=runs[0] if runs else None,
        snapshot=sets[0] if sets else None,
        artifacts=tuple(list_artifacts(database, model_id)),
        deployments=tuple(model_deployments(database, model_id)),
        tags=get_tags(database, model_id),
    )
