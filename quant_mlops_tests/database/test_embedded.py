from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from quant_mlops.database import placement
from quant_mlops.database.cluster import Cluster
from quant_mlops.database.embedded import EmbeddedServer
from quant_mlops.database.placement import SHARED_FOLDER, place_server
from quant_mlops.errors import ServerUnavailableError

PATIENCE = 60.0

HOLD_LEASE = """
import sys
from pathlib import Path
from quant_mlops.database.embedded import EmbeddedServer

server = EmbeddedServer(Path(sys.argv[1]))
server.start()
print("started", flush=True)
sys.stdin.readline()
server.release()
print("released", flush=True)
"""


def answers(server: EmbeddedServer) -> int:
    with psycopg.connect(server.url()) as connection:
        row = connection.execute("SELECT 6 * 7").fetchone()
    assert row is not None
    return int(row[0])


def postmaster_pid(server: EmbeddedServer) -> int:
    return int((server.placement.data / "postmaster.pid").read_text().splitlines()[0])


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}").exists() and _state(pid) != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def test_starts_stops_and_starts_again_with_its_data(home: Path) -> None:
    server = EmbeddedServer(home / "postgres")
    server.start()
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    assert server.stop()
    assert not server.is_running()

    again = EmbeddedServer(home / "postgres")
    again.start()
    with psycopg.connect(again.url()) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (1,)
    again.release()
    assert not again.is_running()


def test_a_server_that_is_kept_running_outlives_its_last_user(used_home: Path) -> None:
    server = EmbeddedServer(used_home / "postgres")
    server.start()
    server.keep_running()
    server.release()
    assert server.is_running()
    assert server.stop()
    assert not server.is_running()


def test_stopping_what_was_never_started_is_no_error(home: Path) -> None:
    assert EmbeddedServer(home / "postgres").stop()
    assert EmbeddedServer(home / "not there" / "postgres").stop()


def test_processes_share_one_server_and_the_last_one_out_stops_it(
    used_home: Path, start_python
) -> None:
    server = EmbeddedServer(used_home / "postgres")
    users = [start_python(HOLD_LEASE, used_home / "postgres") for _ in range(3)]
    assert [user.stdout.readline() for user in users] == ["started\n"] * 3
    assert answers(server) == 42
    for left, user in enumerate(users, start=1):
        assert server.is_running()
        user.stdin.write("\n")
        user.stdin.flush()
        assert user.stdout.readline() == "released\n", user.stderr.read()
        assert user.wait(PATIENCE) == 0
        assert server.is_running() == (left < len(users))


def test_the_server_is_not_stopped_under_another_user(used_home: Path, start_python) -> None:
    user = start_python(HOLD_LEASE, used_home / "postgres")
    assert user.stdout.readline() == "started\n"
    server = EmbeddedServer(used_home / "postgres")
    server.start()
    assert not server.stop()
    assert server.is_running()


def test_a_killed_user_leaves_nothing_locked(used_home: Path, start_python) -> None:
    user = start_python(HOLD_LEASE, used_home / "postgres")
    assert user.stdout.readline() == "started\n"
    os.kill(user.pid, signal.SIGKILL)
    user.wait(PATIENCE)
    server = EmbeddedServer(used_home / "postgres")
    server.start()
    assert answers(server) == 42
    assert server.stop()
    assert not server.is_running()


def test_a_killed_postmaster_is_started_again_with_what_was_committed(used_home: Path) -> None:
    server = EmbeddedServer(used_home / "postgres")
    server.start()
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    pid = postmaster_pid(server)
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)
    assert not server.is_running()

    server.start()
    with psycopg.connect(server.url()) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (1,)
    assert server.stop()


# Of the first attempt, what a postmaster says that finds processes of a killed one, and what they
# say once it has ended; of any other, what the real program does.
FIRST_ATTEMPT_FAILS = """#!/bin/sh
case "$* " in
*" start "*)
    if mkdir {folder}/attempted 2>/dev/null; then
        echo 'FATAL:  pre-existing shared memory block (key 7, ID 7) is still in use' >>{log}
        for _ in 1 2 3 4 5 6; do
            echo 'FATAL:  terminating connection due to unexpected postmaster exit' >>{log}
        done
        exit 1
    fi ;;
esac
exec {program} "$@"
"""


