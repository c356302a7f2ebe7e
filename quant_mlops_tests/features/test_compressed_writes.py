"""Writing into compressed chunks does what it does to plain tables, which are the oracle."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from quant_mlops.database import Database
from quant_mlops.database.hypertables import has_timescaledb
from quant_mlops.database.timescale import disable_timescale
from quant_mlops.errors import ConflictingValueError
from quant_mlops.features import FeatureStore

INSTANT = pa.timestamp("us", tz="UTC")
START = datetime(2019, 6, 3, 20, tzinfo=UTC)
DAYS = 500
LAG = timedelta(minutes=15)


@pytest.fixture
def stores(database: Database, other_database: Database) -> tuple[FeatureStore, FeatureStore]:
    """Give a store of hypertables and one of plain tables."""
    if not has_timescaledb(database):
        pytest.skip("the server has no TimescaleDB; name one in QUANT_MLOPS_TEST_DATABASE_URL")
    disable_timescale(other_database)
    return FeatureStore(database, "test"), FeatureStore(other_database, "test")


def frame(days: range, value: float = 0.0) -> pa.Table:
    event = [START + timedelta(days=day) for day in days]
    return pa.table(
        {
            "entity_key": np.repeat(["A", "B"], len(event)),
            "event_time": pa.array(event * 2, INSTANT),
            "f": np.tile(np.array(days) / 7, 2) + value,
            "g": np.tile(np.array(days) ** 0.5, 2),
        }
    )


def compress(store: FeatureStore) -> None:
    store.database.fetch_all(
        "SELECT compress_chunk(c, if_not_compressed => true) FROM show_chunks('feature_events') c"
    )
    store.database.execute("CALL maintain_chunks()")


def contents(store: FeatureStore) -> list[tuple[Any, ...]]:
    return store.database.fetch_all(
        "SELECT entity_key, feature_name, event_time, ingest_time, value_double"
        " FROM feature_events ORDER BY 1, 2, 3, 4"
    )


def test_repeats_late_values_and_corrections(stores: tuple[FeatureStore, FeatureStore]) -> None:
    hyper, plain = stores
    gap = range(200, 220)
    for store in stores:
        for days in (range(gap.start), range(gap.stop, DAYS)):
            store.write_frame(frame(days), availability_lag=LAG)
    compress(hyper)
    for days, value, lag in (
        (range(gap.start), 0.0, LAG),
        (gap, 0.0, timedelta(days=3)),
        (range(100, 110), 1.0, timedelta(days=30)),
        (range(DAYS, DAYS + 5), 0.0, LAG),
    ):
        results = [store.write_frame(frame(days, value), availability_lag=lag) for store in stores]
        assert results[0] == results[1]
        for store in stores:
            with pytest.raises(ConflictingValueError):
                store.write_frame(frame(days, value + 9.0), availability_lag=lag)
    assert contents(hyper) == contents(plain)
    compress(hyper)
    assert contents(hyper) == contents(plain)
    times = [START + timedelta(days=day, hours=6) for day in range(0, DAYS + 9, 7)]
    asked = [(entity, time) for entity in ("A", "B", "nobody") for time in times]
    assert values(hyper, asked) == values(plain, asked)
    assert [v.value for v in hyper.history("A", "f", START + timedelta(days=105))] == [15.0, 16.0]


def values(store: FeatureStore, asked: list[tuple[str, datetime]]) -> list[tuple[Any, ...]]:
    found = store.get_point_in_time(asked, ["f", "g"])
    return [
        (v.entity_key, v.feature_name, v.event_time, v.ingest_time, v.as_of_time, v.value)
        for v in found
    ]
