"""Bars, feature values and models that can be served, without any training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
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
from quant_mlops.serving.predictions import PredictionsWritten, predict_sessions
from quant_mlops.training.evaluation import EvaluationSettings
from quant_mlops.training.learners import (
    Example,
    FittedModel,
    LearnerConfig,
    LinearModel,
    learner_named,
)
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
def store_bars(database: Database) -> Callable[..., None]:
    """Give a function that stores closes by session and ticker, known some time after the close."""
    return partial(write_closes, database)


def write_closes(
    database: Database,
    sessions: Sequence[date],
    closes: Mapping[str, Sequence[float]],
    *,
    lag: timedelta = timedelta(minutes=15),
) -> None:
    calendar = trading_calendar("XNYS")
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


@pytest.fixture
def market(sessions: list[date], database: Database, store: FeatureStore) -> dict[str, np.ndarray]:
    """Store closes and two features of six tickers over all sessions; give the closes."""
    return write_market(store, sessions)


def write_market(store: FeatureStore, sessions: list[date]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(2)
    walks = 100 * np.cumprod(1 + random.normal(0, 0.02, (len(sessions), len(TICKERS))), axis=0)
    closes = {ticker: walks[:, i] for i, ticker in enumerate(TICKERS)}
    write_closes(store.database, sessions, closes)
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
def make_model(registry: ModelRegistry) -> Callable[..., ModelInfo]:
    """Give a function that registers a linear model of the two features, ready to be served."""

    def make(
        *weights: float, names: Sequence[str] = NAMES, logic_hash: str = "", version: int = 1
    ) -> ModelInfo:
        count = len(names)
        fitted = LinearModel(np.zeros(count), np.ones(count), np.array(weights), 0.1)
        return register(
            registry, fitted, "ridge", names=names, logic_hash=logic_hash, version=version
        )

    return make


def register(
    registry: ModelRegistry,
    fitted: FittedModel,
    learner: str,
    *,
    names: Sequence[str] = NAMES,
    logic_hash: str = "",
    version: int = 1,
    max_ages: Mapping[str, int] | None = None,
) -> ModelInfo:
    """Enter a fitted model with the row of a snapshot that it could have been trained on."""
    snapshot_id = uuid4()
    registry.database.execute(
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
                    name: {
                        "version": version,
                        "logic_hash": logic_hash,
                        "position": i,
                        "max_age_sessions": (max_ages or {}).get(name),
                    }
                    for i, name in enumerate(names)
                }
            ),
            "label": Jsonb({"kind": "forward_return", "horizon": 5, "calendar": "XNYS"}),
            "uri": "file:///nowhere",
            "file_sha256": "0" * 64,
            "code_version": "test",
        },
    )
    model_id: UUID = registry.register_model("m", "momentum", snapshot_id=snapshot_id)
    artifacts = fitted.to_artifacts()
    recipe = Recipe(
        LearnerConfig(learner), tuple(names), SplitSizes(1, 1), EvaluationSettings(1, 5, 0.0),
        artifacts=tuple(artifacts),
    )  # fmt: skip
    for name, data in {**artifacts, CONFIG: recipe.to_bytes()}.items():
        registry.store_artifact(model_id, data, name)
    return registry.get_model_by_id(model_id)


@dataclass
class Stage:
    """A market and fitted models that the tests of a module share, each with its own strategy."""

    store: FeatureStore
    registry: ModelRegistry
    sessions: list[date]
    calendar: TradingCalendar
    strategies: int = 0

    def fit(
        self,
        learner: str,
        seed: int = 0,
        *,
        names: Sequence[str] = NAMES,
        max_ages: Mapping[str, int] | None = None,
    ) -> ModelInfo:
        """Fit a model on noise with a signal in it."""
        random = np.random.default_rng(seed)
        features = random.normal(size=(400, len(NAMES)))
        target = features @ np.array([0.3, -0.2]) + random.normal(size=400)
        train, val = (Example(features[rows], target[rows]) for rows in np.split(np.r_[:400], 2))
        config = LearnerConfig(learner, {"rounds": 20} if learner == "xgboost" else {}, seed)
        fitted = learner_named(learner).fit(train, val, config)
        return register(self.registry, fitted, learner, names=names, max_ages=max_ages)

    def promote(self, model: ModelInfo, strategy: str, at: datetime) -> None:
        self.registry.promote(
            model.name, model.version, strategy,
            by="ann", reason="review", effective_from=at, evidence={"ic": 0.04},
        )  # fmt: skip

    def strategy(self, *models: ModelInfo) -> str:
        """Return a new strategy; the nth model is live from the close of the (9 + 3n)th session."""
        self.strategies += 1
        name = f"strategy {self.strategies}"
        for place, model in enumerate(models):
            self.promote(model, name, self.close(9 + 3 * place))
        return name

    def open(self, place: int) -> datetime:
        return self.calendar.open_time(self.sessions[place])

    def close(self, place: int) -> datetime:
        return self.calendar.close_time(self.sessions[place])

    def predict_daily(self, strategy: str, first: int, last: int) -> PredictionsWritten:
        return predict_sessions(
            self.store,
            self.registry,
            self.calendar,
            strategy_id=strategy,
            sessions=np.array(self.sessions[first:last], dtype="datetime64[D]"),
            knowledge_time=self.close(last - 1) + timedelta(hours=4),
        )


@pytest.fixture(scope="module")
def stage(
    module_database: Database,
    calendar: TradingCalendar,
    tmp_path_factory: pytest.TempPathFactory,
) -> Stage:
    store = FeatureStore(module_database, "nightly", producer_version="7", run_id="run 1")
    registry = ModelRegistry(module_database, artifacts=tmp_path_factory.mktemp("artifacts"))
    sessions = calendar.sessions(date(2023, 11, 1), date(2024, 1, 31))[:30].tolist()
    write_market(store, sessions)
    return Stage(store, registry, sessions, calendar)


@pytest.fixture(scope="module")
def ridge(stage: Stage) -> ModelInfo:
    return stage.fit("ridge")


@pytest.fixture(scope="module")
def trees(stage: Stage) -> ModelInfo:
    return stage.fit("xgboost")
