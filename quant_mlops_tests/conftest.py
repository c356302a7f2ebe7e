"""A real PostgreSQL for every test: one server a worker, a migrated template, a clone a test.

Environment
-----------
QUANT_MLOPS_TEST_DATABASE_URL
    A server whose user may create databases; the embedded server by default. Where it has
    TimescaleDB, every test runs on hypertables, and those that are special to it are not skipped.
QUANT_MLOPS_TEST_DATA
    Folder of the larger price files; tests that need it are skipped where it is absent.
"""

from __future__ import annotations

import gc
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import uuid
import venv
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any, LiteralString

import hypothesis
import numpy as np
import psycopg
import pyarrow.parquet as pq
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from quant_mlops.database import Database
from quant_mlops.database.embedded import EmbeddedServer
from quant_mlops.database.hypertables import has_timescaledb
from quant_mlops.database.migrations import migrate
from quant_mlops.database.placement import place_server
from quant_mlops.market.bundled import sample_prices
from quant_mlops.market.calendar import TradingCalendar, trading_calendar
from quant_mlops.market.panel import FIELDS, Panel
from quant_mlops.settings import Settings
from quant_mlops.strategy import read_strategy
from quant_mlops.strategy_context import StrategyContext

# A worker imports all there is and collects thousands of tests, none of it garbage, and would look
# through it again for each 700 objects more.
gc.set_threshold(20_000)

# How fast inputs are made tells of the machine and its other work, and fails a test now and then.
CALM = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("quick", max_examples=60, suppress_health_check=CALM)
hypothesis.settings.register_profile("thorough", max_examples=2_500, suppress_health_check=CALM)
hypothesis.settings.load_profile("quick")

# Each process that a test starts would compile every module anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Threads that wait by spinning keep the core that another process needs, and a fit of a tenth of a
# second takes ten; XGBoost reads this when it is loaded, here and in the processes of the tests.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

REPOSITORY = Path(__file__).resolve().parents[1]
FORK_SERVER = Path(__file__).with_name("fork_server.py")
GIVEN_SERVER = os.environ.get("QUANT_MLOPS_TEST_DATABASE_URL", "")
ASSUMED_LAG = 15 * 60 * 10**6
WHEN_IT_RAN = {
    "applied_at", "attempted_at", "believed_until", "created_at", "evaluated_at", "finished_at",
    "recorded_at", "registered_at", "started_at",
}  # fmt: skip
WHERE_IT_RAN = {
    "artifact_path", "code_dirty", "code_version", "escalates", "producer_version", "run_id", "uri",
}  # fmt: skip
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# What servers write in a test is thrown away, so where there is room it never sees a disk.
MEMORY, ROOM = Path("/dev/shm"), 4 << 30
# Fixtures that take long to make, and the seconds of all tests that share each of them.
SHARED_SECONDS = {"ran": 45.0, "stock": 40.0}
SHORT_SECONDS = 10.0
# The log is thrown away as well; each new database has the buffers looked through.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "'256MB'",
    "shared_buffers": "'128MB'",
}


