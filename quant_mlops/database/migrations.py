"""Bringing the schema to this version of the package: numbered files, each applied once."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psycopg

from quant_mlops.database.connection import Database
from quant_mlops.database.queries import query, sql_folder
from quant_mlops.errors import EditedMigrationError, MigrationError

# One number for all migrators of a database; it has no meaning beyond being ours.
ADVISORY_LOCK = 0x7175616E74


@dataclass(frozen=True)
class Migration:
    """One numbered file of `sql/migrations`."""

    number: int
    name: str
    text: LiteralString

    @property
    def sha256(self) -> str:
        """Digest of the text with line ends normalised."""
        return hashlib.sha256(self.text.replace("\r\n", "\n").encode()).hexdigest()


def read_migrations(folder: Path | None = None) -> list[Migration]:
    """Return the migrations in order.

    Raises
    ------
    MigrationError
        A file's name has no number, or the numbers are not 1, 2, 3 and so on.
    """
    folder = folder or sql_folder() / "migrations"
    migrations = []
    for path in sorted(folder.glob("*.sql")):
        match = re.fullmatch(r"(\d{3})_(\w+)", path.stem)
        if match is None:
            raise MigrationError(f"{path.name} is not named like 001_what.sql; rename it")
        migrations.append(Migration(int(match[1]), match[2], path.read_text("utf-8")))
    numbers = [migration.number for migration in migrations]
    if numbers != list(range(1, len(numbers) + 1)):
        raise MigrationError(f"migrations are numbered {numbers}; they must be 1, 2, 3 and so on")
    return migrations


def migrate(database: Database, *, folder: Path | None = None) -> list[Migration]:
    """Apply the migrations that the database does not have, and return them.

    All of them run in one transaction under an advisory lock: a second migrator waits and then
    finds nothing to do, and a failure leaves the schema as it was.

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
        rows = connection.execute(query("select_schema_migrations")).fetchall()
        applied = {int(number): str(digest) for number, digest in rows}
        _refuse_unknown(applied, migrations, database)
        pending = [migration for migration in migrations if migration.number not in applied]
        for migration in pending:
            try:
                connection.execute(migration.text)
            except psycopg.Error as error:
                raise MigrationError(
                    f"migration {migration.number:03d}_{migration.name} failed on "
                    f"{database.address}: {error.diag.message_primary or error}; nothing of it "
                    f"was kept"
                ) from error
            connection.execute(
                query("insert_schema_migration"),
                [migration.number, migration.name, migration.sha256],
            )
    return pending


def _refuse_unknown(
    applied: dict[int, str], migrations: list[Migration], database: Database
) -> None:
    known = {migration.number: migration for migration in migrations}
    newer = sorted(set(applied) - set(known))
    if newer:
        raise MigrationError(
            f"the database at {database.address} has migration {newer[-1]:03d}, and this version "
            f"of quant_mlops knows {len(known)}; upgrade the package"
        )
    for number, digest in sorted(applied.items()):
        if known[number].sha256 != digest:
            raise EditedMigrationError(
                f"migration {number:03d}_{known[number].name} was applied with digest "
                f"{digest[:12]} and the file now has {known[number].sha256[:12]}; restore the "
                f"file and put the change into a new migration"
            )
