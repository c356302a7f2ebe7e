"""What only a server with TimescaleDB can show; skipped where there is none."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from quant_mlops.database import Database
from quant_mlops.database.hypertables import has_timescaledb, hypertables
from quant_mlops.database.migrations import migrate
from quant_mlops.database.queries import query, sql_folder
from quant_mlops.database.retention import drop_expired, find_expired
from quant_mlops.database.table_sizes import TableSize, table_sizes
from quant_mlops.database.timescale import (
    HYPERTABLES,
    bring_up_to_date,
    disable_timescale,
    enable_timescale,
)
from quant_mlops.errors import (
    DatabaseError,
    EditedMigrationError,
    MigrationError,
    TimescaleUnavailableError,
)

ENABLE = """
import sys
from pathlib import Path
from quant_mlops.database import Database
from quant_mlops.database.timescale import enable_timescale

with Database(sys.argv[1]) as database:
    enable_timescale(database, folder=Path(sys.argv[2]))
"""
FILL = """
INSERT INTO feature_events (entity_key, feature_name, event_time, ingest_time, value_double,
                            producer)
SELECT 'E' || e, 'f' || f, t, t + interval '15 minutes', e * f + extract(day FROM t), 'test'
FROM generate_series(1, 3) AS e, generate_series(1, 2) AS f,
     generate_series(timestamptz '2018-01-02 21:00Z', '2020-12-30 21:00Z', '1 day') AS t;
INSERT INTO price_bars (ticker, event_time, ingest_time, session, close, availability_observed,
                        source)
SELECT 'A', t, t, t::date, 10, true, 'test'
FROM generate_series(timestamptz '2018-01-02 21:00Z', '2018-12-30 21:00Z', '1 day') AS t;
INSERT INTO predictions (strategy_id, entity_key, event_time, session, model_id, signal,
                         feature_digest)
SELECT 's', 'A', t, t::date, '00000000-0000-0000-0000-000000000001', 0.5, ''
FROM generate_series(timestamptz '2018-01-02 21:00Z', '2018-12-30 21:00Z', '1 day') AS t;
INSERT INTO feature_drift (strategy_id, feature_name, event_time, session, model_id,
                           feature_version, day_counts, window_sessions, n_reference, n_current)
SELECT 's', 'f1', t, t::date, '00000000-0000-0000-0000-000000000001', 1, '{1,2}', 5, 3, 3
FROM generate_series(timestamptz '2018-01-02 21:00Z', '2018-12-30 21:00Z', '1 day') AS t;
"""
ROWS = 3 * 2 * 1094
LATE = """
INSERT INTO feature_events (entity_key, feature_name, event_time, ingest_time, value_double,
                            producer)
VALUES ('E1', 'f1', '2018-03-01 21:00Z', '2024-01-01 00:00Z', 99, 'test')
"""
PLAIN = """
SELECT n.name FROM unnest(%s::text[]) AS n (name)
WHERE NOT EXISTS (
    SELECT FROM timescaledb_information.hypertables AS h WHERE h.hypertable_name = n.name
)
"""
# All that makes a table what it is, beside its rows.
ANATOMY = """
SELECT 'column', attname, format_type(atttypid, atttypmod) || attnotnull
       || coalesce(pg_get_expr(d.adbin, d.adrelid), '') || coalesce(col_description(%s::regclass,
       a.attnum), '')
FROM pg_attribute AS a
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'constraint', conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE conrelid = %s::regclass
UNION ALL
SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid)
FROM pg_index WHERE indrelid = %s::regclass
UNION ALL
SELECT 'trigger', tgname, pg_get_triggerdef(oid) || tgenabled::text
FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname NOT LIKE 'ts\\_%%' AND NOT tgisinternal
UNION ALL
SELECT 'grant', grantee::regrole::text, privilege_type
FROM pg_class CROSS JOIN aclexplode(relacl) WHERE oid = %s::regclass
ORDER BY 1, 2, 3
"""


@pytest.fixture
def timescale(database: Database) -> Database:
    """Give a database of the test's own whose tables are hypertables."""
    if not has_timescaledb(database):
        pytest.skip("the server has no TimescaleDB; name one in QUANT_MLOPS_TEST_DATABASE_URL")
    return database


