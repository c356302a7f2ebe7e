"""What a model was made of can be told, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from quant_mlops.errors import ModelNotFoundError
from quant_mlops.registry import ModelRegistry
from quant_mlops.registry.lineage import FeatureUsed
from quant_mlops.registry.training_runs import TrainingRun, complete_run, training_run

FEATURES = {
    "vol_20d": {"version": 2, "logic_hash": "b" * 64},
    "ret_5d": {"version": 1, "logic_hash": "a" * 64},
}


@pytest.fixture
def trained(registry: ModelRegistry, snapshot_id: UUID, forge: Any) -> UUID:
    """Train version 2 of m; version 1 was registered by hand."""
    database = registry.database
    registry.register_model("m", "momentum")
    forge(database, "UPDATE training_snapshots SET features = %s", [Jsonb(FEATURES)])
    run = TrainingRun(
        training_key="key",
        params={"eta": 0.1},
        snapshot_id=snapshot_id,
        dataset_start=date(2023, 1, 3),
        dataset_end=date(2023, 12, 29),
        seed=7,
        code_version="git 1234",
        code_dirty=True,
        library_versions={"numpy": "2.0"},
    )
    with training_run(database, run) as run_id, database.transaction() as connection:
        model_id = registry.register_model(
            "m", "momentum", snapshot_id=snapshot_id, connection=connection
        )
        registry.store_artifact(model_id, b"[1]", "weights.json", connection=connection)
        complete_run(connection, run_id, model_id=model_id)
    return model_id


def test_a_trained_model_is_traced_to_its_data_its_code_and_its_features(
    registry: ModelRegistry, snapshot_id: UUID, trained: UUID
) -> None:
    found = registry.lineage(trained)
    assert found.model == registry.get_model("m", 2)
    run, snapshot = found.training_run, found.snapshot
    assert run is not None
    assert (run.seed, run.code_version, run.code_dirty, run.library_versions) == (
        7, "git 1234", True, {"numpy": "2.0"},
    )  # fmt: skip
    assert run.finished_at is not None
    assert run.started_at < found.model.created_at < run.finished_at
    assert snapshot is not None
    assert (snapshot.snapshot_id, snapshot.fingerprint) == (snapshot_id, "f" * 64)
    assert snapshot.knowledge_time == datetime(2024, 1, 2, tzinfo=UTC)
    assert (snapshot.first_session, snapshot.last_session, snapshot.row_count) == (
        date(2023, 1, 3), date(2023, 12, 29), 1,
    )  # fmt: skip
    assert snapshot.features_used == (
        FeatureUsed("ret_5d", 1, "a" * 64), FeatureUsed("vol_20d", 2, "b" * 64),
    )  # fmt: skip
    assert found.artifacts == tuple(registry.list_artifacts(trained))
    assert len(found.artifacts) == 1
    assert (found.deployments, found.tags) == ((), {})


def test_its_deployments_for_every_strategy_and_its_tags_are_told(
    registry: ModelRegistry, trained: UUID
) -> None:
    for strategy in ("momentum", "small"):
        for version in (1, 2, 1):
            registry.promote("m", version, strategy, by="ann", reason="test")
    registry.set_tag(trained, "stage", "final", by="ann")
    found = registry.lineage(trained)
    assert [(d.strategy_id, d.version) for d in found.deployments] == [
        ("momentum", 2),
        ("small", 2),
    ]
    assert all(d.live_until is not None for d in found.deployments)
    assert found.tags == {"stage": "final"}


def test_a_model_registered_by_hand_has_neither_run_nor_snapshot(
    registry: ModelRegistry, versions: Callable[[int], list[UUID]]
) -> None:
    (model_id,) = versions(1)
    found = registry.lineage(model_id)
    assert (found.training_run, found.snapshot, found.artifacts) == (None, None, ())


def test_a_model_that_is_not_there_has_no_lineage(registry: ModelRegistry) -> None:
    with pytest.raises(ModelNotFoundError):
        registry.lineage(uuid4())
