"""A day of a deployment in which run worker, database and daemon are killed while they work.

Materialise, tick over a holiday, drift, alert, retrain, decide; what is stored is what the same
steps store where nothing disturbs them.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as wall_time
from typing import Any

import dagster as dg
import pytest

from quant_mlops.alerts.run_failures import RUN_FAILED
from quant_mlops.database import Database
from quant_mlops.database.embedded import EmbeddedServer
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.orchestration.assets.training import POOL
from quant_mlops.orchestration.instance import run_job
from quant_mlops.orchestration.partitions import sessions_pool
from quant_mlops.orchestration.resources import Server
from quant_mlops.orchestration.strategy_set import strategy_definitions
from quant_mlops.strategy import Strategy, read_strategy

pytestmark = pytest.mark.slow(seconds=105)

SCHEDULE = "live_daily_schedule"
STEPS = ("history", "training", "monitoring")
GLANCE_SECONDS = 0.02
ReadTables = Callable[[Database], dict[str, list[str]]]


def morning_after_a_holiday(calendar: TradingCalendar, sessions: Sequence[date]) -> datetime:
    """Return the time of the daily tick that follows the newest weekday without a session."""
    days = (sessions[-1] - timedelta(days=k) for k in range(len(sessions)))
    holiday = next(day for day in days if day.weekday() < 5 and not calendar.is_session(day))
    return datetime.combine(holiday + timedelta(days=1), wall_time(6), calendar.timezone)


@dataclass(frozen=True)
class Plan:
    """The steps that are launched by hand, up to a session."""

    system: Any
    last: date

    def arguments(self, step: str) -> dict[str, Any]:
        market = self.system.market
        if step == "training":
            return {"config": self.system.training_config(market.first_partition)}
        first = market.first_partition if step == "history" else market.monitored[0]
        return {"sessions": (first, self.last)}

    def launch(self, step: str) -> str:
        return str(self.system.launch(step, **self.arguments(step)))

    def launch_until_filled(self, step: str, table: str) -> str:
        """Launch a step, return as soon as it has filled a table: what follows is still to come."""
        run_id = self.launch(step)
        deadline = time.monotonic() + 60
        while not self.system.database.fetch_one(f"SELECT 1 FROM {table} LIMIT 1"):
            assert time.monotonic() < deadline, self.system.log("daemon")
            time.sleep(GLANCE_SECONDS)
        return run_id

    def ends_and_runs_again(self, step: str, run_id: str, *, survives: bool = False) -> None:
        status = self.system.ended(run_id)
        assert status == "FAILURE" or (survives and status == "SUCCESS"), step
        # The pool of the killed run is free, or this one would wait for ever.
        self.system.run(step, **self.arguments(step))


@pytest.fixture
def strategy(system: Any) -> Strategy:
    return read_strategy(system.home / "strategies" / "live.toml")


@pytest.fixture
def asks(system: Any, newest_tick: datetime) -> bool:
    """Say whether the newest tick asks for the last session: it does unless yesterday had none."""
    return bool(system.market.monitored[-1] == newest_tick.date() - timedelta(days=1))


@pytest.fixture
def plan(system: Any, asks: bool) -> Plan:
    """Leave the session to the schedule that its newest tick asks for."""
    return Plan(system, system.market.monitored[-2 if asks else -1])


@pytest.fixture
def expected(plan: Plan, strategy: Strategy, desk: Any, read_tables: ReadTables) -> Any:
    """Run the same steps in process and undisturbed, on a database of their own."""
    defs = dg.Definitions.merge(
        strategy_definitions(strategy), dg.Definitions(resources={"server": Server()})
    )
    for step in STEPS:
        run_job(defs, desk.instance, f"live_{step}", **plan.arguments(step))
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


def kill_database(system: Any) -> EmbeddedServer:
    """Kill the server's first process, and start another as a process manager does."""
    server = EmbeddedServer(system.home / "postgres")
    lock = server.placement.data / "postmaster.pid"
    os.kill(int(lock.read_text().partition("\n")[0]), signal.SIGKILL)
    server.start()
    return server


def kill_daemon(system: Any) -> None:
    """Kill the daemon, its code server and the workers of its runs, all but the webserver."""
    webserver = system.processes["webserver"].pid
    for process_id in system.relatives():
        if os.getpgid(process_id) != webserver:
            os.kill(process_id, signal.SIGKILL)
    system.end("daemon")


def assert_nothing_differs(
    system: Any, found: dict[str, list[str]], expected: dict[str, list[str]]
) -> None:
    # The sensor may not have come to the last of the killed runs; it told of none twice.
    told = [line for line in found["alerts"] if RUN_FAILED in line]
    failed = [run for run in system.runs() if run["status"] == "FAILURE"]
    assert 1 <= len(told) <= len(failed)
    found["alerts"] = [line for line in found["alerts"] if RUN_FAILED not in line]
    assert found["alerts"]
    for table, lines in expected.items():
        if table != "alert_deliveries":
            assert found[table] == lines, table


