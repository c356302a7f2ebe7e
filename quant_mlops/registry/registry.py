"""The model registry as its users hold it: one front to versions, artifacts and deployments."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import TupleRow

from quant_mlops.database import Database
from quant_mlops.registry.artifact_store import ArtifactStore
from quant_mlops.registry.artifacts import (
    list_artifacts,
    load_artifact,
    read_artifact_file,
    store_artifact,
)
from quant_mlops.registry.deletion import delete_model, deleted_models
from quant_mlops.registry.deployments import UNSET, deployments, live_deployment, promote, rollback
from quant_mlops.registry.lineage import Lineage, trace_lineage
from quant_mlops.registry.metrics import get_best_model, log_metrics, newest_metrics
from quant_mlops.registry.records import (
    Artifact,
    Deletion,
    Deployment,
    MetricBound,
    ModelInfo,
    ModelWithMetrics,
    TagChange,
    TrainingRunRecord,
)
from quant_mlops.registry.search import search_models
from quant_mlops.registry.tags import get_tags, remove_tag, set_tag, tag_history
from quant_mlops.registry.training_runs import list_training_runs
from quant_mlops.registry.versions import (
    existing_model,
    get_model,
    get_model_by_id,
    list_models,
    register_model,
)
from quant_mlops.storage import folder_uri

DEFAULT_ARTIFACTS = ".quant_mlops/artifacts"


class ModelRegistry:
    """Models by name and version, with what proves where they come from.

    Parameters
    ----------
    dsn : str or Database
        libpq string or URL, or an open database.
    artifacts : str or Path
        Folder or fsspec URI where artifacts are filed under their digest.
    allowed_digests : collection of str
        SHA-256 of files that are accepted in formats which run code when they are loaded; every
        other pickle is refused.
    """

    def __init__(
        self,
        dsn: str | Database,
        *,
        artifacts: str | Path = DEFAULT_ARTIFACTS,
        allowed_digests: Collection[str] = (),
    ) -> None:
        self.database = dsn if isinstance(dsn, Database) else Database(dsn)
        self.artifacts = ArtifactStore(folder_uri(artifacts), frozenset(allowed_digests))

    def register_model(
        self,
        name: str,
        strategy_type: str | None = None,
        params: Mapping[str, Any] | None = None,
        description: str | None = None,
        version: int | None = None,
        *,
        snapshot_id: UUID | None = None,
        connection: psycopg.Connection[TupleRow] | None = None,
    ) -> UUID:
        """Enter a new version of a model and return its id; see `versions.register_model`."""
        return register_model(
            self.database, name, strategy_type=strategy_type, params=params,
            description=description, version=version, snapshot_id=snapshot_id,
            connection=connection,
        )  # fmt: skip

    def get_model(self, name: str, version: int | None = None) -> ModelInfo | None:
        """Return a version of a model, the newest by default; None if there is none."""
        return get_model(self.database, name, version)

    def get_model_by_id(self, model_id: UUID) -> ModelInfo:
        """Return a model; ModelNotFoundError if there is none of that id."""
        return get_model_by_id(self.database, model_id)

    def list_models(self, *, strategy_type: str | None = None) -> list[ModelInfo]:
        """Return models by name and version."""
        return list_models(self.database, strategy_type=strategy_type)

    def search_models(
        self,
        *,
        name: str | None = None,
        strategy_type: str | None = None,
        tags: Mapping[str, str | None] | None = None,
        params: Mapping[str, Any] | None = None,
        metric: MetricBound | None = None,
        snapshot_id: UUID | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        order_by: str | None = None,
        limit: int | None = None,
    ) -> list[ModelWithMetrics]:
        """Return the models that fit all that is given; see `search.search_models`."""
        return search_models(
            self.database, name=name, strategy_type=strategy_type, tags=tags, params=params,
            metric=metric, snapshot_id=snapshot_id, created_after=created_after,
            created_before=created_before, order_by=order_by, limit=limit,
        )  # fmt: skip

    def delete_model(
        self, name: str, version: int, *, by: str | None = None, reason: str | None = None
    ) -> None:
        """Delete a version that nothing refers to; see `deletion.delete_model`."""
        delete_model(self.database, name, version, by=by, reason=reason)

    def deleted_models(self, *, name: str | None = None) -> list[Deletion]:
        """Return what was deleted, by whom and why, oldest deletion first."""
        return deleted_models(self.database, name=name)

    def log_metrics(
        self,
        model_id: UUID,
        metrics: Mapping[str, float],
        dataset_type: str,
        *,
        connection: psycopg.Connection[TupleRow] | None = None,
    ) -> None:
        """Store an evaluation on a data set; see `metrics.log_metrics`."""
        log_metrics(
            self.database, model_id, metrics, dataset_type=dataset_type, connection=connection
        )

    def get_metrics(self, model_id: UUID) -> dict[str, float]:
        """Return the newest value of each metric by metric and data set: `ic_mean_test`."""
        return newest_metrics(self.database, [model_id])[model_id]

    def get_best_model(
        self,
        strategy_type: str,
        metric_name: str,
        dataset_type: str = "test",
        higher_is_better: bool = True,
    ) -> ModelWithMetrics | None:
        """Return the model whose newest evaluation is best; see `metrics.get_best_model`."""
        return get_best_model(
            self.database, strategy_type, metric_name, dataset_type=dataset_type,
            higher_is_better=higher_is_better,
        )  # fmt: skip

    def log_artifact(
        self, model_id: UUID, path: str | Path, artifact_type: str | None = None
    ) -> UUID:
        """Copy a file into the artifact store under its digest and enter it for a model.

        Parameters
        ----------
        model_id : UUID
        path : str or Path
            Local path or URI.
        artifact_type : str, optional
            What it is, such as weights or config; its file name by default.

        Raises
        ------
        ArtifactError
            There is no such file.
        UnsafeArtifactError
            Its format runs code when it is loaded.
        """
        name, data = read_artifact_file(path)
        return self.store_artifact(model_id, data, artifact_type or name, name=name)

    def store_artifact(
        self,
        model_id: UUID,
        data: bytes,
        artifact_type: str,
        *,
        name: str | None = None,
        connection: psycopg.Connection[TupleRow] | None = None,
    ) -> UUID:
        """File bytes under their digest for a model; see `artifacts.store_artifact`."""
        return store_artifact(
            self.database, self.artifacts, model_id, data, artifact_type=artifact_type, name=name,
            connection=connection,
        )  # fmt: skip

    def load_artifact(self, model_id: UUID, artifact_type: str) -> bytes:
        """Return the newest artifact of a type, verified; see `artifacts.load_artifact`."""
        return load_artifact(self.database, self.artifacts, model_id, artifact_type=artifact_type)

    def list_artifacts(self, model_id: UUID) -> list[Artifact]:
        """Return a model's artifacts, newest first."""
        return list_artifacts(self.database, model_id)

    def set_tag(self, model_id: UUID, tag: str, value: str, *, by: str) -> None:
        """Give a tag of a model a value; see `tags.set_tag`."""
        set_tag(self.database, model_id, tag, value, by=by)

    def remove_tag(self, model_id: UUID, tag: str, *, by: str) -> None:
        """Remove a tag of a model; its history stays."""
        remove_tag(self.database, model_id, tag, by=by)

    def get_tags(self, model_id: UUID) -> dict[str, str]:
        """Return the tags of a model and their present values, by name."""
        return get_tags(self.database, model_id)

    def tag_history(self, model_id: UUID, tag: str | None = None) -> list[TagChange]:
        """Return every setting and removal of a tag, of all tags by default, oldest first."""
        return tag_history(self.database, model_id, tag)

    def training_runs(
        self,
        *,
        strategy_id: str | None = None,
        name: str | None = None,
        model_id: UUID | None = None,
        status: str | None = None,
        limit: int | None = None,
    ) -> list[TrainingRunRecord]:
        """Return training runs, newest first; see `training_runs.list_training_runs`."""
        return list_training_runs(
            self.database, strategy_id=strategy_id, name=name, model_id=model_id, status=status,
            limit=limit,
        )  # fmt: skip

    def lineage(self, model_id: UUID) -> Lineage:
        """Return what a model was made of, and where it was live; see `lineage.Lineage`."""
        return trace_lineage(self.database, model_id)

    def promote(
        self,
        name: str,
        version: int,
        strategy_id: str,
        *,
        by: str,
        reason: str,
        expected_current: UUID | tuple[str, int] | object | None = UNSET,
        effective_from: datetime | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> Deployment:
        """Make a version live for a strategy; see `deployments.promote`.

        The version expected to be live may be given by its id, or by name and number.
        """
        model = existing_model(self.database, name, version)
        if isinstance(expected_current, tuple):
            expected_current = existing_model(self.database, *expected_current).model_id
        with self.database.transaction() as connection:
            start = promote(
                connection, model_id=model.model_id, strategy_id=strategy_id, by=by, reason=reason,
                expected_current=expected_current, effective_from=effective_from,
                evidence=dict(evidence or {}),
            )  # fmt: skip
        return self._live(strategy_id, start)

    def rollback(self, strategy_id: str, *, by: str, reason: str) -> Deployment:
        """Make the version live again that was live before the current one."""
        with self.database.transaction() as connection:
            start = rollback(connection, strategy_id=strategy_id, by=by, reason=reason)
        return self._live(strategy_id, start)

    def live_model(self, strategy_id: str, at: datetime | None = None) -> Deployment | None:
        """Return which version was live at an instant, now by default; None if there was none."""
        return live_deployment(self.database, strategy_id, at=at)

    def deployments(self, strategy_id: str) -> list[Deployment]:
        """Return every deployment of a strategy, oldest first."""
        return deployments(self.database, strategy_id)

    def _live(self, strategy_id: str, at: datetime) -> Deployment:
        live = self.live_model(strategy_id, at=at)
        assert live is not None
        return live
