"""`dev`: the UI with the graph and a running schedule, and nothing left when it has ended."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

from quant_mlops.database.embedded import EmbeddedServer
from quant_mlops.errors import SettingsError
from quant_mlops.orchestration.home_lock import hold_home

pytestmark = [
    pytest.mark.slow(seconds=45),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc"),
]

REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS, STOP_SECONDS, POLL_SECONDS = 120, 30, 0.2
MARK = "QM_TEST_MARK"


@dataclass
class Development:
    """A running `quant-mlops dev`; every process it starts carries a mark."""

    home: Path
    port: int
    mark: str
    process: subprocess.Popen[str]

    def get(self, path: str, document: object = None) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        if document is not None:
            request.data = json.dumps(document).encode()
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def wait_for(self, question: str) -> Any:
        """Ask until the server answers with the code location loaded."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.process.communicate()
            try:
                self.get("/server_info")
                data = self.get("/graphql", {"query": question})["data"]
                if data["workspaceOrError"]["locationEntries"][0]["loadStatus"] == "LOADED":
                    return data
            except (URLError, ConnectionError, TimeoutError, IndexError, KeyError):
                pass
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"no answer within {START_SECONDS} s")

    def log(self) -> str:
        return (self.home / "log").read_text()

    def wait_until(self, happened: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < deadline, self.log()
            time.sleep(POLL_SECONDS)

    def dagster(self) -> set[int]:
        """Return the ids of the processes that carry the mark, without the database's."""
        return {
            pid for pid in self.processes()
            if Path(f"/proc/{pid}/comm").read_text().strip() != "postgres"
        }  # fmt: skip

    def processes(self) -> set[int]:
        """Return the ids of the processes that carry the mark."""
        found = set()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes():
                    found.add(int(folder.name))
            except OSError:
                continue
        return found


@pytest.fixture(scope="module")
def home(reachable: Any) -> Iterator[Path]:
    """Give the home of all tests here: each has to leave it as it may be used again."""
    with reachable() as folder:
        yield folder


@pytest.fixture
def development(home: Path) -> Iterator[Development]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mark = uuid.uuid4().hex
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("QUANT_MLOPS_", "DAGSTER_"))
    }
    log = (home / "log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "quant_mlops", "--home", str(home), "dev", "--port", str(port)],
        cwd=home, env={**environment, "PYTHONPATH": str(REPOSITORY), MARK: mark},
        stdout=log, stderr=log, text=True,
    )  # fmt: skip
    made = Development(home, port, mark, process)
    yield made
    for pid in made.processes():
        os.kill(pid, signal.SIGKILL)
    process.wait()
    log.close()
    EmbeddedServer(home / "postgres").stop()


QUESTION = """
{
  workspaceOrError { ... on Workspace { locationEntries { name loadStatus } } }
  assetNodes { assetKey { path } dependencyKeys { path } }
  repositoriesOrError { ... on RepositoryConnection { nodes {
    schedules { name scheduleState { status } }
    sensors { name sensorState { status } }
  } } }
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
}
"""


def test_it_serves_the_graph_and_stops_without_a_trace(development: Development) -> None:
    data = development.wait_for(QUESTION)

    (entry,) = data["workspaceOrError"]["locationEntries"]
    assert entry["name"] == "quant_mlops"
    nodes = {"/".join(n["assetKey"]["path"]): n["dependencyKeys"] for n in data["assetNodes"]}
    assert len(nodes) == 11
    assert nodes["momentum/feature_events"] == [{"path": ["momentum", "price_bars"]}]
    (repository,) = data["repositoriesOrError"]["nodes"]
    schedules = {s["name"]: s["scheduleState"]["status"] for s in repository["schedules"]}
    assert "momentum_daily_schedule" in schedules
    assert set(schedules.values()) == {"RUNNING"}
    assert {s["sensorState"]["status"] for s in repository["sensors"]} == {"RUNNING"}
    assert len(development.processes()) > 3
    assert EmbeddedServer(development.home / "postgres").is_running()
    stop_and_look(development, signal.SIGTERM)


def test_it_can_be_stopped_before_it_serves_anything(development: Development) -> None:
    development.wait_until(lambda: "Dagster: http://" in development.log(), START_SECONDS)
    stop_and_look(development, signal.SIGINT)


def test_when_it_is_killed_what_it_started_ends_and_holds_the_home_until_then(
    development: Development,
) -> None:
    development.wait_until(lambda: "configured with the following" in development.log(), 60)
    assert len(development.dagster()) > 3
    development.process.kill()
    development.process.wait()
    with pytest.raises(SettingsError, match="all of one that was killed is gone"):
        hold_home(development.home).__enter__()
    development.wait_until(lambda: not development.dagster(), STOP_SECONDS)
    with hold_home(development.home):
        pass
    assert "Daemon threads shut down" in development.log()


def stop_and_look(development: Development, stop: signal.Signals) -> None:
    started = time.monotonic()
    development.process.send_signal(stop)
    status = development.process.wait(STOP_SECONDS)
    assert time.monotonic() - started < STOP_SECONDS
    log = development.log()
    assert status == 0, log
    assert development.processes() == set()
    assert not EmbeddedServer(development.home / "postgres").is_running()
    assert "Warning" not in log
    # Dagster tells of a sensor that it was asking; nothing of ours fails.
    assert not failures_of_ours(log), log


def failures_of_ours(log: str) -> set[str]:
    """Return the exceptions of tracebacks through files of ours.

    Dagster prints one as well where it was importing them and was interrupted, which is no failure.
    """
    frames = log.split(f'File "{REPOSITORY / "quant_mlops"}{os.sep}')[1:]
    name = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Interrupt)\b", re.MULTILINE)
    ended = [name.search(log_after) for log_after in frames]
    names = {found.group() if found else "a traceback without an end" for found in ended}
    return names - {"dagster._core.errors.DagsterExecutionInterruptedError", "KeyboardInterrupt"}


def test_a_traceback_through_a_file_of_ours_is_a_failure_unless_it_was_an_interruption() -> None:
    frame = f'  File "{REPOSITORY / "quant_mlops" / "definitions.py"}", line 12, in defs\n'
    theirs = 'Traceback:\n  File "dagster/grpc.py", line 1, in x\ngrpc.RpcError: gone\n'
    interrupted = f"Traceback:\n{frame}Aborted!\n  File y\nKeyboardInterrupt\n"
    assert failures_of_ours(theirs + interrupted) == set()
    broken = f"Traceback:\n{frame}quant_mlops.errors.StrategyError: no\n"
    assert failures_of_ours(interrupted + broken) == {"quant_mlops.errors.StrategyError"}
    assert failures_of_ours(frame) == {"a traceback without an end"}