@pytest.mark.timeout(300)
def test_drift_becomes_an_alert_and_a_new_model_whatever_is_killed(
    system: Any,
    inbox: Any,
    plan: Plan,
    asks: bool,
    strategy: Strategy,
    expected: dict[str, list[str]],
    read_tables: ReadTables,
    calendar: TradingCalendar,
    newest_tick: datetime,
) -> None:
    market, database = system.market, system.database
    tick = morning_after_a_holiday(calendar, market.sessions)

    system.start("webserver")
    system.start("daemon", clock=tick - timedelta(seconds=40))
    system.wait_for(system.loaded, "definitions")
    # On the first days of a month and on Saturdays they would have more runs begun.
    system.turn_off("live_monthly_retraining_schedule", "live_weekly_verification_schedule")

    run_id = plan.launch_until_filled("history", "price_bars")
    os.kill(worker_of(system, run_id), signal.SIGKILL)
    plan.ends_and_runs_again("history", run_id)

    (skipped,) = system.wait_for(lambda: system.ticks(SCHEDULE), "tick over a holiday")
    assert skipped["timestamp"] == tick.timestamp()
    assert skipped["status"] == "SKIPPED"
    assert skipped["skipReason"] == f"{tick.date() - timedelta(days=1)} was not a session of XNYS"

    run_id = plan.launch_until_filled("training", "training_snapshots")
    server = kill_database(system)
    # A run that asks for nothing while the database is away does not notice.
    plan.ends_and_runs_again("training", run_id, survives=True)
    server.release()

    run_id = plan.launch_until_filled("monitoring", "predictions")
    kill_daemon(system)
    # It is in the queue before the run of the tick that was missed.
    again = plan.launch("monitoring")
    system.start("daemon")
    assert system.ended(run_id) == "FAILURE"

    # No run of a schedule or a sensor begins before the tables were compared.
    system.wait_for(lambda: system.status(again) not in ("QUEUED", "NOT_STARTED"), "monitoring")
    system.limit_pools(0, sessions_pool(strategy), POOL)
    assert system.ended(again) == "SUCCESS", system.log("daemon")
    assert_nothing_differs(system, read_tables(database), expected)
    system.limit_pools(1, sessions_pool(strategy), POOL)

    # The market changed: alerts, delivered ones.
    alerts = dict(database.fetch_all("SELECT rule, opened_session FROM alerts ORDER BY alert_id"))
    assert market.changed < alerts["psi_severe"] <= plan.last
    assert min(alerts.values()) > market.changed
    posted = system.wait_for(lambda: inbox.about("psi_severe"), "webhook")
    assert alerts["psi_severe"].isoformat() in posted["text"]
    system.wait_for(
        lambda: database.fetch_one(
            "SELECT 1 FROM alert_deliveries JOIN alerts USING (alert_id) "
            "WHERE rule = 'psi_severe' AND channel = 'webhook' AND delivered"
        ),
        "delivery on record",
    )

    # The request became one run, and that a version with a verdict.
    def answered() -> Any:
        return database.fetch_one(
            "SELECT status, verdict, model_id FROM retrain_requests "
            "WHERE status NOT IN ('open', 'coalesced')"
        )

    status, verdict, model_id = system.wait_for(answered, "retraining")
    assert status in ("promoted", "rejected")
    assert verdict["comparison"]["sessions"] >= 20
    assert 0 <= verdict["comparison"]["probability_better"] <= 1
    (run,) = (run for run in system.runs("training") if "dagster/sensor_name" in run["tags"])
    assert run["tags"]["dagster/sensor_name"] == "live_retraining_sensor"
    versions = database.fetch_all("SELECT version, model_id FROM models ORDER BY version")
    assert [version for version, _ in versions] == [1, 2]
    assert model_id == versions[1][1]
    live = database.fetch_all("SELECT model_id FROM model_deployments ORDER BY live_range")
    assert (len(live) == 2) == (status == "promoted")

    # The daemon was not there at the newest tick, and makes it good.
    def judged() -> bool:
        row = database.fetch_one("SELECT max(date), count(*) FROM drift_metrics")
        return bool(row == (market.monitored[-1], len(market.monitored)))

    system.wait_for(judged, "last session")
    newest = system.wait_for(lambda: system.ticks(SCHEDULE)[:-1], "tick missed")[0]
    assert newest["timestamp"] == newest_tick.timestamp()
    assert newest["status"] == ("SUCCESS" if asks else "SKIPPED")
    assert newest["runKeys"] == ([str(market.monitored[-1])] if asks else [])