def test_it_waits_for_what_a_killed_postmaster_left_however_much_that_logs(used_home: Path) -> None:
    server = EmbeddedServer(used_home / "postgres")
    place = server.placement
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        program = folder / "pg_ctl"
        program.write_text(
            FIRST_ATTEMPT_FAILS.format(
                folder=folder, log=place.log, program=place.binaries / "pg_ctl"
            )
        )
        program.chmod(0o755)
        Cluster(replace(place, binaries=folder), server.url("postgres")).start()
        assert (folder / "attempted").is_dir()
    assert answers(server) == 42
    assert server.stop()


def test_a_dead_servers_number_in_another_process_does_not_keep_it_down(used_home: Path) -> None:
    server = EmbeddedServer(used_home / "postgres")
    server.start()
    pid_file = server.placement.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    assert server.stop()
    user = server.placement.system_user
    other = subprocess.Popen(["sleep", "600"], user=user, group=user and "nogroup")
    try:
        pid_file.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
        if user:
            shutil.chown(pid_file, user)
        server.start()
        assert answers(server) == 42
        assert server.stop()
    finally:
        other.kill()
        other.wait()


def test_an_interrupted_initialisation_leaves_no_half_folder_in_use(home: Path) -> None:
    server = EmbeddedServer(home / "postgres")
    half = server.placement.data.with_name("postgres.initialising")
    (half / "base").mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    assert not server.placement.data.exists()
    server.start()
    assert answers(server) == 42
    assert not half.exists()
    assert server.stop()


