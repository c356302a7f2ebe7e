"""Predictions by session: the live model applied to what was known when the market opened."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quant_mlops.database import Database
from quant_mlops.database.binary_copy import copy_table
from quant_mlops.database.queries import query
from quant_mlops.features.store import FeatureStore
from quant_mlops.instants import from_microseconds
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.strategy_tickers import traded_tickers
from quant_mlops.market.universe import decision_spine
from quant_mlops.registry import ModelRegistry
from quant_mlops.serving.live_models import ModelLoader, ServedModel
from quant_mlops.training.decision_features import features_as_known

Sessions = npt.NDArray[np.datetime64]
Floats = npt.NDArray[np.float64]
INSTANT = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class PredictionsWritten:
    """What a range of sessions gave.

    Attributes
    ----------
    offered, stored : int
        Predictions made, and those not stored before.
    incomplete : int
        Names in the universe without all features, left without a prediction.
    sessions_without_model : int
        Sessions at whose open no model was live.
    """

    offered: int
    stored: int
    incomplete: int
    sessions_without_model: int


@dataclass(frozen=True)
class DecisionInputs:
    """The universe of some sessions with the features known at each decision."""

    table: pa.Table
    names: tuple[str, ...]

    def matrix(self) -> Floats:
        """Return the features, shape (R, F), NaN where nothing was known."""
        return np.column_stack(
            [self.table[name].to_numpy(zero_copy_only=False) for name in self.names]
        ).astype(np.float64)


def decision_inputs(
    store: FeatureStore,
    calendar: TradingCalendar,
    sessions: Sessions,
    features: dict[str, int],
    *,
    max_ages: Mapping[str, int],
    knowledge_time: datetime,
    universe: str | None = None,
    tickers: Sequence[str] | None = None,
) -> DecisionInputs:
    """Return the features of every name in the universe at the open of each session.

    Versions and limits of age are those of a model's training set: what is too old for the one
    is so for the other.
    """
    spine = decision_spine(
        store.database,
        calendar,
        sessions,
        knowledge_time=knowledge_time,
        universe=universe,
        tickers=tickers,
    )
    joined = features_as_known(
        store, calendar, spine.table, features, knowledge_time=knowledge_time, max_ages=max_ages
    )
    return DecisionInputs(joined, tuple(features))


def live_models_by_session(
    registry: ModelRegistry, calendar: TradingCalendar, *, strategy_id: str, sessions: Sessions
) -> list[UUID | None]:
    """Return the model that was live at the open of each session."""
    opens = calendar.opens(sessions)
    spans = registry.deployments(strategy_id)
    live: list[UUID | None] = []
    for instant in opens:
        moment = from_microseconds(int(instant))
        live.append(
            next(
                (
                    span.model_id
                    for span in spans
                    if span.live_from <= moment
                    and (span.live_until is None or moment < span.live_until)
                ),
                None,
            )
        )
    return live


def predict_sessions(
    store: FeatureStore,
    registry: ModelRegistry,
    calendar: TradingCalendar,
    *,
    strategy_id: str,
    sessions: Sessions,
    knowledge_time: datetime,
    universe: str | None = None,
) -> PredictionsWritten:
    """Predict for every session with the model live at its open, and store what is new.

    Parameters
    ----------
    store : FeatureStore
    registry : ModelRegistry
    calendar : TradingCalendar
    strategy_id : str
    sessions : ndarray of datetime64[D]
        Consecutive, ascending.
    knowledge_time : datetime
        Nothing known only later is used, whatever the session.
    universe : str, optional
        Index whose members alone are predicted; the strategy's tickers by default.
    """
    live = live_models_by_session(registry, calendar, strategy_id=strategy_id, sessions=sessions)
    loader = ModelLoader(registry)
    tickers = traded_tickers(store.database, strategy_id, universe=universe)
    offered = stored = incomplete = 0
    for model_id in dict.fromkeys(m for m in live if m is not None):
        chosen = sessions[[m == model_id for m in live]]
        model = loader.load(model_id)
        inputs = decision_inputs(
            store, calendar, chosen, model.features, max_ages=model.max_ages,
            knowledge_time=knowledge_time, universe=universe, tickers=tickers,
        )  # fmt: skip
        rows, missing = _predict(model, inputs, strategy_id)
        offered += rows.num_rows
        incomplete += missing
        stored += _write(store.database, rows)
    return PredictionsWritten(offered, stored, incomplete, sum(m is None for m in live))


def _predict(model: ServedModel, inputs: DecisionInputs, strategy_id: str) -> tuple[pa.Table, int]:
    matrix = inputs.matrix()
    complete = np.isfinite(matrix).all(axis=1)
    known, table = matrix[complete], inputs.table.filter(pa.array(complete))
    signals = model.predict(known)
    count = len(known)
    rows = pa.table(
        {
            "strategy_id": pa.repeat(strategy_id, count),
            "entity_key": table["entity_key"],
            "event_time": table["time"].cast(INSTANT),
            "session": table["session"],
            "model_id": pa.repeat(str(model.model_id), count),
            "signal": pa.array(signals),
            "feature_digest": pa.array(feature_digests(known, inputs.names), pa.string()),
        }
    )
    return rows, int((~complete).sum())


def feature_digests(matrix: Floats, names: tuple[str, ...]) -> list[str]:
    """Return the digest of the values each prediction was made of, little-endian in order."""
    prefix = hashlib.sha256("\n".join(names).encode())
    data = np.ascontiguousarray(matrix.astype("<f8"))
    digests = []
    for row in data:
        digest = prefix.copy()
        digest.update(row.tobytes())
        digests.append(digest.hexdigest()[:32])
    return digests


def _write(database: Database, rows: pa.Table) -> int:
    if rows.num_rows == 0:
        return 0
    with database.transaction() as connection:
        connection.execute(query("create_staged_predictions"))
        copy_table(connection, "staged_predictions", table=rows)
        return connection.execute(query("insert_staged_predictions")).rowcount
