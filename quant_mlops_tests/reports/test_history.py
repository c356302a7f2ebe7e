"""What is loaded is what was stored: aligned, with gaps, and of this strategy only."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from quant_mlops.alerts.rules_in_force import definition
from quant_mlops.database import Database
from quant_mlops.drift.rules import AlertConfig
from quant_mlops.errors import MonitoringError
from quant_mlops.reports.history import load_monitoring_history
from quant_mlops.reports.records import PUBLISHED, Levels, RuleRecord

STRATEGY = "momentum_us"
MONDAY = date(2024, 1, 8)
NAN = float("nan")


def day(number: int) -> date:
    return MONDAY + timedelta(days=number)


def close(number: int) -> datetime:
    return datetime(2024, 1, 8, 21, tzinfo=UTC) + timedelta(days=number)


def insert(database: Database, table: str, **row: Any) -> None:
    values = {key: Jsonb(v) if isinstance(v, dict) else v for key, v in row.items()}
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join(map(sql.Placeholder, values)),
    )
    with database.connection() as connection:
        connection.execute(statement, values)


def drift(database: Database, number: int, strategy: str = STRATEGY, **values: Any) -> None:
    row = {"date": day(number), "strategy_id": strategy, "evaluation_time": close(number)}
    insert(database, "drift_metrics", **row, no_data=False, **values)


def feature(database: Database, number: int, name: str, psi: float | None, **values: Any) -> None:
    row = {
        "strategy_id": STRATEGY, "feature_name": name, "event_time": close(number),
        "session": day(number), "model_id": uuid4(), "feature_version": 1, "day_counts": [1],
        "window_sessions": 20, "n_reference": 100, "n_current": 20, "psi": psi,
    }  # fmt: skip
    insert(database, "feature_drift", **row | values)


def earned(database: Database, number: int, net: float, strategy: str = STRATEGY) -> None:
    insert(
        database, "strategy_returns", strategy_id=strategy, session=day(number),
        event_time=close(number), model_id=uuid4(), names=20, gross_return=net, turnover=0.1,
        cost=0.0, net_return=net, market_return=0.001,
    )  # fmt: skip


def state(database: Database, effective_from: datetime, status: str, scale: float) -> None:
    insert(
        database, "strategy_states", strategy_id=STRATEGY, effective_from=effective_from,
        status=status, position_scale=scale, changed_by="monitor", reason="rule",
    )  # fmt: skip


def alert(database: Database, key: str, opened: int, closed: int | None, **values: Any) -> None:
    row = {
        "dedupe_key": key, "strategy_id": STRATEGY, "rule": "psi_mild", "severity": "warning",
        "action": "watch", "message": key, "opened_session": day(opened),
        "last_session": day(opened), "closed_session": None if closed is None else day(closed),
    }  # fmt: skip
    insert(database, "alerts", **row | values)


def model(database: Database, version: int, snapshot_id: UUID | None = None) -> UUID:
    model_id = uuid4()
    insert(
        database, "models", model_id=model_id, name=STRATEGY, version=version,
        snapshot_id=snapshot_id,
    )  # fmt: skip
    return model_id


def snapshot(database: Database, strategy: str = STRATEGY) -> UUID:
    snapshot_id = uuid4()
    insert(
        database, "training_snapshots", snapshot_id=snapshot_id, strategy_id=strategy,
        fingerprint="f" * 64, knowledge_time=close(0), first_session=day(-90), last_session=day(-1),
        row_count=1200, left_out={}, features={}, label={}, uri="file:x", file_sha256="a" * 64,
        code_version="1",
    )  # fmt: skip
    return snapshot_id


def deploy(database: Database, model_id: UUID, live_range: str, strategy: str = STRATEGY) -> None:
    insert(
        database, "model_deployments", strategy_id=strategy, model_id=model_id,
        live_range=live_range, promoted_by="anna", reason="better on 60 sessions",
    )  # fmt: skip


def test_a_strategy_that_nothing_is_stored_about_has_an_empty_history(database: Database) -> None:
    history = load_monitoring_history(database, STRATEGY)
    assert history.sessions.shape == history.drift.ic.shape == history.returns.net.shape == (0,)
    assert history.features.psi.shape == (0, 0)
    assert not history.features.names
    rows = (history.states, history.alerts, history.deployments, history.retrains)
    assert (*rows, history.models, history.snapshots, history.rules) == ((),) * 7
    assert history.levels == PUBLISHED


def test_the_rules_are_those_in_force_at_the_end_of_what_is_asked_for(database: Database) -> None:
    def put(number: int, config: AlertConfig, **changes: Any) -> None:
        rules = [
            replace(r, **changes) if r.name == "ic_low" else r for r in config.rules("as_written")
        ]
        for rule in rules:
            insert(
                database, "rules_in_force", strategy_id=STRATEGY, rule=rule.name,
                first_session=day(number), judged_until=day(number + 3), mode=rule.mode,
                condition=rule.describe(), definition=definition(rule),
            )  # fmt: skip

    put(0, AlertConfig(ic_warning=0.03, psi_warning=0.2, psi_critical=0.5))
    put(4, AlertConfig(psi_critical=0.4), cusum_reference=0.01, comparison="above")
    early = load_monitoring_history(database, STRATEGY, last=day(3))
    assert early.levels == Levels(0.03, 0.2, 0.5)
    now = load_monitoring_history(database, STRATEGY)
    assert np.isnan(now.levels.ic_warning)
    assert (now.levels.psi_warning, now.levels.psi_severe) == (0.10, 0.4)
    assert {rule.first_session for rule in now.rules} == {day(4)}
    severe = next(rule for rule in now.rules if rule.name == "psi_severe")
    assert severe == RuleRecord(
        "psi_severe", "PSI > 0.4", "psi", "severe", "request_retrain", 0.4, day(4)
    )
    assert len(now.rules) == 7
    assert load_monitoring_history(database, "another").rules == ()


def test_every_series_is_aligned_to_the_sessions_of_any_table(database: Database) -> None:
    drift(database, 0, ic=0.05, psi=0.02)
    drift(database, 1, ic=None, psi=0.03)
    earned(database, 1, 0.01)
    feature(database, 3, "rsi_14", 0.2)
    history = load_monitoring_history(database, STRATEGY)
    expected = np.array([day(0), day(1), day(3)], dtype="datetime64[D]")
    np.testing.assert_array_equal(history.sessions, expected)
    np.testing.assert_array_equal(history.drift.ic, [0.05, NAN, NAN])
    np.testing.assert_array_equal(history.drift.psi, [0.02, 0.03, NAN])
    np.testing.assert_array_equal(history.returns.net, [NAN, 0.01, NAN])
    np.testing.assert_array_equal(history.returns.position_scale, [NAN, 1.0, NAN])
    np.testing.assert_array_equal(history.features.psi, [[NAN], [NAN], [0.2]])


def test_each_drift_metric_lands_under_its_own_name(database: Database) -> None:
    columns = {
        "ic": "ic", "ic_20d_mean": "ic_20d_mean", "ic_20d_se": "ic_20d_error", "psi": "psi",
        "prediction_psi": "prediction_psi", "sharpe_5d": "sharpe_5d", "sharpe_20d": "sharpe_20d",
        "sharpe_60d": "sharpe_60d", "sharpe_60d_se": "sharpe_60d_error",
    }  # fmt: skip
    drift(database, 0, **{column: float(i) for i, column in enumerate(columns)})
    found = load_monitoring_history(database, STRATEGY).drift
    assert [getattr(found, name)[0] for name in columns.values()] == list(range(9))


def test_features_are_columns_by_name_and_a_null_is_not_a_zero(database: Database) -> None:
    feature(database, 0, "vol_20d", 0.3, psi_no_drift_95=0.02)
    feature(database, 0, "rsi_14", None)
    feature(database, 1, "rsi_14", 0.0)
    features = load_monitoring_history(database, STRATEGY).features
    assert features.names == ("rsi_14", "vol_20d")
    np.testing.assert_array_equal(features.psi, [[NAN, 0.3], [0.0, NAN]])
    np.testing.assert_array_equal(features.no_drift_95, [[NAN, 0.02], [NAN, NAN]])


def test_of_two_measurements_of_a_session_the_later_counts(database: Database) -> None:
    feature(database, 0, "rsi_14", 0.5, event_time=close(0) + timedelta(hours=1))
    feature(database, 0, "rsi_14", 0.1)
    assert load_monitoring_history(database, STRATEGY).features.psi[0, 0] == 0.5


def test_a_state_from_the_close_scales_the_next_session_and_not_its_own(
    database: Database,
) -> None:
    for number in range(4):
        earned(database, number, 0.01)
    state(database, close(0), "reduced", 0.5)
    state(database, close(1) + timedelta(minutes=30), "reduced", 0.25)
    state(database, close(1) + timedelta(minutes=30), "paused", 0.0)
    state(database, close(2), "active", 1.0)
    returns = load_monitoring_history(database, STRATEGY).returns
    np.testing.assert_array_equal(returns.position_scale, [1.0, 0.5, 0.0, 1.0])
    np.testing.assert_allclose(returns.traded, [0.01, 0.005, 0.0, 0.01])


def test_another_strategy_leaves_no_trace(database: Database) -> None:
    other = "reversal_eu"
    drift(database, 0, other, ic=0.9)
    earned(database, 1, 0.5, other)
    alert(database, "theirs", 0, None, strategy_id=other)
    deploy(database, model(database, 1, snapshot(database, other)), "[2024-01-01,)", other)
    history = load_monitoring_history(database, STRATEGY)
    assert len(history.sessions) == 0
    rows = (history.alerts, history.models, history.deployments, history.snapshots)
    assert rows == ((),) * 4


def test_a_window_keeps_what_reaches_into_it(database: Database) -> None:
    for number in range(6):
        drift(database, number, ic=0.01 * number)
        state(database, close(number), "reduced", 0.5)
    alert(database, "before", 0, 1)
    alert(database, "into", 0, 2)
    alert(database, "open since before", 1, None)
    alert(database, "after", 5, None)
    deploy(database, model(database, 1), "[2024-01-01,2024-01-10 12:00)")
    deploy(database, model(database, 2), "[2024-01-10 12:00,2024-01-12)")
    deploy(database, model(database, 3), "[2024-01-12,)")
    history = load_monitoring_history(database, STRATEGY, first=day(2), last=day(3))
    np.testing.assert_allclose(history.drift.ic, [0.02, 0.03])
    assert [found.message for found in history.alerts] == ["into", "open since before"]
    assert [found.version for found in history.deployments] == [1, 2]
    assert [found.version for found in history.models] == [1, 2, 3]
    assert history.states[-1].effective_from == close(3)


def test_a_window_that_ends_before_it_begins_is_refused(database: Database) -> None:
    with pytest.raises(MonitoringError, match="from 2024-01-10 to 2024-01-08"):
        load_monitoring_history(database, STRATEGY, first=day(2), last=day(0))


def test_infinite_and_missing_bounds_of_a_live_range_are_both_open(database: Database) -> None:
    deploy(database, model(database, 1), "[-infinity,2024-01-08 14:30)")
    deploy(database, model(database, 2), "[2024-01-08 14:30,infinity)")
    first, second = load_monitoring_history(database, STRATEGY).deployments
    assert (first.live_from, second.live_to) == (None, None)
    assert first.live_to == second.live_from == datetime(2024, 1, 8, 14, 30, tzinfo=UTC)
    assert (second.promoted_by, second.reason) == ("anna", "better on 60 sessions")


def test_models_are_found_by_training_set_by_retrain_and_by_deployment(database: Database) -> None:
    snapshot_id = snapshot(database)
    model(database, 1, snapshot_id)
    retrained = model(database, 2)
    insert(
        database, "retrain_requests", strategy_id=STRATEGY, session=day(0), requested_by="monitor",
        may_promote=True, status="rejected", model_id=retrained, verdict={"reason": "no better"},
        finished_at=datetime(2024, 1, 9, tzinfo=UTC),
    )  # fmt: skip
    deploy(database, model(database, 3), "[2024-01-01,)")
    model(database, 4)
    history = load_monitoring_history(database, STRATEGY)
    assert [found.version for found in history.models] == [1, 2, 3]
    assert history.models[0].snapshot_id == history.snapshots[0].snapshot_id == snapshot_id
    (retrain,) = history.retrains
    assert (retrain.model_id, retrain.model_version) == (retrained, 2)
    assert retrain.verdict == {"reason": "no better"}


def test_a_models_newest_metric_counts_even_when_it_is_undefined(database: Database) -> None:
    model_id = model(database, 1, snapshot(database))
    for minutes, name, value in ((5, "ic_mean", 0.05), (1, "ic_mean", 0.01), (1, "sharpe", 2.0),
                                 (2, "sharpe", None)):  # fmt: skip
        insert(
            database, "model_metrics", model_id=model_id, metric_name=name, value=value,
            dataset_type="test", evaluated_at=close(0) + timedelta(minutes=minutes),
        )  # fmt: skip
    (found,) = load_monitoring_history(database, STRATEGY).models
    assert found.metrics["ic_mean_test"] == 0.05
    assert np.isnan(found.metrics["sharpe_test"])
