"""A webserver and a daemon as a deployment runs them, on an embedded server, driven by GraphQL.

The prices are the bundled sample's, with its last sessions given the dates of the last sessions
of today's calendar, so that schedules and sensors find something to do by the real clock.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from datetime import time as wall_time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import URLError

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quant_mlops.database import Database
from quant_mlops.database.access import open_server
from quant_mlops.market.bundled import sample_prices
from quant_mlops.market.calendar import TradingCalendar, trading_calendar
from quant_mlops.orchestration.instance import prepare_environment, workspace_yaml
from quant_mlops.orchestration.jobs import TRAINING
from quant_mlops.orchestration.session_tags import session_tags
from quant_mlops.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[3]
POLL_SECONDS = 0.4
PATIENCE = "poll_interval_seconds: 30"
MARK = "QM_TEST_MARK"
SESSIONS = 420
# Monitored sessions, and how many of the last of them the market is another one.
MONITORED, CHANGED = 30, 11
EVALUATION_LAG = timedelta(hours=4)
# When the daily schedule ticks, by the exchange's clock.
DAILY = wall_time(6)

STRATEGY: dict[str, Any] = {
    "name": "live",
    "description": "Twenty large stocks, judged a few weeks.",
    "horizon": 1,
    "features": {"names": ["ret_5d", "reversal_1d", "zscore_20d"]},
    "training": {
        "window_sessions": 320,
        "val_sessions": 40,
        "test_sessions": 40,
        "learners": [{"name": "ridge", "params": {"penalties": [0.1, 1.0]}}],
    },
    "monitoring": {"psi_window_sessions": 13},
    "rules": {"mode": "gated"},
}
# Dagster has these two functions to be replaced by tests, and reads the time by no other.
ANOTHER_CLOCK = """
import sys, time
from datetime import UTC, datetime, timedelta
import dagster._time as clock
from dagster._daemon.cli import main
shift = float(sys.argv.pop(1))
clock._mockable_get_current_timestamp = lambda: time.time() + shift
clock._mockable_get_current_datetime = lambda: datetime.now(UTC) + timedelta(seconds=shift)
main()
"""


@dataclass(frozen=True)
class Market:
    """Prices up to the last session that can be judged now, and what writes their strategy."""

    sessions: Sequence[date]
    write_strategy: Callable[[dict[str, Any]], str]
    prices: pa.Table

    @property
    def monitored(self) -> Sequence[date]:
        return self.sessions[-MONITORED:]

    @property
    def first_partition(self) -> date:
        """The session before monitoring begins."""
        return self.sessions[-MONITORED - 1]

    @property
    def changed(self) -> date:
        """The last session of the market as it was."""
        return self.sessions[-CHANGED - 1]


@pytest.fixture(scope="session")
def newest_tick(calendar: TradingCalendar) -> datetime:
    """Give the time of the newest tick of the daily schedule."""
    now = datetime.now(calendar.timezone)
    today = datetime.combine(now.date(), DAILY, calendar.timezone)
    yesterday = datetime.combine(now.date() - timedelta(days=1), DAILY, calendar.timezone)
    return today if today <= now else yesterday


@pytest.fixture(scope="session")
def last_sessions(calendar: TradingCalendar, newest_tick: datetime) -> list[date]:
    """Give as many sessions as there are prices, up to the one judged by the newest tick."""
    newest = calendar.session_of(newest_tick - EVALUATION_LAG)
    first = calendar.offset(newest, 1 - SESSIONS)
    return [day.item() for day in calendar.sessions(first, newest)]


@pytest.fixture(scope="session")
def redated_prices(last_sessions: list[date]) -> pa.Table:
    """Give the sample's last closes under new dates, eight times as volatile at the end."""
    with sample_prices() as path:
        frame = pq.read_table(path, columns=["date", "ticker", "close"]).to_pandas()
    closes = frame.pivot(index="date", columns="ticker", values="close").iloc[-SESSIONS:]
    returns = np.diff(np.log(closes.to_numpy()), axis=0)
    # Against their mean: what moves all of them at once would be drift by itself.
    returns -= returns.mean(axis=1, keepdims=True)
    returns[-CHANGED:] *= 8.0
    path_of_closes = np.exp(np.vstack([np.zeros(returns.shape[1]), np.cumsum(returns, axis=0)]))
    values = (closes.to_numpy()[0] * path_of_closes).round(4)
    tickers = list(map(str, closes.columns))
    return pa.table(
        {
            "date": np.repeat([day.isoformat() for day in last_sessions], len(tickers)),
            "ticker": tickers * SESSIONS,
            "close": values.ravel(),
        }
    )


