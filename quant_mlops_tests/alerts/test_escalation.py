"""A matter that becomes graver, or that nobody looks at, is told once more and once only."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import pytest

from quant_mlops.alerts.delivery import DeliveryReport, deliver_pending
from quant_mlops.alerts.escalation import escalate_unacknowledged
from quant_mlops.alerts.messages import summarise
from quant_mlops.alerts.outbox import Alert, NewAlert, acknowledge, list_alerts, record_alerts
from quant_mlops.database import Database
from quant_mlops.errors import MonitoringError

Store = Callable[..., Alert]
Make = Callable[..., NewAlert]

MONDAY, WEDNESDAY, FRIDAY = date(2024, 3, 4), date(2024, 3, 6), date(2024, 3, 8)
DAY = timedelta(hours=24)


@dataclass
class Recorder:
    name: str = "recorder"
    sent: list[str] = field(default_factory=list)

    def send(self, alert: Alert) -> None:
        self.sent.append(summarise(alert))


def by_rule(store: Store, rule: str, severity: str, opened: date, **changes: object) -> Alert:
    return store(
        rule=rule, severity=severity, opened_session=opened,
        **({"last_session": opened} | changes),
    )  # fmt: skip


def later(alert: Alert, by: timedelta) -> datetime:
    return alert.recorded_at + by


def test_a_graver_rule_of_the_same_metric_escalates_the_milder_one(
    database: Database, store_alert: Store
) -> None:
    mild = by_rule(store_alert, "ic_low", "warning", MONDAY)
    channel = Recorder()
    deliver_pending(database, [channel])
    acknowledge(database, mild.alert_id, by="ann")
    severe = by_rule(store_alert, "ic_severe", "severe", WEDNESDAY)
    critical = by_rule(store_alert, "ic_negative", "critical", FRIDAY)
    assert (mild.escalates, severe.escalates) == (None, mild.alert_id)
    assert critical.escalates == severe.alert_id
    assert severe.message.endswith("; escalates ic_low (warning) since 2024-03-04")
    # The milder one was delivered and acknowledged, and the escalation is told all the same.
    assert deliver_pending(database, [channel]) == DeliveryReport(2, 0, 0)
    assert "escalates ic_low (warning)" in channel.sent[1]
    assert channel.sent[1].endswith(f"escalates alert {mild.alert_id})")
    assert deliver_pending(database, [channel]) == DeliveryReport(0, 0, 0)


@pytest.mark.parametrize(
    "mild",
    [
        {"rule": "psi_mild"},
        {"rule": "a rule of somebody else's"},
        {"strategy_id": "value"},
        {"closed_session": WEDNESDAY},
        {"opened_session": WEDNESDAY},
        {"opened_session": FRIDAY, "last_session": FRIDAY},
        {"severity": "severe"},
    ],
    ids=str,
)
def test_nothing_else_is_escalated(store_alert: Store, mild: dict[str, object]) -> None:
    values = {"rule": "ic_low", "severity": "warning", "last_session": WEDNESDAY} | mild
    store_alert(**values)
    assert by_rule(store_alert, "ic_severe", "severe", WEDNESDAY).escalates is None


def test_the_same_evaluation_again_escalates_nothing_twice(
    database: Database, make_alert: Make
) -> None:
    alerts = [
        make_alert(rule="ic_low", severity="warning"),
        make_alert(rule="ic_severe", severity="severe", opened_session=FRIDAY, last_session=FRIDAY),
    ]
    with database.connection() as connection:
        mild, severe = record_alerts(connection, alerts)
        assert record_alerts(connection, alerts) == []
    assert severe.escalates == mild.alert_id
    assert list_alerts(database) == [severe, mild]


def test_an_unacknowledged_alert_is_told_once_more_and_graver(
    database: Database, store_alert: Store
) -> None:
    alert = by_rule(store_alert, "ic_low", "warning", MONDAY, last_session=FRIDAY)
    channel = Recorder()
    deliver_pending(database, [channel])
    early = later(alert, DAY - timedelta(microseconds=1))
    assert escalate_unacknowledged(database, after=DAY, now=early) == []
    (reminder,) = escalate_unacknowledged(database, after=DAY, now=later(alert, DAY))
    assert (reminder.escalates, reminder.severity) == (alert.alert_id, "severe")
    assert (reminder.rule, reminder.opened_session) == ("unacknowledged", FRIDAY)
    assert reminder.message == (
        f"nobody has acknowledged alert {alert.alert_id} (warning, ic_low since 2024-03-04) for "
        f"24 hours: {alert.message}"
    )
    for days in (1, 2, 30):
        now = later(reminder, DAY * days)
        assert escalate_unacknowledged(database, after=DAY, now=now) == []
    assert deliver_pending(database, [channel]) == DeliveryReport(1, 0, 0)
    assert "nobody has acknowledged" in channel.sent[1]


def test_what_was_seen_is_over_mild_graver_already_or_old_needs_no_reminder(
    database: Database, store_alert: Store
) -> None:
    seen = store_alert()
    acknowledge(database, seen.alert_id, by="ann")
    store_alert(closed_session=FRIDAY)
    store_alert(severity="info")
    store_alert(opened_session=date(2019, 1, 2), last_session=date(2019, 1, 2))
    by_rule(store_alert, "ic_low", "warning", MONDAY)
    graver = by_rule(store_alert, "ic_severe", "severe", FRIDAY)
    now = later(graver, DAY)
    reminders = escalate_unacknowledged(database, after=DAY, now=now, quiet_before=MONDAY)
    assert [reminder.escalates for reminder in reminders] == [graver.alert_id]
    assert reminders[0].severity == "critical"


def test_a_critical_alert_stays_critical(database: Database, store_alert: Store) -> None:
    alert = store_alert(severity="critical")
    (reminder,) = escalate_unacknowledged(database, after=DAY, now=later(alert, DAY))
    assert reminder.severity == "critical"


@pytest.mark.parametrize("which", [0, 1])
def test_who_has_seen_a_reminder_has_seen_the_alert_and_the_other_way_round(
    database: Database, store_alert: Store, which: int
) -> None:
    alert, bystander = store_alert(), store_alert(severity="info")
    (reminder,) = escalate_unacknowledged(database, after=DAY, now=later(bystander, DAY))
    done = acknowledge(database, (alert, reminder)[which].alert_id, by="ann")
    assert done.alert_id == (alert, reminder)[which].alert_id
    seen = {a.alert_id for a in list_alerts(database) if a.acknowledged_by == "ann"}
    assert seen == {alert.alert_id, reminder.alert_id}


def test_a_reminder_ends_with_its_alert(database: Database, make_alert: Make) -> None:
    with database.connection() as connection:
        (alert,) = record_alerts(connection, [make_alert(dedupe_key="k")])
        escalate_unacknowledged(database, after=DAY, now=later(alert, DAY))
        record_alerts(
            connection,
            [make_alert(dedupe_key="k", last_session=WEDNESDAY, closed_session=FRIDAY)],
        )
    spans = {(a.last_session, a.closed_session) for a in list_alerts(database)}
    assert spans == {(WEDNESDAY, FRIDAY)}


def test_two_at_once_make_one_reminder(database: Database, store_alert: Store) -> None:
    newest = [store_alert() for _ in range(10)][-1]
    now = later(newest, DAY)
    with ThreadPoolExecutor(4) as pool:
        runs = [
            pool.submit(escalate_unacknowledged, database, after=DAY, now=now) for _ in range(4)
        ]
        made = [reminder for run in runs for reminder in run.result(30)]
    assert sorted(reminder.escalates or 0 for reminder in made) == list(range(1, 11))


def test_wrong_use_is_refused(database: Database) -> None:
    with pytest.raises(MonitoringError, match="more than 0"):
        escalate_unacknowledged(database, after=timedelta(0))
    with pytest.raises(MonitoringError, match="time zone"):
        escalate_unacknowledged(
            database, after=DAY, now=datetime(2024, 3, 4, tzinfo=UTC).replace(tzinfo=None)
        )