@pytest.fixture
def filled(timescale: Database) -> Database:
    """Give hypertables with rows of three years, none of them compressed."""
    timescale.execute(FILL)
    return timescale


def compress(database: Database) -> None:
    for table in HYPERTABLES:
        database.fetch_all(
            "SELECT compress_chunk(c, if_not_compressed => true) FROM show_chunks(%s::regclass) c",
            [table],
        )
    database.execute("CALL maintain_chunks()")


@pytest.fixture
def compressed(filled: Database) -> Database:
    """Give the same, every chunk compressed and maintained."""
    compress(filled)
    return filled


def checksums(database: Database) -> dict[str, Any]:
    statement = "SELECT count(*), md5(string_agg(t::text, '' ORDER BY t::text)) FROM {} AS t"
    return {t: database.fetch_one(statement.format(t)) for t in HYPERTABLES}  # type: ignore[arg-type]


def anatomy(database: Database) -> dict[str, Any]:
    return {table: database.fetch_all(ANATOMY, [table] * 6) for table in HYPERTABLES}


def plain_tables(database: Database) -> set[str]:
    return {name for (name,) in database.fetch_all(PLAIN, [list(HYPERTABLES)])}


def relations(database: Database) -> list[tuple[str, str, str]]:
    """Return hypertable, chunk, and the table of the chunk's compressed rows."""
    return database.fetch_all(
        "SELECT hypertable::text, chunk::text, compressed::text FROM hypertable_chunks"
        " WHERE compressed IS NOT NULL ORDER BY 1, 2"
    )


def test_a_server_without_timescaledb_keeps_plain_tables(database: Database) -> None:
    if has_timescaledb(database):
        pytest.skip("the server has TimescaleDB")
    with pytest.raises(TimescaleUnavailableError, match="no TimescaleDB that this user may create"):
        enable_timescale(database)
    assert not disable_timescale(database)
    assert bring_up_to_date(database) == []
    assert hypertables(database) == []
    with pytest.raises(TimescaleUnavailableError, match="is a plain table"):
        find_expired(database, "feature_events", before=datetime(2020, 1, 1, tzinfo=UTC))


def test_a_migrated_database_has_compressed_hypertables(timescale: Database) -> None:
    assert plain_tables(timescale) == set()
    rows = timescale.fetch_all(
        "SELECT hypertable_name, config ->> 'compress_after' FROM timescaledb_information.jobs"
        " WHERE proc_name = 'policy_compression' ORDER BY 1"
    )
    assert rows == [(name, "7 days") for name in sorted(HYPERTABLES)]
    settings = timescale.fetch_all(
        "SELECT relid::text, segmentby, orderby, orderby_desc"
        " FROM _timescaledb_catalog.compression_settings ORDER BY 1"
    )
    both = ["event_time", "ingest_time"]
    series = ["entity_key", "feature_name", "feature_version"]
    assert settings == [
        ("feature_drift", ["strategy_id", "feature_name"], ["event_time"], [True]),
        ("feature_events", series, both, [True, True]),
        ("predictions", ["strategy_id", "entity_key"], ["event_time"], [True]),
        ("price_bars", ["ticker"], both, [True, True]),
    ]


