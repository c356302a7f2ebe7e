"""The embedded PostgreSQL server: started, shared between processes, and stopped again.

Processes share one server by file locks, which the kernel releases however a process ends.
Whoever uses the server holds a shared lease; whoever leaves last, and only then, stops it.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psycopg
from psycopg import sql

from quant_mlops.database.placement import SUPERUSER, Placement, make_enterable, place_server
from quant_mlops.database.tuning import server_configuration
from quant_mlops.errors import ServerUnavailableError

DOMAIN_DATABASE = "quant_mlops"
DAGSTER_DATABASE = "dagster"
START_TIMEOUT = 600
LOG_LINES_SHOWN = 5


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

    def url(self, database: str = DOMAIN_DATABASE) -> str:
        """Return the libpq URL of a database on this server."""
        return f"postgresql://{SUPERUSER}@/{database}?host={quote(str(self.placement.socket))}"

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
            self._make_folders()
            with self._mutex():
                if not self._accepts_connections():
                    self._initialise()
                    self._launch()
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
                self._stop()

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
            self._stop()
            return True

    def is_running(self) -> bool:
        """Tell whether the server answers."""
        return self._accepts_connections()

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

    def _accepts_connections(self) -> bool:
        try:
            with psycopg.connect(self.url("postgres"), connect_timeout=5):
                return True
        except psycopg.OperationalError:
            return False

    def _initialise(self) -> None:
        data = self.placement.data
        version_file = data / "PG_VERSION"
        if version_file.exists():
            found = version_file.read_text().strip()
            if found != self.placement.major_version:
                raise ServerUnavailableError(
                    f"{data} holds data of PostgreSQL {found}, and the embedded server is "
                    f"{self.placement.major_version}; move the folder away, or run a server of "
                    f"that version and name it in QUANT_MLOPS_DATABASE_URL"
                )
            return
        if data.exists() and any(data.iterdir()):
            raise ServerUnavailableError(
                f"{data} holds files and no PG_VERSION, so it is no PostgreSQL data folder; move "
                f"it away, or set QUANT_MLOPS_HOME to another folder"
            )
        fresh = data.with_name(f"{data.name}.initialising")
        shutil.rmtree(fresh, ignore_errors=True)
        self._make_private_folder(fresh)
        self._run(
            "initdb", "-D", str(fresh), "-U", SUPERUSER, "--encoding=UTF8", "--auth-host=reject",
            "--auth-local=trust", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
            "--no-locale",
        )  # fmt: skip
        with (fresh / "postgresql.conf").open("a") as file:
            file.write(server_configuration())
        fresh.rename(data)

    def _make_folders(self) -> None:
        if self.placement.system_user:
            make_enterable(self.placement.data.parent)
        self.folder.parent.mkdir(parents=True, exist_ok=True)

    def _make_private_folder(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        user = self.placement.system_user
        account = pwd.getpwnam(user) if user else None
        owner = folder.lstat().st_uid
        if owner not in (os.geteuid(), account.pw_uid if account else os.geteuid()):
            # In a folder open to all, somebody else may have been there first.
            raise ServerUnavailableError(
                f"{folder} belongs to user {owner} and not to the database's; remove it, or set "
                f"QUANT_MLOPS_HOME to another folder"
            )
        if account:
            os.chown(folder, account.pw_uid, account.pw_gid, follow_symlinks=False)

    def _launch(self) -> None:
        self._make_private_folder(self.placement.socket)
        self._forget_dead_postmaster()
        running = self._run("pg_ctl", "-D", str(self.placement.data), "status", check=False) == 0
        if not running:
            socket = shlex.quote(str(self.placement.socket))
            self._run(
                "pg_ctl", "-D", str(self.placement.data), "-l", str(self.placement.log), "-w",
                "-t", str(START_TIMEOUT), "-o", f"-k {socket}", "start",
            )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT
        while not self._accepts_connections():
            if time.monotonic() > deadline:
                raise ServerUnavailableError(self._explain("does not accept connections"))
            time.sleep(0.1)

    def _forget_dead_postmaster(self) -> None:
        """Remove the pid file of a killed server whose number another process has by now.

        PostgreSQL itself would wait for that process; in containers numbers come again soon.
        """
        pid_file = self.placement.data / "postmaster.pid"
        if not pid_file.exists() or not Path("/proc/self/cwd").exists():
            return
        pid = pid_file.read_text().partition("\n")[0].strip()
        try:
            works_in = Path(f"/proc/{pid}/cwd").readlink()
        except OSError:
            return  # no such process, or one of another user, whom PostgreSQL takes for neither
        if works_in != self.placement.data.resolve():
            pid_file.unlink()

    def _stop(self) -> None:
        if self.placement.data.is_dir():
            self._run(
                "pg_ctl", "-D", str(self.placement.data), "-m", "fast", "-w",
                "-t", str(START_TIMEOUT), "stop", check=False,
            )  # fmt: skip

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

    def _run(self, program: str, *arguments: str, check: bool = True) -> int:
        command = [str(self.placement.binaries / program), *arguments]
        user = self.placement.system_user
        group = pwd.getpwnam(user).pw_gid if user else None
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        self._make_private_folder(self.placement.log.parent)
        output = self.placement.log.with_name(f"{program}.out")
        try:
            with output.open("w") as file:
                finished = subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                    user=user, group=group, extra_groups=[] if user else None, cwd="/",
                    env=environment, check=False,
                )  # fmt: skip
        except OSError as error:
            raise ServerUnavailableError(
                f"the embedded PostgreSQL cannot run {command[0]}: {error.strerror}; set "
                f"QUANT_MLOPS_DATABASE_URL to a server of your own"
            ) from error
        if check and finished.returncode != 0:
            raise ServerUnavailableError(self._explain(f"{program} failed", output))
        return finished.returncode

    def _explain(self, what: str, output: Path | None = None) -> str:
        lines: list[str] = []
        for path in (output, self.placement.log):
            if path is not None and path.is_file():
                lines += path.read_text(errors="replace").strip().splitlines()[-LOG_LINES_SHOWN:]
        return (
            f"the embedded PostgreSQL at {self.placement.data} cannot start: {what}; "
            f"its last words are {' | '.join(lines) or 'none'}; free the disk or the folder it "
            f"names, or set QUANT_MLOPS_DATABASE_URL to a server of your own"
        )
