"""Seconds, rates and memory of the feature store, beside the least that each task can cost.

Everything is measured in one run, on a server of its own: 500 entities, 2,500 sessions and 10
features, 2% of the values late or revised, 12.6 million events in all. Each part is a process of
its own; what is compared takes turns, and the medians are quoted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.conninfo import make_conninfo
from rich.console import Console
from rich.table import Table

from quant_mlops.database import Database
from quant_mlops.database.binary_copy import HEADER, TRAILER, stream_arrays
from quant_mlops.database.embedded import EmbeddedServer
from quant_mlops.database.migrations import migrate
from quant_mlops.database.queries import query
from quant_mlops.database.series_copy import encode_series
from quant_mlops.database.side_by_side import read_side_by_side
from quant_mlops.features import FeatureStore
from quant_mlops.features.offers import Offers
from quant_mlops.features.point_in_time import collapse
from quant_mlops.features.rows import SCHEMA
from quant_mlops.instants import from_microseconds
from quant_mlops.market.calendar import trading_calendar

RESULTS = Path(__file__).parent / "results"
INSTANT = pa.timestamp("us", tz="UTC")
DAY = 86_400_000_000
ENTITIES, SESSIONS, FEATURES = 500, 2_500, 10
WRITTEN_ROWS = 5_000_000
LOOK_UPS = 3_000
ROUNDS = 3


@dataclass(frozen=True)
class Measure:
    """One line of the table: what was measured, beside what, and the ratio that is promised."""

    what: str
    value: float
    unit: str
    beside: str = ""
    reference: float | None = None
    ratio: float | None = None
    promised: str = ""


def entity_names(count: int) -> list[str]:
    """Return the keys of the entities."""
    return [f"E{nth:04d}" for nth in range(count)]


def feature_names() -> list[str]:
    """Return the names of the features."""
    return [f"feature_{nth}" for nth in range(FEATURES)]


def session_closes() -> npt.NDArray[np.int64]:
    """Return the closes of the benchmark's sessions, microseconds UTC."""
    calendar = trading_calendar("XNYS")
    return calendar.closes(calendar.sessions(date(2013, 1, 2), date(2023, 12, 29))[:SESSIONS])