class Inbox(ThreadingHTTPServer):
    """A server that keeps the documents posted to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Keep)
        self.documents: list[Any] = []

    def about(self, rule: str) -> Any:
        """Return the first document of a rule, if one has come."""
        return next((d for d in self.documents if f"rule {rule}," in d["text"]), None)


class _Keep(BaseHTTPRequestHandler):
    server: Inbox

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.documents.append(json.loads(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    server = Inbox()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


Question = Callable[[], Any]


@dataclass
class System:
    """What a deployment consists of: a database, a webserver and a daemon."""

    home: Path
    market: Market
    database: Database
    environment: dict[str, str]
    port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *, clock: datetime | None = None) -> None:
        """Start the webserver or the daemon as a group of processes of its own.

        The daemon's clock may begin at another time; the processes it starts have the real one.
        """
        command = {
            "webserver": ["-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(self.port)],
            "daemon": ["-m", "dagster._daemon", "run"],
        }[name]
        if clock is not None:
            shift = clock.timestamp() - time.time()
            command = ["-c", ANOTHER_CLOCK, str(shift), "run"]
        with (self.home / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *command, "-w", str(workspace_yaml())],
                cwd=self.home, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def end(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End a process and all it started."""
        process = self.processes.pop(name)
        os.killpg(process.pid, number)
        process.wait()

    def relatives(self) -> set[int]:
        """Return the ids of all processes that were started, by the mark they inherit."""
        mark = f"{MARK}={self.environment[MARK]}".encode()
        found = set()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.add(int(folder.name))
            except OSError:
                continue
        return found

    def ask(self, question: str, **variables: Any) -> Any:
        """Send a GraphQL document and return its data."""
        document = json.dumps({"query": question, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            data=document,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]

    def wait_for(self, question: Question, what: str, seconds: float = 120.0) -> Any:
        """Ask again and again until the answer is one."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for name, process in self.processes.items():
                assert process.poll() is None, (name, self.log(name))
            try:
                if answer := question():
                    return answer
            except (URLError, ConnectionError, TimeoutError):
                pass
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"{what}: not within {seconds} s; {self.log('daemon')}")

    def log(self, name: str) -> str:
        path = self.home / f"{name}.log"
        return path.read_text(errors="replace")[-6000:] if path.exists() else ""

    def loaded(self) -> bool:
        """Say whether the webserver has loaded the definitions."""
        data = self.ask(
            "{ workspaceOrError { ... on Workspace { locationEntries { loadStatus "
            "locationOrLoadError { __typename ... on PythonError { message } } } } } }"
        )
        (entry,) = data["workspaceOrError"]["locationEntries"]
        found = entry["locationOrLoadError"]
        assert (found or {}).get("__typename") != "PythonError", found
        return bool(entry["loadStatus"] == "LOADED")

    def launch(
        self, job: str, *, sessions: tuple[date, date] | None = None, config: Any = None
    ) -> str:
        """Launch a job over a range of sessions, as the UI does, and return the run's id."""
        tags = session_tags(*sessions) if sessions is not None else {}
        data = self.ask(
            """
            mutation ($parameters: ExecutionParams!) {
              launchRun(executionParams: $parameters) {
                __typename
                ... on LaunchRunSuccess { run { runId } }
                ... on PythonError { message }
                ... on RunConfigValidationInvalid { errors { message } }
              }
            }
            """,
            parameters={
                "selector": {
                    "repositoryLocationName": "quant_mlops",
                    "repositoryName": "__repository__",
                    "jobName": f"live_{job}",
                },
                "runConfigData": config or {},
                "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in tags.items()]},
            },
        )["launchRun"]
        assert data["__typename"] == "LaunchRunSuccess", data
        return str(data["run"]["runId"])

    def training_config(self, session: date) -> dict[str, Any]:
        """Return the configuration that trains on what was known when a session was judged."""
        close = trading_calendar("XNYS").close_time(session)
        config = {"as_of": (close + EVALUATION_LAG).isoformat()}
        return {"ops": {f"live__{table}": {"config": config} for table in TRAINING}}

    def ticks(self, schedule: str) -> list[dict[str, Any]]:
        """Return the finished ticks of a schedule, newest first, each with its reason to skip."""
        data = self.ask(
            "query ($selector: InstigationSelector!) { instigationStateOrError("
            "instigationSelector: $selector) { ... on InstigationState { "
            "ticks(limit: 20) { timestamp status skipReason runKeys } } } }",
            selector={
                "repositoryLocationName": "quant_mlops",
                "repositoryName": "__repository__",
                "name": schedule,
            },
        )
        ticks = data["instigationStateOrError"].get("ticks", [])
        return [tick for tick in ticks if tick["status"] != "STARTED"]

    def turn_off(self, *schedules: str) -> None:
        """Turn schedules off, as the switch in the UI does."""
        data = self.ask(
            "{ repositoriesOrError { ... on RepositoryConnection { nodes { "
            "schedules { name scheduleState { id } } } } } }"
        )
        (repository,) = data["repositoriesOrError"]["nodes"]
        ids = {s["name"]: s["scheduleState"]["id"] for s in repository["schedules"]}
        for schedule in schedules:
            answer = self.ask(
                "mutation ($id: String!) { stopRunningSchedule(id: $id) { "
                "... on ScheduleStateResult { scheduleState { status } } } }",
                id=ids[schedule],
            )
            assert answer["stopRunningSchedule"]["scheduleState"]["status"] == "STOPPED"

    def runs(self, job: str | None = None) -> list[dict[str, Any]]:
        """Return the runs, newest first, each with its status and tags."""
        data = self.ask(
            "query ($filter: RunsFilter) { runsOrError(filter: $filter) { ... on Runs { results "
            "{ runId jobName status tags { key value } } } } }",
            filter={"pipelineName": f"live_{job}"} if job else None,
        )
        found = data["runsOrError"]["results"]
        for run in found:
            run["tags"] = {tag["key"]: tag["value"] for tag in run["tags"]}
        return list(found)

    def status(self, run_id: str) -> str:
        data = self.ask(
            "query ($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }", run=run_id
        )
        return str(data["runOrError"]["status"])

    def ended(self, run_id: str) -> str:
        """Wait for a run to end, and return how."""

        def last_status() -> str:
            status = self.status(run_id)
            return status if status in ("SUCCESS", "FAILURE", "CANCELED") else ""

        return str(self.wait_for(last_status, f"end of run {run_id}"))

    def run(self, job: str, **arguments: Any) -> None:
        """Launch a job and wait for it to end well."""
        status = self.ended(self.launch(job, **arguments))
        assert status == "SUCCESS", (job, self.log("daemon"), self.log("webserver"))

    def limit_pools(self, limit: int, *pools: str) -> None:
        """Change how many runs the pools let begin, as the form in the UI does."""
        for pool in pools:
            data = self.ask(
                "mutation ($pool: String!, $limit: Int!) { "
                "setConcurrencyLimit(concurrencyKey: $pool, limit: $limit) }",
                pool=pool,
                limit=limit,
            )
            assert data["setConcurrencyLimit"]


@contextmanager
def running_system(folder: Path, market: Market, url: str) -> Iterator[System]:
    """Write a home, start the database, and end every process in the end."""
    home = folder / "home"
    (home / "strategies").mkdir(parents=True)
    prices = home / "prices.parquet"
    pq.write_table(market.prices, prices)
    first = market.monitored[0]
    text = market.write_strategy(
        {
            **STRATEGY,
            "prices": {"file": str(prices)},
            "monitoring": {"first_session": first, **STRATEGY["monitoring"]},
        }
    )
    (home / "strategies" / "live.toml").write_text(text)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = Settings(home=home)
    with pytest.MonkeyPatch.context() as patch, open_server(settings) as access:
        for name in list(os.environ):
            if name.startswith(("QUANT_MLOPS_", "DAGSTER_")):
                patch.delenv(name)
        before = dict(os.environ)
        prepare_environment(settings, access)
        # Run monitoring looks every half minute, and a test should not wait for it as long.
        configuration = settings.dagster_folder / "dagster.yaml"
        patient = configuration.read_text()
        assert PATIENCE in patient
        configuration.write_text(patient.replace(PATIENCE, "poll_interval_seconds: 2"))
        environment = {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "QUANT_MLOPS_WEBHOOK_URL": url,
            MARK: uuid.uuid4().hex,
        }
        for name in set(os.environ) - set(before):
            del os.environ[name]
        system = System(home, market, access.database, environment, port)
        try:
            yield system
        finally:
            for name in list(system.processes):
                system.end(name)
            for process_id in system.relatives():
                os.kill(process_id, signal.SIGKILL)


@pytest.fixture
def system(
    reachable: Any,
    last_sessions: list[date],
    redated_prices: pa.Table,
    inbox: Inbox,
    strategy_file: Callable[[dict[str, Any]], str],
) -> Iterator[System]:
    market = Market(last_sessions, strategy_file, redated_prices)
    url = f"http://127.0.0.1:{inbox.server_address[1]}/alerts"
    with reachable() as folder, running_system(folder, market, url) as made:
        yield made
