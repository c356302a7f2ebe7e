"""Two run workers at once, one with a process for each step, store what one process does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from quant_mlops.database import Database
from quant_mlops.orchestration.instance import open_instance, run_job
from quant_mlops.orchestration.jobs import PRELOADED, TRAINING
from quant_mlops.orchestration.resources import Server
from quant_mlops.orchestration.session_tags import session_tags
from quant_mlops.orchestration.strategy_set import strategy_definitions
from quant_mlops.strategy import Strategy, read_strategy

pytestmark = pytest.mark.slow(seconds=40)

STRATEGIES = ("east", "west")
# A process for each step costs half a second, so the steps of one job have some.
MULTIPROCESS = {"east_monitoring"}
# Disjoint, as a value that two strategies write is entered in the name of the first of them.
FEATURES = {"east": '["ret_5d", "reversal_1d"]', "west": '["ret_20d", "zscore_20d"]'}
MONITORED = 12
SHORTER = {
    "window_sessions = 200": "window_sessions = 100",
    "val_sessions = 30": "val_sessions = 15",
    "test_sessions = 30": "test_sessions = 15",
    "rounds = 20": "rounds = 4",
    "psi_window_sessions = 20": "psi_window_sessions = 8",
}
# The workers of a launcher do the same, but for one run each, and pay each time for the imports and
# with every statement for a connection.
WORKER = """
import json, os, sys
import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository
from quant_mlops.orchestration.instance import open_instance

with open_instance() as instance:
    print("ready", flush=True)
    sys.stdin.readline()
    for name, arguments, executor in json.loads(sys.argv[1]):
        os.environ["QUANT_MLOPS_EXECUTOR"] = executor
        repository = ReconstructableRepository.for_module("quant_mlops.definitions", "defs")
        job = repository.get_reconstructable_job(name)
        dg.execute_job(job, instance, raise_on_error=True, **arguments)
"""
IMPORTED = (*PRELOADED, "dagster._core.definitions.reconstruct")
Plan = list[tuple[str, dict[str, Any]]]
Desks = Callable[[Path], AbstractContextManager[Any]]


@pytest.fixture
def strategies(strategy_text: str, sessions: list[date], tmp_path: Path) -> dict[str, Strategy]:
    """Give two strategies on the same prices, in a folder of their own."""
    folder = tmp_path / "strategies"
    folder.mkdir()
    for name, features in FEATURES.items():
        text = strategy_text.replace('name = "small"', f'name = "{name}"')
        text = text.replace('["ret_5d", "reversal_1d", "vol_20d"]', features)
        text = re.sub("first_session = .*", f"first_session = {sessions[-MONITORED]}", text)
        for before, after in SHORTER.items():
            assert before in text
            text = text.replace(before, after)
        (folder / f"{name}.toml").write_text(text)
    return {name: read_strategy(folder / f"{name}.toml") for name in FEATURES}


def executor(job: str) -> str:
    return "multiprocess" if job in MULTIPROCESS else "in_process"


def plan(strategy: Strategy, last: date) -> Plan:
    """Return the jobs of a strategy from prices to alerts, with what each is run with."""
    as_of = strategy.trading_calendar.close_time(strategy.first_partition) + strategy.evaluation_lag
    config = {"config": {"as_of": as_of.isoformat()}}

    def over(first: date) -> dict[str, Any]:
        return {"tags": session_tags(first, last), "run_config": {}}

    return [
        (f"{strategy.name}_history", over(strategy.first_partition)),
        (
            f"{strategy.name}_training",
            {
                "tags": {},
                "run_config": {"ops": {f"{strategy.name}__{t}": config for t in TRAINING}},
            },
        ),
        (f"{strategy.name}_monitoring", over(strategy.monitoring.first_session)),
    ]


def run_here(strategies: dict[str, Strategy], last: date) -> None:
    """Run the jobs of one strategy after those of the other, in this process."""
    with open_instance() as instance:
        for strategy in strategies.values():
            defs = dg.Definitions.merge(
                strategy_definitions(strategy), dg.Definitions(resources={"server": Server()})
            )
            for job, arguments in plan(strategy, last):
                run_job(defs, instance, job, tags=arguments["tags"], config=arguments["run_config"])


def run_at_once(strategies: dict[str, Strategy], last: date, fork_server: Any) -> None:
    """Run the jobs of each strategy in a process of its own, both from the same moment on."""
    with fork_server(*IMPORTED) as fork:
        workers = []
        for strategy in strategies.values():
            jobs = [(name, arguments, executor(name)) for name, arguments in plan(strategy, last)]
            workers.append(fork(WORKER, json.dumps(jobs)))
        for worker in workers:
            assert worker.stdout.readline() == "ready\n", worker.communicate()[1]
        for worker in workers:
            worker.stdin.write("\n")
            worker.stdin.flush()
        for worker in workers:
            _, errors = worker.communicate(timeout=120)
            assert worker.returncode == 0, errors


def processes(instance: dg.DagsterInstance, run_id: str) -> tuple[int, int]:
    """Return how many steps a run had, and how many processes it started for them."""
    events = [r.dagster_event for r in instance.all_logs(run_id) if r.dagster_event is not None]
    started = [e for e in events if e.event_type_value == "STEP_WORKER_STARTED"]
    steps = [e for e in events if e.event_type_value == "STEP_START"]
    return len(steps), len({e.event_specific_data.metadata["pid"].value for e in started})


def check_processes(instance: dg.DagsterInstance) -> None:
    """Check that both workers were at work at once, and who had processes for its steps."""
    spans: dict[str, list[float]] = {name: [] for name in STRATEGIES}
    for record in instance.get_run_records():
        run = record.dagster_run
        name = run.job_name.partition("_")[0]
        assert run.status == dg.DagsterRunStatus.SUCCESS
        spans[name] += [record.start_time or 0.0, record.end_time or 0.0]
        steps, started = processes(instance, run.run_id)
        assert steps > 1
        assert started == (steps if run.job_name in MULTIPROCESS else 0)
    assert {len(span) for span in spans.values()} == {6}
    assert max(min(span) for span in spans.values()) < min(max(span) for span in spans.values())


def test_two_workers_at_once_and_a_process_a_step_store_what_one_process_stores(
    new_desk: Desks,
    strategies: dict[str, Strategy],
    sessions: list[date],
    fork_server: Any,
    read_tables: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QUANT_MLOPS_STRATEGIES", str(tmp_path / "strategies"))
    with new_desk(tmp_path / "one") as desk, Database(desk.conninfo) as database:
        run_here(strategies, sessions[-1])
        expected = read_tables(database)
    with new_desk(tmp_path / "two") as desk, Database(desk.conninfo) as database:
        run_at_once(strategies, sessions[-1], fork_server)
        found = read_tables(database)
        check_processes(desk.instance)
    filled = {table for table, lines in expected.items() if lines}
    assert filled >= {"price_bars", "feature_events", "models", "predictions", "drift_metrics"}
    for table, lines in expected.items():
        assert found[table] == lines, table