def pytest_report_header() -> str:
    if GIVEN_SERVER:
        with psycopg.connect(GIVEN_SERVER) as connection:
            version = connection.info.parameter_status("server_version")
        return f"database: PostgreSQL {version} of QUANT_MLOPS_TEST_DATABASE_URL"
    postgres = place_server(Path(tempfile.gettempdir()) / "postgres").binaries / "postgres"
    version = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=True)
    return f"database: embedded, {version.stdout.strip()}"


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deal what is long to the workers, longest first, and fill up with what is quick.

    pytest-xdist gives each worker as many tests as any other, in the order of this list, and lets
    one that is done take from the rest of another. In the order of the files, one worker would
    end with minutes of long tests while the others have nothing to do, or several would make
    what the tests of one group share.
    """
    groups: dict[str, list[pytest.Item]] = defaultdict(list)
    seconds: dict[str, float] = defaultdict(float)
    quick = []
    for item in items:
        name, lasts = _group(item)
        if name:
            groups[name].append(item)
            seconds[name] = max(seconds[name], lasts)
        else:
            quick.append(item)
    workers = int(getattr(config, "workerinput", {}).get("workercount", 1))
    hands: list[list[pytest.Item]] = [[] for _ in range(workers)]
    loads = [0.0] * workers
    for name in sorted(groups, key=lambda name: -seconds[name]):
        least = loads.index(min(loads))
        hands[least] += groups[name]
        loads[least] += seconds[name]
    undealt = len(items)
    for position, hand in enumerate(hands):
        # As pytest-xdist divides them: a hand that ends elsewhere has its longest test, which
        # stands first, begun by the worker before, and what its group shares made by both.
        share = undealt // (workers - position)
        missing = max(share - len(hand), 0)
        hand += quick[:missing]
        del quick[:missing]
        undealt -= share
    items[:] = [item for hand in hands for item in hand] + quick


def _group(item: pytest.Item) -> tuple[str, float]:
    """Return what a test should be run together with, and the seconds of all of it; "" if any."""
    module = item.nodeid.partition("::")[0]
    slow = item.get_closest_marker("slow")
    if slow is not None:
        seconds = float(slow.kwargs.get("seconds", SHORT_SECONDS))
        return slow.kwargs.get("group", module), seconds
    for fixture in sorted(SHARED_SECONDS.keys() & set(getattr(item, "fixturenames", ()))):
        return fixture, SHARED_SECONDS[fixture]
    return (module, SHORT_SECONDS) if item.get_closest_marker("shared") else ("", 0.0)


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """Give a fresh folder that the server's user may enter, unlike pytest's own."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM
    folder = Path(tempfile.mkdtemp(prefix="qm-", dir=MEMORY if roomy else None))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def reachable() -> Callable[[], AbstractContextManager[Path]]:
    """Give the function that makes folders for the homes of further servers."""
    return reachable_folder


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """Give the URL of a server on which databases may be made."""
    if GIVEN_SERVER:
        yield GIVEN_SERVER
        return
    with reachable_folder() as folder:
        server = EmbeddedServer(folder / "postgres")
        server.start()
        try:
            with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
                for name, value in SETTINGS.items():
                    connection.execute(f"ALTER SYSTEM SET {name} = {value}")
            server.stop()
            server.start()
            yield server.url("postgres")
        finally:
            server.stop()


Clone = Callable[[str | None], AbstractContextManager[str]]


@pytest.fixture(scope="session")
def clone(server_url: str) -> Iterator[Clone]:
    """Give a function that copies a database, or makes an empty one, and gives its URL.

    Nobody connects to a database any more once it has been copied.
    """
    with psycopg.connect(server_url, autocommit=True) as connection:
        copies = Copies(server_url, connection)
        yield copies.make
        copies.drop()


class Copies:
    """Databases of a worker; each is dropped when a later one is done with.

    A database is dropped at once only if no connection to it is left, and one that is being
    closed keeps the server waiting for a tenth of a second.
    """

    def __init__(self, server_url: str, connection: psycopg.Connection[Any]) -> None:
        self.server_url = server_url
        self.connection = connection
        self.left_alone: set[str] = set()
        self.done: list[str] = []

    @contextmanager
    def make(self, template: str | None) -> Iterator[str]:
        name = f"qm_test_{uuid.uuid4().hex[:16]}"
        # Copying files is several times as fast as writing each page to the log.
        statement = sql.SQL("CREATE DATABASE {} STRATEGY file_copy").format(sql.Identifier(name))
        if template is not None:
            self._leave_alone(template)
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        self.connection.execute(statement)
        try:
            yield make_conninfo(self.server_url, dbname=name)
        finally:
            self.drop()
            self.done.append(name)

    def drop(self) -> None:
        """Drop what is done with."""
        while self.done:
            name = sql.Identifier(self.done.pop())
            self.connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))

    def _leave_alone(self, name: str) -> None:
        """Keep everyone from a database: one that others are connected to cannot be copied.

        TimescaleDB's scheduler would be back at once if it were only sent away.
        """
        if name in self.left_alone:
            return
        allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name))
        self.connection.execute(allow)
        self.connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s",
            [name],
        )
        self.left_alone.add(name)


@pytest.fixture(scope="session")
def template(clone: Clone) -> Iterator[str]:
    """Give the name of a database that holds the schema and nothing else."""
    with clone(None) as conninfo:
        with Database(conninfo) as database:
            migrate(database)
            if has_timescaledb(database):
                # They would do what tests are about to do, at a time of their own.
                database.fetch_all(
                    "SELECT alter_job(job_id, scheduled => false)"
                    " FROM timescaledb_information.jobs WHERE job_id >= 1000"
                )
        yield str(conninfo_to_dict(conninfo)["dbname"])


@pytest.fixture
def database(clone: Clone, template: str) -> Iterator[Database]:
    """Give a migrated database of the test's own."""
    with clone(template) as conninfo, Database(conninfo) as made:
        yield made


@pytest.fixture
def other_database(clone: Clone, template: str) -> Iterator[Database]:
    """Give a second migrated database, for tests that compare two."""
    with clone(template) as conninfo, Database(conninfo) as made:
        yield made


