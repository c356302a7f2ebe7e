"""What each row of the response matrix attaches to its alert, on a home whose strategy was run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from quant_mlops.alerts.diagnostics import Diagnostics
from quant_mlops.alerts.outbox import Alert
from quant_mlops.alerts.response import respond
from quant_mlops.alerts.retraining import open_request
from quant_mlops.database import Database
from quant_mlops.features.definition import FeatureDefinition
from quant_mlops.market.panel import Panel
from quant_mlops.retraining import retrain_on_request
from quant_mlops.settings import Settings
from quant_mlops.strategy_context import StrategyContext
from quant_mlops.strategy_files import load_strategies

# Every rule is met on every session.
ALWAYS = {
    "ic_warning": 2.0, "ic_critical": 2.0, "ic_wrong": 2.0, "psi_warning": -1.0,
    "psi_critical": -1.0, "sharpe_warning": 1e9, "sharpe_critical": 1e9,
}  # fmt: skip
Raise = Callable[..., dict[str, Alert]]


@pytest.fixture
def work(clone: Any, stock: Any, forget_alerts: Any) -> Iterator[StrategyContext]:
    settings = Settings(home=stock.home)
    (strategy,) = load_strategies(settings).values()
    with clone(stock.database) as conninfo, Database(conninfo) as database:
        forget_alerts(database)
        yield StrategyContext(database, settings, strategy)


@pytest.fixture
def alarm(work: StrategyContext) -> Raise:
    """Give a function that opens alerts of rules that are always met, and returns them by rule."""
    strategy = work.strategy

    def alarm(
        last: date, *, definitions: Sequence[FeatureDefinition] = strategy.definitions
    ) -> dict[str, Alert]:
        response = respond(
            work.database, work.calendar, strategy_id=strategy.name,
            config=replace(strategy.alert_config, **ALWAYS), last=last,
            evaluation_lag=strategy.evaluation_lag, cooldown_sessions=20,
            diagnostics=Diagnostics(strategy.feature_versions, definitions, strategy.horizon),
        )  # fmt: skip
        return {alert.rule: alert for alert in response.alerts}

    return alarm


def test_each_rule_attaches_what_its_row_of_the_matrix_asks_for(
    work: StrategyContext, alarm: Raise, sessions: list[date]
) -> None:
    alerts = alarm(sessions[-2])
    found = {rule: set(alert.evidence) & {"diagnostics", "features", "market"}
             for rule, alert in alerts.items()}  # fmt: skip
    checked, market = {"diagnostics", "features"}, {"market"}
    assert found == {
        "ic_low": checked, "ic_severe": checked, "ic_negative": checked,
        "psi_mild": {"features"}, "psi_severe": {"features"},
        "sharpe_low": market, "sharpe_negative": market,
    }  # fmt: skip
    low, severe = (alerts[rule].evidence["diagnostics"] for rule in ("ic_low", "ic_severe"))
    assert set(low) == {"first", "last", "parity", "findings"}
    assert set(severe) == {*low, "freshness", "arrival"}
    # The first IC is of predictions a label of two sessions earlier, from the features before.
    opened = alerts["ic_severe"].opened_session
    assert severe["first"] == work.calendar.previous(opened, 3).isoformat()
    assert severe["last"] == work.calendar.previous(opened).isoformat()
    values = 3 * 12 * 3
    assert severe["parity"] == {
        "features": 3,
        "compared": values,
        "not_checked": [],
        "disagreeing": [],
    }
    assert severe["freshness"] == {"features": 3, "stale": [], "missing": []}
    arrival = severe["arrival"]
    assert (arrival["features"], arrival["events"], arrival["revisions"]) == (3, values, 0)
    assert {entry["lag_minutes_max"] for entry in arrival["slowest"]} == {15.0}
    assert severe["findings"][0] == (
        f"{values} served values of 3 features are what the prices known then give"
    )
    drifting = alerts["psi_mild"].evidence["features"]
    assert {entry["feature"] for entry in drifting} == set(work.strategy.features.names)
    assert all(entry["psi"] > 0 for entry in drifting)


def test_a_feature_that_code_does_not_give_is_not_said_to_be_right(
    alarm: Raise, work: StrategyContext, sessions: list[date]
) -> None:
    written = FeatureDefinition(
        "written", 1, 0, timedelta(0), lambda panel: np.full(panel.close.shape, np.nan),
        ("close",), "Written by another job.",
    )  # fmt: skip
    alerts = alarm(sessions[-2], definitions=[*work.strategy.definitions, written])
    parity, findings = (
        alerts["ic_severe"].evidence["diagnostics"][k] for k in ("parity", "findings")
    )
    assert (parity["features"], parity["not_checked"]) == (4, ["written"])
    assert findings[:2] == [
        f"{parity['compared']} served values of 3 features are what the prices known then give",
        "written: no served value could be compared",
    ]


def test_the_market_is_compared_with_the_training_of_the_live_model(
    work: StrategyContext, alarm: Raise, price_file: Any, sessions: list[date]
) -> None:
    alert = alarm(sessions[-2])["sharpe_low"]
    live = work.registry.live_model("small")
    assert live is not None
    (period,) = work.database.fetch_all(
        "SELECT dataset_start, trained_until FROM model_training_runs WHERE model_id = %s",
        [live.model_id],
    )
    market = alert.evidence["market"]
    assert (market["training_first"], market["training_last"]) == tuple(
        day.isoformat() for day in period
    )
    closes = pyarrow.csv.read_csv(price_file)["close"].to_numpy().reshape(len(sessions), -1)
    daily = (closes[1:] / closes[:-1] - 1.0).mean(axis=1)
    at = {day: i for i, day in enumerate(sessions)}
    opened = at[alert.opened_session]
    spans = {
        "recent": daily[opened - 20 : opened],
        "training": daily[at[period[0]] : at[period[1]]],
    }
    for name, returns in spans.items():
        assert market[f"{name}_mean_daily_return"] == pytest.approx(returns.mean())
        assert market[f"{name}_daily_volatility"] == pytest.approx(returns.std(ddof=1))


def test_a_negative_sharpe_ratio_prepares_a_challenger_and_promotes_none(
    work: StrategyContext, sessions: list[date]
) -> None:
    day, strategy = sessions[-2], work.strategy
    never = {name: -value for name, value in ALWAYS.items()}
    never |= {"sharpe_critical": 1e9}
    respond(
        work.database, work.calendar, strategy_id="small",
        config=replace(strategy.alert_config, **never), last=day,
        evaluation_lag=strategy.evaluation_lag, cooldown_sessions=20,
    )  # fmt: skip
    before = work.registry.live_model("small")
    assert open_request(work.database, "small") is not None
    assert retrain_on_request(work, sessions[-3]) is None
    outcome = retrain_on_request(work, day)
    assert outcome is not None
    assert (outcome.status, outcome.promoted) == ("prepared", False)
    assert outcome.candidate.model.label == "small_ridge v2"
    assert work.registry.live_model("small") == before
    assert open_request(work.database, "small") is None
    assert retrain_on_request(work, day) is None


def plant(work: StrategyContext, day: date, value: float, after: timedelta) -> None:
    """Serve a wrong value of one feature for all tickers about a session."""
    close = work.calendar.close_time(day)
    work.store.write_frame(
        pa.table(
            {
                "entity_key": [f"T{n:02d}" for n in range(12)],
                "event_time": pa.array([close] * 12, pa.timestamp("us", tz="UTC")),
                "ret_5d": [value + n for n in range(12)],
            }
        ),
        availability_lag=after,
    )


def test_a_wrong_feature_is_named_by_the_alert_and_one_served_later_is_not(
    work: StrategyContext, alarm: Raise, sessions: list[date]
) -> None:
    first = next(i for i, day in enumerate(sessions) if day == opening_of(work))
    spoilt = sessions[first - 2]
    plant(work, spoilt, 7.0, timedelta(minutes=30))
    # Known on the morning after the alert, too late to have been served or to be evidence.
    plant(work, sessions[first - 1], 7.0, timedelta(days=4))
    found = alarm(sessions[-2])["ic_severe"].evidence["diagnostics"]
    (wrong,) = found["parity"]["disagreeing"]
    assert (wrong["feature"], wrong["mismatches"], wrong["compared"]) == ("ret_5d", 12, 36)
    assert wrong["first_mismatch"] == spoilt.isoformat()
    assert f"12 of 36 served values are wrong from {spoilt} on" in found["findings"][0]
    slowest = found["arrival"]["slowest"][0]
    assert found["arrival"]["revisions"] == slowest["revisions"] == 12


def opening_of(work: StrategyContext) -> date:
    """Return the first session with an IC, on which a rule that is always met opens."""
    row = work.database.fetch_one("SELECT min(date) FROM drift_metrics WHERE ic IS NOT NULL")
    assert row is not None
    found: date = row[0]
    return found


def test_evidence_is_the_same_whether_sessions_come_one_by_one_or_at_once(
    work: StrategyContext, alarm: Raise, forget_alerts: Any, sessions: list[date]
) -> None:
    plant(work, sessions[-30], 7.0, timedelta(minutes=30))
    recorded = "SELECT dedupe_key, message, evidence FROM alerts ORDER BY dedupe_key"
    for day in sessions[-40:-20]:
        alarm(day)
    one_by_one = work.database.fetch_all(recorded)
    assert len(one_by_one) == 7
    forget_alerts(work.database)
    alarm(sessions[-21])
    assert work.database.fetch_all(recorded) == one_by_one


def fail(panel: Panel) -> Any:
    raise ZeroDivisionError("division by zero")


@pytest.mark.parametrize("known", [False, True])
def test_a_check_that_cannot_be_made_says_so_and_holds_up_no_alert(
    work: StrategyContext, alarm: Raise, sessions: list[date], known: bool
) -> None:
    broken = [replace(d, function=fail) for d in work.strategy.definitions] if known else []
    alert = alarm(sessions[-2], definitions=broken)["ic_negative"]
    reason = "ZeroDivisionError: division by zero" if known else "no definitions of the features"
    assert reason in alert.evidence["diagnostics"]["parity"]["not_run"]
    assert alert.evidence["diagnostics"]["freshness"]["stale"] == []
    state = work.database.fetch_one(
        "SELECT status FROM strategy_states WHERE alert_id = %s", [alert.alert_id]
    )
    assert state == ("paused",)
    assert np.isfinite(list(alert.evidence["values"].values())).all()
