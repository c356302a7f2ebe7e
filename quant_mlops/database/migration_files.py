"""Numbered files of SQL, each applied once to a database and never edited afterwards."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg.rows import TupleRow

from quant_mlops.errors import EditedMigrationError, MigrationError


@dataclass(frozen=True)
class Migration:
    """One numbered file."""

    number: int
    name: str
    text: LiteralString

    @property
    def sha256(self) -> str:
        """Digest of the text with line ends normalised."""
        return hashlib.sha256(self.text.replace("\r\n", "\n").encode()).hexdigest()


def read_numbered(folder: Path) -> list[Migration]:
    """Return the migrations of a folder in order.

    Raises
    ------
    MigrationError
        A file's name has no number, or the numbers are not 1, 2, 3 and so on.
    """
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


def apply_pending(
    connection: psycopg.Connection[TupleRow],
    migrations: Sequence[Migration],
    *,
    recorded: LiteralString,
    record: LiteralString,
    address: str,
) -> list[Migration]:
    """Apply the migrations that are not recorded, in the caller's transaction, and return them.

    Parameters
    ----------
    connection : psycopg.Connection
    migrations : sequence of Migration
    recorded : str
        Statement that returns number and digest of each that was applied.
    record : str
        Statement that stores number, name and digest of one.
    address : str
        Of the database, for messages.

    Raises
    ------
    EditedMigrationError
        A file differs from what was applied under its number.
    MigrationError
        The database is newer than the package, or a statement fails.
    """
    rows = connection.execute(recorded).fetchall()
    applied = {int(number): str(digest) for number, digest in rows}
    _refuse_unknown(applied, migrations, address)
    pending = [migration for migration in migrations if migration.number not in applied]
    for migration in pending:
        try:
            connection.execute(migration.text)
        except psycopg.Error as error:
            raise MigrationError(
                f"migration {migration.number:03d}_{migration.name} failed on {address}: "
                f"{error.diag.message_primary or error}; nothing of it was kept"
            ) from error
        connection.execute(record, [migration.number, migration.name, migration.sha256])
    return pending


def _refuse_unknown(applied: dict[int, str], migrations: Sequence[Migration], address: str) -> None:
    known = {migration.number: migration for migration in migrations}
    newer = sorted(set(applied) - set(known))
    if newer:
        raise MigrationError(
            f"the database at {address} has migration {newer[-1]:03d}, and this version of "
            f"quant_mlops knows {len(known)}; upgrade the package"
        )
    for number, digest in sorted(applied.items()):
        if known[number].sha256 != digest:
            raise EditedMigrationError(
                f"migration {number:03d}_{known[number].name} was applied with digest "
                f"{digest[:12]} and the file now has {known[number].sha256[:12]}; restore the "
                f"file and put the change into a new migration"
            )
