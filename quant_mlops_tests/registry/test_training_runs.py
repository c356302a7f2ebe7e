"""A run ends as completed or failed, however its process ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from psycopg.conninfo import make_conninfo

from quant_mlops.database import Database
from quant_mlops.errors import RegistryError
from quant_mlops.registry import ModelRegistry
from quant_mlops.registry.training_runs import (
    TrainingRun,
    complete_run,
    completed_model,
    mark_abandoned_runs,
    training_run,
)

WAITING = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
ABANDONED = (
    "INSERT INTO model_training_runs (run_id, training_key, params, snapshot_id, status) "
    "VALUES (gen_random_uuid(), %s, '{}', %s, 'running')"
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
run = TrainingRun(sys.argv[3], {}, UUID(sys.argv[2]), *days, 7, "x", False, {})
with training_run(Database(sys.argv[1]), run):
    print("inside", flush=True)
    sys.stdin.readline()
"""


def test_a_process_that_is_killed_leaves_a_run_that_the_next_one_calls_failed(
    registry: ModelRegistry, run: TrainingRun, start_python: Callable[..., Any]
) -> None:
    child = start_python(HOLD_THE_KEY, registry.database.conninfo, run.snapshot_id, "k'ey")
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
    with ThreadPoolExecutor(1) as pool:
        with training_run(database, run) as run_id:
            second = pool.submit(train, registry, run)
            while database.fetch_one(WAITING) == (0,):
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


@dataclass(frozen=True)
class Children:
    """A process that was killed within a training run, and one that is still in its own."""

    killed: str
    living: str
    finish: Callable[[], None]


@pytest.fixture
def children(
    registry: ModelRegistry, snapshot_id: UUID, start_python: Callable[..., Any]
) -> Children:
    started = [
        start_python(HOLD_THE_KEY, registry.database.conninfo, snapshot_id, key)
        for key in ("killed", "living")
    ]
    for child in started:
        assert child.stdout.readline() == "inside\n"
    killed, living = started
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait(timeout=30)
    # The server gives the lock up when it has noticed that nobody is there any longer.
    while registry.database.fetch_one(SESSIONS_WITH_LOCKS) != (1,):
        pass

    def finish() -> None:
        _, error = living.communicate("go\n", timeout=30)
        assert (living.returncode, error) == (0, "")

    return Children("killed", "living", finish)


