"""Every alert reaches every channel at least once, and is marked delivered once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from quant_mlops.alerts.channels import LogChannel, WebhookChannel
from quant_mlops.alerts.delivery import DeliveryReport, deliver_pending
from quant_mlops.alerts.outbox import Alert
from quant_mlops.alerts.pace import backoff, rest
from quant_mlops.alerts.waiting import Wait
from quant_mlops.database import Database
from quant_mlops.errors import ChannelError, MonitoringError

Store = Callable[..., Alert]

NOON = datetime(2024, 3, 5, 12, tzinfo=UTC)
DELIVERED = "SELECT alert_id, count(*) FROM alert_deliveries WHERE delivered GROUP BY alert_id"


@dataclass
class Recorder:
    """A channel that remembers what it was given, and fails as long as it is told to."""

    name: str = "recorder"
    failure: BaseException | None = None
    sent: list[int] = field(default_factory=list)

    def send(self, alert: Alert) -> None:
        self.sent.append(alert.alert_id)
        if self.failure is not None:
            raise self.failure


def test_a_webhook_that_recovers_gets_every_alert_and_each_is_marked_once(
    database: Database, store_alert: Store, webhook: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    alerts = [store_alert() for _ in range(5)]
    url = SecretStr(f"http://127.0.0.1:{webhook.server_port}/services/T0SECRET")
    channel = WebhookChannel(url, timeout=0.2)
    now = NOON
    reports = []
    for behaviour in ("broken", "silent", "broken", "recovered", "recovered", "recovered"):
        webhook.behaviour = behaviour
        reports.append(deliver_pending(database, [channel], now=now))
        now += timedelta(hours=1)
    assert reports == [
        DeliveryReport(delivered=0, failed=3, waiting=2),
        DeliveryReport(delivered=0, failed=1, waiting=4),
        DeliveryReport(delivered=0, failed=3, waiting=2),
        DeliveryReport(delivered=5, failed=0, waiting=0),
        DeliveryReport(delivered=0, failed=0, waiting=0),
        DeliveryReport(delivered=0, failed=0, waiting=0),
    ]
    assert webhook.received == {"broken": 6, "silent": 1, "recovered": 5}
    marked = dict(database.fetch_all(DELIVERED))
    assert marked == {alert.alert_id: 1 for alert in alerts}
    details = {detail for (detail,) in database.fetch_all("SELECT detail FROM alert_deliveries")}
    assert details == {
        "",
        "the webhook at 127.0.0.1 answered with status 500",
        "the webhook at 127.0.0.1 could not be reached: timed out",
    }
    assert "answered with status 500" in caplog.text
    assert "SECRET" not in caplog.text


def test_a_second_run_delivers_nothing(database: Database, store_alert: Store) -> None:
    store_alert()
    channel = Recorder()
    assert deliver_pending(database, [channel]) == DeliveryReport(1, 0, 0)
    assert deliver_pending(database, [channel]) == DeliveryReport(0, 0, 0)
    assert channel.sent == [1]


def test_backoff_doubles_from_half_a_minute_to_an_hour() -> None:
    seconds = [backoff(attempts).total_seconds() for attempts in range(1, 10)]
    assert seconds == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert backoff(10**6) == timedelta(hours=1)


def test_half_of_the_rest_is_left_to_chance() -> None:
    assert [rest(2, chance).total_seconds() for chance in (0.0, 0.5, 1.0)] == [30, 45, 60]


def test_an_attempt_is_made_when_its_backoff_is_over_and_not_before(
    database: Database, store_alert: Store
) -> None:
    store_alert()
    channel = Recorder(failure=ChannelError("down"))
    moment = NOON
    for attempt in range(1, 10):
        tried = deliver_pending(database, [channel], now=moment, seed=5)
        pause = rest(attempt, Random(5).random())
        early = deliver_pending(database, [channel], now=moment + pause - timedelta(microseconds=1))
        assert (tried, early) == (DeliveryReport(0, 1, 0), DeliveryReport(0, 0, 1))
        assert tried.waits == early.waits == (Wait("backoff", 1, moment + pause),)
        moment += pause
    rows = database.fetch_all("SELECT attempt, attempted_at FROM alert_deliveries ORDER BY attempt")
    assert [attempt for attempt, _ in rows] == list(range(1, 10))
    assert rows[0][1] == NOON


def test_without_a_given_time_the_database_tells_it(database: Database, store_alert: Store) -> None:
    store_alert()
    channel = Recorder(failure=ChannelError("down"))
    assert deliver_pending(database, [channel]) == DeliveryReport(0, 1, 0)
    assert deliver_pending(database, [channel]) == DeliveryReport(0, 0, 1)
    database.execute(
        "UPDATE alert_deliveries SET next_attempt_at = next_attempt_at - interval '30 s'"
    )
    assert deliver_pending(database, [channel]) == DeliveryReport(0, 1, 0)


@pytest.mark.parametrize(
    "failure", [ChannelError("down"), RuntimeError("hush"), psycopg.OperationalError("hush")]
)
def test_a_failing_channel_does_not_hold_up_the_others(
    database: Database,
    store_alert: Store,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
) -> None:
    for _ in range(4):
        store_alert()
    broken, sound = Recorder("broken", failure=failure), Recorder("sound")
    report = deliver_pending(database, [broken, sound], now=NOON)
    assert report == DeliveryReport(delivered=4, failed=3, waiting=1)
    backoff, left = report.waits
    assert (backoff.pairs, left) == (3, Wait("next run", 1, None))
    assert "hush" not in caplog.text
    assert "hush" not in str(database.fetch_all("SELECT detail FROM alert_deliveries"))
    broken.failure = None
    later = NOON + timedelta(minutes=1)
    assert deliver_pending(database, [broken, sound], now=later) == DeliveryReport(4, 0, 0)
    assert set(broken.sent) == {1, 2, 3, 4}


def test_alerts_that_always_fail_do_not_starve_the_rest(
    database: Database, store_alert: Store
) -> None:
    @dataclass
    class Picky(Recorder):
        def send(self, alert: Alert) -> None:
            if alert.alert_id <= 3:
                raise ChannelError("not this one")
            self.sent.append(alert.alert_id)

    for _ in range(6):
        store_alert()
    channel = Picky()
    for day in range(2):
        deliver_pending(database, [channel], now=NOON + timedelta(days=day))
    assert sorted(channel.sent) == [4, 5, 6]


def test_two_deliverers_at_once_send_an_alert_once(database: Database, store_alert: Store) -> None:
    sending, go_on = threading.Event(), threading.Event()

    @dataclass
    class Slow(Recorder):
        def send(self, alert: Alert) -> None:
            self.sent.append(alert.alert_id)
            sending.set()
            assert go_on.wait(30)

    store_alert()
    slow, quick = Slow("webhook"), Recorder("webhook")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(deliver_pending, database, [slow])
        try:
            assert sending.wait(30)
            second = deliver_pending(database, [quick])
        finally:
            go_on.set()
        assert first.result(30) == DeliveryReport(1, 0, 0)
    assert second == DeliveryReport(0, 0, 1)
    assert (slow.sent, quick.sent) == ([1], [])
    assert database.fetch_all(DELIVERED) == [(1, 1)]


def test_many_deliverers_at_once_send_every_alert_once(
    database: Database, store_alert: Store
) -> None:
    alerts = [store_alert().alert_id for _ in range(25)]
    deliverers = 4
    start = threading.Barrier(deliverers)
    channels = [Recorder("webhook") for _ in range(deliverers)]

    def deliver(channel: Recorder) -> DeliveryReport:
        start.wait(30)
        return deliver_pending(database, [channel])

    with ThreadPoolExecutor(deliverers) as pool:
        reports = list(pool.map(deliver, channels))
    assert sum(report.delivered for report in reports) == len(alerts)
    assert sorted(sent for channel in channels for sent in channel.sent) == alerts


def test_an_alert_whose_sender_died_is_sent_again(database: Database, store_alert: Store) -> None:
    store_alert()
    channel = Recorder(failure=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        deliver_pending(database, [channel], now=NOON)
    channel.failure = None
    assert deliver_pending(database, [channel], now=NOON) == DeliveryReport(1, 0, 0)
    assert channel.sent == [1, 1]


def test_a_lost_database_is_raised_and_the_alert_is_kept(
    database: Database, store_alert: Store
) -> None:
    @dataclass
    class PullsThePlug(Recorder):
        def send(self, alert: Alert) -> None:
            self.sent.append(alert.alert_id)
            with psycopg.connect(database.conninfo, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )

    store_alert()
    with pytest.raises(psycopg.OperationalError):
        deliver_pending(database, [PullsThePlug("webhook")])
    assert deliver_pending(database, [Recorder("webhook")]) == DeliveryReport(1, 0, 0)


def test_old_episodes_go_to_the_log_only(
    database: Database, store_alert: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store_alert(opened_session=date(2019, 5, 6), message="years ago")
    store_alert(opened_session=date(2024, 3, 4), message="today")
    channel = Recorder()
    report = deliver_pending(database, [LogChannel(), channel], quiet_before=date(2024, 3, 4))
    assert report == DeliveryReport(delivered=3, failed=0, waiting=0)
    assert channel.sent == [2]
    assert "years ago" in caplog.text
    # Quiet is a choice of the run, not a mark on the alert.
    assert deliver_pending(database, [channel]) == DeliveryReport(1, 0, 0)


def test_mild_alerts_go_to_the_log_only(database: Database, store_alert: Store) -> None:
    for severity in ("info", "warning", "severe", "critical"):
        store_alert(severity=severity)
    channel, log = Recorder(), Recorder("log")
    report = deliver_pending(database, [channel, log], min_severity="severe")
    assert report == DeliveryReport(delivered=6, failed=0, waiting=0)
    assert (channel.sent, log.sent) == ([3, 4], [1, 2, 3, 4])


def test_the_limit_holds_for_each_channel(database: Database, store_alert: Store) -> None:
    for _ in range(5):
        store_alert()
    report = deliver_pending(database, [Recorder("one"), Recorder("two")], limit=3)
    assert report == DeliveryReport(delivered=6, failed=0, waiting=4)


def test_wrong_use_is_refused(database: Database) -> None:
    with pytest.raises(MonitoringError, match="one, one"):
        deliver_pending(database, [Recorder("one"), Recorder("one")])
    with pytest.raises(MonitoringError, match="fatal"):
        deliver_pending(database, [], min_severity="fatal")
    with pytest.raises(MonitoringError, match="time zone"):
        deliver_pending(database, [], now=NOON.replace(tzinfo=None))
