"""The report of a day, and its text for a person within the 80 columns of a terminal or a mail."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from quant_mlops.alerts.outbox import Alert
from quant_mlops.alerts.states import StrategyState
from quant_mlops.drift.monitor import DriftMetrics
from quant_mlops.features.health import FeatureHealth
from quant_mlops.wording import short_time

WIDTH = 80
NAME = 24
FEATURES_NAMED = 3

Day = date


@dataclass(frozen=True)
class ModelStatus:
    """The model that was live when the session was judged.

    Attributes
    ----------
    trained_until : date or None
        Last session whose close its fit knew; None if that was not recorded.
    reproduced : bool or None
        Whether its newest reproduction came out identical; None if none was ever made.
    """

    model_id: UUID
    label: str
    live_since: datetime
    trained_until: date | None
    reproduced: bool | None
    reproduced_at: datetime | None


@dataclass(frozen=True)
class DailyReport:
    """What one session says about a strategy.

    Attributes
    ----------
    rules_met : tuple of Alert
        Those of the open alerts whose condition still held on the session.
    new_alerts, open_alerts : tuple of Alert
        Episodes that opened on the session, and those that opened before it and have not ended.
    problems : tuple of str
        What has to be looked at before the numbers can be trusted; empty if nothing.
    decision : str
        `trade`, `trade reduced`, `paused` or `check data`.
    sentence : str
        The decision with its reason.
    """

    strategy_id: str
    date: Day
    evaluation_time: datetime
    model: ModelStatus | None
    features: tuple[FeatureHealth, ...]
    metrics: DriftMetrics
    rules_met: tuple[Alert, ...]
    new_alerts: tuple[Alert, ...]
    open_alerts: tuple[Alert, ...]
    state: StrategyState
    problems: tuple[str, ...]
    decision: str
    sentence: str

    def render(self) -> str:
        """Return the report as text for a person, no line wider than 80 columns."""
        return _text(self)


def _text(report: DailyReport) -> str:
    """Return the report: decision first, then what it rests on."""
    blocks = [
        [
            f"{report.strategy_id}, session {report.date}, "
            f"judged at {short_time(report.evaluation_time)}",
            f"DECISION: {report.decision.upper()}",
            report.sentence,
        ],
        ["Problems", *_items(report.problems)] if report.problems else [],
        ["Model", *_model(report)],
        ["Features: newest value in sessions, share of names without one", *_features(report)],
        ["Metrics", *_metrics(report)],
        ["Rules met", *_alerts(report.rules_met)],
        ["New alerts, and what was found", *_checked(report.new_alerts)],
        ["Open alerts from before", *_alerts(report.open_alerts)],
    ]
    return "\n\n".join("\n".join(_wrapped(block)) for block in blocks if block) + "\n"


def _wrapped(lines: Sequence[str]) -> list[str]:
    wrapped = []
    for line in lines:
        indent = len(line) - len(line.lstrip())
        wrapped += textwrap.wrap(line, WIDTH, subsequent_indent=" " * (indent + 2)) or [""]
    return wrapped


def _items(sentences: Sequence[str]) -> list[str]:
    return [f"  {sentence}" for sentence in sentences] or ["  none"]


def _model(report: DailyReport) -> list[str]:
    model = report.model
    if model is None:
        return ["  none is live"]
    verdict = "never tried"
    if model.reproduced_at is not None:
        found = "identical" if model.reproduced else "NOT identical"
        verdict = f"{found} on {model.reproduced_at:%Y-%m-%d}"
    return [
        f"  {model.label}, live since {short_time(model.live_since)}",
        f"  trained until {model.trained_until or 'a session not recorded'}; "
        f"reproduction: {verdict}",
        f"  state {report.state.words()}",
    ]


def _features(report: DailyReport) -> list[str]:
    return [
        f"  {f.feature_name:{NAME}} {'never' if f.sessions_old is None else f.sessions_old:>6} "
        f"{_percent(f.missing_rate):>9}"
        for f in report.features
    ] or ["  none is registered"]


def _metrics(report: DailyReport) -> list[str]:
    m = report.metrics
    lines = [("IC", f"{_number(m.ic)}, 20 sessions {_pair(m.ic_20d_mean, m.ic_20d_se)}")]
    lines += [
        (
            f"IC over {ic.horizon}",
            f"{_number(ic.ic)}, 20 sessions {_pair(ic.ic_20d_mean, ic.ic_20d_se)}",
        )
        for ic in m.ic_by_horizon
    ]
    lines += [
        (
            "PSI of features",
            f"{_number(m.psi)}, largest {_number(m.psi_max)} {m.psi_max_feature or ''}",
        ),
        ("PSI of signals", _number(m.prediction_psi)),
        ("Sharpe, 5 sessions", _pair(m.sharpe_5d, m.sharpe_5d_se)),
        ("Sharpe, 20 sessions", _pair(m.sharpe_20d, m.sharpe_20d_se)),
        (
            "Sharpe, 60 sessions",
            f"{_pair(m.sharpe_60d, m.sharpe_60d_se)}, above 0 with probability "
            f"{_number(m.probabilistic_sharpe_60d)}",
        ),
    ]
    return [f"  {name:{NAME}} {text.rstrip()}" for name, text in lines]


def _alerts(alerts: Sequence[Alert]) -> list[str]:
    return _items([f"{a.severity}: {a.message}" for a in alerts])


def _checked(alerts: Sequence[Alert]) -> list[str]:
    """Return alerts, each with what was found when its checks were run."""
    lines = []
    for alert in alerts:
        lines.append(f"  {alert.severity}: {alert.message}")
        lines += [f"    {finding}" for finding in _findings(alert.evidence)]
    return lines or ["  none"]


def _findings(evidence: Mapping[str, Any]) -> list[str]:
    """Return what was checked, which features moved, and the market, as far as they are there."""
    found: list[str] = list(evidence.get("diagnostics", {}).get("findings", []))
    moved = [
        f"{feature['feature']} {feature['psi']:.2f}{_was(feature['psi_before'])}"
        for feature in evidence.get("features", [])[:FEATURES_NAMED]
    ]
    if moved:
        found.append(f"moved most, by PSI: {', '.join(moved)}")
    market = evidence.get("market", {})
    sides = [
        f"{words} {market[f'{side}_mean_daily_return']:+.2%} a day, volatility "
        f"{market[f'{side}_daily_volatility']:.2%}"
        for side, words in (("recent", "of late"), ("training", "in training"))
        if market.get(f"{side}_daily_volatility") is not None
    ]
    if sides:
        found.append(f"market: {'; '.join(sides)}")
    return found


def _was(before: float | None) -> str:
    return "" if before is None else f" (was {before:.2f})"


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.4g}"


def _pair(value: float, error: float) -> str:
    return f"{_number(value)} (s.e. {_number(error)})" if math.isfinite(value) else "undefined"


def _percent(share: float) -> str:
    return "undefined" if math.isnan(share) else f"{share:.1%}"
