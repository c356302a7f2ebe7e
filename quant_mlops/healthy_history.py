"""The healthy stretch of a strategy: what its first live model did on its own test split."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quant_mlops.drift.profiles import read_profiles
from quant_mlops.drift.simulation import HealthyHistory
from quant_mlops.errors import MonitoringError
from quant_mlops.registry import ModelRegistry
from quant_mlops.registry.deployments import deployments
from quant_mlops.registry.kept_models import fitted_model, recipe_of
from quant_mlops.statistics import (
    ReferenceProfile,
    bin_counts_table,
    count_used_bins,
    population_stability_index,
    psi_no_drift_quantile,
    reference_counts_table,
)
from quant_mlops.strategy import Strategy
from quant_mlops.training.evaluation import backtest_returns, daily_information_coefficients
from quant_mlops.training.fitting import split_rows
from quant_mlops.training.matrices import TrainingRows
from quant_mlops.training.snapshot_files import find_snapshot, read_snapshot

Floats = npt.NDArray[np.float64]
Sessions = npt.NDArray[np.datetime64]


def read_healthy_history(registry: ModelRegistry, strategy: Strategy) -> HealthyHistory:
    """Return ICs, returns and PSI by session on a split that the model was not trained on.

    It is the model that went live first, and not the one live now: what it did before it was
    promoted never changes, so that the same limits are found in every run, and no session that
    is monitored has a part in them.

    Parameters
    ----------
    registry : ModelRegistry
    strategy : Strategy

    Raises
    ------
    MonitoringError
        No model was ever live, or the first has no snapshot.
    SnapshotTamperedError, ChecksumMismatchError
        Its training set or its artifacts are not what they were.
    """
    live = deployments(registry.database, strategy.name)
    if not live:
        raise MonitoringError(
            f"no model of {strategy.name} was ever live, so it has no healthy history; promote "
            f"one first"
        )
    model = registry.get_model_by_id(live[0].model_id)
    if model.snapshot_id is None:
        raise MonitoringError(
            f"{model.label}, the first model of {strategy.name} that went live, has no training "
            f"snapshot to be judged on; register it with snapshot_id"
        )
    snapshot = find_snapshot(registry.database, model.snapshot_id)
    recipe = recipe_of(registry, model.model_id)
    fitted = fitted_model(registry, model.model_id, recipe)
    table = read_snapshot(snapshot)
    rows, splits = split_rows(table, recipe)
    test = rows.within(splits.test)
    signals = fitted.predict(test.features)
    ic = daily_information_coefficients(test, signals, recipe.evaluation)
    net = backtest_returns(test, signals, recipe.evaluation).net
    window = strategy.monitoring.psi_window_sessions
    profiles = read_profiles(registry.database, model.model_id)
    psi, noise = rolling_stability(
        rows, [profiles[name] for name in recipe.features], sessions=splits.test, window=window
    )
    return HealthyHistory(
        first=splits.test[0].item(),
        last=splits.test[-1].item(),
        ic=ic[np.isfinite(ic)],
        net=net[np.isfinite(net)],
        psi=psi,
        psi_no_drift_95=noise,
        horizon=recipe.evaluation.horizon,
        psi_window=window,
    )


def rolling_stability(
    rows: TrainingRows, profiles: list[ReferenceProfile], *, sessions: Sessions, window: int
) -> tuple[Floats, Floats]:
    """Return the mean PSI over features of windows that end on some sessions, and of its bound.

    Parameters
    ----------
    rows : TrainingRows
        With sessions before those asked for, which fill the first windows.
    profiles : list of ReferenceProfile
        One for each feature, in the order of the columns.
    sessions : ndarray of datetime64[D]
        Among those of the rows; one that has no full window is left out.
    window : int
        Sessions.

    Returns
    -------
    psi, psi_no_drift_95 : ndarray of float64, shape (S,)
    """
    everything = rows.sessions
    ends = np.searchsorted(everything, sessions) + 1
    ends = ends[ends >= window]
    if not len(ends):
        return np.empty(0), np.empty(0)
    # Those asked for are few beside all that a model was trained on.
    start = ends.min() - window
    rows, ends = rows.within(everything[start : ends.max()]), ends - start
    cuts = [profile.cuts for profile in profiles]
    order = np.argsort(rows.session, kind="stable")
    begins = np.searchsorted(rows.session[order], rows.sessions)
    parts = np.split(rows.features[order], begins[1:])
    by_day = np.stack([bin_counts_table(cuts, part) for part in parts])
    running = np.concatenate([np.zeros_like(by_day[:1]), by_day.cumsum(axis=0)])
    current = running[ends] - running[ends - window]
    reference = reference_counts_table(profiles)[None]
    psi = np.asarray(population_stability_index(reference, current))
    used = np.asarray(count_used_bins(reference, current))
    totals = current.sum(axis=2)
    # Few of the sizes differ, and each quantile takes a while.
    sizes = np.stack([used, np.broadcast_to(reference.sum(axis=2), used.shape), totals], axis=-1)
    distinct, place = np.unique(sizes.reshape(-1, 3), axis=0, return_inverse=True)
    quantiles = np.array([psi_no_drift_quantile(*map(int, size)) for size in distinct])
    noise = quantiles[place.reshape(used.shape)]
    known = np.isfinite(psi)
    noise[~known] = np.nan
    some = known.any(axis=1)
    return np.nanmean(psi[some], axis=1), np.nanmean(noise[some], axis=1)
