"""The rules as they are written down."""

from __future__ import annotations

import math

import pytest

from quant_mlops.drift.rules import AlertConfig, Metric

# Rule, severity and action of the response matrix.
MATRIX = {
    "IC < 0.02 for 5 consecutive sessions": ("warning", "check_features"),
    "IC < 0.01": ("severe", "reduce_position"),
    "IC < 0 for 3 consecutive sessions": ("critical", "pause_strategy"),
    "PSI > 0.1": ("warning", "watch_features"),
    "PSI > 0.25": ("severe", "request_retrain"),
    "5-day Sharpe < 0.5 for 10 consecutive sessions": ("warning", "check_market"),
    "5-day Sharpe < 0 for 5 consecutive sessions": ("severe", "reduce_and_prepare_retrain"),
}


def test_the_default_rules_are_the_response_matrix() -> None:
    rules = AlertConfig().rules()
    assert {rule.describe(): (rule.severity, rule.action) for rule in rules} == MATRIX
    assert len({rule.name for rule in rules}) == len(rules) == 7


def test_thresholds_and_clearing_come_from_the_settings() -> None:
    config = AlertConfig(0.03, 0.02, 0.2, 0.3, 0.6, 0.1, clear_after=9, ic_wrong=-0.01)
    assert [rule.threshold for rule in config.rules()] == [0.03, 0.02, -0.01, 0.2, 0.3, 0.6, 0.1]
    assert {rule.clear_after for rule in config.rules()} == {9}


@pytest.mark.parametrize("rule", AlertConfig().rules(), ids=lambda rule: rule.name)
def test_a_value_on_the_threshold_and_a_missing_one_meet_nothing(rule: object) -> None:
    assert not rule.met(rule.threshold)
    assert not rule.met(math.nan)
    beyond = math.inf if rule.comparison == "above" else -math.inf
    assert rule.met(math.nextafter(rule.threshold, beyond))
    assert not rule.met(math.nextafter(rule.threshold, -beyond))


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("ic", {0.02: None, 0.019: "warning", 0.01: "warning", 0.009: "severe", -0.1: "critical"}),
        ("psi", {0.0: None, 0.10: None, 0.11: "warning", 0.25: "warning", 0.26: "severe"}),
        ("sharpe_5d", {1.0: None, 0.5: None, 0.4: "warning", 0.0: "warning", -0.1: "severe"}),
    ],
)
def test_a_level_is_the_gravest_severity_a_value_asks_for(
    metric: Metric, values: dict[float, str | None]
) -> None:
    config = AlertConfig()
    assert {value: config.level(metric, value) for value in values} == values
    assert config.level(metric, math.nan) is None
