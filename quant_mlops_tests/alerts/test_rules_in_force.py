"""Rules that change: past sessions stay as they were judged, and what holds on goes on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from threading import Barrier
from typing import Any

import pytest

from quant_mlops.alerts import response as response_module
from quant_mlops.alerts.escalation import escalate_unacknowledged
from quant_mlops.alerts.response import Response
from quant_mlops.alerts.rules_in_force import plan_rules, put_in_force
from quant_mlops.alerts.states import current_state, resume
from quant_mlops.database import Database
from quant_mlops.drift.rules import AlertConfig
from quant_mlops.errors import MonitoringError
from quant_mlops.market.calendar import TradingCalendar

STRATEGY = "mo'mentum"
LAG = timedelta(hours=4)
WRITTEN = AlertConfig()
GATED = AlertConfig(mode="gated")
# An IC that every rule on it minds, and whose mean clears its error.
BROKEN = {"ic": -0.05, "ic_20d_mean": -0.05, "ic_20d_se": 0.01, "ic_names": 20}
# The same with a mean that does not.
NOISY = BROKEN | {"ic_20d_mean": 0.03}
Judge = Callable[..., None]
Act = Callable[..., Response]

TABLES = {
    "alerts": "dedupe_key, message, opened_session, last_session, closed_session, closed_reason, "
    "evidence",
    "strategy_states": "effective_from, status, position_scale, reason",
    "retrain_requests": "session, requested_by, may_promote, status",
    "rules_in_force": "rule, first_session, judged_until, mode, condition, definition",
}


def stored(database: Database) -> dict[str, list[Any]]:
    return {
        table: database.fetch_all(f"SELECT {columns} FROM {table} ORDER BY {columns}")
        for table, columns in TABLES.items()
    }


def opened(response: Response) -> set[tuple[str, date]]:
    return {(alert.rule, alert.opened_session) for alert in response.alerts}


def alerts_of(database: Database, rule: str) -> list[Any]:
    return database.fetch_all(
        "SELECT opened_session, closed_session, closed_reason FROM alerts WHERE rule = %s "
        "ORDER BY opened_session",
        [rule],
    )


def test_a_stricter_rule_acts_on_no_session_before_it_was_in_force(
    database: Database, days: list[date], judge: Judge, act: Act
) -> None:
    judge(0, 10, **NOISY)
    assert act(9, config=GATED) == Response((), 0)
    assert act(9, config=WRITTEN) == Response((), 0), "the sessions so far were judged"
    judge(10, 6)
    assert act(15, config=WRITTEN) == Response((), 0)
    judge(16, 5, **NOISY)
    assert opened(act(20, config=WRITTEN)) == {
        ("ic_severe", days[16]), ("ic_negative", days[18]), ("ic_low", days[20]),
    }  # fmt: skip
    # A session of the past that is run again is none of the new rules'.
    before = stored(database)
    assert act(5, config=WRITTEN) == Response((), 0)
    assert stored(database) == before


def test_a_condition_counts_from_before_the_change_and_opens_after_it(
    database: Database, days: list[date], judge: Judge, act: Act
) -> None:
    judge(0, 4, **NOISY)
    act(3, config=GATED)
    judge(4, 1, **NOISY)
    response = act(4, config=WRITTEN)
    assert opened(response) == {(r, days[4]) for r in ("ic_severe", "ic_negative", "ic_low")}
    (low,) = [alert for alert in response.alerts if alert.rule == "ic_low"]
    assert list(low.evidence["values"]) == [day.isoformat() for day in days[:5]]
    # None of them took over from an alert, so they act.
    assert current_state(database, STRATEGY).status == "paused"


def test_open_alerts_end_with_their_rule_and_those_of_the_past_stay(
    database: Database, days: list[date], judge: Judge, act: Act
) -> None:
    judge(0, 2, psi=0.2)
    judge(2, 6)
    judge(8, 4, **NOISY)
    act(11)
    escalate_unacknowledged(
        database, after=timedelta(microseconds=1), now=database.now() + timedelta(hours=1)
    )
    past = alerts_of(database, "psi_mild")
    judge(12, 3, **NOISY)
    assert act(14, config=GATED) == Response((), 0)
    assert alerts_of(database, "psi_mild") == past == [(days[0], days[6], None)]
    for rule, opening in (("ic_severe", 8), ("ic_negative", 10)):
        ((first, ended, reason),) = alerts_of(database, rule)
        assert (first, ended) == (days[opening], days[12])
        assert reason.startswith("the rule was IC < 0")
        assert f"until the session before {days[12]}" in reason
        assert reason.endswith("(gated)")
    reminders = alerts_of(database, "unacknowledged")
    assert reminders
    assert {ended for _, ended, _ in reminders} == {days[12]}
    modes = database.fetch_all(
        "SELECT mode, first_session, judged_until FROM rules_in_force WHERE rule = 'ic_severe' "
        "ORDER BY first_session"
    )
    assert modes == [("as_written", days[0], days[11]), ("gated", days[12], days[14])]


def test_what_holds_on_goes_on_under_the_new_rule_without_acting_twice(
    database: Database, calendar: TradingCalendar, days: list[date], judge: Judge, act: Act
) -> None:
    judge(0, 2, **BROKEN)
    act(1)
    assert current_state(database, STRATEGY).position_scale == 0.5
    judge(2, 1, **BROKEN)
    response = act(2, config=GATED)
    # The pause is new on the first session of the gated rules; the halving only goes on.
    assert opened(response) == {("ic_severe", days[2]), ("ic_negative", days[2])}
    scales = database.fetch_all("SELECT position_scale FROM strategy_states ORDER BY state_id")
    assert scales == [(0.5,), (0.0,)]
    resume(
        database, strategy_id=STRATEGY, by="ann", reason="looked at it",
        effective_from=calendar.close_time(days[2]) + LAG,
    )  # fmt: skip
    judge(3, 1, **BROKEN)
    # Changed once more while the condition holds: a person has resumed it, and it stays so.
    stricter = replace(GATED, ic_wrong=-0.01, ic_critical=0.009)
    assert opened(act(3, config=stricter)) == {("ic_severe", days[3]), ("ic_negative", days[3])}
    assert current_state(database, STRATEGY).status == "active"


def test_a_threshold_that_changes_leaves_the_other_rules_alone(
    database: Database, days: list[date], judge: Judge, act: Act
) -> None:
    judge(0, 3, psi=0.3, ic=0.005)
    act(2)
    judge(3, 1, psi=0.3, ic=0.005)
    assert act(3, config=AlertConfig(psi_critical=0.5)) == Response((), 0)
    ((_, ended, reason),) = alerts_of(database, "psi_severe")
    assert ended == days[3]
    assert "PSI > 0.25" in reason
    assert "PSI > 0.5" in reason
    assert alerts_of(database, "psi_mild") == [(days[0], None, None)]
    assert alerts_of(database, "ic_severe") == [(days[0], None, None)]


@pytest.mark.parametrize("step", [1, 4, 12])
def test_a_change_comes_out_the_same_in_steps_of_any_size_run_twice_or_killed(
    database: Database, days: list[date], judge: Judge, act: Act, step: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    judge(0, 8, **BROKEN)
    judge(8, 3)
    judge(11, 6, **NOISY, psi=0.3)
    judge(17, 7, **BROKEN)
    expected = reference(database, act)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    for config, first, last in ((WRITTEN, 0, 11), (GATED, 12, 23)):
        for end in range(first + step - 1, last + 1, step):
            before = stored(database)
            with monkeypatch.context() as patched:
                patched.setattr(response_module, "record_alerts", killed)
                with pytest.raises(KeyboardInterrupt):
                    act(end, config=config)
            assert stored(database) == before
            act(end, config=config)
            assert act(end, config=config) == Response((), 0)
    assert stored(database) == expected


def reference(database: Database, act: Act) -> dict[str, list[Any]]:
    """Return what one run for each set of rules stores, and take it out again."""
    act(11, config=WRITTEN)
    act(23, config=GATED)
    found = stored(database)
    assert {row[3] for row in found["rules_in_force"]} == {"as_written", "gated"}
    database.execute("ALTER TABLE strategy_states DISABLE TRIGGER ALL")
    for table in ("retrain_requests", "strategy_states", "alerts", "rules_in_force"):
        database.execute(f"DELETE FROM {table}")
    database.execute("ALTER TABLE strategy_states ENABLE TRIGGER ALL")
    return found


def test_a_mode_that_is_taken_back_before_it_judged_anything_leaves_no_trace(
    database: Database, days: list[date], judge: Judge, act: Act
) -> None:
    judge(0, 3, **BROKEN)
    act(2)
    before = stored(database)
    act(2, config=GATED)
    act(1, config=GATED)
    assert stored(database) == before
    judge(3, 1, **BROKEN)
    assert act(3) == Response((), 0)
    assert alerts_of(database, "ic_severe") == [(days[0], None, None)]


def test_a_history_filled_in_before_the_first_session_is_judged_as_well(
    days: list[date], judge: Judge, act: Act
) -> None:
    judge(4, 2)
    act(5)
    judge(0, 4, psi=0.3)
    assert opened(act(5)) == {("psi_mild", days[0]), ("psi_severe", days[0])}


def test_two_runs_with_different_rules_do_not_both_judge_a_session(
    database: Database, judge: Judge, act: Act
) -> None:
    judge(0, 3)
    act(2)
    judge(3, 3, **BROKEN)
    start = Barrier(2)

    def contend(config: AlertConfig) -> Response | MonitoringError:
        start.wait()
        try:
            return act(5, config=config)
        except MonitoringError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(contend, (GATED, AlertConfig(ic_critical=0.015))))
    modes = database.fetch_all(
        "SELECT rule, first_session FROM rules_in_force GROUP BY 1, 2 HAVING count(*) > 1"
    )
    assert modes == []
    errors = [error for error in found if isinstance(error, MonitoringError)]
    # Whoever came second saw it, or found the sessions judged before it looked.
    assert len(errors) <= 1
    for error in errors:
        assert "let both read the same settings and run again" in str(error)
    row = database.fetch_one("SELECT count(*) FROM alerts WHERE rule = 'ic_severe'")
    assert row == (1,)


def test_rules_planned_before_another_run_changed_them_are_refused(
    database: Database, calendar: TradingCalendar, days: list[date], judge: Judge, act: Act
) -> None:
    judge(0, 6)
    act(2)
    stale = plan_rules(
        database, calendar, strategy_id=STRATEGY, rules=WRITTEN.rules(), first=days[0], last=days[4]
    )
    act(3, config=GATED)
    with (
        database.transaction() as connection,
        pytest.raises(MonitoringError, match=r"another run judged \"mo'mentum\" by ic_low: IC <"),
    ):
        put_in_force(connection, stale, strategy_id=STRATEGY, last=days[4])
