"""Each decision is kept once, whichever way it went, and cannot be rewritten."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from quant_mlops.database import Database
from quant_mlops.errors import ModelInUseError, RegistryError
from quant_mlops.registry import ModelRegistry
from quant_mlops.registry.comparisons import list_comparisons, record_comparison
from quant_mlops.registry.training_runs import trained_until

AS_OF = datetime(2024, 1, 5, 21, tzinfo=UTC)
Record = Callable[..., bool]


@pytest.fixture
def ids(versions: Callable[[int], list[UUID]]) -> list[UUID]:
    return versions(3)


@pytest.fixture
def record(database: Database, ids: list[UUID], snapshot_id: UUID) -> Record:
    """Give a function that records a decision, by default the first model's."""

    def record(**changes: Any) -> bool:
        decision: dict[str, Any] = {
            "strategy_id": "momentum",
            "champion_id": None,
            "challenger_id": ids[0],
            "snapshot_id": snapshot_id,
            "as_of": AS_OF,
            "promoted": True,
            "reason": "O'Hara's \"first\"",
            "evidence": {"comparison": None, "p": [0.5, None]},
        }
        with database.transaction() as connection:
            return record_comparison(connection, **(decision | changes))

    return record


def test_a_decision_is_read_back_with_the_names_of_its_models(
    database: Database, record: Record, ids: list[UUID], snapshot_id: UUID
) -> None:
    later = AS_OF.replace(day=9)
    assert record(
        champion_id=ids[0], challenger_id=ids[2], as_of=later, promoted=False, reason="worse"
    )
    assert record()
    assert record(strategy_id="reversal")
    first, second = list_comparisons(database, "momentum")
    assert (first.champion_id, first.champion, first.challenger) == (None, None, "m v1")
    assert (first.as_of, first.promoted, first.snapshot_id) == (AS_OF, True, snapshot_id)
    assert first.reason == "O'Hara's \"first\""
    assert first.evidence == {"comparison": None, "p": [0.5, None]}
    assert (second.champion_id, second.champion) == (ids[0], "m v1")
    assert (second.challenger_id, second.challenger) == (ids[2], "m v3")
    assert (second.as_of, second.promoted) == (later, False)
    assert first.recorded_at.tzinfo is not None
    assert list_comparisons(database, "moment") == []


def test_the_same_decision_is_stored_once_and_any_other_beside_it(
    database: Database, record: Record, ids: list[UUID]
) -> None:
    assert record()
    assert not record()
    assert not record(reason="said otherwise", evidence={})
    others: list[dict[str, Any]] = [
        {"champion_id": ids[1]},
        {"challenger_id": ids[1]},
        {"as_of": AS_OF.replace(microsecond=1)},
        {"promoted": False},
    ]
    for changes in others:
        assert record(**changes)
        assert not record(**changes)
    found = list_comparisons(database, "momentum")
    assert len(found) == 5
    assert found[0].reason == "O'Hara's \"first\""


def test_of_many_recorded_at_once_one_is_stored(database: Database, record: Record) -> None:
    with ThreadPoolExecutor(4) as pool:
        stored = list(pool.map(lambda _: record(), range(12)))
    assert stored.count(True) == 1
    assert len(list_comparisons(database, "momentum")) == 1


def test_a_decision_cannot_be_rewritten(database: Database, record: Record) -> None:
    record()
    for statement in (
        "UPDATE model_comparisons SET promoted = false",
        "DELETE FROM model_comparisons",
        "TRUNCATE model_comparisons",
        "TRUNCATE models CASCADE",
    ):
        with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
            database.execute(statement)
    assert len(list_comparisons(database, "momentum")) == 1


def test_a_model_of_a_decision_cannot_be_deleted(
    registry: ModelRegistry, record: Record, ids: list[UUID]
) -> None:
    record(champion_id=ids[0], challenger_id=ids[1])
    for version in (1, 2):
        with pytest.raises(
            ModelInUseError, match=f"m v{version} cannot be deleted: .* decided on it for"
        ):
            registry.delete_model("m", version)
    registry.delete_model("m", 3)
    assert [model.version for model in registry.list_models()] == [1, 2]


def test_what_is_no_decision_is_refused(record: Record) -> None:
    with pytest.raises(RegistryError, match="has no time zone"):
        record(as_of=AS_OF.replace(tzinfo=None))
    for changes in ({"challenger_id": uuid4()}, {"champion_id": uuid4()}, {"snapshot_id": uuid4()}):
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            record(**changes)
    with pytest.raises(psycopg.errors.CheckViolation):
        record(reason="")


def test_until_when_a_model_was_trained_is_unknown_unless_a_run_says_so(
    database: Database, ids: list[UUID]
) -> None:
    database.execute(
        "INSERT INTO model_training_runs (run_id, model_id, training_key, params, finished_at, "
        "status) VALUES (gen_random_uuid(), %s, 'k', '{}', now(), 'completed')",
        [ids[0]],
    )
    assert trained_until(database, ids[0]) is None
    assert trained_until(database, ids[1]) is None
