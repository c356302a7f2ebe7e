"""The response matrix: seven rules as data, and the thresholds they refer to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["warning", "severe", "critical"]
Metric = Literal["ic", "psi", "sharpe_5d"]
Comparison = Literal["below", "above"]
Action = Literal[
    "check_features",
    "reduce_position",
    "pause_strategy",
    "watch_features",
    "request_retrain",
    "check_market",
    "reduce_and_prepare_retrain",
    "check_data",
]


@dataclass(frozen=True)
class Rule:
    """When a metric asks for an action.

    Attributes
    ----------
    name : str
        Identity, kept with each alert.
    metric : {"ic", "psi", "sharpe_5d"}
        Column of `drift_metrics`.
    comparison, threshold
        The condition; a session without a value neither meets nor breaks it.
    sessions : int
        Consecutive sessions of the calendar on which the condition must hold.
    severity, action
        What an alert of this rule says and does.
    clear_after : int
        Consecutive sessions on which the condition must fail before the episode ends. Too few
        and a metric that wavers around its threshold opens an alert a day.
    """

    name: str
    metric: Metric
    comparison: Comparison
    threshold: float
    sessions: int
    severity: Severity
    action: Action
    clear_after: int = 5

    def met(self, value: float) -> bool:
        """Tell whether a value meets the condition; NaN never does."""
        return value < self.threshold if self.comparison == "below" else value > self.threshold

    def describe(self) -> str:
        """Return the rule in words, such as IC < 0.02 for 5 consecutive sessions."""
        label = {"ic": "IC", "psi": "PSI", "sharpe_5d": "5-day Sharpe"}[self.metric]
        sign = "<" if self.comparison == "below" else ">"
        stretch = f" for {self.sessions} consecutive sessions" if self.sessions > 1 else ""
        return f"{label} {sign} {self.threshold:g}{stretch}"


@dataclass(frozen=True)
class AlertConfig:
    """Thresholds of the monitored metrics, and the rules made of them.

    Attributes
    ----------
    ic_warning, ic_critical, psi_warning, psi_critical, sharpe_warning, sharpe_critical : float
    clear_after : int
        Sessions without the condition after which an episode ends.
    """

    ic_warning: float = 0.02
    ic_critical: float = 0.01
    psi_warning: float = 0.10
    psi_critical: float = 0.25
    sharpe_warning: float = 0.5
    sharpe_critical: float = 0.0
    clear_after: int = 5
    ic_wrong: float = field(default=0.0)

    def rules(self) -> tuple[Rule, ...]:
        """Return the seven rules of the response matrix."""
        return (
            Rule("ic_low", "ic", "below", self.ic_warning, 5, "warning", "check_features",
                 self.clear_after),
            Rule("ic_severe", "ic", "below", self.ic_critical, 1, "severe", "reduce_position",
                 self.clear_after),
            Rule("ic_negative", "ic", "below", self.ic_wrong, 3, "critical", "pause_strategy",
                 self.clear_after),
            Rule("psi_mild", "psi", "above", self.psi_warning, 1, "warning", "watch_features",
                 self.clear_after),
            Rule("psi_severe", "psi", "above", self.psi_critical, 1, "severe", "request_retrain",
                 self.clear_after),
            Rule("sharpe_low", "sharpe_5d", "below", self.sharpe_warning, 10, "warning",
                 "check_market", self.clear_after),
            Rule("sharpe_negative", "sharpe_5d", "below", self.sharpe_critical, 5, "severe",
                 "reduce_and_prepare_retrain", self.clear_after),
        )  # fmt: skip

    def level(self, metric: Metric, value: float) -> str | None:
        """Return how far a value is out: warning, critical, or None if it is not or is NaN."""
        bounds = {
            "ic": (self.ic_warning, self.ic_critical, -1),
            "psi": (self.psi_warning, self.psi_critical, 1),
            "sharpe_5d": (self.sharpe_warning, self.sharpe_critical, -1),
        }
        warning, critical, sign = bounds[metric]
        if sign * value > sign * critical:
            return "critical"
        return "warning" if sign * value > sign * warning else None
