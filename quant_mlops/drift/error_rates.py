"""How often a rule fires on a healthy model, and how long a break stays unseen, by simulation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant_mlops.drift.rules import Rule
from quant_mlops.drift.simulation import Source, broken, metrics_of
from quant_mlops.drift.watching import watch
from quant_mlops.statistics.sharpe import SESSIONS_PER_YEAR

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Metrics = Mapping[str, Floats]

# Healthy sessions before anything is counted: the longest window is full by then.
WARM_UP = 60
YEARS = 2
BROKEN_SESSIONS = 2 * SESSIONS_PER_YEAR


@dataclass(frozen=True)
class ErrorRate:
    """What a rule costs and what it is worth.

    Attributes
    ----------
    false_alarms_a_year : float
        Episodes that open in 252 healthy sessions; NaN where the source has no such metric.
    false_alarms_se : float
        Its error by simulation; that of the history it is simulated from is not in it.
    delay_sessions : float
        Median sessions from a break to the alert that tells it, the first broken one counted as
        1; infinite where fewer than half are told within `BROKEN_SESSIONS`.
    detected : float
        Share of breaks told within them.
    in_alarm : float
        Share of healthy sessions on which an episode is open. A rule that is always in alarm opens
        next to no episode, and is worth nothing.
    """

    rule: Rule
    false_alarms_a_year: float
    false_alarms_se: float
    delay_sessions: float
    detected: float
    in_alarm: float


@dataclass(frozen=True)
class Alarms:
    """Where episodes open and where one is open, sessions by paths."""

    opened: Flags
    is_open: Flags


@dataclass(frozen=True)
class Simulated:
    """Metrics of many paths, sessions by paths: healthy, and broken after the warm-up."""

    healthy: Metrics
    broken: Metrics


def simulate(source: Source, *, paths: int, seed: int) -> Simulated:
    """Draw what error rates are counted on.

    Parameters
    ----------
    source : Source
    paths : int
        Of two healthy years, and of one break, each. The error of a rate falls with its root.
    seed : int
    """
    breaks = source.draw(WARM_UP + BROKEN_SESSIONS, paths, seed=(seed, 1))
    return Simulated(
        healthy_years(source, paths=paths, seed=(seed, 0)),
        metrics_of(broken(source, breaks, at=WARM_UP), horizon=source.horizon),
    )


def healthy_years(source: Source, *, paths: int, seed: Sequence[int]) -> Metrics:
    """Return the metrics of `YEARS` healthy years behind a warm-up, sessions by paths."""
    years = source.draw(WARM_UP + YEARS * SESSIONS_PER_YEAR, paths, seed=seed)
    return metrics_of(years, horizon=source.horizon)


def error_rate(rule: Rule, simulated: Simulated) -> ErrorRate:
    """Return how often a rule fires without cause, and how soon with one.

    An alarm is the opening of an episode, under the rule's own `clear_after` and
    `cooldown_sessions`. With a clear_after of 1 each maximal run of the condition that is long
    enough is one alarm; with more of them, runs in quick sequence are one. A break is told by the
    first session on or after it on which the condition has held for as long as the rule asks,
    sessions before the break included, and no episode is taken to be open as it happens.
    """
    values, cleared = watch(rule, simulated.healthy)
    if np.isnan(values).all():
        return ErrorRate(rule, *[math.nan] * 5)
    alarms = alarms_of(rule, values, cleared)
    opened = alarms.opened[WARM_UP:]
    a_year = opened.sum(axis=0) * SESSIONS_PER_YEAR / len(opened)
    delays = _delays(rule, *watch(rule, simulated.broken))
    return ErrorRate(
        rule,
        float(a_year.mean()),
        float(a_year.std(ddof=1) / math.sqrt(len(a_year))) if len(a_year) > 1 else math.nan,
        # Of the two middle ones the earlier, which is infinite only where both are.
        float(np.quantile(delays, 0.5, method="lower")),
        float(np.isfinite(delays).mean()),
        float(alarms.is_open[WARM_UP:].mean()),
    )


def alarms_of(rule: Rule, values: Floats, cleared: Flags | None = None) -> Alarms:
    """Tell where `find_episodes` would open an episode and have one open, for many paths at once.

    Parameters
    ----------
    rule : Rule
    values : ndarray of float64, shape (S, P)
        NaN neither counts nor resets.
    cleared : ndarray of bool, shape (S, P), optional
    """
    return count_alarms(rule, *_conditions(rule, values, cleared))


def count_alarms(rule: Rule, met: Flags, failed: Flags) -> Alarms:
    """Tell where episodes open and are open, given where the condition holds and where it fails.

    Parameters
    ----------
    rule : Rule
        Its sessions, `clear_after` and `cooldown_sessions`; the threshold is not looked at.
    met, failed : ndarray of bool, shape (S, P)
        Neither on sessions without a value.
    """
    # An episode closes on a session that fails, so that what was counted while it was open is
    # forgotten by then; in the same way it opens with no failure counted. So neither count asks
    # whether an episode is open.
    told = _held(met, failed, rule.sessions)
    lasting = ~_held(failed, met, rule.clear_after)
    alarms = Alarms(np.zeros(met.shape, dtype=np.bool_), np.zeros(met.shape, dtype=np.bool_))
    is_open = np.zeros(met.shape[1], dtype=np.bool_)
    cool_until = np.full(met.shape[1], -1, dtype=np.int64)
    for at in range(len(met)):
        new = np.greater(told[at], is_open, out=alarms.opened[at])
        if rule.cooldown_sessions:
            new &= cool_until < at
            cool_until[is_open > lasting[at]] = at + rule.cooldown_sessions
        is_open = np.logical_and(is_open, lasting[at], out=alarms.is_open[at])
        is_open |= new
    return alarms


def _held(met: Flags, failed: Flags, count: int) -> Flags:
    """Tell where a condition is met for at least the `count`-th time since it last failed."""
    if count == 1:
        return met
    missing = ~(met | failed)
    if (missing[1:] > missing[:-1]).any():
        run = np.zeros(met.shape[1], dtype=np.int32)
        held = np.zeros_like(met)
        for at in range(len(met)):
            run += met[at]
            run *= ~failed[at]
            np.greater_equal(run, count, out=held[at])
        return held & met
    # Without a gap between its values a path needs no count: so many sessions in a row.
    held = met.copy()
    held[: count - 1] = False
    for back in range(1, count):
        held[back:] &= met[:-back]
    return held


def _delays(rule: Rule, values: Floats, cleared: Flags) -> Floats:
    """Return sessions from the break to the alert that tells it, infinite where none does."""
    met, failed = _conditions(rule, values, cleared)
    run = np.zeros(values.shape[1], dtype=np.int64)
    delays = np.full(values.shape[1], np.inf)
    for at in range(len(values)):
        run = np.where(failed[at], 0, run + met[at])
        if at >= WARM_UP:
            told = met[at] & (run >= rule.sessions) & np.isinf(delays)
            delays[told] = at - WARM_UP + 1
    return delays


def _conditions(rule: Rule, values: Floats, cleared: Flags | None) -> tuple[Flags, Flags]:
    met = values < rule.threshold if rule.comparison == "below" else values > rule.threshold
    if cleared is not None:
        met = met & cleared
    return met, ~met & ~np.isnan(values)
