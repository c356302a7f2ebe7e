"""Bringing the schema to this version of the package: numbered files, each applied once."""

from __future__ import annotations

from pathlib import Path

from quant_mlops.database.connection import Database
from quant_mlops.database.migration_files import Migration, apply_pending, read_numbered
from quant_mlops.database.queries import query, sql_folder
from quant_mlops.database.timescale import ADVISORY_LOCK, bring_up_to_date


def read_migrations(folder: Path | None = None) -> list[Migration]:
    """Return the migrations of the schema in order.

    Raises
    ------
    MigrationError
        A file's name has no number, or the numbers are not 1, 2, 3 and so on.
    """
    return read_numbered(folder or sql_folder() / "migrations")


def migrate(database: Database, *, folder: Path | None = None) -> list[Migration]:
    """Apply the migrations that the database does not have, and return them.

    All of them run in one transaction under an advisory lock: a second migrator waits and then
    finds nothing to do, and a failure leaves the schema as it was. Where TimescaleDB is at hand
    the tables of the package's own schema become hypertables afterwards, in a second transaction.

    Raises
    ------
    EditedMigrationError
        A file differs from what was applied under its number.
    MigrationError
        The database is newer than the package, or a statement fails.
    """
    migrations = read_migrations(folder)
    with database.transaction() as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [ADVISORY_LOCK])
        # IF NOT EXISTS would ask for the right to create tables of a user who only reads.
        found = connection.execute("SELECT to_regclass('schema_migrations')").fetchone()
        if found is None or found[0] is None:
            connection.execute(query("create_schema_migrations"))
        pending = apply_pending(
            connection,
            migrations,
            recorded=query("select_schema_migrations"),
            record=query("insert_schema_migration"),
            address=database.address,
        )
    if folder is None:
        bring_up_to_date(database)
    return pending
