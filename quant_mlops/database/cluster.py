"""A PostgreSQL data folder, and the programs that make it, start a server on it and stop it."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

from quant_mlops.database.placement import SUPERUSER, Placement
from quant_mlops.database.tuning import server_configuration
from quant_mlops.errors import ServerUnavailableError

START_TIMEOUT = 600
ORPHAN_TIMEOUT = 60
LOG_LINES_SHOWN = 5
PORT = 5432  # no port of the network: it only names the socket
MEMORY_IN_USE = b"shared memory block"


@dataclass(frozen=True)
class Cluster:
    """One data folder; whoever calls makes sure that nobody else starts or stops it meanwhile."""

    placement: Placement
    url: str

    def start(self) -> None:
        """Make sure that a server runs on the folder, making the folder if there is none.

        Raises
        ------
        ServerUnavailableError
            The data belong to another major version, the binaries do not run here, or the
            server does not come up; the message ends with the last lines of its log.
        """
        if self.answers():
            return
        self._initialise()
        self._launch()

    def stop(self) -> None:
        """Stop the server, if one runs, once the statements under way were cancelled."""
        if self.placement.data.is_dir():
            self._run(
                "pg_ctl", "-D", self._data, "-m", "fast", "-w", "-t", str(START_TIMEOUT), "stop"
            )

    def answers(self) -> bool:
        """Tell whether a server accepts connections."""
        try:
            with psycopg.connect(self.url, connect_timeout=5):
                return True
        except psycopg.OperationalError:
            return False

    @property
    def _data(self) -> str:
        return str(self.placement.data)

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
        made = self._run(
            "initdb", "-D", str(fresh), "-U", SUPERUSER, "--encoding=UTF8", "--auth-host=reject",
            "--auth-local=trust", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
            "--no-locale",
        )  # fmt: skip
        if made != 0:
            raise ServerUnavailableError(self._explain("initdb failed", "initdb"))
        with (fresh / "postgresql.conf").open("a") as file:
            file.write(server_configuration())
        fresh.rename(data)

    def _launch(self) -> None:
        self._make_private_folder(self.placement.socket)
        self._forget_dead_server()
        if self._run("pg_ctl", "-D", self._data, "status") != 0:
            self._start_server()
        deadline = time.monotonic() + START_TIMEOUT
        while not self.answers():
            if time.monotonic() > deadline:
                raise ServerUnavailableError(self._explain("does not accept connections"))
            time.sleep(0.1)

    def _start_server(self) -> None:
        """Start the server, waiting for what a killed one may have left behind to end."""
        deadline = time.monotonic() + ORPHAN_TIMEOUT
        socket = shlex.quote(str(self.placement.socket))
        log = self.placement.log
        while True:
            length = log.stat().st_size if log.exists() else 0
            started = self._run(
                "pg_ctl", "-D", self._data, "-l", str(log), "-w",
                "-t", str(START_TIMEOUT), "-o", f"-k {socket} -p {PORT}", "start",
            ) == 0  # fmt: skip
            if started:
                return
            # Not in the last lines, after which those that the killed one left write their own.
            in_use = log.exists() and MEMORY_IN_USE in _read_from(log, length)
            if not in_use or time.monotonic() > deadline:
                raise ServerUnavailableError(self._explain("pg_ctl failed", "pg_ctl"))
            time.sleep(0.2)

    def _forget_dead_server(self) -> None:
        """Remove the lock files of a killed server.

        PostgreSQL itself judges them by the process number alone, which may be another process's
        by now, and soon is in containers, or a killed process's that nobody has reaped. That no
        process of a dead server still writes is ensured by the shared memory that they hold.
        """
        if not Path("/proc/self/cwd").exists():
            return
        socket_lock = self.placement.socket / f".s.PGSQL.{PORT}.lock"
        for lock in (self.placement.data / "postmaster.pid", socket_lock):
            if lock.exists() and not self._is_server(lock.read_text().partition("\n")[0].strip()):
                lock.unlink()

    def _is_server(self, pid: str) -> bool:
        try:
            works_in = Path(f"/proc/{pid}/cwd").readlink()
        except PermissionError:
            return True  # another user's, which PostgreSQL sees for itself
        except OSError:
            return False
        return works_in == self.placement.data.resolve()

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

    def _run(self, program: str, *arguments: str) -> int:
        command = [str(self.placement.binaries / program), *arguments]
        user = self.placement.system_user
        group = pwd.getpwnam(user).pw_gid if user else None
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        self._make_private_folder(self.placement.log.parent)
        try:
            with self._output_of(program).open("w") as file:
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
        return finished.returncode

    def _output_of(self, program: str) -> Path:
        return self.placement.log.with_name(f"{program}.out")

    def _explain(self, what: str, program: str | None = None) -> str:
        lines: list[str] = []
        for path in (self._output_of(program) if program else None, self.placement.log):
            if path is not None and path.is_file():
                lines += path.read_text(errors="replace").strip().splitlines()[-LOG_LINES_SHOWN:]
        return (
            f"the embedded PostgreSQL at {self.placement.data} cannot start: {what}; "
            f"its last words are {' | '.join(lines) or 'none'}; free the disk or the folder it "
            f"names, or set QUANT_MLOPS_DATABASE_URL to a server of your own"
        )


def _read_from(path: Path, position: int) -> bytes:
    with path.open("rb") as file:
        file.seek(position)
        return file.read()
