"""A run ends as completed or failed, however its process ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any
from uuid import UUID

import pytest

from quant_mlops.database import Database
from quant_mlops.registry import ModelRegistry
from quant_mlops.registry.training_runs import (
    TrainingRun,
    complete_run,
    completed_model,
    training_run,
)

RUNS = (
    "SELECT status, error, finished_at IS NULL, model_id FROM model_training_runs "
    "ORDER BY started_at"
)


@pytest.fixture
def run(snapshot_id: UUID) -> TrainingRun:
    return TrainingRun(
        training_key="k'ey",
        params={"eta": 0.1},
        snapshot_id=snapshot_id,
        dataset_start=date(2023, 1, 3),
        dataset_end=date(2023, 12, 29),
        seed=7,
        code_version="git 1234",
        code_dirty=True,
        library_versions={"numpy": "2.0"},
    )


def train(registry: ModelRegistry, run: TrainingRun) -> tuple[UUID, bool]:
    """Train as the retraining does: look again once the key is held."""
    with training_run(registry.database, run) as run_id:
        found = completed_model(registry.database, run.training_key)
        if found is not None:
            return found, False
        with registry.database.transaction() as connection:
            model_id = registry.register_model("m", connection=connection)
            complete_run(connection, run_id, model_id=model_id)
        return model_id, True


def test_a_run_is_completed_with_its_model(registry: ModelRegistry, run: TrainingRun) -> None:
    assert completed_model(registry.database, run.training_key) is None
    model_id, trained = train(registry, run)
    assert trained
    assert completed_model(registry.database, run.training_key) == model_id
    assert registry.database.fetch_all(RUNS) == [("completed", None, False, model_id)]
    row = registry.database.fetch_one(
        "SELECT params, seed, code_version, code_dirty, library_versions FROM model_training_runs"
    )
    assert row == ({"eta": 0.1}, 7, "git 1234", True, {"numpy": "2.0"})


def test_an_exception_leaves_a_failed_run(registry: ModelRegistry, run: TrainingRun) -> None:
    with pytest.raises(KeyboardInterrupt), training_run(registry.database, run):
        raise KeyboardInterrupt("by\x00 hand")
    assert registry.database.fetch_all(RUNS) == [
        ("failed", "KeyboardInterrupt: by hand", False, None)
    ]
    train(registry, run)
    assert [row[0] for row in registry.database.fetch_all(RUNS)] == ["failed", "completed"]


def test_a_block_that_ends_without_a_model_has_failed(
    registry: ModelRegistry, run: TrainingRun
) -> None:
    with training_run(registry.database, run):
        pass
    ((status, error, _, _),) = registry.database.fetch_all(RUNS)
    assert (status, error) == ("failed", "the block ended without a model")


HOLD_THE_KEY = """
import sys
from datetime import date
from uuid import UUID
from quant_mlops.database import Database
from quant_mlops.registry.training_runs import TrainingRun, training_run
days = date(2023, 1, 3), date(2023, 12, 29)
run = TrainingRun("k'ey", {}, UUID(sys.argv[2]), *days, 7, "x", False, {})
with training_run(Database(sys.argv[1]), run):
    print("inside", flush=True)
    sys.stdin.readline()
"""


def test_a_process_that_is_killed_leaves_a_run_that_the_next_one_calls_failed(
    registry: ModelRegistry, run: TrainingRun, start_python: Callable[..., Any]
) -> None:
    child = start_python(HOLD_THE_KEY, registry.database.conninfo, run.snapshot_id)
    assert child.stdout.readline() == "inside\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait(timeout=30)
    assert registry.database.fetch_all(RUNS) == [("running", None, True, None)]
    model_id, trained = train(registry, run)
    assert trained
    assert registry.database.fetch_all(RUNS) == [
        ("failed", "the process ended without a word", False, None),
        ("completed", None, False, model_id),
    ]


def test_whoever_waits_for_a_key_finds_the_model_and_enters_no_run(
    registry: ModelRegistry, run: TrainingRun, database: Database
) -> None:
    waiting = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with ThreadPoolExecutor(1) as pool:
        with training_run(database, run) as run_id:
            second = pool.submit(train, registry, run)
            while database.fetch_one(waiting) == (0,):
                assert not second.done()
            with database.transaction() as connection:
                model_id = registry.register_model("m", connection=connection)
                complete_run(connection, run_id, model_id=model_id)
        assert second.result(timeout=30) == (model_id, False)
    assert database.fetch_all(RUNS) == [("completed", None, False, model_id)]


def test_runs_of_other_keys_do_not_wait(registry: ModelRegistry, run: TrainingRun) -> None:
    other = TrainingRun(**(vars(run) | {"training_key": "another"}))
    with training_run(registry.database, run), training_run(registry.database, other):
        statuses = [row[0] for row in registry.database.fetch_all(RUNS)]
    assert statuses == ["running", "running"]
