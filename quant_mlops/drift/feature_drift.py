"""PSI of each feature by session: bin counts a day, windows as sums of days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import numpy as np
import numpy.typing as npt

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.drift.profiles import read_profiles
from quant_mlops.features.store import FeatureStore
from quant_mlops.instants import MICROSECOND, from_microseconds
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.registry import ModelRegistry
from quant_mlops.serving.live_models import ModelLoader
from quant_mlops.serving.predictions import decision_inputs, live_models_by_session
from quant_mlops.statistics import (
    ReferenceProfile,
    bin_counts_table,
    count_used_bins,
    population_stability_index,
    psi_no_drift_quantile,
)

Sessions = npt.NDArray[np.datetime64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DriftWritten:
    """Rows computed and rows stored now."""

    offered: int
    stored: int


def write_feature_drift(
    store: FeatureStore,
    registry: ModelRegistry,
    calendar: TradingCalendar,
    *,
    strategy_id: str,
    sessions: Sessions,
    window: int,
    evaluation_lag: timedelta,
) -> DriftWritten:
    """Store for each session and feature the PSI of the last `window` sessions.

    The current sample is what the live model was given at the decisions of the window, pooled
    over the universe; the reference is its profile. A session without a live model has no row.

    Parameters
    ----------
    store : FeatureStore
    registry : ModelRegistry
    calendar : TradingCalendar
    strategy_id : str
    sessions : ndarray of datetime64[D]
        Consecutive, ascending.
    window : int
        Sessions pooled. A short one measures noise: at 250 against 20 rows, PSI passes 0.25
        without any drift in 9 of 10 checks.
    evaluation_lag : timedelta
        After the close, when a session is evaluated.
    """
    live = live_models_by_session(registry, calendar, strategy_id=strategy_id, sessions=sessions)
    loader = ModelLoader(registry)
    rows: list[dict[str, object]] = []
    for model_id in dict.fromkeys(m for m in live if m is not None):
        chosen = sessions[[m == model_id for m in live]]
        reach = calendar.sessions(
            calendar.previous(chosen[0].item(), window - 1) if window > 1 else chosen[0].item(),
            chosen[-1].item(),
        )
        evaluated = calendar.closes(chosen[-1:])[0] + evaluation_lag // MICROSECOND
        model = loader.load(model_id)
        inputs = decision_inputs(
            store, calendar, reach, model.features,
            knowledge_time=from_microseconds(int(evaluated)),
        )  # fmt: skip
        profiles = read_profiles(store.database, model_id)
        day = np.searchsorted(reach, inputs.table["session"].to_numpy().astype("datetime64[D]"))
        matrix = inputs.matrix()
        by_day = _counts_by_day(matrix, day, [profiles[n] for n in inputs.names], len(reach))
        for i, name in enumerate(inputs.names):
            rows += _rows(
                by_day[i], profiles[name], chosen, reach, calendar,
                strategy_id=strategy_id, name=name, version=model.features[name],
                model_id=model_id, window=window,
            )  # fmt: skip
    return DriftWritten(len(rows), _write(store.database, rows))


def _counts_by_day(
    matrix: npt.NDArray[np.float64],
    day: npt.NDArray[np.int64],
    profiles: list[ReferenceProfile],
    days: int,
) -> list[Counts]:
    """Return for each feature the bin counts of each day, shape (D, bins + 1)."""
    widths = [len(profile.counts) for profile in profiles]
    counts = [np.zeros((days, width), dtype=np.int64) for width in widths]
    bounds = np.searchsorted(day, np.arange(days + 1))
    cuts = [profile.cuts for profile in profiles]
    for d in range(days):
        part = matrix[bounds[d] : bounds[d + 1]]
        if not len(part):
            continue
        table = bin_counts_table(cuts, part)
        for i, width in enumerate(widths):
            counts[i][d, : width - 1] = table[i, : width - 1]
            counts[i][d, width - 1] = table[i, -1]
    return counts


def _rows(
    by_day: Counts,
    profile: ReferenceProfile,
    chosen: Sessions,
    reach: Sessions,
    calendar: TradingCalendar,
    *,
    strategy_id: str,
    name: str,
    version: int,
    model_id: UUID,
    window: int,
) -> list[dict[str, object]]:
    reference = np.asarray(profile.counts, dtype=np.int64)
    running = np.vstack([np.zeros((1, by_day.shape[1]), dtype=np.int64), by_day.cumsum(axis=0)])
    ends = np.searchsorted(reach, chosen) + 1
    windowed = running[ends] - running[np.maximum(ends - window, 0)]
    psi = np.asarray(population_stability_index(reference[None, :], windowed))
    used = np.asarray(count_used_bins(reference[None, :], windowed))
    totals = windowed.sum(axis=1)
    closes = calendar.closes(chosen)
    rows: list[dict[str, object]] = []
    for i, end in enumerate(ends):
        today, total = by_day[end - 1], int(totals[i])
        noise = (
            psi_no_drift_quantile(int(used[i]), profile.n, total) if total and profile.n else np.nan
        )
        rows.append(
            {
                "strategy_id": strategy_id,
                "feature_name": name,
                "event_time": from_microseconds(int(closes[i])),
                "session": chosen[i].item(),
                "model_id": model_id,
                "feature_version": version,
                "day_counts": today.tolist(),
                "window_sessions": window,
                "n_reference": profile.n,
                "n_current": total,
                "missing_rate": float(today[-1] / today.sum()) if today.sum() else None,
                "psi": _finite(float(psi[i])),
                "psi_no_drift_95": _finite(float(noise)),
            }
        )
    return rows


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _write(database: Database, rows: list[dict[str, object]]) -> int:
    if not rows:
        return 0
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.executemany(query("insert_feature_drift"), rows)
        return cursor.rowcount
