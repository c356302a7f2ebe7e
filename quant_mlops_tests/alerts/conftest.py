"""Alerts to work with, stored or not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import date
from itertools import count
from typing import Any

import pytest

from quant_mlops.alerts.outbox import Alert, NewAlert, record_alerts
from quant_mlops.database import Database


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
