"""A day of a deployment: materialise, tick over a holiday, drift, alert, retrain, decide."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

import pytest

from quant_mlops.market.calendar import TradingCalendar

pytestmark = pytest.mark.slow(seconds=85)

SCHEDULE = "live_daily_schedule"


def morning_after_a_holiday(calendar: TradingCalendar, sessions: Sequence[date]) -> datetime:
    """Return the time of the daily tick that follows the newest weekday without a session."""
    days = (sessions[-1] - timedelta(days=k) for k in range(len(sessions)))
    holiday = next(day for day in days if day.weekday() < 5 and not calendar.is_session(day))
    return datetime.combine(holiday + timedelta(days=1), time(6), calendar.timezone)


@pytest.mark.timeout(300)
def test_drift_becomes_an_alert_and_a_new_model(
    system: Any, inbox: Any, calendar: TradingCalendar, newest_tick: datetime
) -> None:
    market, database = system.market, system.database
    monitored, changed = market.monitored, market.changed
    tick = morning_after_a_holiday(calendar, market.sessions)
    # The newest tick is the schedule's: it asks for the last session, unless yesterday had none.
    asks = monitored[-1] == newest_tick.date() - timedelta(days=1)
    last = monitored[-2] if asks else monitored[-1]

    system.start("webserver")
    system.start("daemon", clock=tick - timedelta(seconds=40))
    system.wait_for(system.loaded, "definitions")
    # On the first days of a month it would have a retraining requested as well.
    system.turn_off("live_monthly_retraining_schedule")
    system.run("history", sessions=(market.first_partition, last))
    system.run("training", config=system.training_config(market.first_partition))
    (skipped,) = system.wait_for(lambda: system.ticks(SCHEDULE), "tick over a holiday")
    assert skipped["timestamp"] == tick.timestamp()
    assert skipped["status"] == "SKIPPED"
    assert skipped["skipReason"] == f"{tick.date() - timedelta(days=1)} was not a session of XNYS"

    system.end("daemon")
    system.start("daemon")
    system.run("monitoring", sessions=(monitored[0], last))

    # The market changed: alerts, delivered ones.
    alerts = dict(database.fetch_all("SELECT rule, opened_session FROM alerts ORDER BY alert_id"))
    assert changed < alerts["psi_severe"] <= last
    assert min(alerts.values()) > changed
    posted = system.wait_for(lambda: inbox.about("psi_severe"), "webhook")
    assert alerts["psi_severe"].isoformat() in posted["text"]
    system.wait_for(
        lambda: database.fetch_one(
            "SELECT 1 FROM alert_deliveries JOIN alerts USING (alert_id) "
            "WHERE rule = 'psi_severe' AND channel = 'webhook' AND delivered"
        ),
        "delivery on record",
    )

    # The request became one run, and that a version with a verdict.
    def answered() -> Any:
        return database.fetch_one(
            "SELECT status, verdict, model_id FROM retrain_requests "
            "WHERE status NOT IN ('open', 'coalesced')"
        )

    status, verdict, model_id = system.wait_for(answered, "retraining")
    assert status in ("promoted", "rejected")
    assert verdict["comparison"]["sessions"] >= 20
    assert 0 <= verdict["comparison"]["probability_better"] <= 1
    (run,) = (run for run in system.runs("training") if "dagster/sensor_name" in run["tags"])
    assert run["tags"]["dagster/sensor_name"] == "live_retraining_sensor"
    versions = database.fetch_all("SELECT version, model_id FROM models ORDER BY version")
    assert [version for version, _ in versions] == [1, 2]
    assert model_id == versions[1][1]
    live = database.fetch_all("SELECT model_id FROM model_deployments ORDER BY live_range")
    assert (len(live) == 2) == (status == "promoted")

    # The daemon was not there at the newest tick, and makes it good.
    def judged() -> bool:
        row = database.fetch_one("SELECT max(date), count(*) FROM drift_metrics")
        return bool(row == (monitored[-1], len(monitored)))

    system.wait_for(judged, "last session")
    newest = system.wait_for(lambda: system.ticks(SCHEDULE)[:-1], "tick missed")[0]
    assert newest["timestamp"] == newest_tick.timestamp()
    assert newest["status"] == ("SUCCESS" if asks else "SKIPPED")
    assert newest["runKeys"] == ([str(monitored[-1])] if asks else [])
