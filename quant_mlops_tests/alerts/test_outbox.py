"""Alerts are stored once per episode, whoever evaluates it and however often."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from uuid import UUID

import numpy as np
import psycopg
import pytest

from quant_mlops.alerts.outbox import (
    Alert,
    NewAlert,
    acknowledge,
    count_by_severity,
    list_alerts,
    record_alerts,
)
from quant_mlops.database import Database
from quant_mlops.errors import MonitoringError

Make = Callable[..., NewAlert]
Store = Callable[..., Alert]


def test_only_new_alerts_are_returned(database: Database, make_alert: Make) -> None:
    first, second = make_alert(), make_alert()
    with database.connection() as connection:
        stored = record_alerts(connection, [first])
        again = record_alerts(connection, [second, first])
    assert [alert.dedupe_key for alert in stored] == [first.dedupe_key]
    assert [alert.dedupe_key for alert in again] == [second.dedupe_key]
    assert [alert.alert_id for alert in stored + again] == [1, 2]


def test_a_key_given_twice_in_one_call_is_one_alert(database: Database, make_alert: Make) -> None:
    alert = make_alert()
    with database.connection() as connection:
        assert len(record_alerts(connection, [alert, alert])) == 1


def test_what_was_stored_is_returned(database: Database, make_alert: Make) -> None:
    model_id = UUID(int=7)
    alert = make_alert(model_id=model_id, closed_session=date(2024, 3, 8))
    with database.connection() as connection:
        (stored,) = record_alerts(connection, [alert])
    assert list_alerts(database) == [stored]
    assert (stored.model_id, stored.closed_session) == (model_id, date(2024, 3, 8))
    assert stored.recorded_at.tzinfo is not None
    assert stored.acknowledged_at is None


def test_an_episode_grows_and_closes_and_keeps_its_opening(
    database: Database, make_alert: Make
) -> None:
    def evaluate(last: int, closed: int | None, message: str) -> Alert:
        alert = make_alert(
            dedupe_key="ic below zero",
            message=message,
            evidence={"message": message},
            last_session=date(2024, 3, last),
            closed_session=None if closed is None else date(2024, 3, closed),
        )
        with database.connection() as connection:
            record_alerts(connection, [alert])
        return list_alerts(database)[0]

    opened = evaluate(4, None, "opened")
    grown = evaluate(6, None, "grown")
    assert (grown.last_session, grown.closed_session) == (date(2024, 3, 6), None)
    closed = evaluate(6, 7, "closed")
    assert (closed.last_session, closed.closed_session) == (date(2024, 3, 6), date(2024, 3, 7))
    for later in (grown, closed):
        assert (later.message, later.evidence) == ("opened", {"message": "opened"})
        assert (later.alert_id, later.recorded_at) == (opened.alert_id, opened.recorded_at)


def test_a_run_over_past_sessions_does_not_shorten_an_episode(
    database: Database, make_alert: Make
) -> None:
    whole = make_alert(
        dedupe_key="k", last_session=date(2024, 3, 6), closed_session=date(2024, 3, 7)
    )
    as_it_was_on_the_fifth = make_alert(dedupe_key="k", last_session=date(2024, 3, 5))
    with database.connection() as connection:
        (stored,) = record_alerts(connection, [whole])
        record_alerts(connection, [as_it_was_on_the_fifth])
    assert list_alerts(database) == [stored]


def test_an_unchanged_episode_is_not_written(database: Database, make_alert: Make) -> None:
    alert = make_alert()
    with database.connection() as connection:
        record_alerts(connection, [alert])
        before = connection.execute("SELECT xmin::text, ctid::text FROM alerts").fetchall()
        record_alerts(connection, [alert])
        assert connection.execute("SELECT xmin::text, ctid::text FROM alerts").fetchall() == before


def test_a_repeated_run_uses_up_no_numbers(database: Database, make_alert: Make) -> None:
    alert = make_alert()
    with database.connection() as connection:
        for _ in range(5):
            record_alerts(connection, [alert])
        (stored,) = record_alerts(connection, [make_alert()])
    assert stored.alert_id == 2


@pytest.mark.parametrize("seed", range(3))
def test_recorders_at_once_store_each_alert_once(
    database: Database, make_alert: Make, seed: int
) -> None:
    alerts = [make_alert(strategy_id=f"strategy {i % 3}") for i in range(30)]
    recorders = 4
    start = threading.Barrier(recorders)

    def record(recorder: int) -> list[Alert]:
        mine = random.Random(seed * recorders + recorder).sample(alerts, len(alerts))
        with database.transaction() as connection:
            start.wait(timeout=30)
            return record_alerts(connection, mine)

    with ThreadPoolExecutor(recorders) as pool:
        returned = [alert for batch in pool.map(record, range(recorders)) for alert in batch]
    assert sorted(alert.dedupe_key for alert in returned) == sorted(a.dedupe_key for a in alerts)
    assert len(list_alerts(database)) == len(alerts)


def test_a_recorder_that_rolls_back_leaves_the_alert_to_the_next(
    database: Database, make_alert: Make, wait_until_blocked: Callable[[], None]
) -> None:
    alert = make_alert()

    def record() -> list[Alert]:
        with database.transaction() as connection:
            return record_alerts(connection, [alert])

    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as connection:
            assert len(record_alerts(connection, [alert])) == 1
            second = pool.submit(record)
            wait_until_blocked()
            raise psycopg.Rollback
        assert [stored.dedupe_key for stored in second.result(30)] == [alert.dedupe_key]
    assert len(list_alerts(database)) == 1


def test_one_key_under_two_strategies_at_once_is_one_alert(
    database: Database, make_alert: Make, wait_until_blocked: Callable[[], None]
) -> None:
    mine, theirs = (make_alert(dedupe_key="k", strategy_id=name) for name in ("a", "b"))

    def record() -> list[Alert]:
        with database.transaction() as connection:
            return record_alerts(connection, [theirs])

    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as connection:
            assert len(record_alerts(connection, [mine])) == 1
            second = pool.submit(record)
            wait_until_blocked()
        assert second.result(30) == []
    assert [alert.strategy_id for alert in list_alerts(database)] == ["a"]


def test_evidence_is_stored_as_json_whatever_python_had(
    database: Database, make_alert: Make
) -> None:
    evidence = {
        "ic": float("nan"),
        "sharpe": -np.inf,
        "psi": np.float64(0.5),
        "names": np.int64(20),
        "onset": {"from": date(2024, 2, 1), "to": np.array([1.5, np.nan])},
        "at": datetime.fromisoformat("2024-03-04T21:00:00+00:00"),
        "model": UUID(int=1),
        "features": ("rsi_14", "vol_20d"),
        "paused": False,
    }
    with database.connection() as connection:
        (stored,) = record_alerts(connection, [make_alert(evidence=evidence)])
    assert stored.evidence == {
        "ic": None,
        "sharpe": None,
        "psi": 0.5,
        "names": 20,
        "onset": {"from": "2024-02-01", "to": [1.5, None]},
        "at": "2024-03-04T21:00:00+00:00",
        "model": str(UUID(int=1)),
        "features": ["rsi_14", "vol_20d"],
        "paused": False,
    }


def test_alerts_are_listed_by_what_is_asked(database: Database, store_alert: Store) -> None:
    old = store_alert(opened_session=date(2024, 1, 2))
    critical = store_alert(severity="critical")
    closed = store_alert(closed_session=date(2024, 3, 8))
    other = store_alert(strategy_id="reversal", opened_session=date(2024, 3, 1))
    assert list_alerts(database) == [closed, critical, other, old]
    assert list_alerts(database, strategy_id="momentum") == [closed, critical, old]
    assert list_alerts(database, severity="critical") == [critical]
    assert list_alerts(database, open_only=True) == [critical, other, old]
    assert list_alerts(database, limit=2) == [closed, critical]
    assert list_alerts(database, limit=None) == list_alerts(database)
    with pytest.raises(MonitoringError, match="info, warning, severe, critical"):
        list_alerts(database, severity="fatal")


def test_the_first_acknowledgement_stays(database: Database, store_alert: Store) -> None:
    alert = store_alert()
    first = acknowledge(database, alert.alert_id, by=" ana ")
    assert first.acknowledged_by == "ana"
    assert acknowledge(database, alert.alert_id, by="ben") == first


def test_an_acknowledgement_needs_an_alert_and_a_person(
    database: Database, store_alert: Store
) -> None:
    alert = store_alert()
    with pytest.raises(MonitoringError, match="no alert 41"):
        acknowledge(database, 41, by="ana")
    with pytest.raises(MonitoringError, match="name"):
        acknowledge(database, alert.alert_id, by=" ")


def test_every_severity_is_counted(database: Database, store_alert: Store) -> None:
    for severity in ("severe", "severe", "warning"):
        store_alert(severity=severity)
    store_alert(strategy_id="reversal", severity="critical")
    counts = count_by_severity(database, "momentum")
    assert list(counts.items()) == [("info", 0), ("warning", 1), ("severe", 2), ("critical", 0)]


@pytest.mark.parametrize(
    "changes",
    [
        {"severity": "fatal"},
        {"last_session": date(2024, 3, 1)},
        {"closed_session": date(2024, 3, 1)},
    ],
)
def test_an_alert_that_makes_no_sense_is_refused(
    make_alert: Make, changes: dict[str, object]
) -> None:
    with pytest.raises(MonitoringError):
        make_alert(**changes)
