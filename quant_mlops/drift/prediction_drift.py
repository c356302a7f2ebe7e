"""PSI of a live model's signals by session, against its signals on the rows it was trained on."""

from __future__ import annotations

from datetime import date
from uuid import UUID

import numpy as np
import numpy.typing as npt
import psycopg
import pyarrow as pa
from psycopg.rows import TupleRow

from quant_mlops.database import Database
from quant_mlops.database.binary_copy import copy_table
from quant_mlops.database.queries import query
from quant_mlops.drift.windowed_counts import null_where_undefined, windowed_drift
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.serving.live_models import ServedModel
from quant_mlops.serving.predictions import INSTANT
from quant_mlops.statistics import ReferenceProfile, bin_counts_by_group

Sessions = npt.NDArray[np.datetime64]
Floats = npt.NDArray[np.float64]


def store_signal_profile(
    connection: psycopg.Connection[TupleRow], model_id: UUID, profile: ReferenceProfile
) -> None:
    """Store the profile of a model's signals in the transaction that registers it."""
    connection.execute(
        query("insert_signal_profile"), [model_id, list(profile.cuts), list(profile.counts)]
    )


def read_signal_profile(database: Database, model_id: UUID) -> ReferenceProfile | None:
    """Return the profile of a model's signals; None for a model registered without one."""
    row = database.fetch_one(query("select_signal_profile"), [model_id])
    if row is None:
        return None
    cuts, counts = row
    return ReferenceProfile(tuple(cuts), tuple(counts), int(sum(counts)))


def prediction_drift_rows(
    model: ServedModel,
    profile: ReferenceProfile,
    matrix: Floats,
    day: npt.NDArray[np.int64],
    *,
    chosen: Sessions,
    reach: Sessions,
    calendar: TradingCalendar,
    strategy_id: str,
    window: int,
) -> pa.Table:
    """Return a row for each chosen session: how far the signals of its window have moved.

    The signals are those that this one model gives for the inputs of the whole window, so that a
    model is judged by a full window from its first session on and not by its predecessor's
    predictions. Names without all features have no signal and count nowhere.

    Parameters
    ----------
    matrix : ndarray of float64, shape (R, F)
        Features known at each decision of `reach`, in the order of the model's inputs.
    day : ndarray of int64, shape (R,)
        Index into `reach`.
    """
    complete = np.isfinite(matrix).all(axis=1)
    by_day = bin_counts_by_group(
        profile, model.predict(matrix[complete]), day[complete], groups=len(reach)
    )
    drift = windowed_drift(by_day, profile, chosen=chosen, reach=reach, window=window)
    count = len(chosen)
    return pa.table(
        {
            "strategy_id": pa.repeat(strategy_id, count),
            "event_time": pa.array(calendar.closes(chosen)).cast(INSTANT),
            "session": pa.array(chosen).cast(pa.date32()),
            "model_id": pa.repeat(str(model.model_id), count),
            "day_counts": drift.day_counts(),
            "window_sessions": pa.repeat(pa.scalar(window, pa.int32()), count),
            "n_reference": pa.repeat(pa.scalar(profile.n, pa.int64()), count),
            "n_current": pa.array(drift.n_current),
            "psi": null_where_undefined(drift.psi),
            "psi_no_drift_95": null_where_undefined(drift.no_drift_95),
        }
    )


def store_prediction_drift(connection: psycopg.Connection[TupleRow], rows: pa.Table) -> int:
    """Store the rows of sessions that have none or others, and return how many they were."""
    connection.execute(query("create_staged_prediction_drift"))
    copy_table(connection, "staged_prediction_drift", table=rows)
    return connection.execute(query("insert_staged_prediction_drift")).rowcount


def read_prediction_psi(
    database: Database, strategy_id: str, sessions: Sessions
) -> dict[date, float]:
    """Return the PSI of the signals of each session on which it could be computed."""
    return dict(
        database.fetch_all(
            query("select_prediction_psi"), [strategy_id, sessions[0].item(), sessions[-1].item()]
        )
    )