@pytest.mark.parametrize("what", ["UPDATE {} SET producer = 'x'", "DELETE FROM {}", "TRUNCATE {}"])
def test_no_chunk_lets_its_rows_be_changed(compressed: Database, what: str) -> None:
    before = checksums(compressed)
    compressed.execute(LATE.replace("2018-03", "2022-06"))
    compressed.execute("CALL maintain_chunks()")
    (young,) = (
        chunk
        for (chunk,) in compressed.fetch_all(
            "SELECT chunk::text FROM hypertable_chunks WHERE compressed IS NULL"
        )
    )
    first = next(row for row in relations(compressed) if row[0] == "feature_events")
    for relation in (*first, young):
        column = "_ts_meta_count = 1" if relation == first[2] else "producer = 'x'"
        statement = what.format(relation).replace("producer = 'x'", column)
        with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
            compressed.execute(statement)  # type: ignore[arg-type]
    compressed.fetch_all(
        "SELECT drop_chunks('feature_events', newer_than => %s::timestamptz)", ["2021-12-01"]
    )
    assert checksums(compressed) == before


def test_predictions_and_prices_are_sealed_and_drift_is_not(compressed: Database) -> None:
    for table, chunk, rows in relations(compressed):
        for relation in (chunk, rows):
            statement = f"TRUNCATE {relation}"
            if table == "feature_drift":
                compressed.execute(statement)  # type: ignore[arg-type]
            else:
                with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
                    compressed.execute(statement)  # type: ignore[arg-type]


def test_compressed_chunks_take_late_rows_and_are_compressed_again(compressed: Database) -> None:
    compressed.execute(LATE)
    with pytest.raises(psycopg.errors.UniqueViolation):
        compressed.execute(LATE)
    assert compressed.execute(LATE + " ON CONFLICT DO NOTHING") == 0
    with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
        compressed.execute(
            LATE + " ON CONFLICT (entity_key, feature_name, feature_version, event_time,"
            " ingest_time) DO UPDATE SET value_double = 1"
        )
    before = checksums(compressed)
    compress(compressed)
    assert checksums(compressed) == before
    assert compressed.fetch_one("SELECT count(*) FROM feature_events") == (ROWS + 1,)
    (partial,) = compressed.fetch_one(  # type: ignore[misc]
        "SELECT count(*) FROM hypertable_chunks WHERE compressed IS NULL"
    )
    assert partial == 0


def test_drift_in_a_compressed_chunk_is_restated_where_it_differs(compressed: Database) -> None:
    staged = """
    INSERT INTO staged_feature_drift
    SELECT strategy_id, feature_name, event_time, session, model_id::text, feature_version,
           CASE WHEN session = '2018-03-01' THEN '{2,2}' ELSE day_counts::text END,
           window_sessions, n_reference, n_current, 0, 0.5, 0.1
    FROM feature_drift WHERE session BETWEEN '2018-02-28' AND '2018-03-02'
    """
    compressed.execute("UPDATE feature_drift SET psi = 0.5 WHERE session > '2018-02-01'")
    compress(compressed)
    with compressed.transaction() as connection:
        connection.execute(query("create_staged_feature_drift"))
        connection.execute(staged)
        assert connection.execute(query("insert_staged_feature_drift")).rowcount == 1
    counts = "SELECT day_counts FROM feature_drift WHERE session BETWEEN %s AND %s ORDER BY session"
    found = compressed.fetch_all(counts, ["2018-02-28", "2018-03-02"])
    assert found == [([1, 2],), ([2, 2],), ([1, 2],)]
    assert compressed.fetch_one("SELECT count(*) FROM feature_drift") == (363,)


def test_a_chunk_that_was_decompressed_is_sealed_and_packed_again(compressed: Database) -> None:
    before = checksums(compressed)
    compressed.fetch_all("SELECT decompress_chunk(c) FROM show_chunks('feature_events') AS c")
    compress(compressed)
    assert compressed.fetch_all("SELECT relation FROM unsealed_chunks") == []
    assert compressed.fetch_all("SELECT relation FROM unpacked_chunks") == []
    assert checksums(compressed) == before


