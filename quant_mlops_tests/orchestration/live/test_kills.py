"""Run worker, database and daemon killed while they work: what is stored in the end is the same."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest

from quant_mlops.alerts.run_failures import RUN_FAILED
from quant_mlops.database import Database
from quant_mlops.database.embedded import EmbeddedServer
from quant_mlops.orchestration.instance import run_job
from quant_mlops.orchestration.resources import Server
from quant_mlops.orchestration.strategy_set import strategy_definitions
from quant_mlops.strategy import read_strategy

pytestmark = pytest.mark.slow(seconds=75)

STEPS = ("history", "training", "monitoring")
GLANCE_SECONDS = 0.01


def arguments(system: Any, step: str) -> dict[str, Any]:
    market = system.market
    if step == "training":
        return {"config": system.training_config(market.first_partition)}
    first = market.first_partition if step == "history" else market.monitored[0]
    return {"sessions": (first, market.monitored[-1])}


@pytest.fixture
def expected(
    system: Any, desk: Any, read_tables: Callable[[Database], dict[str, list[str]]]
) -> dict[str, list[str]]:
    """Run the same steps in process and undisturbed, on a database of their own."""
    strategy = read_strategy(system.home / "strategies" / "live.toml")
    defs = dg.Definitions.merge(
        strategy_definitions(strategy), dg.Definitions(resources={"server": Server()})
    )
    for step in STEPS:
        run_job(defs, desk.instance, f"live_{step}", **arguments(system, step))
    with Database(desk.conninfo) as database:
        return read_tables(database)


def worker_of(system: Any, run_id: str) -> int:
    """Return the process that Dagster noted when it started the steps of a run."""
    data = system.ask(
        "query ($run: ID!) { logsForRun(runId: $run) { ... on EventConnection { events { "
        "... on EngineEvent { metadataEntries { label ... on TextMetadataEntry { text } "
        "... on IntMetadataEntry { intValue } } } } } } }",
        run=run_id,
    )
    events = data["logsForRun"]["events"]
    entries = [entry for event in events for entry in event.get("metadataEntries", [])]
    return next((int(e.get("text") or e["intValue"]) for e in entries if e["label"] == "pid"), 0)


def start_and_wait_for(system: Any, step: str, table: str) -> str:
    """Launch a step, return as soon as it has filled a table: what follows it is still to come."""
    run_id = str(system.launch(step, **arguments(system, step)))
    deadline = time.monotonic() + 60
    while not system.database.fetch_one(f"SELECT 1 FROM {table} LIMIT 1"):
        assert time.monotonic() < deadline, system.log("daemon")
        time.sleep(GLANCE_SECONDS)
    return run_id


def ends_and_runs_again(system: Any, step: str, run_id: str, *, survives: bool = False) -> None:
    status = system.wait_for(lambda: system.finished(run_id), f"end of the killed run of {step}")
    assert status == "FAILURE" or (survives and status == "SUCCESS"), step
    # The pool of the killed run is free, or this one would wait for ever.
    system.run(step, **arguments(system, step))


@pytest.mark.timeout(300)
def test_whatever_is_killed_the_same_is_stored_in_the_end(
    system: Any,
    expected: dict[str, list[str]],
    read_tables: Callable[[Database], dict[str, list[str]]],
) -> None:
    system.start("webserver")
    system.start("daemon")
    system.wait_for(system.loaded, "definitions")

    run_id = start_and_wait_for(system, "history", "price_bars")
    os.kill(worker_of(system, run_id), signal.SIGKILL)
    ends_and_runs_again(system, "history", run_id)

    run_id = start_and_wait_for(system, "training", "training_snapshots")
    server = EmbeddedServer(system.home / "postgres")
    lock = server.placement.data / "postmaster.pid"
    os.kill(int(lock.read_text().partition("\n")[0]), signal.SIGKILL)
    server.start()
    # A run that asks for nothing while the database is away does not notice.
    ends_and_runs_again(system, "training", run_id, survives=True)
    server.release()

    run_id = start_and_wait_for(system, "monitoring", "predictions")
    webserver = system.processes["webserver"].pid
    for process_id in system.relatives():
        if os.getpgid(process_id) != webserver:
            os.kill(process_id, signal.SIGKILL)
    system.end("daemon")
    system.start("daemon")
    ends_and_runs_again(system, "monitoring", run_id)

    found = read_tables(system.database)
    # The sensor may not have come to the last of the killed runs; it told of none twice.
    told = [line for line in found["alerts"] if RUN_FAILED in line]
    failed = [run for run in system.runs() if run["status"] == "FAILURE"]
    assert 1 <= len(told) <= len(failed)
    found["alerts"] = [line for line in found["alerts"] if RUN_FAILED not in line]
    assert found["alerts"]
    for table, lines in expected.items():
        if table != "alert_deliveries":
            assert found[table] == lines, table