def make_events(entities: int, *, seed: int = 1) -> pa.Table:
    """Return events sorted by series and time: 1% arrive days late, 1% are revised."""
    random = np.random.default_rng(seed)
    closes = session_closes()
    count = entities * FEATURES * len(closes)
    event = np.tile(closes, entities * FEATURES)
    series = np.repeat(np.arange(entities * FEATURES), len(closes))
    kind = random.random(count)
    ingest = event + DAY // 96
    ingest[kind < 0.01] += random.integers(1, 4 * DAY, int((kind < 0.01).sum()))
    revised = np.flatnonzero((kind >= 0.01) & (kind < 0.02))
    value = random.normal(size=count)
    later = ingest[revised] + random.integers(DAY, 30 * DAY, len(revised))
    event = np.concatenate([event, event[revised]])
    ingest = np.concatenate([ingest, later])
    series = np.concatenate([series, series[revised]])
    value = np.concatenate([value, value[revised] + random.normal(size=len(revised))])
    order = np.lexsort((ingest, event, series))
    names = [pa.array(entity_names(entities)), pa.array(feature_names())]
    codes = [series[order] // FEATURES, series[order] % FEATURES]
    keys = [
        pa.DictionaryArray.from_arrays(code.astype(np.int32), name).cast(pa.string())
        for code, name in zip(codes, names, strict=True)
    ]
    return pa.table(
        {
            "entity_key": keys[0],
            "feature_name": keys[1],
            "feature_version": pa.array(np.ones(len(order), dtype=np.int32)),
            "event_time": pa.array(event[order]).cast(INSTANT),
            "ingest_time": pa.array(ingest[order]).cast(INSTANT),
            "value_double": pa.array(value[order]),
            "value_json": pa.nulls(len(order), pa.string()),
        },
        schema=SCHEMA,
    )


def as_frame(events: pa.Table) -> pa.Table:
    """Return events as callers of `write_frame` bring them, long."""
    names = ["entity_key", "feature_name", "event_time", "ingest_time", "value"]
    return pa.table([events[name if name != "value" else "value_double"] for name in names], names)


def make_spine() -> pa.Table:
    """Return every entity at the open of each session of the second half."""
    calendar = trading_calendar("XNYS")
    days = calendar.sessions(date(2013, 1, 2), date(2023, 12, 29))[SESSIONS // 2 : SESSIONS]
    opens = calendar.opens(days)
    names = np.tile(entity_names(ENTITIES), len(opens))
    times = pa.array(np.repeat(opens, ENTITIES)).cast(INSTANT)
    return pa.table({"entity_key": names, "time": times})


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that a piece of work took, and what it returned."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def peak_megabytes() -> float:
    """Return the most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_retrieval(database: Database) -> Iterator[Measure]:
    """From the database to an Arrow table, beside fetching the same arrays and dropping them."""
    store, spine = FeatureStore(database, "benchmark"), make_spine()
    whole = {
        "names": feature_names(),
        "versions": [1] * FEATURES,
        "first": datetime(1990, 1, 1, tzinfo=UTC),
        "last": from_microseconds(int(session_closes()[-1])),
        "knowledge_time": database.now(),
    }

    def fetch(entities: list[str]) -> Callable[[psycopg.Connection[Any]], int]:
        parameters = {**whole, "entities": entities}
        return lambda connection: sum(
            len(row[2])
            for row in stream_arrays(connection, query("select_feature_series"), parameters)
        )

    names = entity_names(ENTITIES)
    fetching, joining = [], []
    for _ in range(ROUNDS):
        seconds, counts = timed(
            lambda: read_side_by_side(database, [fetch(names[0::2]), fetch(names[1::2])])
        )
        fetching.append(seconds)
        seconds, table = timed(lambda: store.point_in_time_table(spine, feature_names()))
        joining.append(seconds)
    events, cells = sum(counts), table.num_rows * FEATURES
    fetched, joined = statistics.median(fetching), statistics.median(joining)
    yield Measure(
        f"point-in-time table, {cells:,} cells of {events:,} events", joined, "s",
        "fetching the arrays alone, two connections", fetched, joined / fetched, "<= 1.4",
    )  # fmt: skip
    yield Measure("its peak memory, client", peak_megabytes(), "MB", promised="< 1500")


def measure_join() -> Iterator[Measure]:
    """Join in memory, beside as-of joins over rows that were collapsed for them."""
    import duckdb
    import polars

    events, spine = make_events(ENTITIES), make_spine()
    event, ingest = (events[n].cast(pa.int64()).to_numpy() for n in ("event_time", "ingest_time"))
    value = events["value_double"].to_numpy()
    name = events["feature_name"].combine_chunks().dictionary_encode().indices.to_numpy()
    starts = np.append(np.flatnonzero(np.append([True], name[1:] != name[:-1])), len(name))
    times = np.unique(spine["time"].cast(pa.int64()).to_numpy())

    def ours() -> npt.NDArray[np.float64]:
        found = np.empty((ENTITIES * FEATURES, len(times)))
        for series, (start, stop) in enumerate(pairwise(starts)):
            rows = collapse(event[start:stop], ingest[start:stop]).at(times)
            found[series] = np.append(value[start:stop], np.nan)[rows]
        return found

    asked = np.repeat(np.arange(ENTITIES * FEATURES), len(times))
    moments = np.tile(times, ENTITIES * FEATURES)
    questions = {"series": asked, "time": moments}
    series = np.repeat(np.arange(ENTITIES * FEATURES), np.diff(starts))
    left = polars.DataFrame(questions).sort("time")
    connection = duckdb.connect()
    connection.register("asked", pa.table(questions))
    connection.execute("CREATE TABLE spine AS SELECT * FROM asked")

    def by_polars(rows: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
        right = polars.DataFrame(rows).sort("time")
        joined = left.join_asof(right, on="time", by="series", check_sortedness=False)
        return joined["value"].to_numpy()

    def by_duckdb(rows: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
        connection.register("known", pa.table(rows))
        joined = connection.sql(
            "SELECT k.value FROM spine AS s ASOF LEFT JOIN known AS k"
            " ON s.series = k.series AND s.time >= k.time"
        ).to_arrow_table()
        return joined["value"].to_numpy(zero_copy_only=False)

    available = np.maximum(event, ingest)
    kept = [
        start + np.unique(collapse(event[start:stop], ingest[start:stop]).at(available[start:stop]))
        for start, stop in pairwise(starts)
    ]
    rows = np.concatenate(kept)
    # Where rows come late a plain as-of join takes the latest to arrive and not the latest event,
    # so peers are given the rows without those that must not be found, and time to sort them only.
    known = {"series": series[rows], "time": available[rows], "value": value[rows]}
    seconds: dict[str, list[float]] = {"ours": [], "polars": [], "duckdb": []}
    for _ in range(ROUNDS):
        spent, found = timed(ours)
        seconds["ours"].append(spent)
        expected = float(np.nansum(found))
        for who, work in (("polars", by_polars), ("duckdb", by_duckdb)):
            spent, found = timed(lambda w=work: w(known))
            seconds[who].append(spent)
            # The same answers in another order.
            total = float(np.nansum(found))
            if not np.isclose(total, expected, rtol=1e-9):
                sys.exit(f"error: {who} finds {total}, and the collapse {expected}")
    mine = statistics.median(seconds["ours"])
    for who in ("polars", "duckdb"):
        theirs = statistics.median(seconds[who])
        yield Measure(
            f"join of arrays in memory, {len(moments):,} look-ups", mine, "s",
            f"{who}'s as-of join of rows collapsed for it", theirs, theirs / mine, ">= 3",
        )  # fmt: skip


def measure_latest(database: Database, url: str) -> Iterator[Measure]:
    """Ten features of one entity, beside the bare statement on a bare connection."""
    store, names = FeatureStore(database, "benchmark"), feature_names()
    random = np.random.default_rng(0)
    asked = np.array(entity_names(ENTITIES))[random.integers(0, ENTITIES, LOOK_UPS + 200)]
    bare, latest = [], []
    with psycopg.connect(url, autocommit=True) as connection:
        for entity in asked:
            parameters = {"entity": str(entity), "names": names, "version": None, "as_of": None}
            seconds, _ = timed(
                lambda p=parameters: connection.execute(
                    query("select_latest_features"), p
                ).fetchall()
            )
            bare.append(seconds * 1e3)
            seconds, found = timed(lambda e=str(entity): store.get_latest(e, names))
            latest.append(seconds * 1e3)
    assert len(found) == FEATURES
    # What a connection's first calls cost is not what a call costs.
    bare, latest = bare[200:], latest[200:]
    p50, p99 = np.quantile(latest, [0.5, 0.99])
    floor = float(np.median(bare))
    yield Measure(
        "get_latest, ten features, p50", p50, "ms", "the bare statement, p50", floor, p50 / floor,
        "<= 1.5",
    )  # fmt: skip
    yield Measure("get_latest, p99", p99, "ms", "its own p50", p50, p99 / p50, "<= 5")


def measure_writing(server: str) -> Iterator[Measure]:
    """Write new rows, beside one sorted COPY of encoded rows into an equal table."""
    events = make_events(-(-WRITTEN_ROWS // (SESSIONS * FEATURES))).slice(0, WRITTEN_ROWS)
    frame = as_frame(events)
    offers = Offers.of_table(events)
    nothing = np.zeros(len(offers), dtype=np.bool_)
    origin = ("benchmark", None, None)
    encoded = [b for rows in offers.news(nothing, origin) for b in encode_series(rows)]
    rates: dict[str, list[float]] = {"bare": [], "first": [], "repeat": []}
    for _ in range(ROUNDS):
        with FreshDatabase(server) as url, psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE bare (LIKE feature_events INCLUDING ALL)")
            connection.commit()
            seconds, _ = timed(lambda c=connection: copy_bare(c, encoded))
            rates["bare"].append(WRITTEN_ROWS / seconds)
        with FreshDatabase(server) as url, Database(url) as database:
            store = FeatureStore(database, "benchmark")
            for what in ("first", "repeat"):
                seconds, result = timed(lambda s=store: s.write_frame(frame))
                rates[what].append(WRITTEN_ROWS / seconds)
                assert result.stored == (WRITTEN_ROWS if what == "first" else 0), result
    bare, first, repeat = (statistics.median(rates[w]) for w in ("bare", "first", "repeat"))
    yield Measure(
        f"write_frame of {WRITTEN_ROWS:,} new rows", first, "rows/s", "a bare sorted COPY", bare,
        first / bare, ">= 0.7",
    )  # fmt: skip
    yield Measure(
        "the same again, nothing stored", repeat, "rows/s", "the first time", first,
        repeat / first, ">= 1",
    )  # fmt: skip


def copy_bare(connection: psycopg.Connection[Any], encoded: list[bytes]) -> None:
    """Copy encoded rows in one transaction."""
    columns = "entity_key, feature_name, feature_version, producer, producer_version, run_id"
    columns += ", event_time, ingest_time, value_double"
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY bare ({columns}) FROM STDIN (FORMAT binary)") as copy,
    ):
        copy.write(HEADER)
        for block in encoded:
            copy.write(block)
        copy.write(TRAILER)
    connection.commit()


class FreshDatabase:
    """A migrated database of one measurement's own, on a server that has nothing left to write."""

    def __init__(self, server: str) -> None:
        self.server, self.name = server, f"write_{time.monotonic_ns()}"

    def __enter__(self) -> str:
        self._run("CREATE DATABASE {}")
        url = make_conninfo(self.server, dbname=self.name)
        with Database(url) as database:
            migrate(database)
            database.execute("CHECKPOINT")
        return url

    def __exit__(self, *_: object) -> None:
        self._run("DROP DATABASE {} WITH (FORCE)")

    def _run(self, statement: str) -> None:
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(self.name)))


