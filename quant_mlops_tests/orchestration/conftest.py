"""A small strategy with synthetic prices, and Dagster on PostgreSQL: one schema, clones of it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from psycopg.conninfo import conninfo_to_dict

from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.orchestration.instance import dagster_yaml, open_instance, run_job
from quant_mlops.orchestration.jobs import TRAINING
from quant_mlops.orchestration.resources import Server
from quant_mlops.orchestration.strategy_set import strategy_definitions
from quant_mlops.strategy import Strategy, read_strategy

SESSIONS = 320
MONITORED = 60
TICKERS = 12

STRATEGY: dict[str, Any] = {
    "name": "small",
    "description": "Twelve tickers, a few windows of a few weeks.",
    "owner": "team@example.com",
    "calendar": "XNYS",
    "horizon": 2,
    "features": {"names": ["ret_5d", "reversal_1d", "vol_20d"]},
    "training": {
        "window_sessions": 200,
        "val_sessions": 30,
        "test_sessions": 30,
        "embargo_sessions": 2,
        "learners": [
            {
                "name": "xgboost",
                "params": {
                    "max_depth": 2, "eta": 0.1, "min_child_weight": 50, "rounds": 20, "patience": 5,
                },
            },
            {"name": "ridge", "params": {"penalties": [0.1, 1.0]}},
        ],
    },
    "monitoring": {"psi_window_sessions": 20, "retrain_cooldown_sessions": 10},
    "gate": {"min_sessions": 20},
}  # fmt: skip


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let pass what Dagster warns of by itself: pytest sets its own filters for each test."""
    for category in ("dagster.BetaWarning", "pydantic.PydanticDeprecatedSince20"):
        item.add_marker(pytest.mark.filterwarnings(f"ignore::{category}"))


@pytest.fixture(scope="session")
def sessions(calendar: TradingCalendar) -> list[date]:
    days = calendar.sessions(date(2021, 1, 4), date(2022, 12, 30))[:SESSIONS]
    return [day.item() for day in days]


@pytest.fixture(scope="session")
def price_file(tmp_path_factory: pytest.TempPathFactory, sessions: list[date]) -> Path:
    """Give a CSV of random walks with a slight reversal, so that there is something to learn."""
    noise = np.random.default_rng(11).normal(0.0, 0.015, (SESSIONS, TICKERS))
    noise[1:] -= 0.1 * noise[:-1]
    closes = 50.0 * np.exp(np.cumsum(noise, axis=0))
    path = tmp_path_factory.mktemp("prices") / "twelve.csv"
    table = pa.table(
        {
            "date": np.repeat([day.isoformat() for day in sessions], TICKERS),
            "ticker": [f"T{n:02d}" for n in range(TICKERS)] * SESSIONS,
            "close": closes.round(4).ravel(),
        }
    )
    pyarrow.csv.write_csv(table, path)
    return path


@pytest.fixture(scope="session")
def strategy_file() -> Callable[[dict[str, Any]], str]:
    """Give the function that returns the text of the small strategy with keys of another."""

    def text(changed: dict[str, Any]) -> str:
        merged = STRATEGY | {
            key: STRATEGY.get(key, {}) | value if isinstance(value, dict) else value
            for key, value in changed.items()
        }
        keys = [f"{k} = {_toml(v)}" for k, v in merged.items() if not isinstance(v, dict)]
        for section, values in merged.items():
            if isinstance(values, dict):
                keys += [f"[{section}]", *(f"{k} = {_toml(v)}" for k, v in values.items())]
        return "\n".join(keys) + "\n"

    return text


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value) if isinstance(value, date) else json.dumps(value)


@pytest.fixture(scope="session")
def strategy_text(
    strategy_file: Callable[[dict[str, Any]], str], price_file: Path, sessions: list[date]
) -> str:
    monitored = {"first_session": sessions[-MONITORED], "last_session": sessions[-1]}
    return strategy_file({"prices": {"file": str(price_file)}, "monitoring": monitored})


@pytest.fixture(scope="session")
def strategy(strategy_text: str, tmp_path_factory: pytest.TempPathFactory) -> Strategy:
    path = tmp_path_factory.mktemp("strategies") / "small.toml"
    path.write_text(strategy_text)
    return read_strategy(path)


@pytest.fixture(scope="session")
def defs(strategy: Strategy) -> dg.Definitions:
    return dg.Definitions.merge(
        strategy_definitions(strategy), dg.Definitions(resources={"server": Server()})
    )


def dagster_url(conninfo: str) -> str:
    parts = conninfo_to_dict(conninfo)
    password = f":{parts['password']}" if parts.get("password") else ""
    return (
        f"postgresql+psycopg2://{parts.get('user', '')}{password}@/{parts['dbname']}"
        f"?host={parts['host']}&port={parts.get('port', 5432)}"
    )


