"""Limits of rules set by simulation, so that each has a stated number of false alarms a year."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from quant_mlops.drift.error_rates import WARM_UP, count_alarms, healthy_years
from quant_mlops.drift.rules import Calibration, Rule, Severity
from quant_mlops.drift.simulation import HealthyHistory
from quant_mlops.drift.watching import watch
from quant_mlops.errors import MonitoringError
from quant_mlops.statistics.sharpe import SESSIONS_PER_YEAR

Floats = npt.NDArray[np.float64]

FEWEST_VALUES = 20
PATHS = 500
# The limit is found to one in 130,000 of the values it is looked for among: by rank, as the Sharpe
# ratio of five sessions has tails so long that steps of equal length would miss the limit.
ROUNDS, STEPS = 4, 16
# Fewest standard deviations between the healthy mean IC and the one that a CUSUM is tuned to: a
# mean near the threshold as written, or below it, leaves next to nothing to detect.
LEAST_SHIFT = 0.25
# Of the stated false alarms a year, what a rule of each severity may have: the graver what it does,
# the rarer without cause. With one rate for all, rules on one metric would have one limit.
SHARES: Mapping[Severity, float] = {"warning": 1.0, "severe": 0.5, "critical": 0.25}


def calibrate_rules(
    rules: Sequence[Rule],
    history: HealthyHistory,
    *,
    false_alarms_a_year: float,
    seed: int,
    paths: int = PATHS,
) -> tuple[Rule, ...]:
    """Return the rules with the limits that a healthy stretch of their own history asks for.

    A rule on the IC watches a CUSUM below the point midway between the healthy mean and its
    threshold as written: that of IC < 0.02 is tuned to a decay to 0.02, that of IC < 0 to one to
    0. A rule on the PSI or the Sharpe ratio keeps its metric and its sessions and gets another
    threshold. Where the history has no window for a PSI, its rules stay as written.

    Of the false alarms stated a warning has all, a severe rule half and a critical one a quarter.
    Where the history is too short to tell the limits of two rules on one metric apart, that of
    the graver lies beyond the other by as much as their thresholds as written do.

    Parameters
    ----------
    rules : sequence of Rule
        As written.
    history : HealthyHistory
        The limits know nothing later. One that was not healthy makes limits that a broken model
        passes.
    false_alarms_a_year : float
        Of a warning, above 0; see `SHARES`.
    seed, paths : int
        The same ones give the same limits.

    Raises
    ------
    MonitoringError
        The history has too few values of the IC or the return.
    """
    for name, sample in (("ICs", history.ic), ("returns", history.net)):
        if len(sample) < FEWEST_VALUES:
            raise MonitoringError(
                f"rules were to be calibrated on {len(sample)} {name}, from {history.first} to "
                f"{history.last}; at least {FEWEST_VALUES} are needed: lengthen "
                f"training.test_sessions, or set rules.mode to gated"
            )
    # Other paths than those rates are counted on, whatever the seed of either.
    metrics = healthy_years(history, paths=paths, seed=(seed, 2))
    samples = {"ic": history.ic, "psi": history.psi, "sharpe_5d": history.net}
    calibrated = []
    for rule in rules:
        sample = samples[rule.metric]
        if len(sample) < FEWEST_VALUES:
            calibrated.append(rule)
            continue
        rate = false_alarms_a_year * SHARES[rule.severity]
        origin = Calibration(rate, history.first, history.last, len(sample), paths, seed)
        if rule.metric == "ic":
            rule = _as_cusum(rule, history)
        rule = replace(rule, mode="calibrated", calibration=origin)
        values, _ = watch(rule, metrics)
        calibrated.append(replace(rule, threshold=find_limit(rule, values, rate)))
    return _told_apart(rules, calibrated)


def _told_apart(written: Sequence[Rule], calibrated: Sequence[Rule]) -> tuple[Rule, ...]:
    """Move the limits of graver rules beyond those of milder ones that watch the same values."""
    found = list(calibrated)
    gravest_last = sorted(range(len(found)), key=lambda i: list(SHARES).index(found[i].severity))
    for place, i in enumerate(gravest_last):
        for k in gravest_last[:place]:
            rule, milder = found[i], found[k]
            alike = _watched(rule) == _watched(milder) and rule.severity != milder.severity
            sign = 1.0 if rule.comparison == "above" else -1.0
            if alike and rule.calibration and sign * (rule.threshold - milder.threshold) <= 0.0:
                apart = abs(written[i].threshold - written[k].threshold)
                found[i] = replace(
                    rule,
                    threshold=milder.threshold + sign * apart,
                    calibration=replace(rule.calibration, beyond=milder.name),
                )
    return tuple(found)


def _watched(rule: Rule) -> tuple[str, float | None, str]:
    return rule.metric, rule.cusum_reference, rule.comparison


def find_limit(rule: Rule, values: Floats, false_alarms_a_year: float) -> float:
    """Return the threshold nearest to the median whose false alarms are at most those stated.

    Parameters
    ----------
    rule : Rule
    values : ndarray of float64, shape (S, P)
        Healthy paths of what it watches.
    false_alarms_a_year : float
        Where even the median fires less often, the median is returned.
    """
    judged = values[WARM_UP:]
    ordered = np.sort(judged[np.isfinite(judged)])
    if rule.comparison == "below":
        ordered = ordered[::-1]
    near, far = 0.5, 1.0
    if _rates(rule, values, _at(ordered, np.array([near])))[0] <= false_alarms_a_year:
        return float(_at(ordered, np.array([near]))[0])
    for _ in range(ROUNDS):
        # Nothing lies beyond the last, so that it never fires.
        grid = np.linspace(near, far, STEPS + 1)
        few = _rates(rule, values, _at(ordered, grid[1:-1])) <= false_alarms_a_year
        first = int(np.argmax(few)) + 1 if few.any() else STEPS
        near, far = float(grid[first - 1]), float(grid[first])
    return float(_at(ordered, np.array([far]))[0])


def _at(ordered: Floats, shares: Floats) -> Floats:
    """Return the values that so large a share of the ordered ones comes before."""
    return np.interp(shares * (len(ordered) - 1), np.arange(len(ordered)), ordered)


def _rates(rule: Rule, values: Floats, thresholds: Floats) -> Floats:
    """Return the false alarms a year at each threshold, all of them in one pass."""
    against = values[:, None, :]
    bounds = thresholds[None, :, None]
    met = against < bounds if rule.comparison == "below" else against > bounds
    failed = ~met & ~np.isnan(against)
    shape = (len(values), -1)
    found = count_alarms(rule, met.reshape(shape), failed.reshape(shape)).opened[WARM_UP:]
    a_path = found.sum(axis=0) * SESSIONS_PER_YEAR / len(found)
    return np.asarray(a_path.reshape(len(thresholds), -1).mean(axis=1), dtype=np.float64)


def _as_cusum(rule: Rule, history: HealthyHistory) -> Rule:
    mean, deviation = history.ic_mean, float(history.ic.std(ddof=1))
    shift = max(mean - rule.threshold, LEAST_SHIFT * deviation)
    return replace(rule, comparison="above", sessions=1, cusum_reference=mean - shift / 2)
