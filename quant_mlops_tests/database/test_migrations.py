from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from quant_mlops.database import Database
from quant_mlops.database.migrations import migrate, read_migrations
from quant_mlops.errors import EditedMigrationError, MigrationError

MIGRATE = """
import sys
from quant_mlops.database import Database
from quant_mlops.database.migrations import migrate

sys.stdin.readline()
with Database(sys.argv[1]) as database:
    print(len(migrate(database)))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "001_first.sql").write_text("CREATE TABLE first (n integer);")
    (tmp_path / "002_second.sql").write_text("CREATE TABLE second (n integer);")
    return tmp_path


def tables(database: Database) -> set[str]:
    rows = database.fetch_all("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {name for (name,) in rows}


def test_every_migration_is_applied_once(empty_database: Database) -> None:
    assert migrate(empty_database) == read_migrations()
    before = empty_database.fetch_all("SELECT * FROM schema_migrations ORDER BY number")
    assert migrate(empty_database) == []
    assert empty_database.fetch_all("SELECT * FROM schema_migrations ORDER BY number") == before
    assert {"price_bars", "feature_events", "feature_definitions"} <= tables(empty_database)


def test_a_new_migration_is_applied_to_a_database_that_has_the_earlier_ones(
    empty_database: Database, folder: Path
) -> None:
    (folder / "002_second.sql").rename(folder / "later")
    migrate(empty_database, folder=folder)
    (folder / "later").rename(folder / "002_second.sql")
    assert [m.name for m in migrate(empty_database, folder=folder)] == ["second"]
    assert tables(empty_database) == {"first", "second", "schema_migrations"}


def test_two_threads_migrate_at_once(empty_database: Database) -> None:
    barrier = threading.Barrier(2)

    def run() -> int:
        barrier.wait()
        return len(migrate(empty_database))

    with ThreadPoolExecutor(2) as pool:
        applied = sorted(f.result() for f in [pool.submit(run) for _ in range(2)])
    assert applied == [0, len(read_migrations())]


def test_two_processes_migrate_at_once(empty_database: Database, start_python) -> None:
    processes = [start_python(MIGRATE, empty_database.conninfo) for _ in range(2)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    results = [process.communicate(timeout=60) for process in processes]
    applied = sorted(int(output) for output, _ in results)
    assert applied == [0, len(read_migrations())], results


def test_an_edited_migration_is_refused(empty_database: Database, folder: Path) -> None:
    migrate(empty_database, folder=folder)
    (folder / "001_first.sql").write_text("CREATE TABLE first (n bigint);")
    (folder / "003_third.sql").write_text("CREATE TABLE third (n integer);")
    with pytest.raises(EditedMigrationError, match="001_first was applied with digest"):
        migrate(empty_database, folder=folder)
    assert "third" not in tables(empty_database)


def test_other_line_ends_are_no_edit(empty_database: Database, folder: Path) -> None:
    (folder / "001_first.sql").write_bytes(b"CREATE TABLE first (\nn integer);")
    migrate(empty_database, folder=folder)
    (folder / "001_first.sql").write_bytes(b"CREATE TABLE first (\r\nn integer);")
    assert migrate(empty_database, folder=folder) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("004_gap.sql", r"numbered \[1, 2, 4\]"), ("second.sql", "not named like 001_what.sql")],
)
def test_a_gap_or_a_missing_number_is_refused(folder: Path, name: str, message: str) -> None:
    (folder / name).write_text("SELECT 1;")
    with pytest.raises(MigrationError, match=message):
        read_migrations(folder)


def test_a_newer_database_is_refused(empty_database: Database, folder: Path) -> None:
    migrate(empty_database, folder=folder)
    (folder / "002_second.sql").unlink()
    with pytest.raises(MigrationError, match=r"has migration 002.*upgrade the package"):
        migrate(empty_database, folder=folder)


def test_a_failure_leaves_nothing_behind(empty_database: Database, folder: Path) -> None:
    (folder / "003_third.sql").write_text("CREATE TABLE third (n integer); SELECT 1 / 0;")
    with pytest.raises(MigrationError, match=r"003_third failed on .*division by zero"):
        migrate(empty_database, folder=folder)
    assert tables(empty_database) == set()


def test_who_may_only_read_finds_a_migrated_database_in_order(database: Database) -> None:
    name = f"reader_of_{database.address.rpartition('/')[2]}"
    role = sql.Identifier(name)
    with database.connection() as connection:
        connection.execute(sql.SQL("CREATE ROLE {}").format(role))
        try:
            connection.execute(sql.SQL("GRANT SELECT ON schema_migrations TO {}").format(role))
            conninfo = make_conninfo(database.conninfo, options=f"-c role={name}")
            with Database(conninfo) as reader:
                assert migrate(reader) == []
        finally:
            connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
            connection.execute(sql.SQL("DROP ROLE {}").format(role))
