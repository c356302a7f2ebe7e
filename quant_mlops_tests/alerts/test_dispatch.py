"""One round of the outbox does what the settings say, whoever runs it and however often."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from quant_mlops.alerts.delivery import DeliveryReport, deliver_pending
from quant_mlops.alerts.dispatch import dispatch_alerts
from quant_mlops.alerts.outbox import Alert, list_alerts
from quant_mlops.alerts.pace import RateLimit
from quant_mlops.database import Database
from quant_mlops.settings import Settings

Store = Callable[..., Alert]

DAY = timedelta(hours=24)


def news(store: Store, database: Database) -> Alert:
    today = database.now().date()
    return store(opened_session=today, last_session=today)


@pytest.mark.parametrize(("hours", "reminders"), [(24, 1), (0, 0)])
def test_a_round_reminds_once_and_delivers(
    database: Database, store_alert: Store, webhook: Any, tmp_path: Path,
    hours: float, reminders: int,
) -> None:  # fmt: skip
    url = SecretStr(f"http://127.0.0.1:{webhook.server_port}/hook")
    settings = Settings(home=tmp_path, webhook_url=url, alert_escalation_hours=hours)
    alert = news(store_alert, database)
    assert dispatch_alerts(database, settings) == DeliveryReport(2, 0, 0)
    for _ in range(2):
        dispatch_alerts(database, settings, now=alert.recorded_at + DAY)
    assert len(list_alerts(database)) == len(webhook.bodies) == 1 + reminders


def test_the_settings_limit_rate_and_attempts(
    database: Database, store_alert: Store, webhook: Any, tmp_path: Path
) -> None:
    url = SecretStr(f"http://127.0.0.1:{webhook.server_port}/hook")
    settings = Settings(home=tmp_path, webhook_url=url, alert_rate_messages=2, alert_attempts=1)
    for _ in range(3):
        news(store_alert, database)
    dispatch_alerts(database, settings)
    assert len(webhook.bodies) == 1
    webhook.behaviour = "broken"
    news(store_alert, database)
    assert dispatch_alerts(database, settings).undeliverable == 1


def test_two_digests_at_once_share_no_alert(database: Database, store_alert: Store) -> None:
    class Slow:
        name = "webhook"

        def send(self, alert: Alert) -> None:
            self.send_digest([alert])

        def send_digest(self, alerts: Sequence[Alert]) -> None:
            sent.extend(alert.alert_id for alert in alerts)
            sending.set()
            assert go_on.wait(30)

    sent: list[int] = []
    sending, go_on = threading.Event(), threading.Event()
    limit = RateLimit(1, timedelta(minutes=1))
    stored = [store_alert().alert_id for _ in range(4)]
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(deliver_pending, database, [Slow()], rate_limit=limit)
        try:
            assert sending.wait(30)
            second = deliver_pending(database, [Slow()], rate_limit=limit)
        finally:
            go_on.set()
        assert first.result(30) == DeliveryReport(4, 0, 0)
    assert second == DeliveryReport(0, 0, 4)
    assert sorted(sent) == stored
