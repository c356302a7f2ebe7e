"""The demonstration as users run it, from the wheel: a document; interrupted and repeated."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from quant_mlops.database import Database
from quant_mlops.database.embedded import EmbeddedServer
from quant_mlops.market.calendar import TradingCalendar

pytestmark = pytest.mark.slow(seconds=110, group="wheel")

SESSIONS, TICKERS = 300, 12
STAGES = ["database", "prices", "features", "training", "monitoring", "retraining", "report"]


@pytest.fixture(scope="module")
def price_file(tmp_path_factory: pytest.TempPathFactory, calendar: TradingCalendar) -> Path:
    days = calendar.sessions(date(2021, 1, 4), date(2022, 12, 30))[:SESSIONS]
    random = np.random.default_rng(7)
    closes = 100.0 * np.exp(np.cumsum(random.normal(3e-4, 0.015, (SESSIONS, TICKERS)), axis=0))
    table = pa.table(
        {
            "date": np.repeat([str(day) for day in days], TICKERS),
            "ticker": [f"T{n:02d}" for n in range(TICKERS)] * SESSIONS,
            "close": closes.round(4).ravel(),
            "volume": random.uniform(5e5, 2e6, SESSIONS * TICKERS).round(),
        }
    )
    path = tmp_path_factory.mktemp("prices") / "walks.csv"
    pyarrow.csv.write_csv(table, path)
    return path


@dataclass(frozen=True)
class Home:
    """A home of its own, in a folder that the server's user may enter."""

    folder: Path
    prices: Path
    installed: Any
    read_tables: Callable[[Database], dict[str, list[str]]]

    @property
    def inner(self) -> Path:
        """Where `--prices` puts what it stores."""
        return self.folder / "demos" / self.prices.stem

    @property
    def server(self) -> EmbeddedServer:
        return EmbeddedServer(self.inner / "postgres")

    @property
    def arguments(self) -> tuple[object, ...]:
        return ("--home", self.folder, "demo", "--prices", self.prices, "--json")

    def start(self) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = self.installed.start(self.folder, *self.arguments)
        return process

    def finish(self) -> Run:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process = self.start()
        stdout, stderr = process.communicate(timeout=200)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert process.returncode == 0, stderr
        return Run(json.loads(stdout), stderr, after.ru_utime - before.ru_utime)

    def contents(self) -> dict[str, list[str]]:
        """Return every table as sorted lines, without times, ids and paths of the run itself."""
        server = self.server
        server.start()
        try:
            with Database(server.url()) as database:
                return self.read_tables(database)
        finally:
            server.release()


@dataclass(frozen=True)
class Run:
    """A demonstration that ended well."""

    document: dict[str, Any]
    stderr: str
    processor_seconds: float


FreshHome = Callable[[], AbstractContextManager[Home]]


@pytest.fixture(scope="module")
def fresh_home(price_file: Path, installed: Any, reachable: Any, read_tables: Any) -> FreshHome:
    """Give a function that makes homes; their servers are stopped in the end."""

    @contextmanager
    def make() -> Iterator[Home]:
        with reachable() as folder:
            home = Home(folder, price_file, installed, read_tables)
            try:
                yield home
            finally:
                home.server.stop()

    return make


@pytest.fixture(scope="module")
def home(fresh_home: FreshHome) -> Iterator[Home]:
    with fresh_home() as made:
        yield made


@pytest.fixture(scope="module")
def undisturbed(home: Home) -> Run:
    return home.finish()


@pytest.fixture(scope="module")
def expected(home: Home, undisturbed: Run) -> dict[str, list[str]]:
    assert undisturbed.document
    return home.contents()


def test_the_document_says_what_was_done(undisturbed: Run, home: Home) -> None:
    document = undisturbed.document
    assert document["prices"]["rows"] == SESSIONS * TICKERS
    assert document["features"]["events"] > 0
    assert set(document["snapshot"]) >= {"id", "fingerprint", "rows"}
    assert re.fullmatch("[0-9a-f]{64}", document["snapshot"]["fingerprint"])
    assert set(document["model"]) >= {"name", "version", "model_id", "metrics"}
    assert {"ic_mean_test", "sharpe_ratio_backtest"} <= set(document["model"]["metrics"])
    monitoring = document["monitoring"]
    assert monitoring["sessions"] == SESSIONS // 4
    assert date.fromisoformat(monitoring["first"]) < date.fromisoformat(monitoring["last"])
    assert set(document["alerts"]) == {"info", "warning", "severe", "critical"}
    assert document["retrains"] >= 1
    assert document["retrains"] == sum(document["retrain_verdicts"].values())
    assert Path(document["report"]).is_relative_to(home.inner)
    assert "</html>" in Path(document["report"]).read_text()
    assert {"prices", "features", "training", "monitoring", "report", "total"} <= set(
        document["seconds"]
    )
    assert document["database"]["server"]
    assert document["database"]["timescaledb"] is None


