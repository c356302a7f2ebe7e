"""The model registry: versions, metrics and artifacts, and which version is live."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import (
    ArtifactError,
    ModelInUseError,
    ModelNotFoundError,
    RegistryError,
    VersionTakenError,
)
from quant_mlops.registry.artifact_store import ArtifactStore, is_uri, read_uri
from quant_mlops.registry.deployments import UNSET, deployments, live_deployment, promote, rollback
from quant_mlops.registry.records import Artifact, Deployment, ModelInfo, ModelWithMetrics

DATASET_TYPES = ("train", "val", "test", "backtest", "live")
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
        self.artifacts = ArtifactStore(str(artifacts), frozenset(allowed_digests))

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
        """Enter a new version of a model and return its id.

        Parameters
        ----------
        name : str
        strategy_type : str, optional
            Kind of strategy, among which `get_best_model` searches.
        params : mapping, optional
            Hyperparameters, as JSON values.
        description : str, optional
        version : int, optional
            The next free number by default; versions of a name are dense.
        snapshot_id : UUID, optional
            What it was trained on.
        connection : psycopg.Connection, optional
            Enter it in this connection's transaction.

        Raises
        ------
        VersionTakenError
            The version asked for exists already, or would leave a gap.
        RegistryError
            The name is empty, or a parameter has no form in JSON, such as NaN.
        """
        _refuse_unfit(name, params)
        model_id = uuid4()
        if connection is None:
            with self.database.transaction() as own:
                self._insert_model(
                    own, model_id, name, strategy_type, params, description, version, snapshot_id
                )
        else:
            self._insert_model(
                connection, model_id, name, strategy_type, params, description, version, snapshot_id
            )
        return model_id

    def log_metrics(
        self,
        model_id: UUID,
        metrics: Mapping[str, float],
        dataset_type: str,
        *,
        connection: psycopg.Connection[TupleRow] | None = None,
    ) -> None:
        """Store an evaluation; a metric that could not be computed (NaN) is stored as NULL.

        Raises
        ------
        RegistryError
            The data set is none of train, val, test, backtest and live, or a value is infinite.
        ModelNotFoundError
        """
        if dataset_type not in DATASET_TYPES:
            raise RegistryError(
                f"dataset_type {dataset_type!r} is none of {', '.join(DATASET_TYPES)}; use one"
            )
        rows = []
        for name, value in metrics.items():
            if math.isinf(value):
                raise RegistryError(
                    f"metric {name} is {value}; give a finite number, or NaN if it is undefined"
                )
            rows.append((model_id, name, None if math.isnan(value) else value, dataset_type))
        if connection is not None:
            _insert_metrics(connection, model_id, rows)
            return
        with self.database.transaction() as own:
            _insert_metrics(own, model_id, rows)

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
        text = str(path)
        if not is_uri(text) and not Path(text).is_file():
            raise ArtifactError(f"there is no file at {text}; write it before it is logged")
        data = read_uri(text) if is_uri(text) else Path(text).read_bytes()
        name = PurePosixPath(text).name
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
        """File bytes under their digest and enter them for a model."""
        stored = self.artifacts.put(data, PurePosixPath(name or artifact_type).suffix)
        artifact_id = uuid4()
        row = [artifact_id, model_id, stored.uri, artifact_type, stored.checksum, stored.size_bytes]
        if connection is not None:
            connection.execute(query("insert_model_artifact"), row)
        else:
            try:
                self.database.execute(query("insert_model_artifact"), row)
            except psycopg.errors.ForeignKeyViolation:
                raise ModelNotFoundError(f"there is no model with id {model_id}") from None
        return artifact_id

    def load_artifact(self, model_id: UUID, artifact_type: str) -> bytes:
        """Return the newest artifact of a type, after its digest has been verified.

        Raises
        ------
        ArtifactError
            The model has none of that type.
        ChecksumMismatchError, UnsafeArtifactError
        """
        for artifact in self.list_artifacts(model_id):
            if artifact.artifact_type == artifact_type:
                return self.artifacts.read(artifact.artifact_path, artifact.checksum)
        raise ArtifactError(
            f"model {model_id} has no artifact of type {artifact_type!r}; it has "
            f"{', '.join(a.artifact_type for a in self.list_artifacts(model_id)) or 'none'}"
        )

    def list_artifacts(self, model_id: UUID) -> list[Artifact]:
        """Return a model's artifacts, newest first."""
        return self.database.fetch_rows(Artifact, query("select_model_artifacts"), [model_id])

    def get_model(self, name: str, version: int | None = None) -> ModelInfo | None:
        """Return a version of a model, the newest by default; None if there is none."""
        parameters = {"name": name, "version": version}
        found = self.database.fetch_rows(ModelInfo, query("select_model"), parameters)
        return found[0] if found else None

    def get_model_by_id(self, model_id: UUID) -> ModelInfo:
        """Return a model.

        Raises
        ------
        ModelNotFoundError
        """
        found = self.database.fetch_rows(ModelInfo, query("select_model_by_id"), [model_id])
        if not found:
            raise ModelNotFoundError(f"there is no model with id {model_id}")
        return found[0]

    def list_models(self, *, strategy_type: str | None = None) -> list[ModelInfo]:
        """Return models by name and version."""
        return self.database.fetch_rows(
            ModelInfo, query("select_models"), {"strategy_type": strategy_type}
        )

    def get_metrics(self, model_id: UUID) -> dict[str, float]:
        """Return the newest value of each metric by metric and data set: `ic_mean_test`."""
        rows = self.database.fetch_all(query("select_newest_metrics"), [model_id])
        return {f"{name}_{dataset}": value for name, dataset, value in rows if value is not None}

    def get_best_model(
        self,
        strategy_type: str,
        metric_name: str,
        dataset_type: str = "test",
        higher_is_better: bool = True,
    ) -> ModelWithMetrics | None:
        """Return the model of a strategy type whose newest evaluation of a metric is best.

        A model for which the metric is undefined cannot win; of equal ones the newer wins.
        """
        parameters = {
            "strategy_type": strategy_type,
            "metric": metric_name,
            "dataset": dataset_type,
            "sign": 1.0 if higher_is_better else -1.0,
        }
        found = self.database.fetch_rows(ModelInfo, query("select_best_model"), parameters)
        if not found:
            return None
        return ModelWithMetrics(found[0], self.get_metrics(found[0].model_id))

    def delete_model(self, name: str, version: int) -> None:
        """Delete a version that was never live, with its metrics and artifact rows.

        Raises
        ------
        ModelNotFoundError
        ModelInUseError
            It is or was live, or a retraining was decided on it.
        """
        model = self._existing(name, version)
        try:
            self.database.execute("DELETE FROM models WHERE model_id = %s", [model.model_id])
        except psycopg.errors.ForeignKeyViolation as error:
            part = (
                "what was traded, since it is or was live"
                if error.diag.table_name == "model_deployments"
                else "why a retraining ended as it did"
            )
            raise ModelInUseError(
                f"{model.label} is part of the record of {part}; it stays"
            ) from None

    def promote(
        self,
        name: str,
        version: int,
        strategy_id: str,
        *,
        by: str,
        reason: str,
        expected_current: UUID | object | None = UNSET,
        effective_from: datetime | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> Deployment:
        """Make a version live for a strategy; see `deployments.promote`."""
        model = self._existing(name, version)
        with self.database.transaction() as connection:
            start = promote(
                connection,
                model_id=model.model_id,
                strategy_id=strategy_id,
                by=by,
                reason=reason,
                expected_current=expected_current,
                effective_from=effective_from,
                evidence=dict(evidence or {}),
            )
        live = self.live_model(strategy_id, at=start)
        assert live is not None
        return live

    def rollback(self, strategy_id: str, *, by: str, reason: str) -> Deployment:
        """Make the version live again that was live before the current one."""
        with self.database.transaction() as connection:
            start = rollback(connection, strategy_id=strategy_id, by=by, reason=reason)
        live = self.live_model(strategy_id, at=start)
        assert live is not None
        return live

    def live_model(self, strategy_id: str, at: datetime | None = None) -> Deployment | None:
        """Return which version was live at an instant, now by default; None if there was none."""
        return live_deployment(self.database, strategy_id, at=at)

    def deployments(self, strategy_id: str) -> list[Deployment]:
        """Return every deployment of a strategy, oldest first."""
        return deployments(self.database, strategy_id)

    def _existing(self, name: str, version: int) -> ModelInfo:
        model = self.get_model(name, version)
        if model is None:
            known = [m.version for m in self.list_models() if m.name == name]
            raise ModelNotFoundError(
                f"there is no {name} v{version}; versions of that name are "
                f"{', '.join(map(str, known)) or 'none'}"
            )
        return model

    @staticmethod
    def _insert_model(
        connection: psycopg.Connection[TupleRow],
        model_id: UUID,
        name: str,
        strategy_type: str | None,
        params: Mapping[str, Any] | None,
        description: str | None,
        version: int | None,
        snapshot_id: UUID | None,
    ) -> None:
        connection.execute(query("lock_model_name"), [name])
        row = connection.execute(
            "SELECT coalesce(max(version), 0) + 1 FROM models WHERE name = %s", [name]
        ).fetchone()
        following = int(row[0]) if row else 1
        if version is not None and version != following:
            problem = "exists already" if 0 < version < following else "would leave a gap"
            raise VersionTakenError(
                f"{name} v{version} {problem}; the next version is {following}, leave version out "
                f"to get it"
            )
        connection.execute(
            query("insert_model"),
            [
                model_id, name, following, strategy_type, Jsonb(dict(params or {})), description,
                snapshot_id,
            ],
        )  # fmt: skip


def _insert_metrics(
    connection: psycopg.Connection[TupleRow], model_id: UUID, rows: list[tuple[Any, ...]]
) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.executemany(query("insert_model_metric"), rows)
    except psycopg.errors.ForeignKeyViolation:
        raise ModelNotFoundError(f"there is no model with id {model_id}") from None


def _refuse_unfit(name: str, params: Mapping[str, Any] | None) -> None:
    if not name.strip():
        raise RegistryError("a model was to be registered without a name; give one")
    try:
        json.dumps(dict(params or {}), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RegistryError(
            f"the parameters of {name} have no form in JSON: {error}; give finite numbers, text, "
            f"lists and objects"
        ) from None
