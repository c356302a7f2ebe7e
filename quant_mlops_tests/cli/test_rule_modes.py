"""The healthy history of a strategy that was run, and the modes of rules that rest on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quant_mlops.database import Database
from quant_mlops.drift.profiles import read_profiles
from quant_mlops.errors import MonitoringError
from quant_mlops.healthy_history import read_healthy_history, rolling_stability
from quant_mlops.judged_rules import judge_rules
from quant_mlops.pipeline import raise_alerts
from quant_mlops.registry.deployments import deployments, promote
from quant_mlops.settings import Settings
from quant_mlops.statistics import bin_counts, population_stability_index, sharpe_ratio
from quant_mlops.strategy_context import StrategyContext
from quant_mlops.strategy_files import load_strategies
from quant_mlops.strategy_sections import RuleSettings
from quant_mlops.training.matrices import training_rows
from quant_mlops.training.snapshot_files import find_snapshot, read_snapshot


@pytest.fixture
def work(desk: Any, stock: Any) -> Iterator[StrategyContext]:
    """Give the context of a strategy that was run, on a copy of its database."""
    settings = Settings(home=stock.home)
    (strategy,) = load_strategies(settings).values()
    with Database(os.environ["QUANT_MLOPS_DATABASE_URL"]) as database:
        yield StrategyContext(database, settings, strategy)


def calibrated(work: StrategyContext, **rules: Any) -> StrategyContext:
    settings = RuleSettings(mode="calibrated", **rules)
    strategy = work.strategy.model_copy(update={"rules": settings})
    return StrategyContext(work.database, work.settings, strategy)


def test_the_healthy_history_is_what_the_registry_says_of_the_test_split(
    work: StrategyContext,
) -> None:
    (live,) = deployments(work.database, work.strategy.name)
    metrics = work.registry.get_metrics(live.model_id)
    history = read_healthy_history(work.registry, work.strategy)
    assert history.ic_mean == pytest.approx(metrics["ic_mean_test"])
    assert sharpe_ratio(history.net) == pytest.approx(metrics["sharpe_ratio_backtest"])
    assert history.last < work.strategy.monitoring.first_session
    assert (history.horizon, history.psi_window) == (2, 20)


def test_the_stability_of_the_test_split_is_that_of_each_window_by_itself(
    work: StrategyContext,
) -> None:
    (live,) = deployments(work.database, work.strategy.name)
    model = work.registry.get_model_by_id(live.model_id)
    assert model.snapshot_id is not None
    snapshot = find_snapshot(work.database, model.snapshot_id)
    rows = training_rows(read_snapshot(snapshot), snapshot.feature_names)
    stored = read_profiles(work.database, live.model_id)
    profiles = [stored[name] for name in snapshot.feature_names]
    asked = rows.sessions[[3, 60, 119]]
    psi, noise = rolling_stability(rows, profiles, sessions=asked, window=20)
    assert len(psi) == len(noise) == 2
    for found, end in zip(psi, (60, 119), strict=True):
        part = rows.within(rows.sessions[end - 19 : end + 1]).features
        alone = [
            population_stability_index(np.array(profile.counts), bin_counts(profile, column))
            for profile, column in zip(profiles, part.T, strict=True)
        ]
        assert found == pytest.approx(np.mean(alone))
    assert (noise > 0).all()


def test_calibrated_limits_outlive_a_promotion_and_are_kept_with_the_alerts(
    work: StrategyContext, forget_alerts: Any, sessions: list[date]
) -> None:
    forget_alerts(work.database)
    own = calibrated(work, false_alarms_a_year=20.0)
    response = raise_alerts(own, sessions[-2])
    judged = [alert for alert in response.alerts if alert.rule != "no_data"]
    assert judged, "twenty false alarms a year are some in two months"
    limits = {rule.name: rule.threshold for rule in own.calibrated_rules}
    for alert in judged:
        origin = alert.evidence["calibration"]
        assert alert.evidence["threshold"] == limits[alert.rule]
        assert origin["last"] < work.strategy.monitoring.first_session.isoformat()
        share = {"warning": 20.0, "severe": 10.0, "critical": 5.0}[alert.severity]
        assert origin["false_alarms_a_year"] == share
    work.registry.register_model("small_ridge", "small")
    with work.database.transaction() as connection:
        second = work.registry.get_model("small_ridge", 2)
        assert second is not None
        promote(
            connection, model_id=second.model_id, strategy_id="small", by="ann", reason="test"
        )  # fmt: skip
    again = calibrated(work, false_alarms_a_year=20.0)
    assert again.calibrated_rules == own.calibrated_rules
    assert raise_alerts(again, sessions[-2]).alerts == ()


def test_without_a_model_the_stated_law_is_judged_and_it_is_said(work: StrategyContext) -> None:
    strategy = work.strategy.model_copy(update={"name": "unborn"})
    unborn = StrategyContext(work.database, work.settings, strategy)
    with pytest.raises(MonitoringError, match="no model of unborn was ever live"):
        read_healthy_history(unborn.registry, strategy)
    judged = judge_rules(unborn, paths=10, seed=1)
    assert "normal ICs of mean 0.05" in judged.source
    assert {rate.mode for rate in judged.rates} == {"as_written", "gated"}
    assert "no model of unborn was ever live" in judged.notes[0]
    nothing = raise_alerts(calibrated(unborn), work.strategy.monitoring.first_session)
    assert nothing.alerts == ()


def test_the_daily_run_of_a_calibrated_strategy_judges_with_its_own_limits(
    desk: Any, stock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (stock.home / "strategies" / "small.toml").read_text("utf-8")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "small.toml").write_text(f'{text}[rules]\nmode = "calibrated"\n')
    monkeypatch.setenv("QUANT_MLOPS_STRATEGIES", str(tmp_path / "own"))
    # What was judged so far was judged by the rules as written.
    found = desk("drift", "rules", "--paths", "5", "--json").document
    assert (found["mode_in_force"], found["in_force_since"]) == ("calibrated", None)
    report = desk("daily", "--json").document
    assert {alert["opened_session"] for alert in report["new_alerts"]} <= {report["session"]}
    found = desk("drift", "rules", "--paths", "5", "--json").document
    assert (found["mode_in_force"], found["in_force_since"]) == ("calibrated", report["session"])