SESSIONS_WITH_LOCKS = (
    "SELECT count(DISTINCT pid) FROM pg_locks WHERE locktype = 'advisory' "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def statuses(registry: ModelRegistry) -> dict[str, str]:
    return {run.training_key: run.status for run in registry.training_runs()}


def test_a_listing_calls_failed_whose_process_is_gone_and_no_other(
    registry: ModelRegistry, children: Children
) -> None:
    for _ in range(2):
        assert statuses(registry) == {children.killed: "failed", children.living: "running"}
    (failed,) = registry.training_runs(status="failed")
    (running,) = registry.training_runs(status="running")
    assert failed.error == "the process ended without a word"
    assert failed.finished_at is not None
    assert (running.error, running.finished_at) == (None, None)
    children.finish()
    assert statuses(registry) == {children.killed: "failed", children.living: "failed"}
    (ended,) = [r for r in registry.training_runs() if r.training_key == children.living]
    assert ended.error == "the block ended without a model"


def test_a_training_of_another_key_calls_failed_whose_process_is_gone_and_no_other(
    registry: ModelRegistry, children: Children, run: TrainingRun
) -> None:
    train(registry, run)
    kept = registry.database.fetch_all("SELECT training_key, status FROM model_training_runs")
    assert dict(kept) == {"k'ey": "completed", "killed": "failed", "living": "running"}


def test_runs_in_this_process_are_living_as_well(registry: ModelRegistry, run: TrainingRun) -> None:
    with (
        training_run(registry.database, run),
        training_run(registry.database, replace(run, training_key="second")),
    ):
        assert statuses(registry) == {"k'ey": "running", "second": "running"}
    assert statuses(registry) == {"k'ey": "failed", "second": "failed"}


def test_many_callers_at_once_mark_every_abandoned_run_once(
    registry: ModelRegistry, run: TrainingRun
) -> None:
    start = threading.Barrier(4)

    def look(_: int) -> tuple[int, int]:
        start.wait()
        with registry.database.connection() as connection:
            marked = mark_abandoned_runs(connection)
        return marked, len(registry.training_runs(status="failed"))

    with training_run(registry.database, run), ThreadPoolExecutor(4) as pool:
        for number in range(30):
            registry.database.execute(ABANDONED, [f"key {number}", run.snapshot_id])
        outcomes = list(pool.map(look, range(4)))
    assert sorted(marked for marked, _ in outcomes) == [0, 0, 0, 30]
    # Whoever came second has waited, and sees all of them.
    assert {seen for _, seen in outcomes} == {30}


def test_who_looks_while_another_marks_waits_and_sees_all_of_it(
    registry: ModelRegistry, run: TrainingRun, database: Database
) -> None:
    database.execute(ABANDONED, [run.training_key, run.snapshot_id])
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as connection:
            assert mark_abandoned_runs(connection) == 1
            second = pool.submit(statuses, registry)
            while database.fetch_one(WAITING) == (0,):
                assert not second.done()
        assert second.result(timeout=30) == {run.training_key: "failed"}


def test_a_run_that_ends_while_it_is_looked_at_keeps_its_end(
    registry: ModelRegistry, run: TrainingRun, database: Database
) -> None:
    database.execute(ABANDONED, [run.training_key, run.snapshot_id])
    (found,) = database.fetch_all("SELECT run_id FROM model_training_runs")
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as connection:
            model_id = registry.register_model("m", connection=connection)
            complete_run(connection, found[0], model_id=model_id)
            second = pool.submit(registry.training_runs)
            while database.fetch_one(WAITING) == (0,):
                assert not second.done()
        (seen,) = second.result(timeout=30)
    assert (seen.status, seen.error, seen.model_id) == ("completed", None, model_id)


def test_a_run_that_was_given_up_too_early_is_completed_without_its_error(
    registry: ModelRegistry, run: TrainingRun, database: Database
) -> None:
    database.execute(ABANDONED, [run.training_key, run.snapshot_id])
    (seen,) = registry.training_runs()
    assert seen.status == "failed"
    with database.transaction() as connection:
        model_id = registry.register_model("m", connection=connection)
        complete_run(connection, seen.run_id, model_id=model_id)
    (seen,) = registry.training_runs()
    assert (seen.status, seen.error) == ("completed", None)


def test_whoever_may_only_read_sees_the_runs_as_they_were_left(
    registry: ModelRegistry, run: TrainingRun, database: Database
) -> None:
    database.execute(ABANDONED, [run.training_key, run.snapshot_id])
    reading = make_conninfo(database.conninfo, options="-c default_transaction_read_only=on")
    with Database(reading) as reader:
        (seen,) = ModelRegistry(reader).training_runs()
    assert (seen.status, seen.finished_at) == ("running", None)
    assert statuses(registry) == {run.training_key: "failed"}


def test_runs_are_found_by_strategy_name_model_and_status(
    registry: ModelRegistry, run: TrainingRun
) -> None:
    with training_run(registry.database, replace(run, training_key="none")):
        pass
    model_id, _ = train(registry, run)
    completed, failed = registry.training_runs()
    assert (completed.model_id, completed.name, completed.version) == (model_id, "m", 1)
    assert (failed.model_id, failed.name, failed.version) == (None, None, None)
    assert completed.strategy_id == failed.strategy_id == "momentum"
    assert (completed.params, completed.seed, completed.code_version) == (
        run.params, run.seed, run.code_version,
    )  # fmt: skip
    assert (completed.code_dirty, completed.library_versions) == (True, run.library_versions)
    assert (completed.dataset_start, completed.dataset_end) == (run.dataset_start, run.dataset_end)
    both, one = [completed, failed], [completed]
    assert registry.training_runs(strategy_id="momentum") == both
    assert registry.training_runs(strategy_id="reversal") == []
    assert registry.training_runs(limit=1) == one
    assert registry.training_runs(name="m") == registry.training_runs(model_id=model_id) == one
    assert registry.training_runs(name="n") == []
    assert registry.training_runs(status="completed") == one
    with pytest.raises(RegistryError, match=r"'done' is none of running, completed, failed"):
        registry.training_runs(status="done")
    with pytest.raises(RegistryError, match="limit of 1 or more"):
        registry.training_runs(limit=0)
