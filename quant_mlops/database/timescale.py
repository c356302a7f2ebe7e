"""TimescaleDB where the server has it: hypertables that are compressed, and plain tables again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.rows import TupleRow, class_row

from quant_mlops.database.connection import Database
from quant_mlops.database.migration_files import Migration, apply_pending, read_numbered
from quant_mlops.database.queries import query, sql_folder
from quant_mlops.errors import MigrationError, TimescaleUnavailableError

# One number for all migrators of a database; it has no meaning beyond being ours.
ADVISORY_LOCK = 0x7175616E74
HYPERTABLES = ("price_bars", "feature_events", "predictions", "feature_drift")
OLDEST_VERSION = (2, 20)
Connection = psycopg.Connection[TupleRow]


@dataclass(frozen=True)
class Readiness:
    """What stands between a database and its hypertables.

    Attributes
    ----------
    installed : str or None
        Version of the extension in this database.
    creatable : str or None
        Version that this user could create here.
    owned : bool
        The tables exist and are this user's to change.
    recorded : bool
        TimescaleDB was enabled here before; an empty record says that it was disabled since.
    """

    installed: str | None
    creatable: str | None
    owned: bool
    recorded: bool

    @property
    def obstacle(self) -> str | None:
        """What is missing, and what to do; None if nothing is."""
        version = self.installed or self.creatable
        if not self.owned:
            return "its tables are missing or another user's; run db migrate as their owner"
        if version is None:
            return (
                "the server has no TimescaleDB that this user may create; install the package, put "
                "timescaledb into shared_preload_libraries and restart the server, or have a "
                "superuser run CREATE EXTENSION timescaledb"
            )
        if _numbers(version) < OLDEST_VERSION:
            oldest = ".".join(map(str, OLDEST_VERSION))
            return f"its TimescaleDB is {version}; upgrade it to {oldest} or newer"
        return None


def readiness(connection: Connection) -> Readiness:
    """Return whether the database of a connection can have hypertables."""
    with connection.cursor(row_factory=class_row(Readiness)) as cursor:
        found = cursor.execute(query("timescale/select_timescale_readiness")).fetchone()
    assert found is not None
    return found


def bring_up_to_date(database: Database) -> list[Migration]:
    """Make hypertables where the server can have them and no operator has said otherwise.

    A database that has none yet gets them, with the rows that are there; elsewhere nothing is
    done, and the tables are plain ones with the same answers.

    Returns
    -------
    list of Migration
        What was applied.
    """
    with database.transaction() as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [ADVISORY_LOCK])
        found = readiness(connection)
        if found.obstacle is not None or _was_disabled(connection, found):
            return []
        try:
            with connection.transaction():
                return _enable(connection, found, database.address)
        except TimescaleUnavailableError:
            return []


def enable_timescale(database: Database, *, folder: Path | None = None) -> list[Migration]:
    """Make the tables of `HYPERTABLES` hypertables, and return the steps that were applied.

    One transaction under the migrators' lock: whoever reads or writes these tables waits for it,
    a second caller finds nothing to do, and what is interrupted leaves plain tables.

    Parameters
    ----------
    database : Database
    folder : Path, optional
        Of the steps; by default the package's own.

    Raises
    ------
    TimescaleUnavailableError
        The server has no TimescaleDB with compression that this user may create.
    EditedMigrationError
        A step differs from what was applied under its number.
    """
    with database.transaction() as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [ADVISORY_LOCK])
        found = readiness(connection)
        if found.obstacle is not None:
            raise TimescaleUnavailableError(
                f"TimescaleDB cannot be enabled on {database.address}: {found.obstacle}"
            )
        return _enable(connection, found, database.address, folder)


def disable_timescale(database: Database) -> bool:
    """Make plain tables of the hypertables, with the same rows, and have them stay so.

    Returns
    -------
    bool
        False if TimescaleDB was not enabled, and nothing was done.

    Raises
    ------
    MigrationError
        A statement fails, for example as a view of somebody's own depends on a hypertable.
    """
    with database.transaction() as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [ADVISORY_LOCK])
        if not is_enabled(connection):
            return False
        try:
            connection.execute(query("timescale/restore_plain_tables"))
        except psycopg.Error as error:
            raise MigrationError(
                f"TimescaleDB was not disabled on {database.address}: "
                f"{error.diag.message_primary or error}; the hypertables are as they were; remove "
                f"what depends on them and try again"
            ) from error
        return True


def is_enabled(connection: Connection) -> bool:
    """Return whether the tables are hypertables by our own doing."""
    found = readiness(connection)
    return found.recorded and not _was_disabled(connection, found)


def _enable(
    connection: Connection, found: Readiness, address: str, folder: Path | None = None
) -> list[Migration]:
    if found.installed is None:
        connection.execute("CREATE EXTENSION timescaledb")
    _refuse_without_compression(connection, address)
    if not found.recorded:
        connection.execute(query("timescale/create_timescale_migrations"))
    return apply_pending(
        connection,
        read_numbered(folder or sql_folder() / "timescale" / "migrations"),
        recorded=query("timescale/select_timescale_migrations"),
        record=query("timescale/insert_timescale_migration"),
        address=address,
    )


def _was_disabled(connection: Connection, found: Readiness) -> bool:
    if not found.recorded:
        return False
    return not connection.execute(query("timescale/select_timescale_migrations")).fetchall()


def _refuse_without_compression(connection: Connection, address: str) -> None:
    # The extension's own settings are there from the first call of it on.
    row = connection.execute("SELECT current_setting('timescaledb.license', true)").fetchone()
    if row is None or row[0] != "timescale":
        raise TimescaleUnavailableError(
            f"the TimescaleDB of {address} runs under the licence {row[0] if row else None!r}, "
            f"which has no compression; set timescaledb.license to 'timescale'"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("-")[0].split("."))
