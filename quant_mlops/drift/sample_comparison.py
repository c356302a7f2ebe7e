"""Two samples of one feature by three measures, and whether these can see drift at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant_mlops.statistics import (
    bin_counts,
    count_used_bins,
    population_stability_index,
    psi_no_drift_quantile,
    reference_profile,
)
from quant_mlops.training.fitting import PROFILE_BINS

Floats = npt.NDArray[np.float64]
Sessions = npt.NDArray[np.datetime64]

# Means of sessions that vary by less than this share of what chance alone would have them vary are
# held in place by the feature's own definition.
STANDARDISED_BELOW = 0.1
FEWEST_SESSIONS, FEWEST_NAMES = 10, 5
EXACT_UP_TO = 1_000


@dataclass(frozen=True)
class SampleComparison:
    """Two samples by three measures; NaN where one is undefined.

    Attributes
    ----------
    n_reference, n_current : int
        Rows, missing ones included.
    missing_reference, missing_current : float
        Share of rows without a value.
    psi, psi_no_drift_95 : float
        And what 95% of comparisons without drift stay below, were all rows independent.
    bins : int
        Bins that are not empty on both sides.
    ks_statistic, ks_p_value : float
        Two-sample Kolmogorov-Smirnov, missing values left out. Rows of one session move together
        and windows overlap, so that the p-value is too small.
    wasserstein : float
        Distance of the two distributions in the feature's unit, infinite values left out.
    wasserstein_in_deviations : float
        The same in standard deviations of the reference.
    """

    n_reference: int
    n_current: int
    missing_reference: float
    missing_current: float
    psi: float
    psi_no_drift_95: float
    bins: int
    ks_statistic: float
    ks_p_value: float
    wasserstein: float
    wasserstein_in_deviations: float


def compare_samples(reference: Floats, current: Floats) -> SampleComparison:
    """Return sizes, missing rates and the three measures of two samples, NaN where undefined.

    Parameters
    ----------
    reference, current : ndarray of float64, shape (N,) and (M,)
        NaN for missing.
    """
    # SciPy's statistics take half a second to import, and few commands need them.
    from scipy import stats

    profile = reference_profile(reference, bins=PROFILE_BINS)
    counts = bin_counts(profile, current)
    used = count_used_bins(profile.counts, counts)
    trained, now = reference[~np.isnan(reference)], current[~np.isnan(current)]
    trained_finite, now_finite = trained[np.isfinite(trained)], now[np.isfinite(now)]
    statistic = p_value = distance = in_deviations = np.nan
    if len(trained) and len(now):
        exact = max(len(trained), len(now)) <= EXACT_UP_TO
        found = stats.ks_2samp(trained, now, method="exact" if exact else "asymp")
        statistic, p_value = float(found.statistic), float(found.pvalue)
    if len(trained_finite) and len(now_finite):
        distance = float(stats.wasserstein_distance(trained_finite, now_finite))
        deviation = float(trained_finite.std())
        in_deviations = distance / deviation if deviation > 0 else np.nan
    return SampleComparison(
        n_reference=len(reference),
        n_current=len(current),
        missing_reference=_missing_rate(reference),
        missing_current=_missing_rate(current),
        psi=float(population_stability_index(profile.counts, counts)),
        psi_no_drift_95=psi_no_drift_quantile(used, len(reference), len(current)),
        bins=used,
        ks_statistic=statistic,
        ks_p_value=p_value,
        wasserstein=distance,
        wasserstein_in_deviations=in_deviations,
    )


def held_in_place(values: Floats, sessions: Sessions) -> bool:
    """Tell whether each session's values have one and the same mean, as ranks and z-scores have.

    Of n independent values the mean varies with 1/n of their variance; values of one session
    that move together vary more. Only what is standardised within the session varies less.

    Parameters
    ----------
    values : ndarray of float64, shape (R,)
    sessions : ndarray of datetime64[D], shape (R,)
        The session of each value. Fewer than 10 with at least 5 values say nothing: False.
    """
    finite = np.isfinite(values)
    sample = values[finite]
    _, row, size = np.unique(sessions[finite], return_inverse=True, return_counts=True)
    if not len(sample):
        return False
    mean = np.bincount(row, weights=sample) / size
    within = np.bincount(row, weights=(sample - mean[row]) ** 2) / np.maximum(size - 1, 1)
    wide = size >= FEWEST_NAMES
    if wide.sum() < FEWEST_SESSIONS:
        return False
    expected = float((within[wide] / size[wide]).mean())
    return bool(expected > 0 and mean[wide].var(ddof=1) < STANDARDISED_BELOW * expected)


def _missing_rate(values: Floats) -> float:
    return float(np.isnan(values).mean()) if len(values) else np.nan
