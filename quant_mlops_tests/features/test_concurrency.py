"""Eight processes at once: no row is lost or stored twice, no deadlock, no half of a write seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.features import FeatureStore
from quant_mlops.features.offers import Offers
from quant_mlops.features.rows import SCHEMA

START, LAG = datetime(2024, 1, 2, tzinfo=UTC), timedelta(0)
NAMES = [f"feature_{nth}" for nth in range(12)]
ROUNDS, ENTITIES, WRITERS, READERS = 25, 12, 4, 4

# Every writer stores, round by round, one event of every entity: under a feature of its own, and
# under one that all writers offer with the same values, entities in an order of each writer's own.
WRITE = f"""
import random, sys
from datetime import UTC, datetime, timedelta
import pyarrow as pa
from quant_mlops.features import FeatureStore

conninfo, number = sys.argv[1], int(sys.argv[2])
store = FeatureStore(conninfo, f"writer {{number}}")
start = datetime(2024, 1, 1, tzinfo=UTC)
print("ready", flush=True)
sys.stdin.readline()
stored = 0
for nth in range({ROUNDS}):
    entities = [f"E{{i}}" for i in range({ENTITIES})]
    random.Random(number * 1000 + nth).shuffle(entities)
    frame = pa.table({{
        "entity_key": entities,
        "event_time": pa.array([start + timedelta(hours=nth)] * {ENTITIES}),
        f"own_{{number}}": [float(nth)] * {ENTITIES},
        "shared": [float(nth)] * {ENTITIES},
    }})
    stored += store.write_frame(frame, availability_lag=timedelta(0)).stored
print(stored, flush=True)
store.database.close()
"""

# Every reader asks until the last round is there; each answer must be of one round for all.
READ = f"""
import sys
from datetime import UTC, datetime
from zoneinfo import ZoneInfo
import pyarrow as pa
from quant_mlops.database import Database
from quant_mlops.features.access_path import AccessPath
from quant_mlops.features.spine import read_spine
from quant_mlops.features.table import point_in_time_table

database, number = Database(sys.argv[1]), int(sys.argv[2])
moment = datetime(2024, 6, 1, tzinfo=UTC)
frame = pa.table({{
    "entity_key": [f"E{{i}}" for i in range({ENTITIES})], "time": pa.array([moment] * {ENTITIES})
}})
spine = read_spine(frame, zone=ZoneInfo("UTC"), max_age=None, calendar="XNYS")
path = [AccessPath(True), AccessPath(False), AccessPath(False, 2), AccessPath(False, 2)][number]
own = f"own_{{number}}"
print("ready", flush=True)
sys.stdin.readline()
seen, newest = 0, None
while newest != {ROUNDS - 1}:
    table = point_in_time_table(
        database, spine, {{own: 1, "shared": 1}}, knowledge_time=moment, access_path=path
    )
    for name in (own, "shared"):
        values = set(table[name].to_pylist())
        assert len(values) == 1, (name, values)
    before, newest = newest, table[own][0].as_py()
    assert before is None or newest >= before, (before, newest)
    seen += 1
print(seen, flush=True)
database.close()
"""


@pytest.mark.timeout(120)
def test_four_writers_and_four_readers(database: Database, fork_server: Any) -> None:
    with fork_server("quant_mlops.features.table", "quant_mlops.features.spine") as fork:
        writers = [fork(WRITE, database.conninfo, number) for number in range(WRITERS)]
        readers = [fork(READ, database.conninfo, number) for number in range(READERS)]
        for process in (*writers, *readers):
            assert process.stdout.readline() == "ready\n", process.communicate()
        for process in (*readers, *writers):
            process.stdin.write("go\n")
            process.stdin.flush()
        counts = []
        for process in (*writers, *readers):
            stdout, stderr = process.communicate(timeout=90)
            assert process.returncode == 0, stderr
            counts.append(int(stdout))
    cells = ROUNDS * ENTITIES
    assert sum(counts[:WRITERS]) == (WRITERS + 1) * cells
    assert all(count > 1 for count in counts[WRITERS:])
    rows = database.fetch_all(
        "SELECT feature_name, count(*), count(DISTINCT (entity_key, event_time))"
        " FROM feature_events GROUP BY 1 ORDER BY 1"
    )
    assert rows == [
        *((f"own_{number}", cells, cells) for number in range(WRITERS)), ("shared", cells, cells),
    ]  # fmt: skip


@pytest.mark.timeout(60)
def test_writers_of_other_series_do_not_wait(database: Database) -> None:
    """One writer has its locks and has not ended while others come and go."""
    held = offered("A", "held").stripes()
    others = [name for name in NAMES if not set(offered("B", name).stripes()) & set(held)]
    assert len(others) > len(NAMES) / 2
    store = FeatureStore(database, "other")
    with database.transaction() as connection:
        connection.execute(query("lock_feature_series"), {"stripes": held})
        for name in others:
            assert store.write_features("B", START, {name: 1.0}, availability_lag=LAG) == 1


def offered(entity: str, name: str) -> Offers:
    row = {
        "entity_key": entity, "feature_name": name, "feature_version": 1, "event_time": START,
        "ingest_time": START, "value_double": 1.0, "value_json": None,
    }  # fmt: skip
    return Offers.of_table(pa.Table.from_pylist([row], schema=SCHEMA))
