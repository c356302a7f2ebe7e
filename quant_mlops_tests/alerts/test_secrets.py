"""No failure of a channel puts a secret into a log, a stored row, an error or a report."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from quant_mlops.alerts.channels import Channel, SmtpChannel, WebhookChannel
from quant_mlops.alerts.delivery import deliver_pending
from quant_mlops.alerts.delivery_states import delivery_states
from quant_mlops.alerts.outbox import Alert
from quant_mlops.alerts.pace import RateLimit
from quant_mlops.database import Database
from quant_mlops.settings import SmtpSettings

Store = Callable[..., Alert]

CANARY = "canary-4711"
TOKEN = f"/services/{CANARY}?token={CANARY}"


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def webhook_at(address: str) -> WebhookChannel:
    return WebhookChannel(SecretStr(address + TOKEN), timeout=0.2)


def mail_at(port: int) -> SmtpChannel:
    settings = SmtpSettings(
        host="127.0.0.1", port=port, username="desk", password=SecretStr(CANARY),
        sender="desk@example.com", recipients=("ana@example.com",),
    )  # fmt: skip
    return SmtpChannel(settings, timeout=0.2)


# What goes wrong, how the server behaves, and the channel that meets it there.
FAILURES: dict[str, tuple[str, Callable[[int], Channel]]] = {
    "status 500": ("broken", lambda port: webhook_at(f"http://127.0.0.1:{port}")),
    "status 302": ("moved", lambda port: webhook_at(f"http://127.0.0.1:{port}")),
    "timed out": ("silent", lambda port: webhook_at(f"http://{CANARY}:{CANARY}@127.0.0.1:{port}")),
    "refused": ("", lambda _: webhook_at(f"http://127.0.0.1:{closed_port()}")),
    "SSL": ("recovered", lambda port: webhook_at(f"https://127.0.0.1:{port}")),
    "InvalidURL": ("", lambda _: webhook_at(f"http://127.0.0.1:{CANARY}")),
    "InvalidURL in path": ("", lambda port: webhook_at(f"http://127.0.0.1:{port}/a b")),
    "mail refused": ("", lambda _: mail_at(closed_port())),
    "mail to a web server": ("recovered", mail_at),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("alerts", [1, 3], ids=["alert", "digest"])
def test_no_failure_shows_a_secret(
    database: Database, store_alert: Store, webhook: Any, caplog: pytest.LogCaptureFixture,
    failure: str, alerts: int,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    behaviour, make = FAILURES[failure]
    webhook.behaviour = behaviour or "recovered"
    channel = make(webhook.server_port)
    stored = [store_alert().alert_id for _ in range(alerts)]
    report = deliver_pending(
        database, [channel], rate_limit=RateLimit(1, timedelta(minutes=1)), most_attempts=1
    )
    assert (report.failed, report.undeliverable) == (alerts, alerts)
    (detail,) = {state.detail for state in delivery_states(database, stored)}
    assert detail.startswith(("the webhook at 127.0.0.1 ", "the mail server at 127.0.0.1:"))
    rows = database.fetch_all("SELECT to_jsonb(alert_deliveries) FROM alert_deliveries")
    for shown in (detail, json.dumps(rows), caplog.text, repr(channel), repr(report)):
        assert CANARY not in shown
    assert detail in caplog.text
