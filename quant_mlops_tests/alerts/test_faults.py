"""Database and webhook go down in turn: every alert arrives, and is marked delivered once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from quant_mlops.alerts.channels import LogChannel, WebhookChannel
from quant_mlops.alerts.delivery import DeliveryReport, deliver_pending
from quant_mlops.alerts.outbox import Alert, NewAlert, list_alerts, record_alerts
from quant_mlops.database import Database
from quant_mlops.database.embedded import EmbeddedServer
from quant_mlops.database.migrations import migrate

Make = Callable[..., NewAlert]

NOON = datetime(2024, 3, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MARKED = """
    SELECT alert_id, count(*) FILTER (WHERE delivered)
    FROM alert_deliveries WHERE channel = 'webhook' GROUP BY alert_id ORDER BY alert_id
"""


@pytest.fixture
def server(reachable: Callable[[], AbstractContextManager[Path]]) -> Iterator[EmbeddedServer]:
    with reachable() as folder:
        made = EmbeddedServer(folder / "postgres")
        made.start()
        yield made
        made.stop()


def kill(server: EmbeddedServer) -> None:
    """Kill the server as a power failure would, backends that might still commit included."""
    with psycopg.connect(server.url()) as connection:
        backends = connection.execute("SELECT pid FROM pg_stat_activity").fetchall()
    postmaster = int((server.placement.data / "postmaster.pid").read_text().split()[0])
    # The postmaster first: it would start the server again for a backend that dies.
    for pid in (postmaster, *(pid for (pid,) in backends)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    poll = threading.Event()
    for _ in range(3000):
        if not server.is_running():
            return
        poll.wait(0.01)
    pytest.fail("the killed server still answers")


@dataclass(frozen=True)
class ServerDiesMeanwhile:
    """A channel whose message arrives while the database dies, so that nobody can note it."""

    channel: WebhookChannel
    server: EmbeddedServer
    name: str = "webhook"

    def send(self, alert: Alert) -> None:
        self.channel.send(alert)
        kill(self.server)


def test_every_alert_arrives_and_is_marked_once_whatever_goes_down(
    server: EmbeddedServer, webhook: Any, make_alert: Make, caplog: pytest.LogCaptureFixture
) -> None:
    def evaluate() -> int:
        """Find the same three episodes, one of which escalates another, and store what is new."""
        psi = {"strategy_id": "m", "opened_session": date(2024, 3, 1)}
        alerts = [
            make_alert(dedupe_key="mild", rule="psi_mild", severity="warning", **psi),
            make_alert(dedupe_key="severe", rule="psi_severe", strategy_id="m"),
            make_alert(dedupe_key="other"),
        ]
        with database.transaction() as connection:
            return len(record_alerts(connection, alerts))

    url = SecretStr(f"http://127.0.0.1:{webhook.server_port}/services/T0SECRET")
    channel = WebhookChannel(url, timeout=0.2)
    with Database(server.url()) as database:
        migrate(database)
        assert evaluate() == 3
        kill(server)
        server.start()
        # The rule is evaluated again, as after any crash.
        assert evaluate() == 0
        now = NOON
        for behaviour, tried in (("broken", 3), ("silent", 1)):
            webhook.behaviour = behaviour
            report = deliver_pending(database, [channel, LogChannel()], now=now)
            assert (report.failed, report.waiting) == (tried, 3 - tried)
            now += HOUR
        assert database.fetch_all(MARKED) == [(1, 0), (2, 0), (3, 0)]

        webhook.behaviour = "recovered"
        with pytest.raises(psycopg.OperationalError):
            deliver_pending(database, [ServerDiesMeanwhile(channel, server)], now=now)
        server.start()
        assert deliver_pending(database, [channel], now=now) == DeliveryReport(3, 0, 0)

        assert server.stop()
        server.start()
        assert evaluate() == 0
        assert deliver_pending(database, [channel, LogChannel()], now=now + HOUR) == (
            DeliveryReport(0, 0, 0)
        )
        assert database.fetch_all(MARKED) == [(1, 1), (2, 1), (3, 1)]
        escalating = {alert.dedupe_key: alert.escalates for alert in list_alerts(database)}
    assert escalating == {"mild": None, "severe": 1, "other": None}
    # The one that arrived while the database died arrived twice: at least once.
    numbers = [
        int(field["value"])
        for body in webhook.bodies
        for field in body["attachments"][0]["fields"]
        if field["title"] == "alert"
    ]
    assert sorted(set(numbers)) == [1, 2, 3]
    assert numbers[0] == numbers[1]
    assert len(numbers) == 4
    assert "SECRET" not in caplog.text