@contextmanager
def dagster_environment(folder: Path, conninfo: str) -> Iterator[None]:
    """Point DAGSTER_HOME to a folder with the shipped dagster.yaml, and the storage to a server."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dagster.yaml").write_bytes(dagster_yaml().read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(folder))
        patch.setenv("DAGSTER_PG_URL", dagster_url(conninfo))
        yield


@pytest.fixture(scope="session")
def dagster_template(clone: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the name of a database that holds Dagster's tables and nothing else."""
    with clone(None) as conninfo:
        folder = tmp_path_factory.mktemp("dagster_template")
        with dagster_environment(folder, conninfo), open_instance():
            pass
        yield str(conninfo_to_dict(conninfo)["dbname"])


@contextmanager
def environment(home: Path, ours: str, theirs: str) -> Iterator[None]:
    """Set what `prepare_environment` sets, with both databases given."""
    with dagster_environment(home / "dagster", theirs), pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUANT_MLOPS_DATABASE_URL", ours)
        patch.setenv("QUANT_MLOPS_HOME", str(home))
        patch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1000")
        yield


@dataclass(frozen=True)
class Desk:
    """A database, a home and a Dagster instance that belong together."""

    conninfo: str
    home: Path
    instance: dg.DagsterInstance


@contextmanager
def open_desk(clone: Any, folder: Path, *, domain: str, dagster: str) -> Iterator[Desk]:
    """Clone both databases and set the environment that commands and runs read."""
    with (
        clone(domain) as ours,
        clone(dagster) as theirs,
        environment(folder, ours, theirs),
        open_instance() as instance,
    ):
        yield Desk(ours, folder, instance)


@pytest.fixture
def desk(clone: Any, template: str, dagster_template: str, tmp_path: Path) -> Iterator[Desk]:
    """Give an empty database and an instance without a run."""
    with open_desk(clone, tmp_path / "home", domain=template, dagster=dagster_template) as opened:
        yield opened


@pytest.fixture(scope="session")
def new_desk(
    clone: Any, template: str, dagster_template: str
) -> Callable[[Path], AbstractContextManager[Desk]]:
    """Give the function that makes desks, for tests that need several, one after another."""
    return partial(open_desk, clone, domain=template, dagster=dagster_template)


@dataclass(frozen=True)
class Ran:
    """A strategy that was run to its last session, and databases that can be cloned."""

    strategy: Strategy
    home: Path
    domain: str
    dagster: str
    history: dg.ExecuteInProcessResult
    training: dg.ExecuteInProcessResult
    monitoring: dg.ExecuteInProcessResult
    daily: dg.ExecuteInProcessResult
    report: dg.ExecuteInProcessResult


def training_config(strategy: Strategy, session: date, request_id: int = 0) -> dict[str, object]:
    as_of = strategy.trading_calendar.close_time(session) + strategy.evaluation_lag
    config = {"as_of": as_of.isoformat(), "request_id": request_id}
    return {"ops": {f"{strategy.name}__{table}": {"config": config} for table in TRAINING}}


@pytest.fixture(scope="session")
def ran(
    clone: Any,
    template: str,
    dagster_template: str,
    defs: dg.Definitions,
    strategy: Strategy,
    sessions: list[date],
) -> Iterator[Ran]:
    """Run the jobs of the strategy: history and monitoring over a range, one day by itself."""
    first, last = strategy.first_partition, sessions[-1]
    with (
        tempfile.TemporaryDirectory(prefix="qm-ran-") as folder,
        clone(template) as ours,
        clone(dagster_template) as theirs,
    ):
        home = Path(folder)
        with environment(home, ours, theirs), open_instance() as instance:

            def run(job: str, **arguments: Any) -> dg.ExecuteInProcessResult:
                return run_job(defs, instance, f"small_{job}", **arguments)

            results = {
                "history": run("history", sessions=(first, sessions[-2])),
                "training": run("training", config=training_config(strategy, first)),
                "monitoring": run("monitoring", sessions=(sessions[-MONITORED], sessions[-2])),
                "daily": run("daily", sessions=(last, last)),
                "report": run("report"),
            }
        names = [str(conninfo_to_dict(url)["dbname"]) for url in (ours, theirs)]
        yield Ran(strategy, home, names[0], names[1], **results)


@pytest.fixture
def ran_desk(clone: Any, ran: Ran) -> Iterator[Desk]:
    """Give a copy of what was run, to be tampered with; only its home is shared."""
    with open_desk(clone, ran.home, domain=ran.domain, dagster=ran.dagster) as opened:
        yield opened
