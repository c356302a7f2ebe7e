"""Commands in this process, on a copy of a database in which a small strategy was run."""

from __future__ import annotations

import json
import os
import re
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from psycopg.conninfo import conninfo_to_dict

from quant_mlops.cli.main import main
from quant_mlops.database import Database
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.pipeline import (
    compute_features,
    ingest_prices,
    judge_sessions,
    make_predictions,
    measure_feature_drift,
    raise_alerts,
    realise_returns,
)
from quant_mlops.retraining import retrain
from quant_mlops.settings import Settings
from quant_mlops.strategy_context import StrategyContext, evaluation_time
from quant_mlops.strategy_files import load_strategies

SESSIONS, MONITORED, TICKERS = 320, 40, 12

STRATEGY = """
name = "small"
horizon = 2
[prices]
file = "{file}"
[features]
names = ["ret_5d", "reversal_1d", "vol_20d"]
[training]
window_sessions = 200
val_sessions = 30
test_sessions = 30
learners = [{{ name = "ridge", params = {{ penalties = [0.1, 1.0] }} }}]
[monitoring]
first_session = {first}
last_session = {last}
psi_window_sessions = 20
[gate]
min_sessions = 20
"""


@dataclass(frozen=True)
class Outcome:
    """What a command left: its status and what it wrote."""

    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """The one JSON document of standard output."""
        return json.loads(self.stdout)


class Shell:
    """Runs commands in this process, which spares each of them the imports."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *arguments: object) -> Outcome:
        self._capture.readouterr()
        status: Any = 0
        handler = signal.getsignal(signal.SIGTERM)
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as done:
            status = done.code
        finally:
            signal.signal(signal.SIGTERM, handler)
        written = self._capture.readouterr()
        return Outcome(status, written.out, written.err)

    def fails(self, *arguments: object, status: int = 1) -> str:
        """Run a command that must fail, and return the one sentence that it says."""
        found = self(*arguments)
        assert found.status == status, found
        assert found.stdout == ""
        assert "Traceback" not in found.stderr
        *_, sentence = found.stderr.strip().splitlines()
        assert re.match("error: ", sentence), found.stderr
        return sentence


@pytest.fixture
def shell(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Shell:
    """Give a shell in an empty folder, with none of the settings of this machine."""
    for name in list(os.environ):
        if name.startswith("QUANT_MLOPS_") or name.startswith("DAGSTER_"):
            monkeypatch.delenv(name)
    # Commands set these; what is recorded here is undone after the test.
    for name in ("QUANT_MLOPS_HOME", "QUANT_MLOPS_STRATEGIES", "DAGSTER_HOME", "DAGSTER_PG_URL"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return Shell(capsys)


@pytest.fixture(scope="session")
def sessions(calendar: TradingCalendar) -> list[date]:
    days = calendar.sessions(date(2021, 1, 4), date(2022, 12, 30))[:SESSIONS]
    return [day.item() for day in days]


@pytest.fixture(scope="session")
def price_file(tmp_path_factory: pytest.TempPathFactory, sessions: list[date]) -> Path:
    noise = np.random.default_rng(11).normal(0.0, 0.015, (SESSIONS, TICKERS))
    noise[1:] -= 0.1 * noise[:-1]
    table = pa.table(
        {
            "date": np.repeat([day.isoformat() for day in sessions], TICKERS),
            "ticker": [f"T{n:02d}" for n in range(TICKERS)] * SESSIONS,
            "close": (50.0 * np.exp(np.cumsum(noise, axis=0))).round(4).ravel(),
        }
    )
    path = tmp_path_factory.mktemp("prices") / "twelve.csv"
    pyarrow.csv.write_csv(table, path)
    return path


@dataclass(frozen=True)
class Stock:
    """A home and the name of the database in which its strategy was run."""

    home: Path
    database: str


@pytest.fixture(scope="session")
def stock(clone: Any, template: str, price_file: Path, sessions: list[date]) -> Iterator[Stock]:
    with (
        tempfile.TemporaryDirectory(prefix="qm-stock-") as folder,
        clone(template) as conninfo,
    ):
        home = Path(folder)
        (home / "strategies").mkdir()
        (home / "strategies" / "small.toml").write_text(
            STRATEGY.format(file=price_file, first=sessions[-MONITORED], last=sessions[-1])
        )
        settings = Settings(home=home)
        (strategy,) = load_strategies(settings).values()
        with Database(conninfo) as database:
            work = StrategyContext(database, settings, strategy)
            # The last session is left to the commands.
            history, span = (sessions[0], sessions[-2]), (sessions[-MONITORED], sessions[-2])
            ingest_prices(work, *history)
            for _ in compute_features(work, *history):
                pass
            retrain(work, as_of=evaluation_time(work, strategy.first_partition))
            make_predictions(work, *span)
            realise_returns(work, *span)
            measure_feature_drift(work, *span)
            judge_sessions(work, *span)
            raise_alerts(work, span[1])
        yield Stock(home, str(conninfo_to_dict(conninfo)["dbname"]))


@pytest.fixture
def forget_alerts() -> Callable[[Database], None]:
    """Give a function that takes alerts out of a database, their rules and what came of them."""

    def forget_alerts(database: Database) -> None:
        database.execute("ALTER TABLE strategy_states DISABLE TRIGGER ALL")
        for table in (
            "alert_deliveries",
            "retrain_requests",
            "strategy_states",
            "alerts",
            "rules_in_force",
        ):
            database.execute(f"DELETE FROM {table}")
        database.execute("ALTER TABLE strategy_states ENABLE TRIGGER ALL")

    return forget_alerts


@pytest.fixture
def desk(
    clone: Any, stock: Stock, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shell]:
    """Give a shell whose commands work on a copy of the stocked database."""
    with clone(stock.database) as conninfo:
        monkeypatch.setenv("QUANT_MLOPS_HOME", str(stock.home))
        monkeypatch.setenv("QUANT_MLOPS_DATABASE_URL", conninfo)
        yield shell


@pytest.fixture
def beside_another(
    desk: Shell, stock: Stock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Shell:
    """Give a desk with a second strategy, which has no model."""
    text = (stock.home / "strategies" / "small.toml").read_text("utf-8")
    folder = tmp_path / "strategies"
    folder.mkdir()
    (folder / "small.toml").write_text(text)
    (folder / "other.toml").write_text(text.replace('name = "small"', 'name = "other"'))
    monkeypatch.setenv("QUANT_MLOPS_STRATEGIES", str(folder))
    return desk


@pytest.fixture
def empty(
    database: Database, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Shell:
    """Give a shell whose commands work on a database that holds nothing."""
    monkeypatch.setenv("QUANT_MLOPS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("QUANT_MLOPS_DATABASE_URL", database.conninfo)
    return shell