@pytest.fixture
def empty_database(clone: Clone) -> Iterator[Database]:
    """Give a database of the test's own to which no migration was applied."""
    with clone(None) as conninfo, Database(conninfo) as made:
        yield made


@pytest.fixture(scope="module")
def module_database(clone: Clone, template: str) -> Iterator[Database]:
    """Give a migrated database that the tests of one module share, for reading."""
    with clone(template) as conninfo, Database(conninfo) as made:
        yield made


@pytest.fixture(scope="session")
def read_tables() -> Callable[[Database], dict[str, list[str]]]:
    """Give the function that returns a database's tables as sorted lines.

    They are without times, ids and paths of the run itself, so that two runs can be compared.
    """
    return lambda database: dict(_tables(database))


def _tables(database: Database) -> Iterator[tuple[str, list[str]]]:
    columns: dict[str, list[str]] = {}
    for table, column, kind in database.fetch_all(
        """
        SELECT table_name, column_name, data_type FROM information_schema.columns
        WHERE table_schema = 'public' AND table_name <> 'feature_corrections'
        ORDER BY table_name, ordinal_position
        """
    ):
        kept = columns.setdefault(table, [])
        identity = column.endswith("_id") and kind in ("uuid", "bigint")
        if not identity and column not in WHEN_IT_RAN | WHERE_IT_RAN and column != "id":
            kept.append(column)
    for table, kept in columns.items():
        # What a killed training leaves behind, as it should.
        where = "WHERE status = 'completed'" if table == "model_training_runs" else ""
        names = ", ".join(f'"{name}"' for name in kept)
        rows = database.fetch_all(f"SELECT {names} FROM {table} {where}")  # type: ignore[arg-type]
        yield table, sorted(_line(row) for row in rows)


def _line(row: tuple[Any, ...]) -> str:
    text = json.dumps([_without_ids(value) for value in row], default=str, sort_keys=True)
    return UUID.sub("uuid", text)


def _without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            k: _without_ids(v)
            for k, v in value.items()
            if not k.endswith("_id") and k != "coalesced_into"
        }
    return value


Forge = Callable[..., None]


@pytest.fixture(scope="session")
def forge() -> Forge:
    """Give a function that changes what the database refuses to change, as a forger would."""

    def change(database: Database, statement: LiteralString, parameters: Any = ()) -> None:
        with database.transaction() as connection:
            connection.execute("SET LOCAL session_replication_role = replica")
            connection.execute(statement, parameters or None)

    return change


StartPython = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_python() -> Iterator[StartPython]:
    """Give a function that runs Python code in a process of its own; what is left is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: object) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


class Forked:
    """A process of a fork server, to be used as one of `subprocess.Popen`."""

    def __init__(self, requests: socket.socket, request: dict[str, Any]) -> None:
        # What goes to the process is written here, and what comes from it is read.
        (read, self._write), *others = (os.pipe() for _ in range(4))
        given = [read, *(write for _, write in others)]
        socket.send_fds(requests, [json.dumps(request).encode()], given)
        for file in given:
            os.close(file)
        self.stdin = os.fdopen(self._write, "w")
        self.stdout, self.stderr, self._report = (os.fdopen(read) for read, _ in others)
        self.pid = int(self._report.readline())
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._report], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            self.returncode = int(self._report.readline())
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.stdin.close()
        with ThreadPoolExecutor(2) as readers:
            printed, errors = readers.map(lambda stream: stream.read(), (self.stdout, self.stderr))
        self.wait(timeout)
        return printed, errors

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def end(self) -> None:
        """Kill the process if it is there."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                self.send_signal(signal.SIGKILL)
            self.wait()
        for stream in (self.stdin, self.stdout, self.stderr, self._report):
            stream.close()


@contextmanager
def open_fork_server(
    *modules: str, python: Path | str = sys.executable, environment: dict[str, str] | None = None
) -> Iterator[Callable[..., Forked]]:
    """Give a function that runs Python code in processes that begin with the modules imported.

    Dagster and what runs need take two seconds of a processor to import.
    """
    if environment is None:
        path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path}
    started: list[Forked] = []
    ours, theirs = socket.socketpair()
    command = [str(python), "-P", str(FORK_SERVER), str(theirs.fileno()), *modules]
    with subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment):
        theirs.close()

        def fork(code: str, *arguments: object, folder: Path = REPOSITORY) -> Forked:
            request = {"code": code, "arguments": [str(a) for a in arguments]}
            started.append(Forked(ours, {**request, "folder": str(folder)}))
            return started[-1]

        with ours:
            yield fork
            for process in started:
                process.end()