def test_progress_goes_to_standard_error_a_line_a_stage(undisturbed: Run) -> None:
    lines = undisturbed.stderr.splitlines()
    stages = [line.partition(":")[0] for line in lines]
    assert list(dict.fromkeys(stages)) == STAGES
    assert not re.search(r"\x1b|Traceback|[Ww]arning", undisturbed.stderr)


def test_nothing_is_left_running(undisturbed: Run, home: Home) -> None:
    assert undisturbed.document
    assert not home.server.is_running()


def test_a_second_run_stores_nothing_and_costs_less(
    home: Home, undisturbed: Run, expected: dict[str, list[str]]
) -> None:
    again = home.finish()
    assert again.processor_seconds < undisturbed.processor_seconds
    for key in ("prices", "features", "snapshot", "model", "monitoring", "alerts", "retrains"):
        assert again.document[key] == undisturbed.document[key], key
    assert "retraining" not in again.document["seconds"]
    found = home.contents()
    for table, lines in expected.items():
        assert found[table] == lines, table


def wait_for(process: Any, stage: str) -> None:
    """Read standard error up to the line of a stage."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith(f"{stage}:"):
            return
    raise AssertionError(f"{stage} was never reached: {seen}")


# Each is over in time for the stage that follows it not to have ended before.
INTERRUPTIONS = [
    ("prices", 0.1, signal.SIGINT),
    ("features", 0.2, "postmaster"),
    ("training", 0.3, signal.SIGKILL),
    ("monitoring", 0.05, signal.SIGTERM),
    ("retraining", 0.1, signal.SIGKILL),
]


@dataclass(frozen=True)
class Resumed:
    """What a home that saw every interruption holds in the end, and how the last run ended."""

    home: Home
    document: dict[str, Any]
    contents: dict[str, list[str]]
    refused: tuple[int, str]


# What the command imports on the way, which takes as long as half of what it does here.
IMPORTED = (
    "quant_mlops.cli.demo", "quant_mlops.orchestration.demo", "quant_mlops.orchestration.instance",
    "quant_mlops.reporting", "exchange_calendars", "scipy.special", "xgboost",
)  # fmt: skip
COMMAND = "from quant_mlops.cli.main import main; main()"


@pytest.fixture(scope="module")
def resumed(fresh_home: FreshHome, installed: Any, fork_server: Any) -> Iterator[Resumed]:
    """Interrupt runs in another home, and start one more beside the run that goes to the end."""
    python, environment = installed.command.with_name("python"), installed.environment
    with (
        fresh_home() as other,
        fork_server(*IMPORTED, python=python, environment=environment) as fork,
    ):

        def start() -> Any:
            return fork(COMMAND, *other.arguments, folder=other.folder)

        for stage, seconds, what in INTERRUPTIONS:
            process = start()
            wait_for(process, stage)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(seconds)
            interrupt(process, other, what)
            _, stderr = process.communicate(timeout=60)
            assert "Traceback" not in stderr, (stage, what, stderr)
            check_end(process.returncode, stderr, other, (stage, what))
        last = start()
        wait_for(last, "prices")
        beside = start()
        _, refusal = beside.communicate(timeout=100)
        stdout, stderr = last.communicate(timeout=200)
        assert last.returncode == 0, stderr
        assert not other.server.is_running()
        refused = (beside.returncode, refusal.splitlines()[-1])
        yield Resumed(other, json.loads(stdout), other.contents(), refused)


def test_however_it_is_interrupted_the_next_run_goes_on_to_the_same_end(
    resumed: Resumed, expected: dict[str, list[str]]
) -> None:
    for table, lines in expected.items():
        assert resumed.contents[table] == lines, table


def test_another_home_gives_the_same_training_set_and_the_same_model(
    resumed: Resumed, undisturbed: Run
) -> None:
    ours, theirs = undisturbed.document, resumed.document
    assert theirs["snapshot"]["fingerprint"] == ours["snapshot"]["fingerprint"]
    assert theirs["model"]["digest"] == ours["model"]["digest"]


def test_a_second_demo_in_the_home_of_one_that_runs_is_refused(resumed: Resumed) -> None:
    sentence = (
        f"error: another demonstration, or `quant-mlops dev`, is running in {resumed.home.inner}; "
        f"end it (all of one that was killed is gone within half a minute), or give another --home"
    )
    assert resumed.refused == (1, sentence)


def interrupt(process: Any, home: Home, what: signal.Signals | str) -> None:
    if isinstance(what, signal.Signals):
        process.send_signal(what)
        return
    lock = home.server.placement.data / "postmaster.pid"
    os.kill(int(lock.read_text().partition("\n")[0]), signal.SIGKILL)


def check_end(status: int, stderr: str, home: Home, case: object) -> None:
    *_, last = stderr.splitlines() or [""]
    if status == -signal.SIGKILL:
        return
    if status == 130:
        assert last == "error: interrupted; run the same command again to go on", case
        assert not home.server.is_running(), case
        return
    assert status == 1, (case, stderr)
    assert re.match("error: (?!unexpected)", last), (case, stderr)
