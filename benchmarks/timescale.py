"""Compressed hypertables beside plain tables: bytes, point-in-time reads, and length of a chunk.

Both hold the 12.6 million events of `feature_store.py`, in two databases of one server with
TimescaleDB, which is named by `--url` or `QUANT_MLOPS_DATABASE_URL`; the databases are dropped
afterwards. What is compared takes turns, and the medians are quoted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg
from feature_store import (
    ENTITIES,
    ROUNDS,
    Measure,
    entity_names,
    feature_names,
    load,
    make_spine,
    show,
    timed,
    write_results,
)
from psycopg import sql
from psycopg.conninfo import make_conninfo

from quant_mlops.database import Database
from quant_mlops.database.hypertables import hypertables
from quant_mlops.database.migrations import migrate
from quant_mlops.database.queries import query
from quant_mlops.database.timescale import disable_timescale, enable_timescale
from quant_mlops.features import FeatureStore

PLAIN, HYPER, CHUNKS = "qm_bench_plain", "qm_bench_hyper", "qm_bench_chunks"
CALLS = 1_000
# Calendar days, 33 years of sessions, in chunks of a week, a month, a quarter, a year, four years.
INTERVALS = (7, 30, 91, 365, 1460)


@contextmanager
def temporary_database(server: str, name: str, *, template: str | None = None) -> Iterator[str]:
    """Make a database, give its URL, and drop it."""
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    make = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(drop)
        if template is not None:
            make += sql.SQL(" TEMPLATE {} STRATEGY file_copy").format(sql.Identifier(template))
            allow_connections(connection, template, allowed=False)
        connection.execute(make)
        if template is not None:
            allow_connections(connection, template, allowed=True)
        try:
            yield make_conninfo(server, dbname=name)
        finally:
            connection.execute(drop)


def allow_connections(connection: psycopg.Connection[Any], name: str, *, allowed: bool) -> None:
    """Let others into a database, or keep them out so that it can be copied."""
    statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    connection.execute(statement.format(sql.Identifier(name), sql.Literal(allowed)))
    if not allowed:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s",
            [name],
        )


def load_plain(url: str) -> float:
    """Load the events into plain tables of a database without the extension; bytes an event."""
    with Database(url) as database:
        migrate(database)
        if not disable_timescale(database):
            sys.exit("error: the server has no TimescaleDB; name one that has by --url")
        # A database with the extension has a scheduler, and cannot be copied.
        database.execute("DROP EXTENSION timescaledb")
    measures = load(url)
    return next(m.value for m in measures if m.unit == "bytes")


def compress(database: Database, table: str = "feature_events") -> None:
    """Compress every chunk, as the policies would within a day."""
    chunks = "SELECT compress_chunk(c, if_not_compressed => true) FROM show_chunks(%s::regclass) c"
    database.fetch_all(chunks, [table])
    database.execute("CALL maintain_chunks()")
    database.execute("ANALYZE feature_events")


def measure_making(hyper: Database) -> Iterator[Measure]:
    """Enable and compress."""
    row = hyper.fetch_one("SELECT count(*) FROM feature_events")
    events = int(row[0]) if row else 0
    # The policies would compress at the same time, at a time of their own.
    hyper.execute("CREATE EXTENSION timescaledb")
    hyper.fetch_one("SELECT _timescaledb_functions.stop_background_workers()")
    seconds, _ = timed(lambda: enable_timescale(hyper))
    yield Measure("moving plain rows into chunks", events / seconds, "rows/s")
    seconds, _ = timed(lambda: compress(hyper))
    yield Measure("compressing and packing them", events / seconds, "rows/s")


def measure_bytes(hyper: Database, plain_bytes: float) -> Iterator[Measure]:
    """Return what an event takes on disk."""
    (events,) = (h for h in hypertables(hyper) if h.hypertable_name == "feature_events")
    assert events.bytes_a_row is not None
    yield Measure(
        f"an event in {events.chunks} compressed chunks", events.bytes_a_row, "bytes",
        "in the plain table", plain_bytes, plain_bytes / events.bytes_a_row, "<= 25 bytes",
    )  # fmt: skip


def measure_retrieval(plain: Database, hyper: Database) -> Iterator[Measure]:
    """Read the point-in-time table from both, in turns."""
    spine, names = make_spine(), feature_names()
    stores = {"plain": FeatureStore(plain, "benchmark"), "hyper": FeatureStore(hyper, "benchmark")}
    seconds: dict[str, list[float]] = {who: [] for who in stores}
    tables = {}
    for _ in range(ROUNDS):
        for who, store in stores.items():
            spent, tables[who] = timed(lambda s=store: s.point_in_time_table(spine, names))
            seconds[who].append(spent)
    if not tables["plain"].equals(tables["hyper"]):
        sys.exit("error: the two tables differ")
    ours, theirs = (statistics.median(seconds[who]) for who in ("hyper", "plain"))
    yield Measure(
        f"point-in-time table, {tables['hyper'].num_rows * len(names):,} cells", ours, "s",
        "from the plain table", theirs, theirs / ours, ">= 1.5",
    )  # fmt: skip


def measure_latest(plain: Database, hyper: Database) -> Iterator[Measure]:
    """Ask for ten features of one entity, newest and of any time."""
    random = np.random.default_rng(0)
    names = feature_names()
    asked = np.array(entity_names(ENTITIES))[random.integers(0, ENTITIES, CALLS)]
    stores = {"plain": FeatureStore(plain, "benchmark"), "hyper": FeatureStore(hyper, "benchmark")}
    spent: dict[str, list[float]] = {who: [] for who in stores}
    for entity in asked:
        for who, store in stores.items():
            seconds, _ = timed(lambda s=store, e=str(entity): s.get_latest(e, names))
            spent[who].append(seconds * 1e3)
    ours, theirs = (float(np.median(spent[who][100:])) for who in ("hyper", "plain"))
    yield Measure(
        "get_latest of compressed events, p50", ours, "ms", "from the plain table", theirs,
        ours / theirs,
    )  # fmt: skip


def measure_intervals(server: str) -> Iterator[Measure]:
    """Hold 33 years of daily values in chunks of several lengths: their number, size, planning."""
    for days in INTERVALS:
        with temporary_database(server, CHUNKS) as url, Database(url) as database:
            migrate(database)
            database.execute("SELECT set_chunk_time_interval('feature_events', %s::interval)",
                             [f"{days} days"])  # fmt: skip
            database.execute(
                "INSERT INTO feature_events (entity_key, feature_name, event_time, ingest_time,"
                " value_double, producer) SELECT 'E' || e, 'feature_0', t, t + '15 minutes',"
                " random(), 'b' FROM generate_series(1, 50) AS e,"
                " generate_series(timestamptz '1990-01-02 21:00Z', '2022-12-30 21:00Z', '1 day')"
                " AS t WHERE extract(isodow FROM t) < 6"
            )
            compress(database)
            (events,) = (h for h in hypertables(database) if h.hypertable_name == "feature_events")
            chunks = f"33 years in {events.chunks} chunks of {days} days"
            planning = planning_milliseconds(database)
            yield Measure(f"{chunks}: planning a scan", planning, "ms")
            yield Measure(f"{chunks}: an event", events.bytes_a_row or float("nan"), "bytes")


def planning_milliseconds(database: Database) -> float:
    """Return how long the server plans the scan of a spine, without what a first call costs."""
    parameters = {
        "entities": ["E1", "E2"],
        "names": ["feature_0"],
        "versions": [1],
        "first": datetime(1980, 1, 1, tzinfo=UTC),
        "last": datetime(2023, 1, 1, tzinfo=UTC),
        "knowledge_time": database.now(),
    }
    statement = "EXPLAIN (ANALYZE, FORMAT JSON) " + query("select_feature_series")
    found = []
    with database.connection() as connection:
        for _ in range(5):
            row = connection.execute(statement, parameters).fetchone()
            found.append(float(row[0][0]["Planning Time"]) if row else float("nan"))
    return statistics.median(found[1:])


def main() -> None:
    """Measure everything, print the table and write the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default=os.environ.get("QUANT_MLOPS_DATABASE_URL", ""))
    given = parser.parse_args()
    if not given.url:
        sys.exit("error: no server; give --url or QUANT_MLOPS_DATABASE_URL")
    measures: list[Measure] = []
    with temporary_database(given.url, PLAIN) as plain_url:
        started = time.perf_counter()
        plain_bytes = load_plain(plain_url)
        print(f"loaded in {time.perf_counter() - started:.0f} s", file=sys.stderr)
        with (
            temporary_database(given.url, HYPER, template=PLAIN) as hyper_url,
            Database(plain_url) as plain,
            Database(hyper_url) as hyper,
        ):
            for part in (
                measure_making(hyper),
                measure_bytes(hyper, plain_bytes),
                measure_retrieval(plain, hyper),
                measure_latest(plain, hyper),
            ):
                measures += part
                print(measures[-1], file=sys.stderr)
    measures += measure_intervals(given.url)
    show(measures)
    print(f"written to {write_results(measures, 'timescale')}")


if __name__ == "__main__":
    main()
