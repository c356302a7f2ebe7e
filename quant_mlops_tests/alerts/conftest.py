"""Alerts to work with, stored or not, and a web server to send them to."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from quant_mlops.alerts.outbox import Alert, NewAlert, record_alerts
from quant_mlops.alerts.response import Response, respond
from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.drift.rules import AlertConfig
from quant_mlops.market.calendar import TradingCalendar

LAG = timedelta(hours=4)
STRATEGY = "mo'mentum"
HEALTHY = {"ic": 0.05, "psi": 0.02, "sharpe_5d": 1.5}
COLUMNS = (
    "evaluation_time", "model_id", "ic_session", "ic_names", "ic", "ic_5d_avg", "ic_20d_mean",
    "ic_20d_se", "psi", "psi_max", "psi_max_feature", "sharpe_5d", "sharpe_20d", "sharpe_60d",
    "sharpe_60d_se", "ic_alert", "psi_alert", "sharpe_alert",
    "prediction_psi", "sharpe_5d_se", "sharpe_20d_se", "probabilistic_sharpe_60d",
)  # fmt: skip


@pytest.fixture
def make_alert() -> Callable[..., NewAlert]:
    numbers = count(1)

    def make(**changes: Any) -> NewAlert:
        values: dict[str, Any] = {
            "dedupe_key": f"episode {next(numbers)}",
            "strategy_id": "momentum",
            "rule": "psi_severe",
            "severity": "severe",
            "action": "request_retrain",
            "message": "PSI of vol_20d is 0.31, above 0.25",
            "opened_session": date(2024, 3, 4),
            "last_session": date(2024, 3, 4),
        }
        return NewAlert(**(values | changes))

    return make


@pytest.fixture
def store_alert(database: Database, make_alert: Callable[..., NewAlert]) -> Callable[..., Alert]:
    def store(**changes: Any) -> Alert:
        with database.transaction() as connection:
            (alert,) = record_alerts(connection, [make_alert(**changes)])
        return alert

    return store


@pytest.fixture
def wait_until_blocked(database: Database) -> Callable[[], None]:
    """Give a function that returns once some connection waits for another one's lock."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    poll = threading.Event()

    def wait() -> None:
        for _ in range(3000):
            if database.fetch_one(waiting) != (0,):
                return
            poll.wait(0.01)
        pytest.fail("nobody waited for a lock")

    return wait


STATUS = {"recovered": 200, "broken": 500, "moved": 302}


class Webhook(ThreadingHTTPServer):
    """Answers 200, 500 or a redirect, or nothing at all until it is let go."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.behaviour = "recovered"
        self.received: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.let_go = threading.Event()

    def handle_error(self, *_: object) -> None:
        """Say nothing of a client that has hung up."""


class _Answer(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received[self.server.behaviour] += 1
        if self.server.behaviour == "silent":
            self.server.let_go.wait(30)
            return
        if self.server.behaviour == "recovered":
            self.server.bodies.append(body)
        self.send_response(STATUS[self.server.behaviour])
        self.send_header("Location", self.path)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Webhook()
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield server
    server.let_go.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def days(calendar: TradingCalendar) -> list[date]:
    """Give sessions around Thanksgiving and the turn of the year."""
    found: list[date] = calendar.sessions(date(2023, 11, 13), date(2024, 3, 28)).tolist()
    return found


@pytest.fixture
def judge(database: Database, calendar: TradingCalendar, days: list[date]) -> Callable[..., None]:
    """Give a function that stores metrics of sessions from a position on, healthy by default."""

    def judge(
        start: int, count: int, *, no_data: bool = False, strategy: str = STRATEGY, **metrics: Any
    ) -> None:
        rows = [
            dict.fromkeys(COLUMNS)
            | {"evaluation_time": calendar.close_time(day) + LAG}
            | {"date": day, "strategy_id": strategy, "no_data": no_data}
            | {"ic_by_horizon": Jsonb([]), "missing": ["predictions"] if no_data else []}
            | HEALTHY
            | metrics
            for day in days[start : start + count]
        ]
        with database.transaction() as connection, connection.cursor() as cursor:
            cursor.executemany(query("insert_drift_metrics"), rows)

    return judge


@pytest.fixture
def act(database: Database, calendar: TradingCalendar, days: list[date]) -> Callable[..., Response]:
    def act(
        last: int,
        *,
        cooldown: int = 20,
        config: AlertConfig | None = None,
        strategy: str = STRATEGY,
    ) -> Response:
        return respond(
            database,
            calendar,
            strategy_id=strategy,
            config=config or AlertConfig(),
            last=days[last],
            evaluation_lag=LAG,
            cooldown_sessions=cooldown,
        )

    return act