def test_packing_makes_chunks_smaller_and_changes_no_row(filled: Database) -> None:
    before = checksums(filled)
    filled.fetch_all("SELECT compress_chunk(c) FROM show_chunks('feature_events') AS c")
    assert filled.fetch_all("SELECT relation FROM unpacked_chunks") != []
    (loose,) = (h for h in hypertables(filled) if h.hypertable_name == "feature_events")
    filled.execute("CALL maintain_chunks()")
    (packed,) = (h for h in hypertables(filled) if h.hypertable_name == "feature_events")
    assert packed.compressed_bytes < loose.compressed_bytes
    assert checksums(filled) == before


def test_a_chunk_in_use_is_left_for_the_next_time(filled: Database) -> None:
    filled.fetch_all("SELECT compress_chunk(c) FROM show_chunks('feature_events') AS c")
    busy = relations(filled)[0][2]
    with filled.connect() as reader, reader.transaction():
        # As long as a reader's transaction lasts.
        reader.execute(f"SELECT FROM {busy}")  # type: ignore[arg-type]
        filled.execute("CALL maintain_chunks()")
    left = filled.fetch_all("SELECT relation::text FROM unpacked_chunks")
    assert left == [(busy,)]
    filled.execute("CALL maintain_chunks()")
    assert filled.fetch_all("SELECT relation::text FROM unpacked_chunks") == []


def test_there_and_back_every_row_and_key_is_the_same(compressed: Database) -> None:
    compressed.execute("GRANT SELECT ON predictions TO pg_monitor")
    compressed.execute(LATE)
    rows, form = checksums(compressed), anatomy(compressed)
    assert disable_timescale(compressed)
    assert plain_tables(compressed) == set(HYPERTABLES)
    assert (checksums(compressed), anatomy(compressed)) == (rows, form)
    assert migrate(compressed) == []
    assert plain_tables(compressed) == set(HYPERTABLES)
    assert not disable_timescale(compressed)
    with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
        compressed.execute("DELETE FROM feature_events")
    assert len(enable_timescale(compressed)) == 4
    assert plain_tables(compressed) == set()
    assert (checksums(compressed), anatomy(compressed)) == (rows, form)
    assert enable_timescale(compressed) == []


def test_a_database_that_ran_without_the_extension_keeps_its_rows(filled: Database) -> None:
    disable_timescale(filled)
    rows = checksums(filled)
    filled.execute("DROP TABLE timescale_migrations")
    filled.execute("DROP EXTENSION timescaledb")
    with Database(filled.conninfo) as fresh:
        assert migrate(fresh) == []
        assert plain_tables(fresh) == set()
        assert checksums(fresh) == rows


def test_what_depends_on_a_hypertable_keeps_it(filled: Database) -> None:
    filled.execute("CREATE VIEW mine AS SELECT * FROM predictions")
    rows = checksums(filled)
    with pytest.raises(MigrationError, match=r"not disabled on .*depend.*remove what depends"):
        disable_timescale(filled)
    assert plain_tables(filled) == set()
    assert checksums(filled) == rows


def test_two_enable_at_once(filled: Database) -> None:
    disable_timescale(filled)
    rows = checksums(filled)
    barrier = threading.Barrier(2)

    def run() -> int:
        barrier.wait()
        return len(enable_timescale(filled))

    with ThreadPoolExecutor(2) as pool:
        applied = sorted(f.result() for f in [pool.submit(run) for _ in range(2)])
    assert applied == [0, 4]
    assert checksums(filled) == rows


@pytest.fixture
def steps(tmp_path: Path) -> Path:
    """Give a copy of the steps that may be changed."""
    shutil.copytree(sql_folder() / "timescale" / "migrations", tmp_path / "steps")
    return tmp_path / "steps"


def sleepers(database: Database) -> Iterator[int]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = database.fetch_all(
            "SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event = 'PgSleep'"
        )
        if found:
            yield from (pid for (pid,) in found)
            return
        time.sleep(0.02)
    raise AssertionError("nobody came to the last step")


