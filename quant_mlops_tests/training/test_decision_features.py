"""A read of a range finds what a read of all history finds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from quant_mlops.database import Database
from quant_mlops.features.rows import INSTANT, SCHEMA
from quant_mlops.features.store import FeatureStore
from quant_mlops.features.vintage import VINTAGES
from quant_mlops.features.writing import write_rows
from quant_mlops.training.decision_features import features_as_known

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
                store, spine, FEATURES, knowledge_time=known_by, vintage=vintage
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
    assert features_as_known(store, spine, {}, knowledge_time=START).equals(spine)
    empty = features_as_known(store, spine, {"x": 1}, knowledge_time=START)
    assert empty.column_names == ["entity_key", "time", "x"]
    assert empty["x"].to_pylist() == [None] * rows
