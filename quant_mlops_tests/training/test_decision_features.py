"""A read of a range finds what a read of all history finds, and nothing that is too old."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from quant_mlops.database import Database
from quant_mlops.features.catalog import register_definitions
from quant_mlops.features.definition import Values, feature
from quant_mlops.features.rows import INSTANT, SCHEMA
from quant_mlops.features.store import FeatureStore
from quant_mlops.features.vintage import VINTAGES
from quant_mlops.features.writing import write_rows
from quant_mlops.market.calendar import trading_calendar
from quant_mlops.market.panel import Panel
from quant_mlops.training.decision_features import features_as_known

XNYS = trading_calendar("XNYS")
START = datetime(2024, 1, 1, tzinfo=UTC)
FEATURES = {"x": 1, "y": 2, "written_elsewhere": 1}


def hours(number: float) -> datetime:
    return START + timedelta(hours=float(number))


def write_events(database: Database, random: np.random.Generator, entities: list[str]) -> None:
    rows = {}
    for entity in entities:
        for name, version in (("x", 1), ("y", 2), ("y", 1)):
            for _ in range(int(random.integers(0, 15))):
                event = int(random.integers(0, 60))
                ingest = max(0, event + int(random.choice([0, 1, 2, 30, -5])))
                missing = random.random() < 0.1
                rows[entity, name, version, event, ingest] = {
                    "entity_key": entity,
                    "feature_name": name,
                    "feature_version": version,
                    "event_time": hours(event),
                    "ingest_time": hours(ingest),
                    "value_double": None if missing else float(len(rows)),
                    "value_json": None,
                }
    table = pa.Table.from_pylist(list(rows.values()), schema=SCHEMA)
    write_rows(database, table, producer="test")


def random_spine(random: np.random.Generator, entities: list[str]) -> pa.Table:
    count = int(random.integers(1, 30))
    low = int(random.integers(0, 60))
    return pa.table(
        {
            "entity_key": pa.array(list(random.choice([*entities, "unknown"], count)), pa.string()),
            "time": pa.array(
                [hours(h + 0.5) for h in random.integers(low, low + 20, count)], INSTANT
            ),
            "note": pa.array(range(count)),
        }
    )


def test_any_spine_gets_the_values_that_the_whole_history_gives(database: Database) -> None:
    store = FeatureStore(database)
    store.write_features("elsewhere", START, {"written_elsewhere": 1.0})
    for seed in range(50):
        random = np.random.default_rng(seed)
        entities = [f"{seed}/{name}" for name in "abcd"]
        write_events(database, random, entities)
        for _ in range(5):
            spine = random_spine(random, entities)
            known_by = hours(random.integers(10, 100))
            vintage = VINTAGES[int(random.integers(len(VINTAGES)))]
            found = features_as_known(
                store, XNYS, spine, FEATURES, knowledge_time=known_by, vintage=vintage
            )
            whole = store.point_in_time_table(
                spine,
                list(FEATURES),
                feature_versions=FEATURES,
                knowledge_time=known_by,
                vintage=vintage,
            )
            assert found.equals(whole), (seed, known_by, vintage)


@pytest.mark.parametrize("rows", [0, 1])
def test_a_spine_without_rows_or_without_features_stays_as_it_is(
    database: Database, rows: int
) -> None:
    spine = pa.table(
        {
            "entity_key": pa.array(["a"] * rows, pa.string()),
            "time": pa.array([START] * rows, INSTANT),
        }
    )
    store = FeatureStore(database)
    store.write_features("elsewhere", START, {"x": 1.0})
    assert features_as_known(store, XNYS, spine, {}, knowledge_time=START).equals(spine)
    empty = features_as_known(store, XNYS, spine, {"x": 1}, knowledge_time=START)
    assert empty.column_names == ["entity_key", "time", "x"]
    assert empty["x"].to_pylist() == [None] * rows


def test_values_count_up_to_the_age_that_lag_and_limit_allow(database: Database) -> None:
    store = FeatureStore(database)
    calendar = trading_calendar("24/7")
    lags = {"x": timedelta(0), "y": timedelta(hours=30), "z": timedelta(hours=7)}
    register_definitions(
        database,
        [feature(name, 7, lookback=0, availability_lag=lag)(_close) for name, lag in lags.items()],
    )
    random = np.random.default_rng(5)
    rows = []
    for entity in ("a", "b", "c"):
        for name, lag in lags.items():
            for event in random.choice(240, 12, replace=False):
                known = hours(event) + lag + timedelta(hours=int(random.choice([0, 0, 50])))
                rows.append((entity, name, hours(event), known, float(len(rows))))
    names = ("entity_key", "feature_name", "event_time", "ingest_time", "value_double")
    shared = {"feature_version": 7, "value_json": None}
    table = pa.Table.from_pylist(
        [dict(zip(names, row, strict=True)) | shared for row in rows], schema=SCHEMA
    )
    write_rows(database, table, producer="test")
    midnights = [hours(24 * day) for day in range(-20, 30)]
    spine = pa.table(
        {
            "entity_key": pa.array(list(random.choice(["a", "b", "c"], 400)), pa.string()),
            "time": pa.array([hours(h) for h in random.integers(0, 400, 400)], INSTANT),
        }
    )
    for max_ages in ({"x": 2, "y": 0}, {"x": 1, "y": 1, "z": 1}, {"z": 0}):
        found = features_as_known(
            store, calendar, spine, dict.fromkeys(lags, 7),
            knowledge_time=hours(1000), max_ages=max_ages,
        )  # fmt: skip
        expected = [
            {
                "entity_key": asked["entity_key"],
                "time": asked["time"],
                **{
                    name: _young_value(rows, asked, name, lag, max_ages.get(name), midnights)
                    for name, lag in lags.items()
                },
            }
            for asked in spine.to_pylist()
        ]
        assert found.to_pylist() == expected
        for name in max_ages:
            assert 20 < found[name].null_count < 380


def _close(panel: Panel) -> Values:
    """Return the close."""
    return panel.close


def _young_value(
    rows: list[tuple[Any, ...]],
    asked: dict[str, Any],
    name: str,
    lag: timedelta,
    max_age: int | None,
    closes: list[datetime],
) -> float | None:
    """Return the newest value known, unless more closes than allowed lie after it and its lag."""
    known = [
        (event, ingest, value)
        for entity, named, event, ingest, value in rows
        if (entity, named) == (asked["entity_key"], name) and max(event, ingest) <= asked["time"]
    ]
    if not known:
        return None
    event, _, value = max(known)
    age = sum(event < close <= asked["time"] - lag for close in closes)
    return None if max_age is not None and age > max_age else value
