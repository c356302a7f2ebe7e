"""Sessions judged out of order or once more: each episode is told, and acted on, once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pytest

from quant_mlops.alerts.outbox import Alert, list_alerts
from quant_mlops.alerts.response import Response
from quant_mlops.alerts.retraining import open_request
from quant_mlops.alerts.states import current_state
from quant_mlops.database import Database
from quant_mlops.market.calendar import TradingCalendar

LAG = timedelta(hours=4)
STRATEGY = "mo'mentum"
Judge = Callable[..., None]
Act = Callable[..., Response]


@pytest.fixture
def scale(database: Database, calendar: TradingCalendar, days: list[date]) -> Callable[..., float]:
    def scale(strategy: str = STRATEGY) -> float:
        at = calendar.close_time(days[-1]) + LAG
        return current_state(database, strategy, at=at).position_scale

    return scale


def alerts_of(database: Database, rule: str, strategy: str = STRATEGY) -> list[Alert]:
    found = list_alerts(database, strategy_id=strategy, limit=None)
    return sorted(
        (alert for alert in found if alert.rule == rule), key=lambda alert: alert.opened_session
    )


def test_a_newest_session_judged_first_is_told_once_and_halves_once(
    database: Database, days: list[date], judge: Judge, act: Act, scale: Callable[..., float]
) -> None:
    judge(20, 1, ic=0.005)
    assert [alert.rule for alert in act(20).alerts] == ["ic_severe"]
    for position in range(14, 20):
        judge(position, 1, ic=0.005 if position > 15 else 0.05)
        assert act(position).alerts == ()
    # Five sessions in a row are a condition that was not known to be met before.
    assert [alert.rule for alert in act(20).alerts] == ["ic_low"]
    judge(21, 6)
    assert act(26).alerts == ()
    (severe,) = alerts_of(database, "ic_severe")
    assert (severe.opened_session, severe.last_session) == (days[20], days[20])
    assert (severe.closed_session, severe.closed_reason) == (days[25], None)
    assert scale() == 0.5


def test_an_earlier_episode_that_had_ended_is_one_of_its_own(
    database: Database, days: list[date], judge: Judge, act: Act, scale: Callable[..., float]
) -> None:
    judge(30, 1, ic=0.005)
    act(30)
    judge(10, 2)
    judge(12, 3, ic=0.005)
    judge(15, 15)
    # Open as of its third session, it may be the one that is known; closed, it cannot.
    assert act(14).alerts == ()
    assert [alert.opened_session for alert in act(29).alerts] == [days[12]]
    assert act(30) == Response((), 0)
    assert [alert.opened_session for alert in alerts_of(database, "ic_severe")] == [
        days[12], days[30],
    ]  # fmt: skip
    assert scale() == 0.25


def test_two_alerts_that_prove_to_be_of_one_episode_become_one(
    database: Database, days: list[date], judge: Judge, act: Act
) -> None:
    judge(5, 1, psi=0.2)
    judge(6, 6)
    judge(12, 1, psi=0.2)
    act(5)
    act(12)
    earlier, later = alerts_of(database, "psi_mild")
    assert (earlier.closed_session, later.closed_session) == (days[10], None)
    # The healthy sessions between them were judged on bad data.
    database.execute("DELETE FROM drift_metrics WHERE date BETWEEN %s AND %s", [days[6], days[11]])
    judge(6, 6, psi=0.15)
    assert act(12).alerts == ()
    earlier, later = alerts_of(database, "psi_mild")
    assert (earlier.last_session, earlier.closed_session) == (days[12], None)
    assert later.closed_session == days[12]
    assert later.closed_reason is not None
    assert f"part of the episode of alert {earlier.alert_id}" in later.closed_reason


def test_an_alert_whose_condition_is_gone_ends_with_the_reason_and_lives_again_when_it_is_back(
    database: Database, days: list[date], judge: Judge, act: Act
) -> None:
    judge(0, 4)
    judge(4, 1, psi=0.4)
    assert act(4).open_requests == 1
    restate = "UPDATE drift_metrics SET psi = %s WHERE date = %s"
    database.execute(restate, [0.05, days[4]])
    assert act(4).alerts == ()
    for rule in ("psi_mild", "psi_severe"):
        (gone,) = alerts_of(database, rule)
        assert gone.closed_session == days[4]
        assert gone.closed_reason == "by the metrics as they stand, its condition was not met"
    assert open_request(database, STRATEGY) is not None
    database.execute(restate, [0.4, days[4]])
    judge(5, 1, psi=0.4)
    assert act(5) == Response((), 0)
    (back,) = alerts_of(database, "psi_severe")
    assert (back.last_session, back.closed_session, back.closed_reason) == (days[5], None, None)


def test_missing_data_that_were_filled_in_leave_no_open_alert(
    database: Database, days: list[date], judge: Judge, act: Act
) -> None:
    judge(0, 1)
    judge(10, 1, no_data=True)
    assert [alert.opened_session for alert in act(10).alerts] == [days[1]]
    judge(1, 9)
    assert act(9).alerts == ()
    assert act(10).alerts == ()
    (missing,) = alerts_of(database, "no_data")
    assert (missing.last_session, missing.closed_session) == (days[10], None)
    judge(11, 1)
    act(11)
    (missing,) = alerts_of(database, "no_data")
    assert (missing.closed_session, missing.closed_reason) == (days[11], None)


def test_an_earlier_session_run_again_leaves_later_alerts_alone(
    database: Database, judge: Judge, act: Act
) -> None:
    judge(0, 40)
    statement = "UPDATE drift_metrics SET ic = 0.005, psi = 0.3 WHERE extract(day FROM date) > 24"
    database.execute(statement)
    act(39)
    before = database.fetch_all("SELECT * FROM alerts ORDER BY 1")
    assert len(before) > 4
    for last in (3, 10, 20, 30):
        assert act(last) == Response((), 0)
    assert database.fetch_all("SELECT * FROM alerts ORDER BY 1") == before


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_sessions_ends_in_the_episodes_of_the_true_order(
    database: Database, judge: Judge, act: Act, scale: Callable[..., float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    count = 24
    bad = np.repeat(rng.random(count // 4) < 0.5, 4) ^ (rng.random(count) < 0.2)
    for strategy, order in (("in_order", np.arange(count)), ("shuffled", rng.permutation(count))):
        for position in order.tolist():
            values = {"ic": -0.02, "psi": 0.3} if bad[position] else {}
            judge(position, 1, strategy=strategy, **values)
            act(position, strategy=strategy)
        act(count - 1, strategy=strategy)
        assert act(count - 1, strategy=strategy) == Response((), 0)
    statement = (
        "SELECT rule, last_session, closed_session FROM alerts "
        "WHERE strategy_id = %s AND closed_reason IS NULL AND rule <> 'no_data' ORDER BY 1, 2"
    )
    found = [database.fetch_all(statement, [name]) for name in ("in_order", "shuffled")]
    assert found[0] == found[1]
    assert found[0]
    unfinished = (
        "SELECT count(*) FROM alerts WHERE strategy_id = 'shuffled' AND closed_session IS NULL"
    )
    still_open = sum(row[2] is None for row in found[0])
    assert database.fetch_one(unfinished) == (still_open,)
