"""The rules of a strategy in each of their modes, each with its error rates beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from quant_mlops.alerts.rules_in_force import mode_in_force_since
from quant_mlops.drift.calibration import calibrate_rules
from quant_mlops.drift.error_rates import ErrorRate, error_rate, simulate
from quant_mlops.drift.rules import Calibration, Mode, Rule
from quant_mlops.drift.simulation import Source, StatedLaw
from quant_mlops.errors import MonitoringError, RegistryError, TrainingError
from quant_mlops.healthy_history import read_healthy_history
from quant_mlops.strategy_context import StrategyContext

# A calibrated rate is told to differ from the one stated beyond so many standard errors.
ERRORS_APART = 3.0
LAW = "normal ICs of mean 0.05 and deviation 0.10, and a Sharpe ratio of 2"


@dataclass(frozen=True)
class JudgedRule:
    """A rule in one mode; see `Rule` and `ErrorRate` for what the fields mean."""

    rule: str
    mode: Mode
    condition: str
    threshold: float
    severity: str
    action: str
    clear_after: int
    cooldown_sessions: int
    false_alarms_a_year: float
    false_alarms_se: float
    delay_sessions: float
    detected: float
    in_alarm: float
    calibration: Calibration | None


@dataclass(frozen=True)
class JudgedRules:
    """Every rule in every mode there is.

    Attributes
    ----------
    in_force_since : date or None
        First session judged in that mode; None where it begins with the next one.
    source : str
        What was simulated from.
    notes : tuple of str
        Why a mode is not there, and which calibrated rules fire at another rate than stated.
    """

    mode_in_force: Mode
    in_force_since: date | None
    source: str
    paths: int
    seed: int
    rates: tuple[JudgedRule, ...]
    notes: tuple[str, ...]


def judge_rules(
    context: StrategyContext,
    *,
    paths: int,
    seed: int,
    progress: Callable[[Sequence[Rule]], Iterable[Rule]] = iter,
) -> JudgedRules:
    """Return the error rates of a strategy's rules in each mode, rule by rule.

    Limits are calibrated on other paths than those that rates are counted on, with the seed of
    the strategy: they are the ones that would be in force.

    Parameters
    ----------
    context : StrategyContext
    paths : int
        At least 2, or there is no error of the rates.
    seed : int
    progress : callable
        What passes rules on, one at a time, and may show how far it is.
    """
    strategy = context.strategy
    config = strategy.alert_config
    written, gated = config.rules("as_written"), config.rules("gated")
    notes: list[str] = []
    calibrated: tuple[Rule, ...] = ()
    source: Source
    try:
        source = history = read_healthy_history(context.registry, strategy)
        described = (
            f"{len(history.ic)} sessions from {history.first} to {history.last}, the test split "
            f"of the first live model"
        )
        calibrated = calibrate_rules(
            written,
            history,
            false_alarms_a_year=config.false_alarms_a_year,
            seed=strategy.training.seed,
        )
    except (MonitoringError, RegistryError, TrainingError) as error:
        notes.append(f"no limits can be calibrated: {error}")
        source = StatedLaw(
            horizon=strategy.horizon, psi_window=strategy.monitoring.psi_window_sessions
        )
        described = LAW
    simulated = simulate(source, paths=paths, seed=seed)
    by_mode = [rules for rules in (written, gated, calibrated) if rules]
    ordered = [rule for same in zip(*by_mode, strict=True) for rule in same]
    rates = [error_rate(rule, simulated) for rule in progress(ordered)]
    notes += [note for rate in rates for note in missed_rate(rate, paths=paths)]
    since = mode_in_force_since(context.database, strategy.name, config.mode)
    judged = tuple(_judged(rate) for rate in rates)
    return JudgedRules(config.mode, since, described, paths, seed, judged, tuple(notes))


def missed_rate(rate: ErrorRate, *, paths: int) -> list[str]:
    """Say so where a calibrated rule fires at another rate than stated, beyond simulation error.

    Parameters
    ----------
    rate : ErrorRate
    paths : int
        On which it was counted.

    Returns
    -------
    list of str
        One sentence, or none for a rule that keeps its rate or has no stated one.
    """
    rule, calibration = rate.rule, rate.rule.calibration
    if calibration is None:
        return []
    stated, found = calibration.false_alarms_a_year, rate.false_alarms_a_year
    # The limit was found on paths of its own, with an error of the same kind.
    error = rate.false_alarms_se * math.sqrt(1 + paths / calibration.paths)
    if abs(found - stated) <= ERRORS_APART * error:
        return []
    if calibration.beyond is not None:
        reason = f"its limit was moved beyond that of {calibration.beyond}"
    elif found < stated:
        reason = "its history has too few values for a limit nearer to it"
    else:
        reason = "other healthy years are not like those that the limit was found on"
    return [
        f"{rule.name}, calibrated, has {found:.2f} false alarms a year where {stated:g} are "
        f"stated: {reason}"
    ]


def _judged(rate: ErrorRate) -> JudgedRule:
    rule = rate.rule
    return JudgedRule(
        rule=rule.name,
        mode=rule.mode,
        condition=rule.describe(),
        threshold=rule.threshold,
        severity=rule.severity,
        action=rule.action,
        clear_after=rule.clear_after,
        cooldown_sessions=rule.cooldown_sessions,
        false_alarms_a_year=rate.false_alarms_a_year,
        false_alarms_se=rate.false_alarms_se,
        delay_sessions=rate.delay_sessions,
        detected=rate.detected,
        in_alarm=rate.in_alarm,
        calibration=rule.calibration,
    )
