"""What a channel never takes is given up, listed, written to the log and tried again on demand."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from quant_mlops.alerts.delivery import DeliveryReport, deliver_pending
from quant_mlops.alerts.delivery_states import (
    DeliveryState,
    delivery_states,
    reopen_deliveries,
    undeliverable_alerts,
)
from quant_mlops.alerts.outbox import Alert
from quant_mlops.database import Database
from quant_mlops.errors import ChannelError, MonitoringError

Store = Callable[..., Alert]

NOON = datetime(2024, 3, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@dataclass
class Picky:
    """A channel that refuses some alerts."""

    name: str
    refused: set[int] = field(default_factory=set)
    sent: list[int] = field(default_factory=list)

    def send(self, alert: Alert) -> None:
        if alert.alert_id in self.refused:
            raise ChannelError("down")
        self.sent.append(alert.alert_id)


def test_after_the_last_attempt_an_alert_is_undeliverable_and_the_log_has_it(
    database: Database, store_alert: Store, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        store_alert()
    broken, sound = Picky("broken", refused={1}), Picky("sound")
    reports = [
        deliver_pending(
            database, [broken, sound], now=NOON + hours * HOUR, most_attempts=3, seed=hours
        )
        for hours in range(5)
    ]
    assert reports == [
        DeliveryReport(delivered=3, failed=1, waiting=0),
        DeliveryReport(delivered=0, failed=1, waiting=0),
        DeliveryReport(delivered=0, failed=1, waiting=0, undeliverable=1),
        DeliveryReport(delivered=0, failed=0, waiting=0),
        DeliveryReport(delivered=0, failed=0, waiting=0),
    ]
    assert (broken.sent, sound.sent) == ([2], [1, 2])
    (lost,) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert lost.startswith("alert 1 is undeliverable by broken after 3 attempts: [severe] momentum")
    assert undeliverable_alerts(database) == [1]
    assert delivery_states(database, [1]) == [
        DeliveryState(1, "broken", 3, "undeliverable", NOON + 2 * HOUR, None, False, "down"),
        DeliveryState(1, "sound", 1, "delivered", NOON, None, False, ""),
    ]


def test_what_was_given_up_is_tried_once_more_on_demand(
    database: Database, store_alert: Store
) -> None:
    store_alert()
    channel = Picky("broken", refused={1})
    for hours in range(2):
        deliver_pending(database, [channel], now=NOON + hours * HOUR, most_attempts=1)
    assert reopen_deliveries(database) == 1
    again = deliver_pending(database, [channel], now=NOON + 3 * HOUR, most_attempts=1)
    assert again == DeliveryReport(delivered=0, failed=1, waiting=0, undeliverable=1)
    channel.refused.clear()
    assert reopen_deliveries(database) == 1
    now = NOON + 4 * HOUR
    assert deliver_pending(database, [channel], now=now) == DeliveryReport(1, 0, 0)
    assert undeliverable_alerts(database) == []
    assert reopen_deliveries(database) == 0


def test_the_time_of_the_next_attempt_is_stored_and_a_seed_gives_it_again(
    database: Database, store_alert: Store
) -> None:
    store_alert()
    store_alert()
    pauses = []
    for seed in (1, 1, 2):
        database.execute("DELETE FROM alert_deliveries")
        channel = Picky("broken", refused={1, 2})
        deliver_pending(database, [channel], now=NOON, seed=seed)
        states = delivery_states(database, [1, 2])
        pauses.append([state.next_attempt_at - NOON for state in states if state.next_attempt_at])
    assert pauses[0] == pauses[1] != pauses[2]
    assert pauses[0][0] != pauses[0][1]
    for pause in pauses[0] + pauses[2]:
        assert timedelta(seconds=15) <= pause < timedelta(seconds=30)


def test_no_attempt_at_all_is_refused(database: Database) -> None:
    with pytest.raises(MonitoringError, match="at least one"):
        deliver_pending(database, [], most_attempts=0)
