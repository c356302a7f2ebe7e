"""The response matrix: seven rules as data, and the thresholds they refer to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date
from typing import Literal

Severity = Literal["warning", "severe", "critical"]
GRAVEST_FIRST: tuple[Severity, ...] = ("critical", "severe", "warning")
Metric = Literal["ic", "psi", "sharpe_5d"]
Comparison = Literal["below", "above"]
Mode = Literal["as_written", "gated", "calibrated"]
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
class Gate:
    """What a metric must clear besides its threshold, where a rule is gated.

    Attributes
    ----------
    estimate, error : str
        Metrics of the session. The estimate must lie beyond the bound by more than the error, on
        the side of the rule's comparison. Where either is undefined there is no evidence: such a
        session neither counts nor resets.
    from_threshold : bool
        Whether the bound is the rule's threshold; else it is 0.
    size : str or None
        Metric that counts what the value rests on; None where the estimate is defined over a
        full window only, which is a size of its own.
    least : int
        A session whose size is smaller neither counts nor resets.
    """

    estimate: str
    error: str
    from_threshold: bool
    size: str | None
    least: int

    def describe(self, comparison: Comparison, threshold: float) -> str:
        """Return the gate in words, such as ic_20d_mean + ic_20d_se < 0.02, ic_names >= 10."""
        bound = threshold if self.from_threshold else 0.0
        sign, side = ("+", "<") if comparison == "below" else ("-", ">")
        sizes = "" if self.size is None else f", {self.size} >= {self.least}"
        return f"{self.estimate} {sign} {self.error} {side} {bound:g}{sizes}"


# One standard error, one-sided. At two, an IC that fell to exactly 0 would almost never clear
# the bound of the rule IC < 0; what one error costs and spares is what `error_rates` shows.
IC_GATE = Gate("ic_20d_mean", "ic_20d_se", True, "ic_names", 10)
SHARPE_GATE = Gate("sharpe_60d", "sharpe_60d_se", True, None, 60)
# The mean over features of what 95% of samples without drift stay below: at least that of the mean.
PSI_GATE = Gate("psi", "psi_no_drift_95", False, "psi_rows", 250)


@dataclass(frozen=True)
class Calibration:
    """How a calibrated limit was found, so that anybody can find it again.

    Attributes
    ----------
    first, last : date
        The history it was simulated from; no later session had a part in it.
    sessions : int
        Values of the metric in it.
    beyond : str or None
        The milder rule that the limit was moved beyond, where the history could not tell the limits
        of the two apart: such a rule fires less often than stated.
    """

    false_alarms_a_year: float
    first: date
    last: date
    sessions: int
    paths: int
    seed: int
    beyond: str | None = None


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
    cooldown_sessions : int
        Sessions after the end of an episode on which none may open. Too many and a second break
        is told late.
    gate : Gate or None
        What else must hold where `mode` is gated; not looked at otherwise.
    cusum_reference : float or None
        Where given, the rule watches the CUSUM of the metric below this value.
    calibration : Calibration or None
        Where the threshold comes from, if it was not written down.
    """

    name: str
    metric: Metric
    comparison: Comparison
    threshold: float
    sessions: int
    severity: Severity
    action: Action
    clear_after: int = 5
    cooldown_sessions: int = 0
    gate: Gate | None = None
    mode: Mode = "as_written"
    cusum_reference: float | None = None
    calibration: Calibration | None = None

    def met(self, value: float) -> bool:
        """Tell whether a value meets the condition; NaN never does."""
        return value < self.threshold if self.comparison == "below" else value > self.threshold

    def describe(self) -> str:
        """Return the rule in words, such as IC < 0.02 for 5 consecutive sessions."""
        label = {"ic": "IC", "psi": "PSI", "sharpe_5d": "5-day Sharpe"}[self.metric]
        sign = "<" if self.comparison == "below" else ">"
        stretch = f" for {self.sessions} consecutive sessions" if self.sessions > 1 else ""
        if self.cusum_reference is not None:
            label = f"CUSUM of {label} below {self.cusum_reference:.3g}"
        written = f"{label} {sign} {self.threshold:.4g}{stretch}"
        if self.mode == "gated" and self.gate is not None:
            return f"{written}, and {self.gate.describe(self.comparison, self.threshold)}"
        return written


@dataclass(frozen=True)
class AlertConfig:
    """Thresholds of the monitored metrics, and the rules made of them.

    Attributes
    ----------
    ic_warning, ic_critical, psi_warning, psi_critical, sharpe_warning, sharpe_critical : float
    clear_after : int
        Sessions without the condition after which an episode ends.
    cooldown_sessions : int
        Sessions after an episode on which the same rule opens none.
    mode : {"as_written", "gated", "calibrated"}
        Whether the thresholds hold as they are, together with each rule's gate, or give way to
        limits simulated on the strategy's own history (`drift.calibration`).
    false_alarms_a_year : float
        Of a calibrated warning on a healthy model; a severe rule has half as many and a critical
        one a quarter. The smaller, the longer a break stays unseen.
    """

    ic_warning: float = 0.02
    ic_critical: float = 0.01
    psi_warning: float = 0.10
    psi_critical: float = 0.25
    sharpe_warning: float = 0.5
    sharpe_critical: float = 0.0
    clear_after: int = 5
    ic_wrong: float = field(default=0.0)
    cooldown_sessions: int = 0
    mode: Mode = "as_written"
    false_alarms_a_year: float = 1.0

    def rules(self, mode: Mode | None = None) -> tuple[Rule, ...]:
        """Return the seven rules of the response matrix, in the mode configured or another.

        Calibrated ones are what `calibrate_rules` makes of those as written, which this returns.
        """
        gates = {"ic": IC_GATE, "psi": PSI_GATE, "sharpe_5d": SHARPE_GATE}
        gated = (mode or self.mode) == "gated"
        return tuple(
            replace(
                rule,
                cooldown_sessions=self.cooldown_sessions,
                gate=gates[rule.metric],
                mode="gated" if gated else "as_written",
            )
            for rule in self._matrix()
        )

    def _matrix(self) -> tuple[Rule, ...]:
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

    def level(self, metric: Metric, value: float) -> Severity | None:
        """Return the gravest severity of the rules whose threshold a value is beyond, if any.

        How many sessions a rule asks for is not looked at: one value has a level, and an episode
        opens once the level has lasted.
        """
        met = {
            rule.severity for rule in self._matrix() if rule.metric == metric and rule.met(value)
        }
        return next((severity for severity in GRAVEST_FIRST if severity in met), None)
