"""From judged sessions to alerts, states and requests; each thing happens once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from itertools import pairwise
from uuid import UUID

import pytest

from quant_mlops.alerts.monitored_history import read_history
from quant_mlops.alerts.response import Response, respond
from quant_mlops.alerts.retraining import finish_request, open_request
from quant_mlops.alerts.states import current_state, resume
from quant_mlops.database import Database
from quant_mlops.drift.rules import AlertConfig, Calibration, Rule
from quant_mlops.errors import MonitoringError
from quant_mlops.market.calendar import TradingCalendar

LAG = timedelta(hours=4)
Judge = Callable[..., None]
Act = Callable[..., Response]


def opened(response: Response) -> list[tuple[str, date]]:
    return [(alert.rule, alert.opened_session) for alert in response.alerts]


def scales(database: Database, calendar: TradingCalendar, days: Sequence[date]) -> list[float]:
    return [
        current_state(database, "mo'mentum", at=calendar.close_time(day) + LAG).position_scale
        for day in days
    ]


def test_a_healthy_strategy_is_left_alone(
    database: Database, days: list[date], judge: Judge, act: Act
) -> None:
    assert act(5) == Response((), 0)
    judge(0, 30)
    assert act(29) == Response((), 0)
    assert current_state(database, "mo'mentum").status == "active"


@pytest.mark.parametrize(
    ("metric", "value", "expected"),
    [
        ("ic", 0.015, [("ic_low", 4)]),
        ("ic", 0.005, [("ic_severe", 0), ("ic_low", 4)]),
        ("ic", -0.05, [("ic_severe", 0), ("ic_negative", 2), ("ic_low", 4)]),
        ("psi", 0.2, [("psi_mild", 0)]),
        ("psi", 0.3, [("psi_mild", 0), ("psi_severe", 0)]),
        ("sharpe_5d", 0.3, [("sharpe_low", 9)]),
        ("sharpe_5d", -0.3, [("sharpe_negative", 4), ("sharpe_low", 9)]),
    ],
)
def test_each_rule_opens_on_its_session_across_weekends_and_holidays(
    days: list[date], judge: Judge, act: Act, metric: str, value: float,
    expected: list[tuple[str, int]],
) -> None:  # fmt: skip
    judge(0, 4)
    judge(4, 12, **{metric: value})
    assert days[4] < date(2023, 11, 23) < days[15]
    assert opened(act(15)) == [(rule, days[4 + after]) for rule, after in expected]


def test_actions_change_the_state_from_the_evening_of_the_alert_on(
    database: Database, calendar: TradingCalendar, days: list[date], judge: Judge, act: Act
) -> None:
    judge(0, 3)
    judge(3, 4, ic=-0.05)
    judge(7, 4)
    act(10)
    assert scales(database, calendar, days[:8]) == [1, 1, 1, 0.5, 0.5, 0, 0, 0]
    evening = calendar.close_time(days[5]) + LAG
    before = evening - timedelta(microseconds=1)
    assert current_state(database, "mo'mentum", at=before).status == "reduced"
    state = current_state(database, "mo'mentum", at=evening)
    assert state.status == "paused"
    assert state.reason is not None
    assert "IC < 0 for 3 consecutive sessions" in state.reason


def test_only_a_request_that_may_promote_comes_of_a_severe_psi(
    database: Database, days: list[date], judge: Judge, act: Act
) -> None:
    judge(0, 2)
    judge(2, 3, psi=0.4)
    assert act(4).open_requests == 1
    request = open_request(database, "mo'mentum")
    assert request is not None
    assert (request.session, request.may_promote) == (days[2], True)
    assert request.requested_by == "drift monitor: psi_severe"


def test_a_negative_sharpe_halves_and_prepares(
    database: Database, calendar: TradingCalendar, days: list[date], judge: Judge, act: Act
) -> None:
    judge(0, 6, sharpe_5d=-1.0)
    assert act(5).open_requests == 1
    request = open_request(database, "mo'mentum")
    assert request is not None
    assert not request.may_promote
    assert scales(database, calendar, days[3:6]) == [1, 0.5, 0.5]


def test_acting_twice_changes_nothing(database: Database, judge: Judge, act: Act) -> None:
    judge(0, 10, ic=-0.05, psi=0.4, sharpe_5d=-1.0)
    assert len(act(9).alerts) == 7
    tables = ("alerts", "strategy_states", "retrain_requests")
    before = [database.fetch_all(f"SELECT * FROM {table} ORDER BY 1") for table in tables]
    assert act(9) == Response((), 0)
    assert act(4) == Response((), 0)
    after = [database.fetch_all(f"SELECT * FROM {table} ORDER BY 1") for table in tables]
    assert after == before


def test_two_at_once_act_once(database: Database, judge: Judge, act: Act) -> None:
    judge(0, 10, ic=-0.05, psi=0.4, sharpe_5d=-1.0)
    start = threading.Barrier(2)

    def contend(_: int) -> Response:
        start.wait()
        return act(9)

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(contend, range(2))
    assert sorted([len(one.alerts), len(two.alerts)]) == [0, 7]
    counts = database.fetch_all(
        "SELECT (SELECT count(*) FROM alerts), (SELECT count(*) FROM retrain_requests), "
        "(SELECT count(*) FROM retrain_requests WHERE status = 'open')"
    )
    assert counts == [(7, 2, 1)]


def test_day_by_day_opens_what_the_range_opens(
    database: Database, calendar: TradingCalendar, days: list[date], judge: Judge, act: Act
) -> None:
    for start, count, metrics in (
        (0, 5, {}), (5, 6, {"ic": -0.05}), (11, 6, {}), (17, 4, {"psi": 0.3, "ic": None}),
        (21, 8, {"sharpe_5d": -1.0}), (29, 6, {"ic": 0.001}),
    ):  # fmt: skip
        judge(start, count, **metrics)
    daily = [pair for last in range(35) for pair in opened(act(last))]
    recorded = (
        "SELECT rule, opened_session, last_session, closed_session, message, evidence "
        "FROM alerts ORDER BY opened_session, rule"
    )
    one_by_one = database.fetch_all(recorded)
    states = scales(database, calendar, days[:40])
    database.execute("DELETE FROM retrain_requests")
    database.execute("ALTER TABLE strategy_states DISABLE TRIGGER ALL")
    database.execute("DELETE FROM strategy_states")
    database.execute("ALTER TABLE strategy_states ENABLE TRIGGER ALL")
    database.execute("DELETE FROM alerts")
    assert opened(act(34)) == daily
    assert database.fetch_all(recorded) == one_by_one
    assert scales(database, calendar, days[:40]) == states


def test_an_episode_is_told_once_and_closed_when_it_is_over(
    database: Database, days: list[date], judge: Judge, act: Act
) -> None:
    judge(0, 3, psi=0.2)
    judge(3, 2)
    judge(5, 1, psi=0.2)
    assert len(act(5).alerts) == 1
    judge(6, 5)
    assert act(10).alerts == ()
    episode = "SELECT opened_session, last_session, closed_session FROM alerts"
    assert database.fetch_all(episode) == [(days[0], days[5], days[10])]
    judge(11, 1, psi=0.2)
    assert opened(act(11)) == [("psi_mild", days[11])]


def test_missing_data_alert_by_themselves_and_raise_nothing_else(
    database: Database, days: list[date], judge: Judge, act: Act
) -> None:
    judge(0, 5, ic=0.015)  # the fifth would open an alert
    database.execute("DELETE FROM drift_metrics WHERE date = %s", [days[4]])
    judge(4, 1, ic=None, no_data=True)
    database.execute(
        "INSERT INTO predictions "
        "(strategy_id, entity_key, event_time, session, model_id, signal, feature_digest) "
        "VALUES ('mo''mentum', 'ACME', %s, %s, %s, 1, '')",
        [days[3], days[3], UUID(int=1)],
    )
    response = act(4)
    assert opened(response) == [("no_data", days[4])]
    assert response.alerts[0].message == f"predictions of {days[4]} are missing"
    assert response.alerts[0].evidence == {
        "missing": ["predictions"],
        "newest_session": {
            "prices": None, "predictions": days[3].isoformat(), "feature_drift": None,
        },
    }  # fmt: skip
    judge(5, 1, ic=0.015)
    response = act(5)
    assert opened(response) == [("ic_low", days[5])]
    evidence = response.alerts[0].evidence
    assert evidence["sessions_without_value"] == [days[4].isoformat()]
    assert evidence["values"][days[4].isoformat()] is None


def test_a_session_that_was_never_judged_is_missing(
    days: list[date], judge: Judge, act: Act
) -> None:
    judge(0, 3)
    judge(5, 3)
    response = act(7)
    assert opened(response) == [("no_data", days[3])]
    assert response.alerts[0].message == f"the verdict of {days[3]} is missing"
    assert act(9).alerts[0].opened_session == days[8]


def test_a_second_cause_joins_the_open_request(
    database: Database, days: list[date], judge: Judge, act: Act
) -> None:
    judge(0, 5, sharpe_5d=-1.0)
    judge(5, 3, psi=0.4, sharpe_5d=-1.0)
    assert act(7).open_requests == 1
    rows = database.fetch_all(
        "SELECT status, requested_by, may_promote FROM retrain_requests ORDER BY request_id"
    )
    assert [row[0] for row in rows] == ["open", "coalesced"]
    # The open one was only to prepare; it may promote since the second cause asks for that.
    assert rows[0][2] is True


@pytest.mark.parametrize(("cooldown", "status"), [(0, "open"), (3, "open"), (20, "coalesced")])
def test_a_finished_retraining_cools_down_for_as_long_as_is_said(
    database: Database, judge: Judge, act: Act, cooldown: int, status: str
) -> None:
    judge(0, 1, psi=0.4)
    judge(1, 6)
    act(6, cooldown=cooldown)
    request = open_request(database, "mo'mentum")
    assert request is not None
    with database.transaction() as connection:
        finish_request(connection, request.request_id, status="rejected", model_id=None, verdict={})
    judge(7, 1, psi=0.4)
    act(7, cooldown=cooldown)
    rows = database.fetch_all("SELECT status FROM retrain_requests ORDER BY request_id")
    assert rows == [("rejected",), (status,)]


def test_a_strategy_that_a_person_resumed_is_reduced_anew_by_a_new_episode(
    database: Database, calendar: TradingCalendar, days: list[date], judge: Judge, act: Act
) -> None:
    judge(0, 3, ic=-0.05)
    judge(3, 6)
    act(8)
    resume(
        database, strategy_id="mo'mentum", by="ann", reason="looked at",
        effective_from=calendar.close_time(days[8]) + LAG,
    )  # fmt: skip
    judge(9, 1, ic=0.0)
    act(9)
    assert scales(database, calendar, days[:10]) == [0.5, 0.5] + [0] * 6 + [1, 0.5]


def test_evidence_has_the_numbers_the_alert_is_founded_on(
    database: Database, days: list[date], judge: Judge, act: Act
) -> None:
    for i, (name, psi) in enumerate([("vol", 0.9), ("mom", 0.1), ("rsi", 0.4)]):
        for day, value in ((days[0], psi / 2), (days[1], psi)):
            database.execute(
                "INSERT INTO feature_drift (strategy_id, feature_name, event_time, session, "
                "model_id, feature_version, day_counts, window_sessions, n_reference, n_current, "
                "psi, missing_rate) "
                "VALUES ('mo''mentum', %s, %s, %s, %s, 1, '{1}', 1, 1, 1, %s, 0)",
                [name, day, day, UUID(int=i), value],
            )
    judge(0, 1)
    judge(1, 1, psi=0.4, ic_20d_mean=0.03, ic_names=20)
    alerts = {alert.rule: alert for alert in act(1).alerts}
    evidence = alerts["psi_severe"].evidence
    assert evidence["rule"] == "PSI > 0.25"
    assert evidence["values"] == {days[1].isoformat(): 0.4}
    assert [(f["feature"], f["psi"]) for f in evidence["features"]] == [
        ("vol", 0.9), ("rsi", 0.4), ("mom", 0.1),
    ]  # fmt: skip
    assert evidence["sampling"]["ic_20d_mean"] == 0.03
    assert alerts["psi_severe"].message == f"PSI > 0.25, 0.4 on {days[1]}"


def test_the_history_has_every_session_between(
    database: Database, calendar: TradingCalendar, days: list[date], judge: Judge
) -> None:
    assert read_history(database, calendar, strategy_id="mo'mentum", last=days[3]) is None
    judge(2, 1)
    judge(5, 1, psi=None)
    history = read_history(database, calendar, strategy_id="mo'mentum", last=days[6])
    assert history is not None
    assert history.sessions.tolist() == days[2:7]
    assert history.no_data.tolist() == [0, 1, 1, 0, 1]
    assert history.metrics["ic"][0] == 0.05
    assert all(a < b for a, b in pairwise(history.sessions))


def test_one_connection_is_enough(
    database: Database, calendar: TradingCalendar, days: list[date], judge: Judge
) -> None:
    judge(0, 10, ic=-0.05, psi=0.4, sharpe_5d=-1.0)
    with Database(database.conninfo, max_connections=1) as narrow:
        response = respond(
            narrow,
            calendar,
            strategy_id="mo'mentum",
            config=AlertConfig(),
            last=days[9],
            evaluation_lag=LAG,
            cooldown_sessions=20,
        )
    assert len(response.alerts) == 7


# Each rule with values that meet it, the sessions it asks for, the state that its alert brings
# about, and whether the retraining that it requests may promote.
SEVEN: list[tuple[str, dict[str, float], int, list[tuple[str, float]], list[bool]]] = [
    ("ic_low", {"ic": 0.015}, 5, [], []),
    ("ic_severe", {"ic": 0.005}, 1, [("reduced", 0.5)], []),
    ("ic_negative", {"ic": -0.05}, 3, [("paused", 0.0)], []),
    ("psi_mild", {"psi": 0.2}, 1, [], []),
    ("psi_severe", {"psi": 0.3}, 1, [], [True]),
    ("sharpe_low", {"sharpe_5d": 0.3}, 10, [], []),
    ("sharpe_negative", {"sharpe_5d": -0.3}, 5, [("reduced", 0.5)], [False]),
]


@pytest.mark.parametrize(
    ("rule", "bad", "asked", "states", "requests"), SEVEN, ids=[rule for rule, *_ in SEVEN]
)
def test_each_rule_acts_once_across_a_weekend_a_holiday_a_gap_and_a_restart(
    database: Database, days: list[date], judge: Judge, act: Act, rule: str,
    bad: dict[str, float], asked: int, states: list[tuple[str, float]], requests: list[bool],
) -> None:  # fmt: skip
    # The last session asked for is the one after Thanksgiving, or after New Year for the longest.
    opening = days.index(date(2023, 11, 24) if asked <= 5 else date(2024, 1, 2))
    gap = opening - 1
    first = opening - asked if asked > 1 else opening
    metric = next(iter(bad))
    judge(0, first)
    judge(first, gap - first, **bad)
    judge(gap, 1, **{metric: None})
    judge(opening, 1, **bad)
    assert rule not in [name for name, _ in opened(act(gap))]
    response = act(opening)
    assert [day for name, day in opened(response) if name == rule] == [days[opening]]
    evidence = next(alert.evidence for alert in response.alerts if alert.rule == rule)
    skipped = [days[gap].isoformat()] if asked > 1 else []
    assert evidence["sessions_without_value"] == skipped
    judge(opening + 1, 6, **bad)
    assert rule not in [name for name, _ in opened(act(opening + 6))]
    caused = "SELECT {} JOIN alerts AS a USING (alert_id) WHERE a.rule = %s"
    found = database.fetch_all(caused.format("status, position_scale FROM strategy_states"), [rule])
    assert found == states
    found = database.fetch_all(caused.format("may_promote FROM retrain_requests"), [rule])
    assert [allowed for (allowed,) in found] == requests


@pytest.mark.parametrize(("cooldown", "second"), [(0, 3), (1, 4), (10, 13), (30, None)])
def test_a_rule_that_cools_down_opens_nothing_until_it_has(
    days: list[date], judge: Judge, act: Act, cooldown: int, second: int | None
) -> None:
    judge(0, 1, psi=0.2)
    judge(1, 2)
    judge(3, 25, psi=0.2)
    config = AlertConfig(clear_after=2, cooldown_sessions=cooldown)
    found = [day for last in (1, 3, 20, 27) for _, day in opened(act(last, config=config))]
    assert found == [days[i] for i in (0, second) if i is not None]


def test_a_gated_rule_waits_until_the_metric_clears_its_own_error(
    days: list[date], judge: Judge, act: Act
) -> None:
    config = AlertConfig(mode="gated")
    error = {"ic_20d_se": 0.02, "ic_names": 20}
    judge(0, 4, ic=-0.05, ic_20d_mean=-0.019, **error)
    judge(4, 1, ic=-0.05, ic_20d_mean=-0.021, ic_20d_se=0.02, ic_names=9)
    judge(5, 2, ic=-0.05, ic_20d_mean=-0.021, **error)
    judge(7, 1, ic=-0.05, **error)
    judge(8, 1, ic=-0.05, ic_20d_mean=-0.021, **error)
    response = act(8, config=config)
    paused = [alert for alert in response.alerts if alert.rule == "ic_negative"]
    assert [alert.opened_session for alert in paused] == [days[8]]
    evidence = paused[0].evidence
    assert evidence["mode"] == "gated"
    assert evidence["sessions_without_value"] == [days[7].isoformat()]
    assert "ic_20d_mean + ic_20d_se < 0, ic_names >= 10" in evidence["rule"]


def test_a_gated_psi_needs_rows_and_more_than_no_drift_explains(
    database: Database, days: list[date], judge: Judge, act: Act
) -> None:
    for i, (rows, noise) in enumerate([(1000, 0.4), (100, 0.2), (1000, 0.2)]):
        for feature, share in (("mom", 0.5), ("vol", 1.5)):
            database.execute(
                "INSERT INTO feature_drift (strategy_id, feature_name, event_time, session, "
                "model_id, feature_version, day_counts, window_sessions, n_reference, n_current, "
                "psi, psi_no_drift_95, missing_rate) "
                "VALUES ('mo''mentum', %s, %s, %s, %s, 1, '{1}', 1, 1, %s, 0.3, %s, 0)",
                [feature, days[i], days[i], UUID(int=1), rows, noise * share],
            )
    judge(0, 3, psi=0.3)
    found = opened(act(2, config=AlertConfig(mode="gated")))
    assert found == [("psi_mild", days[2]), ("psi_severe", days[2])]


def test_a_calibrated_rule_watches_its_sum_and_keeps_where_its_limit_comes_from(
    database: Database, calendar: TradingCalendar, days: list[date], judge: Judge
) -> None:
    origin = Calibration(1.0, date(2020, 1, 2), date(2020, 12, 31), 250, 500, 7)
    rule = Rule(
        "ic_negative", "ic", "above", 0.2, 1, "critical", "pause_strategy", mode="calibrated",
        cusum_reference=0.025, calibration=origin,
    )  # fmt: skip
    old, new = UUID(int=1), UUID(int=2)
    judge(0, 3, model_id=old)
    judge(3, 2, ic=-0.05, model_id=old)
    judge(5, 1, ic=None, model_id=old)
    judge(6, 1, ic=-0.05, model_id=old)
    # Another model: what the one before it did no longer counts.
    judge(7, 2, ic=-0.05, model_id=new)
    judge(9, 1, ic=-0.05, model_id=new)

    def act(last: int, rules: Sequence[Rule] | None) -> Response:
        return respond(
            database, calendar, strategy_id="mo'mentum", config=AlertConfig(mode="calibrated"),
            last=days[last], evaluation_lag=LAG, cooldown_sessions=20, rules=rules,
        )  # fmt: skip

    with pytest.raises(MonitoringError, match="are to be calibrated and none were given"):
        act(9, None)
    assert opened(act(4, [rule])) == []
    (alert,) = act(9, [rule]).alerts
    assert (alert.rule, alert.opened_session) == ("ic_negative", days[6])
    assert alert.evidence["values"] == {days[6].isoformat(): 0.225}
    assert alert.evidence["calibration"] == {
        "false_alarms_a_year": 1.0, "first": "2020-01-02", "last": "2020-12-31",
        "sessions": 250, "paths": 500, "seed": 7, "beyond": None, "cusum_reference": 0.025,
    }  # fmt: skip
    assert current_state(database, "mo'mentum").status == "paused"
    history = read_history(database, calendar, strategy_id="mo'mentum", last=days[9])
    assert history is not None
    assert history.restarts == [7]
