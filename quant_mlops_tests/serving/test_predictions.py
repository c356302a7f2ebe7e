"""Each session is predicted by the model live at its open, from what was known then."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quant_mlops.database import Database
from quant_mlops.errors import ChecksumMismatchError, FeatureLogicChangedError, RegistryError
from quant_mlops.features.store import FeatureStore
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.registry import ModelRegistry
from quant_mlops.registry.records import ModelInfo
from quant_mlops.serving.live_models import ModelLoader
from quant_mlops.serving.predictions import PredictionsWritten, predict_sessions
from quant_mlops.serving.signals import read_signals

MakeModel = Callable[..., ModelInfo]
Predict = Callable[..., PredictionsWritten]
STORED = (
    "SELECT session, entity_key, model_id, signal, feature_digest FROM predictions ORDER BY 1, 2"
)


@pytest.fixture
def predict(
    store: FeatureStore, registry: ModelRegistry, calendar: TradingCalendar, sessions: list[date]
) -> Predict:
    def predict(first: int = 10, last: int = 20) -> PredictionsWritten:
        return predict_sessions(
            store,
            registry,
            calendar,
            strategy_id="momentum",
            sessions=np.array(sessions[first:last], dtype="datetime64[D]"),
            knowledge_time=calendar.close_time(sessions[last - 1]) + timedelta(hours=4),
        )

    return predict


def promote(
    registry: ModelRegistry, model: ModelInfo, calendar: TradingCalendar, day: date
) -> None:
    registry.promote(
        model.name, model.version, "momentum",
        by="ann", reason="test", effective_from=calendar.close_time(day),
    )  # fmt: skip


def known_at_open(
    store: FeatureStore, calendar: TradingCalendar, day: date, ticker: str
) -> list[float]:
    found = store.get_latest(ticker, ["alpha", "beta"], as_of=calendar.open_time(day))
    return [found["alpha"].value, found["beta"].value]


def test_a_prediction_is_that_of_the_model_and_the_features_of_its_open(
    database: Database,
    store: FeatureStore,
    registry: ModelRegistry,
    calendar: TradingCalendar,
    sessions: list[date],
    market: dict[str, np.ndarray],
    make_model: MakeModel,
    predict: Predict,
) -> None:
    models = [make_model(1.0, -0.5), make_model(0.0, 2.0)]
    promote(registry, models[0], calendar, sessions[9])
    promote(registry, models[1], calendar, sessions[14])
    assert predict() == PredictionsWritten(60, 60, 0, 0)
    rows = database.fetch_all(STORED)
    assert [(day, ticker) for day, ticker, *_ in rows] == [
        (day, ticker) for day in sessions[10:20] for ticker in sorted(market)
    ]
    for day, ticker, model_id, signal, digest in rows:
        live = models[1] if day > sessions[14] else models[0]
        values = known_at_open(store, calendar, day, ticker)
        weights = (0.0, 2.0) if live is models[1] else (1.0, -0.5)
        assert model_id == live.model_id
        assert signal == pytest.approx(values[0] * weights[0] + values[1] * weights[1])
        content = b"alpha\nbeta" + struct.pack("<2d", *values)
        assert digest == hashlib.sha256(content).hexdigest()[:32]


def test_sessions_without_a_live_model_have_no_predictions(
    database: Database,
    registry: ModelRegistry,
    calendar: TradingCalendar,
    sessions: list[date],
    market: dict[str, np.ndarray],
    make_model: MakeModel,
    predict: Predict,
) -> None:
    assert predict() == PredictionsWritten(0, 0, 0, 10)
    promote(registry, make_model(1.0, 1.0), calendar, sessions[12])
    written = predict()
    assert (written.sessions_without_model, written.stored) == (3, 42)
    assert database.fetch_all("SELECT min(session) FROM predictions") == [(sessions[13],)]


def test_a_model_that_comes_back_serves_both_of_its_stretches(
    database: Database,
    registry: ModelRegistry,
    calendar: TradingCalendar,
    sessions: list[date],
    market: dict[str, np.ndarray],
    make_model: MakeModel,
    predict: Predict,
) -> None:
    first, second = make_model(1.0, 0.0), make_model(0.0, 1.0)
    for model, at in ((first, 9), (second, 12), (first, 15)):
        promote(registry, model, calendar, sessions[at])
    predict()
    found = dict(database.fetch_all("SELECT DISTINCT session, model_id FROM predictions"))
    assert [found[day] for day in sessions[10:20]] == [
        model.model_id for model in [first] * 3 + [second] * 3 + [first] * 4
    ]


def test_a_revision_that_became_known_after_the_open_changes_nothing(
    database: Database,
    store: FeatureStore,
    registry: ModelRegistry,
    calendar: TradingCalendar,
    sessions: list[date],
    market: dict[str, np.ndarray],
    make_model: MakeModel,
    predict: Predict,
    forge: Any,
) -> None:
    promote(registry, make_model(1.0, 1.0), calendar, sessions[9])
    predict()
    before = database.fetch_all(STORED)
    forge(database, "DELETE FROM predictions")
    for i in range(9, 19):
        event = calendar.close_time(sessions[i])
        known = calendar.open_time(sessions[i + 1]) - event + timedelta(microseconds=1)
        store.write_features("B2", event, {"alpha": 1e6}, availability_lag=known)
    predict()
    late = [row for row in database.fetch_all(STORED) if row[1] == "B2"]
    assert late == [row for row in before if row[1] == "B2"]
    assert database.fetch_all(STORED) == before


def test_running_again_stores_nothing_and_a_range_is_its_days(
    database: Database,
    registry: ModelRegistry,
    calendar: TradingCalendar,
    sessions: list[date],
    market: dict[str, np.ndarray],
    make_model: MakeModel,
    predict: Predict,
    forge: Any,
) -> None:
    promote(registry, make_model(1.0, 0.3), calendar, sessions[9])
    assert predict().stored == 60
    assert predict() == PredictionsWritten(60, 0, 0, 0)
    whole = database.fetch_all(STORED)
    forge(database, "DELETE FROM predictions")
    assert [predict(day, day + 1).stored for day in range(10, 20)] == [6] * 10
    assert database.fetch_all(STORED) == whole


def test_what_was_predicted_first_stays(
    database: Database,
    store: FeatureStore,
    registry: ModelRegistry,
    calendar: TradingCalendar,
    sessions: list[date],
    market: dict[str, np.ndarray],
    make_model: MakeModel,
    predict: Predict,
) -> None:
    promote(registry, make_model(1.0, 0.3), calendar, sessions[9])
    predict()
    before = database.fetch_all(STORED)
    # A backfill that claims to have been known in time.
    event = calendar.close_time(sessions[9])
    store.write_features("B2", event, {"alpha": 9.0}, availability_lag=timedelta(minutes=30))
    assert predict().stored == 0
    assert database.fetch_all(STORED) == before


def test_names_without_all_features_are_counted_and_left_out(
    database: Database,
    registry: ModelRegistry,
    calendar: TradingCalendar,
    sessions: list[date],
    market: dict[str, np.ndarray],
    store_bars: Callable[..., None],
    make_model: MakeModel,
    predict: Predict,
) -> None:
    store_bars(sessions[11:15], {"NEW": [10.0, 11.0, 12.0, 13.0]})
    promote(registry, make_model(1.0, 0.3), calendar, sessions[9])
    assert predict() == PredictionsWritten(60, 60, 4, 0)
    assert database.fetch_all("SELECT count(*) FROM predictions WHERE entity_key='NEW'") == [(0,)]


def test_a_range_of_no_sessions_predicts_nothing(predict: Predict) -> None:
    assert predict(10, 10) == PredictionsWritten(0, 0, 0, 0)


def test_changed_feature_logic_is_refused(
    database: Database,
    registry: ModelRegistry,
    calendar: TradingCalendar,
    sessions: list[date],
    market: dict[str, np.ndarray],
    make_model: MakeModel,
    predict: Predict,
) -> None:
    model = make_model(1.0, 0.3, logic_hash="a" * 64)
    promote(registry, model, calendar, sessions[9])
    with pytest.raises(FeatureLogicChangedError, match=r"m v1 was trained on \w+@1.*aaaaaaaaaaaa"):
        predict()
    database.execute("UPDATE feature_definitions SET logic_hash = %s", ["a" * 64])
    assert predict().stored == 60


def test_a_tampered_artifact_is_refused(
    registry: ModelRegistry,
    calendar: TradingCalendar,
    sessions: list[date],
    market: dict[str, np.ndarray],
    make_model: MakeModel,
    predict: Predict,
) -> None:
    model = make_model(1.0, 0.3)
    promote(registry, model, calendar, sessions[9])
    for artifact in registry.list_artifacts(model.model_id):
        path = Path(artifact.artifact_path.removeprefix("file://"))
        whole = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(ChecksumMismatchError):
            predict()
        path.write_bytes(whole)
    assert predict().stored == 60


def test_a_model_nobody_can_explain_is_not_served(registry: ModelRegistry) -> None:
    model_id = registry.register_model("bare")
    with pytest.raises(RegistryError, match="without a training snapshot"):
        ModelLoader(registry).load(model_id)


def test_a_model_that_gives_no_numbers_is_named(
    registry: ModelRegistry,
    calendar: TradingCalendar,
    sessions: list[date],
    market: dict[str, np.ndarray],
    make_model: MakeModel,
    predict: Predict,
) -> None:
    promote(registry, make_model(np.nan, 1.0), calendar, sessions[9])
    with pytest.raises(RegistryError, match=r"m v1 gave 60 predictions that are not finite"):
        predict()


def test_stored_signals_are_read_as_sessions_by_names(
    database: Database,
    registry: ModelRegistry,
    calendar: TradingCalendar,
    sessions: list[date],
    market: dict[str, np.ndarray],
    make_model: MakeModel,
    predict: Predict,
    forge: Any,
) -> None:
    days = np.array(sessions[8:22], dtype="datetime64[D]")
    assert read_signals(database, "momentum", days) is None
    model = make_model(1.0, 0.3)
    promote(registry, model, calendar, sessions[9])
    predict()
    forge(database, "DELETE FROM predictions WHERE session = %s", [sessions[13]])
    found = read_signals(database, "momentum", days)
    assert found is not None
    assert found.entities == tuple(sorted(market))
    expected = np.full((14, 6), np.nan)
    for day, ticker, _, signal, _ in database.fetch_all(STORED):
        expected[sessions[8:22].index(day), found.entities.index(ticker)] = signal
    np.testing.assert_array_equal(found.signals, expected)
    served = [bool(np.isfinite(row).any()) for row in expected]
    assert found.model_ids == [model.model_id if there else None for there in served]
    values = np.arange(6.0).reshape(2, 3)
    aligned = found.align(("Q", "C3", "B2"), values)
    np.testing.assert_array_equal(aligned[:, 1:3], values[:, [2, 1]])
    assert np.isnan(aligned[:, [0, 3, 4, 5]]).all()
