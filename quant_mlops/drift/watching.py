"""What a rule looks at by session: a metric or its CUSUM, and where its gate is cleared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from quant_mlops.drift.rules import Gate, Rule

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def watch(
    rule: Rule, metrics: Mapping[str, Floats], *, restarts: Sequence[int] = ()
) -> tuple[Floats, Flags]:
    """Return the values a rule judges and where its condition may hold.

    Parameters
    ----------
    rule : Rule
    metrics : mapping of str to ndarray of float64, shape (S,) or (S, P)
        By column of `drift_metrics` (and `psi_no_drift_95`, `psi_rows`), sessions along the first
        axis; a further axis holds simulated paths. A size that is not there is taken to suffice.
    restarts : sequence of int
        Sessions from which another model is live: a CUSUM begins there anew, or what the model
        before it did would stand against a healthy one.

    Returns
    -------
    values : ndarray of float64, same shape
        NaN on sessions that neither count nor reset.
    cleared : ndarray of bool, same shape
        False where the value says nothing beyond its sampling error.
    """
    values = metrics[rule.metric]
    if rule.cusum_reference is not None:
        stretches = np.split(values, list(restarts))
        sums = np.concatenate([lower_cusum(part, rule.cusum_reference) for part in stretches])
        return sums, np.ones(values.shape, dtype=np.bool_)
    if rule.mode != "gated" or rule.gate is None:
        return values, np.ones(values.shape, dtype=np.bool_)
    usable = _usable(rule.gate, metrics)
    bound = rule.threshold if rule.gate.from_threshold else 0.0
    estimate, error = metrics[rule.gate.estimate], metrics[rule.gate.error]
    cleared = (
        estimate + error < bound if rule.comparison == "below" else estimate - error > bound
    )  # fmt: skip
    return np.where(usable, values, np.nan), cleared


def lower_cusum(values: Floats, reference: float) -> Floats:
    """Return the one-sided CUSUM of how far values fell below a reference.

    Parameters
    ----------
    values : ndarray of float64, shape (S,) or (S, P)
        Sessions along the first axis.
    reference : float
        In the unit of the values; midway between the healthy mean and the one to be detected.
        Set at the healthy mean, the sum grows with every chance run.

    Returns
    -------
    ndarray of float64, same shape
        NaN where there is no value; the sum is carried over such sessions.

    Notes
    -----
    Page (1954), Biometrika 41, 100-115: S(t) = max(0, S(t - 1) + reference - x(t)), from 0.
    """
    # max(0, ...) at every step is the running sum above its lowest point so far, 0 included.
    running = np.cumsum(np.where(np.isnan(values), 0.0, reference - values), axis=0)
    lowest = np.minimum(np.minimum.accumulate(running, axis=0), 0.0)
    return np.where(np.isnan(values), np.nan, running - lowest)


def _usable(gate: Gate, metrics: Mapping[str, Floats]) -> Flags:
    usable = np.isfinite(metrics[gate.estimate]) & np.isfinite(metrics[gate.error])
    if gate.size is not None and gate.size in metrics:
        # A size that is NaN is not enough either.
        usable &= metrics[gate.size] >= gate.least
    return np.asarray(usable, dtype=np.bool_)
