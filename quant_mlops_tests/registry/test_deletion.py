"""A version that the record refers to stays, and what is deleted stays known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from quant_mlops.database import Database
from quant_mlops.errors import ModelInUseError, ModelNotFoundError, RegistryError
from quant_mlops.registry import ModelRegistry

Versions = Callable[[int], list[UUID]]

REQUEST = (
    "INSERT INTO retrain_requests (strategy_id, session, requested_by, may_promote, status, "
    "model_id, verdict, finished_at) "
    "VALUES ('momentum', '2024-01-02', 'ann', true, 'rejected', %s, %s, now())"
)
DEPLOYMENT = (
    "INSERT INTO model_deployments (strategy_id, model_id, live_range, promoted_by, reason, "
    "evidence) VALUES ('momentum', %s, '[2024-01-02,2024-01-03)', 'ann', 'test', %s)"
)
PREDICTION = (
    "INSERT INTO predictions (strategy_id, entity_key, event_time, session, model_id, signal, "
    "feature_digest) VALUES ('momentum', 'A', '2024-01-02 14:30Z', '2024-01-02', %s, 1, 'x')"
)
RETURN = (
    "INSERT INTO strategy_returns (strategy_id, session, event_time, model_id, names, "
    "gross_return, turnover, cost, net_return, market_return) "
    "VALUES ('momentum', '2024-01-02', '2024-01-02 21:00Z', %s, 1, 0, 0, 0, 0, 0)"
)
DRIFT = (
    "INSERT INTO drift_metrics (date, strategy_id, evaluation_time, model_id, no_data) "
    "VALUES ('2024-01-02', 'momentum', '2024-01-02 21:00Z', %s, true)"
)
ALERT = (
    "INSERT INTO alerts (dedupe_key, strategy_id, rule, severity, action, message, "
    "opened_session, last_session, model_id) "
    "VALUES ('k', 'momentum', 'r', 'info', 'a', 'm', '2024-01-02', '2024-01-02', %s)"
)


@pytest.fixture(scope="module")
def shared(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    return ModelRegistry(module_database, artifacts=tmp_path_factory.mktemp("artifacts"))


@pytest.fixture
def two(shared: ModelRegistry, forge: Any) -> Iterator[tuple[UUID, UUID]]:
    """Give the ids of two versions of m, of numbers of their own."""
    yield shared.register_model("m"), shared.register_model("m")
    for table in (
        "model_deployments", "retrain_requests", "predictions", "strategy_returns",
        "drift_metrics", "alerts",
    ):  # fmt: skip
        forge(shared.database, f"DELETE FROM {table}")


@pytest.mark.parametrize(
    ("statement", "document", "sentence"),
    [
        (DEPLOYMENT, {}, "it is or was live for momentum"),
        (REQUEST, {}, "a retraining or a promotion was decided on it for momentum"),
        (PREDICTION, None, "signals were predicted with it for momentum"),
        (RETURN, None, "signals were predicted with it for momentum"),
        (DRIFT, None, "drift was measured with it for momentum"),
        (ALERT, None, "drift was measured with it for momentum"),
    ],
)
def test_what_refers_to_a_version_keeps_it(
    shared: ModelRegistry,
    two: tuple[UUID, UUID],
    statement: str,
    document: dict[str, object] | None,
    sentence: str,
) -> None:
    used, free = (shared.get_model_by_id(model_id) for model_id in two)
    more = [] if document is None else [Jsonb(document)]
    shared.database.execute(statement, [used.model_id, *more])  # type: ignore[arg-type]
    with pytest.raises(ModelInUseError, match=f"{used.label} cannot be deleted: {sentence}; it"):
        shared.delete_model("m", used.version, by="ann", reason="test")
    assert shared.get_model("m", used.version) == used
    shared.delete_model("m", free.version, by="ann", reason="test")
    assert shared.get_model("m", free.version) is None


@pytest.mark.parametrize(
    ("statement", "key"),
    [(REQUEST, "candidate"), (REQUEST, "candidates"), (DEPLOYMENT, "candidates")],
)
def test_a_candidate_that_lost_is_a_part_of_the_verdict(
    shared: ModelRegistry, two: tuple[UUID, UUID], statement: str, key: str
) -> None:
    winner, loser = (shared.get_model_by_id(model_id) for model_id in two)
    evidence = {key: loser.label if key == "candidate" else {loser.label: 0.1, "m v999": 0.2}}
    shared.database.execute(statement, [winner.model_id, Jsonb(evidence)])  # type: ignore[arg-type]
    with pytest.raises(ModelInUseError, match="a promotion was decided on it for momentum"):
        shared.delete_model("m", loser.version)


def test_what_was_deleted_is_kept_with_who_and_why(
    registry: ModelRegistry, snapshot_id: UUID, tmp_path: Path
) -> None:
    model_id = registry.register_model(
        "m", "momentum", {"eta": 0.1}, "O'Hara's", snapshot_id=snapshot_id
    )
    registry.log_metrics(model_id, {"ic": 0.1, "p": float("nan")}, "test")
    registry.store_artifact(model_id, b"{}", "config.json")
    registry.set_tag(model_id, "stage", "draft", by="ann")
    registry.set_tag(model_id, "stage", "final", by="bob")
    registry.database.execute(
        "INSERT INTO model_training_runs (run_id, model_id, training_key, params, status, "
        "finished_at, seed) VALUES (gen_random_uuid(), %s, 'k', '{}', 'completed', now(), 7)",
        [model_id],
    )
    (artifact,) = registry.list_artifacts(model_id)
    model = registry.get_model("m", 1)
    assert model is not None
    registry.delete_model("m", 1, by="ann", reason="wrong label")

    (kept,) = registry.deleted_models()
    assert registry.deleted_models(name="n") == []
    assert (kept.name, kept.version, kept.model_id) == ("m", 1, model_id)
    assert (kept.deleted_by, kept.reason) == ("ann", "wrong label")
    assert kept.database_user
    record = kept.record
    assert record["model"]["params"] == {"eta": 0.1}
    assert record["model"]["snapshot_id"] == str(snapshot_id)
    assert [(m["metric_name"], m["value"]) for m in record["metrics"]] == [("ic", 0.1), ("p", None)]
    assert [a["checksum"] for a in record["artifacts"]] == [artifact.checksum]
    assert [(t["value"], t["set_by"]) for t in record["tags"]] == [
        ("draft", "ann"), ("final", "bob"),
    ]  # fmt: skip
    assert [r["seed"] for r in record["training_runs"]] == [7]
    assert registry.get_tags(model_id) == {}
    # Another model may have the same bytes.
    assert registry.artifacts.read(artifact.artifact_path, artifact.checksum) == b"{}"


def test_who_and_why_may_be_unsaid_but_not_empty(
    registry: ModelRegistry, versions: Versions
) -> None:
    versions(1)
    for empty in ({"by": " "}, {"reason": ""}):
        with pytest.raises(RegistryError, match="is empty; give one"):
            registry.delete_model("m", 1, **empty)
    registry.delete_model("m", 1)
    (kept,) = registry.deleted_models(name="m")
    assert (kept.deleted_by, kept.reason) == (None, None)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE model_deletions SET reason = 'x'", "DELETE FROM model_deletions",
     "TRUNCATE model_deletions"],
)  # fmt: skip
def test_the_record_of_deletions_cannot_be_changed(
    shared: ModelRegistry, two: tuple[UUID, UUID], statement: str
) -> None:
    for model_id in two:
        shared.delete_model("m", shared.get_model_by_id(model_id).version)
    before = shared.deleted_models()
    with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
        shared.database.execute(statement)  # type: ignore[arg-type]
    assert shared.deleted_models() == before


def test_of_a_deletion_and_a_promotion_at_once_one_wins(
    registry: ModelRegistry, versions: Versions
) -> None:
    versions(6)

    def delete(version: int) -> str:
        try:
            registry.delete_model("m", version)
        except ModelInUseError:
            return "kept"
        return "deleted"

    def promote(version: int) -> str:
        try:
            registry.promote("m", version, f"s{version}", by="ann", reason="test")
        except ModelNotFoundError:
            return "deleted"
        return "kept"

    with ThreadPoolExecutor(2) as pool:
        for version in range(1, 7):
            outcomes = [f.result(60) for f in [pool.submit(c, version) for c in (delete, promote)]]
            assert len(set(outcomes)) == 1, outcomes
            there = registry.get_model("m", version) is not None
            assert there is (outcomes[0] == "kept") is bool(registry.deployments(f"s{version}"))


def test_of_two_deletions_at_once_one_finds_nothing(
    registry: ModelRegistry, versions: Versions
) -> None:
    versions(1)

    def delete(by: str) -> str:
        try:
            registry.delete_model("m", 1, by=by)
        except ModelNotFoundError:
            return "nothing"
        return by

    with ThreadPoolExecutor(2) as pool:
        outcomes = sorted(pool.map(delete, ("ann", "bob")))
    (kept,) = registry.deleted_models()
    assert outcomes == [kept.deleted_by, "nothing"]
