"""Bars, feature values and models that can be served, without any training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pyarrow as pa
import pytest
from psycopg.types.json import Jsonb

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.features.store import FeatureStore
from quant_mlops.market.calendar import TradingCalendar, trading_calendar
from quant_mlops.market.price_bars import write_bars
from quant_mlops.registry import ModelRegistry
from quant_mlops.registry.records import ModelInfo
from quant_mlops.training.evaluation import EvaluationSettings
from quant_mlops.training.learners import LearnerConfig, LinearModel
from quant_mlops.training.recipe import CONFIG, Recipe
from quant_mlops.training.splits import SplitSizes

INSTANT = pa.timestamp("us", tz="UTC")
NAMES = ("alpha", "beta")
TICKERS = ("A'1", "B2", "C3", "D4", "E5", "F6")


@pytest.fixture
def registry(database: Database, tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(database, artifacts=tmp_path / "artifacts")


@pytest.fixture
def store(database: Database) -> FeatureStore:
    return FeatureStore(database, "test")


@pytest.fixture
def sessions(calendar: TradingCalendar) -> list[date]:
    """Give 30 sessions; Thanksgiving and a half-day are among them."""
    found: list[date] = calendar.sessions(date(2023, 11, 1), date(2024, 1, 31))[:30].tolist()
    return found


@pytest.fixture
def store_bars(database: Database, calendar: TradingCalendar) -> Callable[..., None]:
    """Give a function that stores closes by session and ticker, known some time after the close."""

    def store_bars(
        sessions: Sequence[date],
        closes: Mapping[str, Sequence[float]],
        *,
        lag: timedelta = timedelta(minutes=15),
    ) -> None:
        rows = [
            (ticker, day, price)
            for ticker, series in closes.items()
            for day, price in zip(sessions, series, strict=True)
            if not np.isnan(price)
        ]
        events = [calendar.close_time(day) for _, day, _ in rows]
        nothing = pa.nulls(len(rows), pa.float64())
        table = pa.table(
            {
                "ticker": pa.array([ticker for ticker, _, _ in rows]),
                "session": pa.array([day for _, day, _ in rows], pa.date32()),
                "event_time": pa.array(events, INSTANT),
                "ingest_time": pa.array([event + lag for event in events], INSTANT),
                "close": pa.array([float(price) for _, _, price in rows]),
                **dict.fromkeys(("open", "high", "low", "adj_close", "volume"), nothing),
                "availability_observed": pa.array([True] * len(rows)),
            }
        )
        write_bars(database, table, source=f"test {lag}")

    return store_bars


@pytest.fixture
def market(
    sessions: list[date], store_bars: Callable[..., None], store: FeatureStore
) -> dict[str, np.ndarray]:
    """Store closes and two features of six tickers over all sessions; give the closes."""
    random = np.random.default_rng(2)
    walks = 100 * np.cumprod(1 + random.normal(0, 0.02, (len(sessions), len(TICKERS))), axis=0)
    closes = {ticker: walks[:, i] for i, ticker in enumerate(TICKERS)}
    store_bars(sessions, closes)
    keys = {
        "entity_key": [ticker for ticker in TICKERS for _ in sessions],
        "session": [day for _ in TICKERS for day in sessions],
    }
    write_values(store, keys, random.normal(size=(len(TICKERS) * len(sessions), 2)))
    return closes


def write_values(store: FeatureStore, keys: dict[str, list[Any]], values: np.ndarray) -> None:
    calendar = trading_calendar("XNYS")
    frame = pa.table(
        {
            "entity_key": pa.array(keys["entity_key"]),
            "event_time": pa.array([calendar.close_time(day) for day in keys["session"]], INSTANT),
            **{name: pa.array(values[:, i]) for i, name in enumerate(NAMES)},
        }
    )
    store.write_frame(frame, availability_lag=timedelta(minutes=15))


@pytest.fixture
def make_model(database: Database, registry: ModelRegistry) -> Callable[..., ModelInfo]:
    """Give a function that registers a linear model of the two features, ready to be served."""

    def make(
        *weights: float, names: Sequence[str] = NAMES, logic_hash: str = "", version: int = 1
    ) -> ModelInfo:
        snapshot_id = uuid4()
        database.execute(
            query("insert_training_snapshot"),
            {
                "snapshot_id": snapshot_id,
                "strategy_id": "momentum",
                "fingerprint": snapshot_id.hex,
                "knowledge_time": datetime(2023, 10, 2, tzinfo=UTC),
                "first_session": date(2023, 1, 3),
                "last_session": date(2023, 9, 29),
                "spine_first": None,
                "spine_last": None,
                "universe": None,
                "row_count": 1,
                "left_out": Jsonb({}),
                "features": Jsonb(
                    {
                        name: {"version": version, "logic_hash": logic_hash, "position": i}
                        for i, name in enumerate(names)
                    }
                ),
                "label": Jsonb({"kind": "forward_return", "horizon": 5, "calendar": "XNYS"}),
                "uri": "file:///nowhere",
                "file_sha256": "0" * 64,
                "code_version": "test",
            },
        )
        count = len(names)
        fitted = LinearModel(np.zeros(count), np.ones(count), np.array(weights), 0.1)
        model_id: UUID = registry.register_model("m", "momentum", snapshot_id=snapshot_id)
        artifacts = fitted.to_artifacts()
        recipe = Recipe(
            LearnerConfig("ridge"), tuple(names), SplitSizes(1, 1), EvaluationSettings(1, 5, 0.0),
            artifacts=tuple(artifacts),
        )  # fmt: skip
        for name, data in {**artifacts, CONFIG: recipe.to_bytes()}.items():
            registry.store_artifact(model_id, data, name)
        return registry.get_model_by_id(model_id)

    return make
