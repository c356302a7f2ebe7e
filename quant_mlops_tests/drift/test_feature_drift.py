"""PSI by session, against the pooled raw values of each window."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest
from psycopg.types.json import Jsonb

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.drift.feature_drift import DriftWritten, write_feature_drift
from quant_mlops.drift.prediction_drift import (
    read_signal_profile,
    store_signal_profile,
)
from quant_mlops.drift.profiles import read_profiles, store_profiles
from quant_mlops.errors import MonitoringError
from quant_mlops.features.store import FeatureStore
from quant_mlops.registry import ModelRegistry
from quant_mlops.registry.records import ModelInfo
from quant_mlops.statistics import calculate_psi, reference_profile
from quant_mlops.training.evaluation import EvaluationSettings
from quant_mlops.training.learners import LearnerConfig, LinearModel
from quant_mlops.training.recipe import CONFIG, Recipe
from quant_mlops.training.splits import SplitSizes

INSTANT = pa.timestamp("us", tz="UTC")
WINDOW = 6
NAMES = ("alpha", "beta", "always")
STORED = (
    "SELECT feature_name, session, model_id, day_counts, window_sessions, n_reference, n_current, "
    "missing_rate, psi, psi_no_drift_95 FROM feature_drift ORDER BY 1, 2"
)
Write = Callable[..., DriftWritten]


def reference(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    values = {name: random.normal(size=500) for name in NAMES}
    values["alpha"][:40] = np.nan
    values["beta"] = np.round(values["beta"])
    values["always"] = np.full(500, np.nan)
    return values


@pytest.fixture
def desk(make_desk: Callable[..., Any]) -> Any:
    """Give a desk whose prices have gaps, and whose features shift, lag and go missing."""
    made = make_desk(count=40, live=False)
    random = np.random.default_rng(3)
    made.closes[random.random(made.closes.shape) < 0.05] = np.nan
    made.closes[:15, 2] = np.nan
    made.closes[25:, 3] = np.nan
    made.store_prices(0, 40)
    rows: dict[str, list[Any]] = {
        name: [] for name in ("entity_key", "feature_name", "event_time", "ingest_time", "value")
    }
    for i, day in enumerate(made.sessions):
        for ticker in ("A'1", "B2", "C3", "D4", "E5", "F6", "G7"):
            for name in NAMES:
                begins = 20 if name == "always" else 19 if ticker == "C3" else 0
                if random.random() < 0.2 or i < begins:
                    continue
                value = random.normal(0.02 * i, 1)
                event = made.calendar.close_time(day)
                rows["entity_key"].append(ticker)
                rows["feature_name"].append(name)
                rows["event_time"].append(event)
                rows["ingest_time"].append(event + timedelta(hours=float(random.choice([1, 30]))))
                rows["value"].append(round(value) if name == "beta" else value)
    columns: dict[str, Any] = dict(rows)
    for name in ("event_time", "ingest_time"):
        columns[name] = pa.array(rows[name], INSTANT)
    FeatureStore(made.database).write_frame(pa.table(columns))
    return made


@pytest.fixture
def make_model(database: Database, registry: ModelRegistry) -> Callable[..., ModelInfo]:
    def make(
        seed: int, *, profiled: tuple[str, ...] = NAMES, signals: np.ndarray | None = None
    ) -> ModelInfo:
        snapshot_id = uuid4()
        features = {
            name: {"version": 1, "logic_hash": "", "position": i} for i, name in enumerate(NAMES)
        }
        database.execute(
            query("insert_training_snapshot"),
            {
                "snapshot_id": snapshot_id, "strategy_id": "momentum",
                "fingerprint": snapshot_id.hex, "knowledge_time": datetime(2023, 7, 3, tzinfo=UTC),
                "first_session": date(2023, 1, 3), "last_session": date(2023, 6, 30),
                "spine_first": None, "spine_last": None, "universe": None,
                "row_count": 1, "left_out": Jsonb({}), "features": Jsonb(features),
                "label": Jsonb({"horizon": 3, "calendar": "XNYS"}), "uri": "file:///nowhere",
                "file_sha256": "0" * 64, "code_version": "test",
            },
        )  # fmt: skip
        model_id = registry.register_model("served", "momentum", snapshot_id=snapshot_id)
        fitted = LinearModel(np.zeros(3), np.ones(3), np.ones(3), 0.1)
        artifacts = fitted.to_artifacts()
        recipe = Recipe(
            LearnerConfig("ridge"), NAMES, SplitSizes(1, 1), EvaluationSettings(1, 5, 0.0),
            artifacts=tuple(artifacts),
        )  # fmt: skip
        for name, data in {**artifacts, CONFIG: recipe.to_bytes()}.items():
            registry.store_artifact(model_id, data, name)
        profiles = {name: reference_profile(reference(seed)[name]) for name in profiled}
        with database.transaction() as connection:
            store_profiles(connection, model_id, profiles, versions=dict.fromkeys(NAMES, 1))
            if signals is not None:
                store_signal_profile(connection, model_id, reference_profile(signals))
        return registry.get_model_by_id(model_id)

    return make


@pytest.fixture
def write(desk: Any, registry: ModelRegistry) -> Write:
    def write(first: int, last: int) -> DriftWritten:
        return write_feature_drift(
            FeatureStore(desk.database),
            registry,
            desk.calendar,
            strategy_id="momentum",
            sessions=np.array(desk.sessions[first:last], dtype="datetime64[D]"),
            window=WINDOW,
            evaluation_lag=timedelta(hours=4),
        )

    return write


def promote(registry: ModelRegistry, desk: Any, model: ModelInfo, at: int) -> None:
    registry.promote(
        model.name, model.version, "momentum", by="ann", reason="test",
        effective_from=desk.calendar.close_time(desk.sessions[at]),
    )  # fmt: skip


def values_at_open(desk: Any, store: FeatureStore, i: int) -> dict[str, list[float]]:
    """Return what each name with a bar of the session before was known to have at an open."""
    tickers = ("A'1", "B2", "C3", "D4", "E5", "F6", "G7")
    opens = desk.calendar.open_time(desk.sessions[i])
    traded = [t for n, t in enumerate(tickers) if np.isfinite(desk.closes[i - 1, n])]
    found = {
        (value.entity_key, value.feature_name): value.value
        for value in store.get_point_in_time([(t, opens) for t in traded], list(NAMES))
    }
    return {name: [found.get((t, name), np.nan) for t in traded] for name in NAMES}


def test_psi_is_that_of_the_pooled_values_of_the_window(
    desk: Any, registry: ModelRegistry, make_model: Callable[..., ModelInfo], write: Write
) -> None:
    first, second = make_model(1), make_model(2)
    promote(registry, desk, first, 9)
    promote(registry, desk, second, 24)
    assert write(8, 38) == DriftWritten(28 * 3, 28 * 3)
    store = FeatureStore(desk.database)
    raw = {i: values_at_open(desk, store, i) for i in range(4, 38)}
    rows = {(name, day): rest for name, day, *rest in desk.database.fetch_all(STORED)}
    for i in range(10, 38):
        model, seed = (first, 1) if i <= 24 else (second, 2)
        for name in NAMES:
            pooled = np.concatenate([raw[j][name] for j in range(i - WINDOW + 1, i + 1)])
            found = rows[name, desk.sessions[i]]
            model_id, counts, window, n_reference, n_current, missing, psi, noise = found
            assert (model_id, window, n_reference) == (model.model_id, WINDOW, 500)
            assert n_current == len(pooled)
            assert sum(counts) == len(raw[i][name])
            expected = calculate_psi(reference(seed)[name], pooled)
            assert psi == (None if np.isnan(expected) else pytest.approx(expected, rel=1e-12))
            if name == "always":
                assert (counts[-1], missing) == (len(raw[i][name]), 1.0)
            else:
                assert missing == pytest.approx(np.isnan(raw[i][name]).mean())
                assert noise > 0
    assert any(rows["alpha", day][5] > 0 for day in desk.sessions[10:38])


def test_drift_of_signals_is_that_of_what_the_live_model_says_of_the_window(
    desk: Any, registry: ModelRegistry, make_model: Callable[..., ModelInfo], write: Write
) -> None:
    signals = np.random.default_rng(9).normal(1.0, 1.5, 400)
    promote(registry, desk, make_model(1), 9)
    promote(registry, desk, make_model(2, signals=signals), 24)
    write(10, 38)
    store = FeatureStore(desk.database)
    rows = desk.database.fetch_all(
        "SELECT session, day_counts, window_sessions, n_reference, n_current, psi, psi_no_drift_95 "
        "FROM prediction_drift ORDER BY session"
    )
    # The model before was registered without a profile of its signals: no rows, and no error.
    assert [row[0] for row in rows] == desk.sessions[25:38]
    # A linear model with weights of 1: its signal is the sum of the features.
    said = {}
    for i in range(25 - WINDOW + 1, 38):
        raw = np.column_stack(list(values_at_open(desk, store, i).values()))
        said[i] = raw[np.isfinite(raw).all(axis=1)].sum(axis=1)
    for i, (_, counts, window, n_reference, n_current, psi, noise) in enumerate(rows, 25):
        pooled = np.concatenate([said[j] for j in range(i - WINDOW + 1, i + 1)])
        assert (window, n_reference, n_current) == (WINDOW, 400, len(pooled))
        assert sum(counts) == len(said[i])
        assert psi == pytest.approx(calculate_psi(signals, pooled), rel=1e-12)
        assert noise > 0
    found = desk.monitor.calculate_range(desk.sessions[24], desk.sessions[37])
    assert [m.prediction_psi for m in found[1:]] == [row[5] for row in rows]
    assert np.isnan(found[0].prediction_psi)
    whole = desk.database.fetch_all("SELECT session, psi FROM prediction_drift ORDER BY session")
    desk.database.execute("DELETE FROM prediction_drift")
    for i in range(25, 38):
        write(i, i + 1)
    write(25, 38)
    again = desk.database.fetch_all("SELECT session, psi FROM prediction_drift ORDER BY session")
    assert again == whole


def test_a_range_is_its_sessions_one_at_a_time_and_again_stores_nothing(
    desk: Any, registry: ModelRegistry, make_model: Callable[..., ModelInfo], write: Write
) -> None:
    promote(registry, desk, make_model(1), 9)
    promote(registry, desk, make_model(2), 20)
    write(10, 32)
    whole = desk.database.fetch_all(STORED)
    assert write(10, 32) == DriftWritten(66, 0)
    desk.database.execute("DELETE FROM feature_drift")
    for i in range(10, 32):
        assert write(i, i + 1) == DriftWritten(3, 3)
    assert desk.database.fetch_all(STORED) == whole


def test_values_that_were_stored_late_change_what_counted_them_and_nothing_else(
    desk: Any, registry: ModelRegistry, make_model: Callable[..., ModelInfo], write: Write
) -> None:
    promote(registry, desk, make_model(1), 9)
    write(10, 32)
    whole = desk.database.fetch_all(STORED)
    taken = [desk.calendar.close_time(desk.sessions[14])]
    late = "FROM feature_events WHERE event_time = %s AND feature_name = 'alpha'"
    rows = desk.database.fetch_all(f"SELECT * {late}", taken)
    with desk.database.transaction() as connection:
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(f"DELETE {late}", taken)
    desk.database.execute("DELETE FROM feature_drift")
    write(10, 32)
    assert desk.database.fetch_all(STORED) != whole
    with desk.database.transaction() as connection, connection.cursor() as cursor:
        places = ", ".join(["%s"] * len(rows[0]))
        cursor.executemany(f"INSERT INTO feature_events VALUES ({places})", rows)
    written = write(10, 32)
    # Some were known a session later than others: two sessions, and those whose window has them.
    assert written == DriftWritten(66, WINDOW + 1)
    assert desk.database.fetch_all(STORED) == whole


def test_a_window_of_sessions_without_prices_has_no_psi(
    desk: Any, registry: ModelRegistry, make_model: Callable[..., ModelInfo], write: Write
) -> None:
    promote(registry, desk, make_model(1), 9)
    far = desk.calendar.sessions(date(2024, 1, 2), date(2024, 1, 4)).tolist()
    desk.sessions = [*desk.sessions, *far]
    assert write(40, 43) == DriftWritten(9, 9)
    rows = desk.database.fetch_all(STORED)
    assert {(n_current, missing, psi) for *_, n_current, missing, psi, _ in rows} == {
        (0, None, None)
    }


def test_without_a_live_model_there_is_nothing_to_compare_with(write: Write) -> None:
    assert write(10, 20) == DriftWritten(0, 0)
    assert write(10, 10) == DriftWritten(0, 0)


def test_profiles_are_read_as_they_were_stored(
    database: Database, make_model: Callable[..., ModelInfo]
) -> None:
    model = make_model(1)
    expected = {name: reference_profile(reference(1)[name]) for name in NAMES}
    assert read_profiles(database, model.model_id) == expected
    assert read_signal_profile(database, model.model_id) is None
    signals = np.array([0.1, 0.2, np.inf, 0.3])
    other = make_model(2, signals=signals)
    assert read_signal_profile(database, other.model_id) == reference_profile(signals)
    with pytest.raises(MonitoringError, match="no feature profiles; train it again"):
        read_profiles(database, uuid4())


def test_a_model_without_a_profile_of_each_feature_is_named(
    desk: Any, registry: ModelRegistry, make_model: Callable[..., ModelInfo], write: Write
) -> None:
    promote(registry, desk, make_model(1, profiled=("alpha", "always")), 9)
    with pytest.raises(MonitoringError, match=r"served v1 has no profile of beta"):
        write(10, 12)