PARTS = ("writing", "retrieval", "latest", "join")
LOADING = "loading"


def run_part(part: str, url: str, server: str) -> list[Measure]:
    """Measure one part in this process."""
    if part == LOADING:
        return load(url)
    if part == "join":
        return list(measure_join())
    if part == "writing":
        return list(measure_writing(server))
    with Database(url) as database:
        if part == "latest":
            return list(measure_latest(database, url))
        return list(measure_retrieval(database))


def in_own_process(part: str, url: str, server: str) -> list[Measure]:
    """Measure one part in a process of its own, so that memory and caches are its own."""
    command = [sys.executable, __file__, "--part", part, "--url", url, "--server", server]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False, text=True)
    if done.returncode != 0:
        sys.exit(f"error: part {part} ended with status {done.returncode}")
    return [Measure(**measure) for measure in json.loads(done.stdout)]


def main() -> None:
    """Load the events, measure every part, print the table and write the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=(LOADING, *PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=PARTS, action="append", help="parts to measure; all")
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    parser.add_argument("--server", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps([vars(m) for m in run_part(given.part, given.url, given.server)]))
        return
    measures = []
    # Private to this user it would be closed to the user that a root's PostgreSQL runs as.
    with tempfile.TemporaryDirectory(prefix="quant-mlops-bench-") as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedServer(Path(folder) / "postgres")
        server.start()
        try:
            parts = tuple(given.only or PARTS)
            if {"retrieval", "latest"} & set(parts):
                parts = (LOADING, *parts)
            for part in parts:
                print(f"measuring {part}", file=sys.stderr)
                measures += in_own_process(part, server.url(), server.url("postgres"))
        finally:
            server.stop()
    show(measures)
    print(f"written to {write_results(measures)}")


def load(url: str) -> list[Measure]:
    """Store the events in parts, and bring the server's statistics up to date."""
    events = make_events(ENTITIES)
    with Database(url) as database:
        migrate(database)
        store = FeatureStore(database, "benchmark")
        started = time.perf_counter()
        for start in range(0, events.num_rows, WRITTEN_ROWS):
            store.write_frame(as_frame(events.slice(start, WRITTEN_ROWS)))
        seconds = time.perf_counter() - started
        database.execute("VACUUM ANALYZE feature_events")
        database.execute("CHECKPOINT")
        row = database.fetch_one("SELECT pg_total_relation_size('feature_events')")
    bytes_an_event = row[0] / events.num_rows if row else float("nan")
    return [
        Measure(f"loading {events.num_rows:,} events", events.num_rows / seconds, "rows/s"),
        Measure("an event on disk, index included", bytes_an_event, "bytes"),
    ]


def show(measures: list[Measure]) -> None:
    """Print one line a measure."""
    table = Table("measure", "value", "beside", "that", "ratio", "promised")
    for m in measures:
        table.add_row(
            m.what,
            f"{m.value:,.4g} {m.unit}" if m.value < 1000 else f"{m.value:,.0f} {m.unit}",
            m.beside,
            "" if m.reference is None else f"{m.reference:,.4g} {m.unit}",
            "" if m.ratio is None else f"{m.ratio:.2f}",
            m.promised,
        )
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def write_results(measures: list[Measure], name: str = "feature-store") -> Path:
    """Write what was measured, and on what machine, as one JSON document."""
    now = datetime.now(UTC)
    document = {
        "measured_at": now.isoformat(timespec="seconds"),
        "machine": {
            "system": platform.platform(),
            "processors": os.cpu_count(),
            "python": platform.python_version(),
        },
        "measures": [vars(measure) for measure in measures],
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{now:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    return path


if __name__ == "__main__":
    main()