def test_an_enable_that_is_killed_leaves_plain_tables(
    filled: Database, steps: Path, start_python: Any
) -> None:
    disable_timescale(filled)
    rows, form = checksums(filled), anatomy(filled)
    (steps / "005_wait.sql").write_text("SELECT pg_sleep(60);")
    process = start_python(ENABLE, filled.conninfo, steps)
    (backend,) = sleepers(filled)
    process.kill()
    filled.fetch_one("SELECT pg_terminate_backend(%s, 10000)", [backend])
    assert plain_tables(filled) == set(HYPERTABLES)
    assert (checksums(filled), anatomy(filled)) == (rows, form)
    assert len(enable_timescale(filled)) == 4
    assert checksums(filled) == rows


def test_an_edited_step_is_refused(timescale: Database, steps: Path) -> None:
    path = steps / "002_compression.sql"
    path.write_text(path.read_text("utf-8").replace("7 days", "8 days"))
    with pytest.raises(EditedMigrationError, match="002_compression was applied with digest"):
        enable_timescale(timescale, folder=steps)


def test_a_step_that_fails_undoes_all_of_them(filled: Database, steps: Path) -> None:
    disable_timescale(filled)
    (steps / "005_wrong.sql").write_text("SELECT 1 / 0;")
    with pytest.raises(MigrationError, match=r"005_wrong failed on .*division by zero"):
        enable_timescale(filled, folder=steps)
    assert plain_tables(filled) == set(HYPERTABLES)


def test_retention_shows_then_drops_whole_chunks(compressed: Database) -> None:
    before = datetime(2019, 6, 1, tzinfo=UTC)
    shown = find_expired(compressed, "feature_events", before=before)
    assert shown.rows > 0
    assert compressed.fetch_one("SELECT count(*) FROM feature_events") == (ROWS,)
    end = max(chunk.range_end for chunk in shown.chunks)
    assert end <= before < end + timedelta(days=365)
    assert drop_expired(compressed, "feature_events", before=before, by="ann") == shown
    assert compressed.fetch_all(
        "SELECT table_name, dropped_until, row_count, dropped_by FROM retentions"
    ) == [("feature_events", end, shown.rows, "ann")]
    assert compressed.fetch_one("SELECT count(*), min(event_time) >= %s FROM feature_events", [end])
    assert compressed.fetch_one("SELECT count(*) FROM feature_events") == (ROWS - shown.rows,)
    assert find_expired(compressed, "feature_events", before=before).chunks == []
    with pytest.raises(DatabaseError, match="lies in the future"):
        drop_expired(
            compressed, "feature_events", before=datetime(2900, 1, 1, tzinfo=UTC), by="ann"
        )


def test_rows_are_counted_right_after_hypertables_are_made(filled: Database) -> None:
    disable_timescale(filled)
    enable_timescale(filled)
    (events,) = (h for h in hypertables(filled) if h.hypertable_name == "feature_events")
    assert events.rows == ROWS


def test_the_status_counts_chunks_rows_and_bytes(compressed: Database) -> None:
    (events,) = (h for h in hypertables(compressed) if h.hypertable_name == "feature_events")
    assert (
        events.chunks
        == events.compressed_chunks
        == len(compressed.fetch_all("SELECT show_chunks('feature_events')"))
    )
    assert events.compressed_rows == events.rows == ROWS
    assert (events.bytes,) == compressed.fetch_one("SELECT hypertable_size('feature_events')")
    assert events.compressed_bytes < events.bytes_before_compression
    assert events.bytes_a_compressed_row == events.compressed_bytes / ROWS
    sizes = {size.name: size for size in table_sizes(compressed)}
    assert sizes["feature_events"] == TableSize("feature_events", ROWS, False, events.bytes)
    compressed.execute(LATE)
    compress(compressed)
    (events,) = (h for h in hypertables(compressed) if h.hypertable_name == "feature_events")
    assert events.compressed_rows == ROWS + 1