def test_a_failed_initialisation_is_one_sentence_with_its_reason(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = EmbeddedServer(home / "postgres")
    monkeypatch.setattr("quant_mlops.database.cluster.SUPERUSER", "pg_reserved")
    with pytest.raises(ServerUnavailableError, match=r"initdb failed.*pg_") as failure:
        server.start()
    assert "\n" not in str(failure.value)
    assert not server.placement.data.exists()


def test_data_of_another_version_are_named_in_one_sentence(home: Path) -> None:
    server = EmbeddedServer(home / "postgres")
    server.placement.data.mkdir()
    (server.placement.data / "PG_VERSION").write_text("16\n")
    with pytest.raises(
        ServerUnavailableError, match="of PostgreSQL 16, and the embedded server is 18"
    ):
        server.start()
    assert (server.placement.data / "PG_VERSION").read_text() == "16\n"


def test_a_folder_of_other_files_is_neither_used_nor_touched(home: Path) -> None:
    (home / "postgres").mkdir()
    (home / "postgres" / "thesis.txt").write_text("mine")
    with pytest.raises(ServerUnavailableError, match="holds files and no PG_VERSION"):
        EmbeddedServer(home / "postgres").start()
    assert [path.name for path in (home / "postgres").iterdir()] == ["thesis.txt"]


def test_a_home_that_is_a_file_is_one_sentence(home: Path) -> None:
    (home / "file").write_text("")
    with pytest.raises(ServerUnavailableError, match=r"cannot use .*file"):
        EmbeddedServer(home / "file" / "postgres").start()


def test_a_locale_that_is_not_installed_does_not_matter(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LANG", "LC_ALL", "LC_COLLATE"):
        monkeypatch.setenv(name, "xx_YY.UTF-8")
    server = EmbeddedServer(home / "postgres")
    server.start()
    with psycopg.connect(server.url()) as connection:
        found = connection.execute("SELECT upper('straße é'), 'a' > 'B'").fetchone()
    assert found == ("STRASSE É", True) or found == ("STRAßE É", True)
    assert server.stop()


@pytest.mark.parametrize(
    "name",
    ["x" * 120, "ключ" * 15, "50% of o'brien, and co"],
    ids=["long", "long in bytes", "quotes, commas, spaces"],
)
def test_an_awkward_home_falls_back_to_a_short_socket_path(home: Path, name: str) -> None:
    server = EmbeddedServer(home / name / "postgres")
    try:
        server.start()
        assert home not in server.placement.socket.parents
        assert len(os.fsencode(server.placement.socket)) < 60
        assert answers(server) == 42
        assert server.dagster_url.startswith("postgresql+psycopg2://")
        assert server.stop()
    finally:
        shutil.rmtree(server.placement.socket, ignore_errors=True)


def test_a_home_that_a_shell_would_misread_is_refused(home: Path) -> None:
    with pytest.raises(ServerUnavailableError, match=r'characters " \$'):
        EmbeddedServer(home / "$HOME" / "postgres")


def test_two_names_of_one_home_are_one_server(home: Path) -> None:
    (home / ("x" * 100)).mkdir()
    (home / "link").symlink_to(home / ("x" * 100))
    server = EmbeddedServer(home / ("x" * 100) / "postgres")
    server.start()
    same = EmbeddedServer(home / "link" / "postgres")
    assert same.is_running()
    assert same.url() == server.url()
    assert server.stop()
    shutil.rmtree(server.placement.socket)


def test_a_socket_folder_of_somebody_else_is_refused(
    home: Path, as_root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = EmbeddedServer(home / "postgres")
    target = home / "precious"
    target.mkdir()
    server.placement.socket.symlink_to(target)
    os.chown(server.placement.socket, 65534, 65534, follow_symlinks=False)
    with pytest.raises(ServerUnavailableError, match="belongs to user 65534"):
        server.start()
    assert target.stat().st_uid == 0


def test_a_private_parent_folder_of_root_stays_private(home: Path, as_root: None) -> None:
    private = home / "private"
    private.mkdir(mode=0o700)
    server = EmbeddedServer(private / "postgres")
    try:
        assert server.placement.note is not None
        assert str(private) in server.placement.note
        assert server.placement.data.parent == SHARED_FOLDER
        server.start()
        assert answers(server) == 42
        assert private.stat().st_mode & 0o777 == 0o700
        assert server.stop()
    finally:
        data = server.placement.data
        for path in SHARED_FOLDER.glob(f"{data.name}*"):
            shutil.rmtree(path)


def test_folders_that_are_new_can_be_entered_whatever_the_umask(home: Path, as_root: None) -> None:
    before = os.umask(0o077)
    try:
        server = EmbeddedServer(home / "new" / "home" / "postgres")
        server.start()
        assert answers(server) == 42
        assert server.stop()
    finally:
        os.umask(before)


def test_binaries_that_others_cannot_reach_are_copied_once(
    home: Path, as_root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    install = home / "private" / "install"
    (install / "bin").mkdir(parents=True)
    (install / "bin" / "postgres").write_text("program")
    (install / "bin" / "postgres").chmod(0o700)
    (home / "private").chmod(0o700)
    monkeypatch.setattr(placement, "SHARED_FOLDER", home / "shared")
    monkeypatch.setattr(placement, "_wheel_binaries", lambda: install / "bin")
    first, second = (place_server(home / "postgres").binaries for _ in range(2))
    assert first == second
    assert (home / "shared") in first.parents
    assert (first / "postgres").stat().st_mode & 0o777 == 0o755
    (install / "bin" / "postgres").write_text("a newer program")
    assert place_server(home / "postgres").binaries != first


def test_a_platform_without_binaries_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "_wheel_binaries", lambda: tmp_path)
    with pytest.raises(ServerUnavailableError, match="set QUANT_MLOPS_DATABASE_URL"):
        EmbeddedServer(tmp_path / "postgres")


def test_an_ordinary_user_runs_the_server_where_it_was_asked_for(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (home / "private").mkdir(mode=0o700)
    chosen = place_server(home / "private" / "postgres")
    assert chosen.data == home / "private" / "postgres"
    assert (chosen.system_user, chosen.note) == (None, None)
