"""PSI of each feature by session: bin counts a day, windows as sums of days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quant_mlops.database import Database
from quant_mlops.database.binary_copy import copy_table
from quant_mlops.database.queries import query
from quant_mlops.drift.prediction_drift import (
    prediction_drift_rows,
    read_signal_profile,
    store_prediction_drift,
)
from quant_mlops.drift.profiles import read_profiles
from quant_mlops.drift.windowed_counts import null_where_undefined, windowed_drift
from quant_mlops.errors import MonitoringError
from quant_mlops.features.store import FeatureStore
from quant_mlops.instants import MICROSECOND, from_microseconds
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.strategy_tickers import traded_tickers
from quant_mlops.registry import ModelRegistry
from quant_mlops.serving.live_models import ModelLoader, ServedModel
from quant_mlops.serving.predictions import INSTANT, decision_inputs, live_models_by_session
from quant_mlops.statistics import ReferenceProfile, bin_counts_by_group

Sessions = npt.NDArray[np.datetime64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DriftWritten:
    """Rows of features computed, and those stored now."""

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
    universe: str | None = None,
) -> DriftWritten:
    """Store for each session and feature the PSI of the last `window` sessions.

    The current sample is what the live model was given at the decisions of the window, pooled
    over the universe; the reference is its profile. A session without a live model has no row. A
    row that is stored changes only where values of its window were stored after it, as when
    sessions are run out of order.
    Beside the features' rows stands one of the model's signals, in `prediction_drift`, unless the
    model was registered without a profile of them.

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
    universe : str, optional
        Index whose members alone count; the strategy's tickers by default. Another than the model
        is served would have changes of membership pass for drift.
    """
    live = live_models_by_session(registry, calendar, strategy_id=strategy_id, sessions=sessions)
    loader = ModelLoader(registry)
    tickers = traded_tickers(store.database, strategy_id, universe=universe)
    offered = stored = 0
    for model_id in dict.fromkeys(m for m in live if m is not None):
        chosen = sessions[[m == model_id for m in live]]
        last = chosen[-1].item()
        reach = calendar.sessions(calendar.offset(chosen[0].item(), 1 - window), last)
        evaluated = calendar.closes(chosen[-1:])[0] + evaluation_lag // MICROSECOND
        model = loader.load(model_id)
        profiles = _profiles(store.database, model)
        inputs = decision_inputs(
            store, calendar, reach, model.features, max_ages=model.max_ages,
            knowledge_time=from_microseconds(int(evaluated)), universe=universe, tickers=tickers,
        )  # fmt: skip
        day = np.searchsorted(reach, inputs.table["session"].to_numpy().astype("datetime64[D]"))
        matrix = inputs.matrix()
        # Each feature in memory of its own: a column of the matrix is read ten times.
        columns = np.ascontiguousarray(matrix.T)
        tables = [
            _rows(
                bin_counts_by_group(profiles[name], columns[i], day, groups=len(reach)),
                profiles[name], chosen, reach, calendar,
                strategy_id=strategy_id, name=name, model=model, window=window,
            )
            for i, name in enumerate(inputs.names)
        ]  # fmt: skip
        rows = pa.concat_tables(tables)
        offered += rows.num_rows
        signal_profile = read_signal_profile(store.database, model_id)
        signals = None
        if signal_profile is not None:
            signals = prediction_drift_rows(
                model, signal_profile, matrix, day, chosen=chosen, reach=reach,
                calendar=calendar, strategy_id=strategy_id, window=window,
            )  # fmt: skip
        stored += _write(store.database, rows, signals)
    return DriftWritten(offered, stored)


def _profiles(database: Database, model: ServedModel) -> dict[str, ReferenceProfile]:
    profiles = read_profiles(database, model.model_id)
    absent = [name for name in model.features if name not in profiles]
    if absent:
        raise MonitoringError(
            f"{model.label} has no profile of {', '.join(absent)}; train it again to have "
            f"profiles of all its features stored"
        )
    return profiles


def _rows(
    by_day: Counts,
    profile: ReferenceProfile,
    chosen: Sessions,
    reach: Sessions,
    calendar: TradingCalendar,
    *,
    strategy_id: str,
    name: str,
    model: ServedModel,
    window: int,
) -> pa.Table:
    drift = windowed_drift(by_day, profile, chosen=chosen, reach=reach, window=window)
    today = drift.today
    names_today = today.sum(axis=1)
    missing_rate = np.full(len(chosen), np.nan)
    np.divide(today[:, -1], names_today, out=missing_rate, where=names_today > 0)
    count = len(chosen)
    return pa.table(
        {
            "strategy_id": pa.repeat(strategy_id, count),
            "feature_name": pa.repeat(name, count),
            "event_time": pa.array(calendar.closes(chosen)).cast(INSTANT),
            "session": pa.array(chosen).cast(pa.date32()),
            "model_id": pa.repeat(str(model.model_id), count),
            "feature_version": pa.repeat(pa.scalar(model.features[name], pa.int32()), count),
            "day_counts": drift.day_counts(),
            "window_sessions": pa.repeat(pa.scalar(window, pa.int32()), count),
            "n_reference": pa.repeat(pa.scalar(profile.n, pa.int64()), count),
            "n_current": pa.array(drift.n_current),
            "missing_rate": null_where_undefined(missing_rate),
            "psi": null_where_undefined(drift.psi),
            "psi_no_drift_95": null_where_undefined(drift.no_drift_95),
        }
    )


def _write(database: Database, features: pa.Table, signals: pa.Table | None) -> int:
    with database.transaction() as connection:
        connection.execute(query("create_staged_feature_drift"))
        copy_table(connection, "staged_feature_drift", table=features)
        stored = connection.execute(query("insert_staged_feature_drift")).rowcount
        if signals is not None:
            store_prediction_drift(connection, signals)
        return stored
