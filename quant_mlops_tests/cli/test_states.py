"""The strategy's state by command: what it is, how long it lasts, and from when it is resumed."""

from __future__ import annotations

import os
from datetime import date, datetime
from typing import Any

import pytest

from quant_mlops.alerts.states import pause
from quant_mlops.database import Database
from quant_mlops.market.calendar import TradingCalendar

RESUME = ("alerts", "resume", "--by", "ann", "--reason", "feed repaired")


@pytest.fixture
def paused(desk: Any, calendar: TradingCalendar, sessions: list[date], forget_alerts: Any) -> Any:
    """Give a desk whose strategy was paused by a person at the open of the tenth last session."""
    with Database(os.environ["QUANT_MLOPS_DATABASE_URL"]) as database:
        forget_alerts(database)
        with database.transaction() as connection:
            pause(
                connection, strategy_id="small", alert_id=None, by="bob", reason="bad fills",
                effective_from=calendar.open_time(sessions[-10]),
            )  # fmt: skip
    return desk


def test_a_position_that_is_limited_is_said_to_last_until_it_is_resumed(
    paused: Any, sessions: list[date]
) -> None:
    shown = paused("alerts", "state").stdout
    words = "paused, position scale 0; it lasts until `quant-mlops alerts resume`"
    assert words in shown
    assert "bad fills" in shown
    assert f"state: {words}" in paused("alerts", "list").stdout
    before = paused("alerts", "state", "--at", sessions[-11], "--json").document
    assert (before["status"], before["position_scale"]) == ("active", 1.0)
    at_its_open = paused("alerts", "state", "--at", sessions[-10], "--json").document
    assert (at_its_open["status"], at_its_open["changed_by"]) == ("paused", "bob")


def test_the_states_of_all_strategies_are_shown_where_none_is_named(
    paused: Any, beside_another: Any, sessions: list[date], monkeypatch: pytest.MonkeyPatch
) -> None:
    states = beside_another("alerts", "state", "--json").document
    assert {s["strategy_id"]: s["status"] for s in states} == {"other": "active", "small": "paused"}
    before = beside_another("alerts", "state", "--at", sessions[-11], "--json").document
    assert [state["status"] for state in before] == ["active", "active"]
    monkeypatch.setenv("COLUMNS", "80")
    shown = beside_another("alerts", "state").stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert "other" in shown
    assert "by bob: bad fills" in shown
    of_one = beside_another("alerts", "state", "--strategy", "other", "--json").document
    assert of_one["status"] == "active"
    assert "'nobody' is none" in beside_another.fails("alerts", "state", "--strategy", "nobody")


def test_a_session_is_resumed_from_its_open_on(
    paused: Any, calendar: TradingCalendar, sessions: list[date]
) -> None:
    done = paused(*RESUME, "--from", sessions[-5], "--json").document
    assert datetime.fromisoformat(done["effective_from"]) == calendar.open_time(sessions[-5])
    assert paused("alerts", "state", "--at", sessions[-6], "--json").document["status"] == "paused"
    shown = paused("alerts", "state").stdout
    assert "active, position scale 1 " in shown
    assert "lasts until" not in shown


def test_a_time_is_read_as_elsewhere_and_one_before_the_pause_is_refused(
    paused: Any, sessions: list[date]
) -> None:
    assert "resume it from then or later" in paused.fails(*RESUME, "--from", sessions[-12])
    assert "a Saturday, is not a session" in paused.fails(*RESUME, "--from", "2022-03-12")
    assert paused(*RESUME, "--from", "soon").status == 2
    found = paused(*RESUME, "--from", f"{sessions[-3]}T12:00")
    assert found.stderr == f"small is active from {sessions[-3]} 16:00Z on\n"
