"""The embedded PostgreSQL server: started, shared between processes, and stopped again.

Processes share one server by file locks, which the kernel releases however a process ends.
Whoever uses the server holds a shared lease; whoever leaves last, and only then, stops it.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psycopg
from psycopg import sql

from quant_mlops.database.cluster import PORT, Cluster
from quant_mlops.database.placement import SUPERUSER, Placement, make_enterable, place_server
from quant_mlops.errors import ServerUnavailableError

DOMAIN_DATABASE = "quant_mlops"
DAGSTER_DATABASE = "dagster"


@dataclass
class EmbeddedServer:
    """A PostgreSQL server that belongs to one home folder.

    Parameters
    ----------
    folder : Path
        Where the data would go, `<home>/postgres`; `placement.data` says where it went.
    """

    folder: Path
    placement: Placement = field(init=False)
    _lease: IO[str] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        # One folder by two names must be one server.
        self.folder = self.folder.resolve()
        self.placement = place_server(self.folder)

    @property
    def _cluster(self) -> Cluster:
        return Cluster(self.placement, self.url("postgres"))

    def url(self, database: str = DOMAIN_DATABASE) -> str:
        """Return the libpq URL of a database on this server."""
        socket = quote(str(self.placement.socket))
        return f"postgresql://{SUPERUSER}@:{PORT}/{database}?host={socket}"

    @property
    def is_new(self) -> bool:
        """Whether the folder holds no database yet, so that a start will make an empty one."""
        return not (self.placement.data / "PG_VERSION").exists()

    @property
    def dagster_url(self) -> str:
        """The SQLAlchemy URL of Dagster's database; it names the driver, as Dagster needs 2."""
        return self.url(DAGSTER_DATABASE).replace("postgresql://", "postgresql+psycopg2://")

    def start(self) -> None:
        """Make sure the server runs and take a lease on it.

        Raises
        ------
        ServerUnavailableError
            The data belong to another major version, the binaries do not run here, or the
            server does not come up; the message ends with the last lines of its log.
        """
        try:
            if self.placement.system_user:
                make_enterable(self.placement.data.parent)
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with self._mutex():
                self._cluster.start()
                for name in (DOMAIN_DATABASE, DAGSTER_DATABASE):
                    self._create_database(name)
                if self._lease is None:
                    self._lease = self._lock_file("lease").open("w")
                    fcntl.flock(self._lease, fcntl.LOCK_SH)
        except OSError as error:
            raise ServerUnavailableError(
                f"the embedded PostgreSQL cannot use {error.filename or self.folder}: "
                f"{error.strerror}; make it writable for this user, set QUANT_MLOPS_HOME to "
                f"another folder, or QUANT_MLOPS_DATABASE_URL to a server of your own"
            ) from error

    def release(self) -> None:
        """Give the lease back, and stop the server if nobody else holds one."""
        with self._mutex():
            self._drop_lease()
            if not self._lock_file("keep").exists() and not self._in_use():
                self._cluster.stop()

    def keep_running(self) -> None:
        """Leave the server running after the last process has gone."""
        self._lock_file("keep").touch()

    def stop(self) -> bool:
        """Stop the server; return False when other processes are still using it."""
        if not self.folder.parent.is_dir():
            return True
        with self._mutex():
            self._lock_file("keep").unlink(missing_ok=True)
            self._drop_lease()
            if self._in_use():
                return False
            self._cluster.stop()
            return True

    def is_running(self) -> bool:
        """Tell whether the server answers."""
        return self._cluster.answers()

    def _lock_file(self, what: str) -> Path:
        return self.folder.with_name(f"{self.folder.name}.{what}")

    @contextmanager
    def _mutex(self) -> Iterator[None]:
        with self._lock_file("mutex").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _drop_lease(self) -> None:
        if self._lease is not None:
            self._lease.close()
            self._lease = None

    def _in_use(self) -> bool:
        if not self._lock_file("lease").exists():
            return False
        with self._lock_file("lease").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _create_database(self, name: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if exists.fetchone() is not None:
                return
            statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
            connection.execute(statement)
            if name == DAGSTER_DATABASE:
                # Dagster commits once per event; a run log may lose its last instant in a crash.
                connection.execute(
                    sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(
                        sql.Identifier(name)
                    )
                )
