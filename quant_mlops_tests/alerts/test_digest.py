"""A flood of alerts becomes one message, in a form that Slack takes, and each is marked by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from quant_mlops.alerts.channels import WebhookChannel
from quant_mlops.alerts.delivery import DeliveryReport, deliver_pending
from quant_mlops.alerts.messages import mail_digest, webhook_body, webhook_digest
from quant_mlops.alerts.outbox import Alert
from quant_mlops.alerts.pace import RateLimit
from quant_mlops.alerts.waiting import Wait
from quant_mlops.database import Database
from quant_mlops.errors import ChannelError, MonitoringError
from quant_mlops.settings import SmtpSettings

Store = Callable[..., Alert]

NOON = datetime(2024, 3, 5, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LIMIT = RateLimit(3, 10 * MINUTE)
MESSAGES = """
    SELECT coalesce(digest_id::text, delivery_id::text) AS message, array_agg(alert_id ORDER BY 1)
    FROM alert_deliveries WHERE delivered GROUP BY 1 ORDER BY min(delivery_id)
"""


@dataclass
class Recorder:
    name: str = "recorder"
    failure: Exception | None = None
    sent: list[list[int]] = field(default_factory=list)

    def send(self, alert: Alert) -> None:
        self.send_digest([alert])

    def send_digest(self, alerts: Sequence[Alert]) -> None:
        self.sent.append([alert.alert_id for alert in alerts])
        if self.failure is not None:
            raise self.failure


def deliver(database: Database, channel: Any, minutes: float = 0, **changes: Any) -> DeliveryReport:
    now = NOON + minutes * MINUTE
    return deliver_pending(database, [channel], now=now, rate_limit=LIMIT, **changes)


def test_as_many_as_are_allowed_come_one_by_one(database: Database, store_alert: Store) -> None:
    for _ in range(3):
        store_alert()
    channel = Recorder()
    assert deliver(database, channel) == DeliveryReport(3, 0, 0)
    assert channel.sent == [[1], [2], [3]]


def test_one_more_makes_a_digest_of_all_and_marks_each_delivered(
    database: Database, store_alert: Store
) -> None:
    for _ in range(4):
        store_alert()
    channel = Recorder()
    assert deliver(database, channel) == DeliveryReport(4, 0, 0)
    assert channel.sent == [[1, 2, 3, 4]]
    assert [sorted(ids) for _, ids in database.fetch_all(MESSAGES)] == [[1, 2, 3, 4]]
    assert deliver(database, channel) == DeliveryReport(0, 0, 0)


def test_messages_already_sent_in_the_window_count(database: Database, store_alert: Store) -> None:
    for _ in range(3):
        store_alert()
    channel = Recorder()
    deliver(database, channel)
    for _ in range(2):
        store_alert()
    assert deliver(database, channel, minutes=9) == DeliveryReport(2, 0, 0)
    assert channel.sent[3:] == [[4, 5]]
    store_alert()
    # Those of noon are out of the window by now; a digest counts as one message.
    assert deliver(database, channel, minutes=10) == DeliveryReport(1, 0, 0)
    assert channel.sent[4:] == [[6]]


def test_a_second_digest_waits_for_the_window_unless_an_alert_is_critical(
    database: Database, store_alert: Store
) -> None:
    channel = Recorder()
    for _ in range(5):
        store_alert()
    deliver(database, channel)
    for _ in range(4):
        store_alert()
    held = deliver(database, channel, minutes=5)
    assert held == DeliveryReport(0, 0, 4)
    assert held.waits == (Wait("rate limit", 4, NOON + 10 * MINUTE),)
    store_alert(severity="critical")
    assert deliver(database, channel, minutes=6) == DeliveryReport(5, 0, 0)
    for _ in range(4):
        store_alert()
    assert deliver(database, channel, minutes=7) == DeliveryReport(0, 0, 4)
    assert deliver(database, channel, minutes=16) == DeliveryReport(4, 0, 0)
    assert [len(ids) for ids in channel.sent] == [5, 5, 4]


def test_a_digest_that_fails_is_tried_again_whole(database: Database, store_alert: Store) -> None:
    for _ in range(4):
        store_alert()
    channel = Recorder(failure=ChannelError("down"))
    assert deliver(database, channel) == DeliveryReport(0, 4, 0)
    due = database.fetch_all("SELECT DISTINCT next_attempt_at FROM alert_deliveries")
    assert len(due) == 1
    assert deliver(database, channel) == DeliveryReport(0, 0, 4)
    channel.failure = None
    assert deliver(database, channel, minutes=1) == DeliveryReport(4, 0, 0)
    assert channel.sent == [[1, 2, 3, 4]] * 2


def test_a_digest_can_be_given_up_too(database: Database, store_alert: Store) -> None:
    for _ in range(4):
        store_alert()
    channel = Recorder(failure=RuntimeError("hush"))
    assert deliver(database, channel, most_attempts=1) == DeliveryReport(0, 4, 0, undeliverable=4)


def test_the_log_has_a_line_for_each_whatever_their_number(
    database: Database, store_alert: Store
) -> None:
    for _ in range(5):
        store_alert()
    log = Recorder("log")
    deliver(database, log)
    assert log.sent == [[1], [2], [3], [4], [5]]


def test_a_channel_that_knows_no_digest_gets_them_one_by_one(
    database: Database, store_alert: Store
) -> None:
    class Plain:
        name = "plain"

        def send(self, alert: Alert) -> None:
            sent.append(alert.alert_id)

    sent: list[int] = []
    for _ in range(5):
        store_alert()
    assert deliver(database, Plain()) == DeliveryReport(5, 0, 0)
    assert sent == [1, 2, 3, 4, 5]


def test_the_webhook_gets_the_count_by_severity_and_the_gravest_first(
    database: Database, store_alert: Store, webhook: Any
) -> None:
    for severity in ("warning", "critical", "warning", "severe"):
        store_alert(severity=severity, message=f"a <{severity}> & more")
    url = SecretStr(f"http://127.0.0.1:{webhook.server_port}/hook")
    assert deliver(database, WebhookChannel(url)) == DeliveryReport(4, 0, 0)
    (body,) = webhook.bodies
    lines = body["text"].splitlines()
    assert lines[0] == "4 alerts: 1 critical, 1 severe, 2 warning"
    assert lines[1].startswith("[critical] momentum: a &lt;critical&gt; &amp; more")
    assert [line.partition("]")[0] for line in lines[1:]] == [
        "[critical", "[severe", "[warning", "[warning",
    ]  # fmt: skip
    assert "\n".join(block["text"]["text"] for block in body["blocks"]) == body["text"]


@pytest.mark.parametrize("message", ["short", "x" * 900, "<&>" * 900])
@pytest.mark.parametrize("alerts", [2, 30, 1200])
def test_no_digest_exceeds_what_slack_takes(store_alert: Store, alerts: int, message: str) -> None:
    body = webhook_digest([store_alert(message=message)] * alerts)
    check_slack(body)
    text = "\n".join(block["text"]["text"] for block in body["blocks"])
    shown = text.count("[severe] momentum")
    more = f"and {alerts - shown} more, see `quant-mlops alerts list`"
    assert shown == alerts or text.endswith(more)
    if alerts <= 30:
        assert shown == alerts


@pytest.mark.parametrize("message", ["x" * 2_000, "x" * 50_000, "<" * 50_000, "ä&" * 9_000])
def test_a_long_message_is_cut_and_says_by_how_much(store_alert: Store, message: str) -> None:
    alert = store_alert(message=message, action=message)
    body = webhook_body(alert)
    check_slack(body)
    if len(message) > 2_000:
        kept, _, note = body["text"].partition(" … (")
        plain = kept.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        whole = (
            f"[severe] momentum: {message} (rule psi_severe, since 2024-03-04, action: {message})"
        )
        assert whole.startswith(plain)
        assert note == f"{len(whole) - len(plain):,} characters cut)"


def check_slack(body: dict[str, Any]) -> None:
    """Hold a document against the limits of Slack's reference for messages and blocks."""
    assert len(body["blocks"]) <= 50
    assert 0 < len(body["text"]) <= 40_000
    for block in body["blocks"]:
        assert set(block) == {"type", "text"}
        assert block["type"] == "section"
        assert set(block["text"]) == {"type", "text"}
        assert block["text"]["type"] == "mrkdwn"
        text = block["text"]["text"]
        assert 0 < len(text) <= 3000
        assert "<" not in text
        assert text.count("&") == sum(text.count(e) for e in ("&amp;", "&lt;", "&gt;"))


def test_a_digest_by_mail_has_a_line_for_each(store_alert: Store) -> None:
    alerts = [store_alert(severity=severity) for severity in ("warning", "severe")]
    settings = SmtpSettings(host="h", sender="desk@example.com", recipients=("ana@example.com",))
    mail = mail_digest(alerts, settings)
    assert mail["Subject"] == "[severe] 2 alerts: 1 severe, 1 warning"
    assert [line[:9] for line in mail.get_content().splitlines()] == ["[severe] ", "[warning]"]
    assert mail["Message-ID"] == mail_digest(alerts, settings)["Message-ID"]
    assert mail["Message-ID"] != mail_digest(alerts[:1], settings)["Message-ID"]


def test_a_limit_that_lets_nothing_through_is_refused() -> None:
    with pytest.raises(MonitoringError, match="at least one"):
        RateLimit(0, MINUTE)
    with pytest.raises(MonitoringError, match="longer than 0"):
        RateLimit(1, timedelta(0))