OpenForkServer = Callable[..., AbstractContextManager[Callable[..., Forked]]]


@pytest.fixture(scope="session")
def fork_server() -> OpenForkServer:
    """Give the function that starts fork servers, for tests that start many processes."""
    return open_fork_server


@dataclass(frozen=True)
class Installed:
    """A wheel, and the command of an environment in which it is installed."""

    wheel: Path
    command: Path

    @property
    def environment(self) -> dict[str, str]:
        """None of the settings of whoever runs the tests."""
        return {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("QUANT_MLOPS_", "DAGSTER_", "PYTHON"))
        }

    def start(self, folder: Path, *arguments: object) -> subprocess.Popen[str]:
        """Start the command in a folder."""
        return subprocess.Popen(
            [self.command, *map(str, arguments)], cwd=folder, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Give the wheel of this checkout, installed into an environment of its own."""
    built = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", built]
    done = subprocess.run(
        [*build, REPOSITORY], cwd=built, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = built.glob("*.whl")
    environment = built / "environment"
    venv.create(environment, with_pip=False)
    paths = {"base": str(environment), "platbase": str(environment)}
    packages = Path(sysconfig.get_path("purelib", scheme="venv", vars=paths))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    # The libraries of this environment; its own links to checkouts are not followed.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = environment / "bin" / "quant-mlops"
    command.write_text(
        f"#!{environment}/bin/python\nfrom quant_mlops.cli.main import main\nmain()\n"
    )
    command.chmod(0o755)
    return Installed(wheel, command)


@pytest.fixture(scope="session")
def calendar() -> TradingCalendar:
    return trading_calendar("XNYS")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Give the folder of the larger price files."""
    default = REPOSITORY.parent / "shared" / "data"
    folder = Path(os.environ.get("QUANT_MLOPS_TEST_DATA") or default)
    if not folder.is_dir():
        pytest.skip(f"no price files at {folder}; name their folder in QUANT_MLOPS_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def sample_panel(calendar: TradingCalendar) -> Panel:
    """Give the bundled sample's closes as a panel, without a database."""
    with sample_prices() as path:
        table = pq.read_table(path, columns=["date", "ticker", "close"])
    days = table["date"].to_numpy().astype("datetime64[D]")
    tickers, column = np.unique(
        np.array(table["ticker"].cast("string").to_pylist()), return_inverse=True
    )
    sessions = calendar.sessions(days.min().item(), days.max().item())
    row = np.searchsorted(sessions, days)
    close = np.full((len(sessions), len(tickers)), np.nan)
    close[row, column] = table["close"].to_numpy()
    nothing = np.full_like(close, np.nan)
    closes = calendar.closes(sessions)
    fields = {name: close if name == "close" else nothing for name in FIELDS}
    return Panel(
        sessions=sessions,
        event_times=closes,
        tickers=tuple(str(ticker) for ticker in tickers),
        fields=MappingProxyType(fields),
        known_at=np.where(np.isnan(close), 0, closes[:, None] + ASSUMED_LAG),
    )


SMALL_STRATEGY = """
name = "{name}"
horizon = 2
[prices]
file = "{prices}"
[features]
names = ["ret_5d", "reversal_1d"]
[training]
window_sessions = 80
max_feature_ic = 1.0
val_sessions = 10
test_sessions = 10
[[training.learners]]
name = "ridge"
[monitoring]
first_session = {first}
psi_window_sessions = 10
"""


@pytest.fixture(scope="session")
def open_small_strategy() -> Callable[..., StrategyContext]:
    """Give a function that writes a price file of random walks and a strategy for it."""

    def open_small_strategy(
        database: Database,
        folder: Path,
        name: str,
        *,
        days: Sequence[date],
        priced: Mapping[str, Iterable[int]],
        monitored: int,
    ) -> StrategyContext:
        lines = ["date,ticker,close"]
        for ticker, positions in priced.items():
            returns = np.random.default_rng(list(ticker.encode())).normal(0, 0.02, len(days))
            closes = 50 * np.cumprod(1 + returns)
            lines += [f"{days[i]},{ticker},{closes[i]:.6f}" for i in positions]
        prices = folder / f"{name}.csv"
        prices.write_text("\n".join(lines) + "\n", "utf-8")
        text = SMALL_STRATEGY.format(name=name, prices=prices, first=days[-monitored])
        (folder / f"{name}.toml").write_text(text, "utf-8")
        strategy = read_strategy(folder / f"{name}.toml")
        return StrategyContext(database, Settings(home=folder), strategy)

    return open_small_strategy
