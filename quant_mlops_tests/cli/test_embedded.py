"""`db start`, `status` and `stop` with the embedded server of a home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quant_mlops.database.embedded import EmbeddedServer

pytestmark = pytest.mark.slow(seconds=10)


@pytest.fixture
def home(reachable: Any) -> Iterator[Path]:
    with reachable() as folder:
        yield folder
        EmbeddedServer(folder / "postgres").stop()


def test_a_started_server_stays_until_it_is_stopped_and_another_ends_with_its_command(
    shell: Any, home: Path
) -> None:
    server = EmbeddedServer(home / "postgres")
    found = shell("--home", home, "db", "status", "--json")
    document = found.document
    assert found.stderr == f"note: there was no home at {home}; a new, empty one was made\n"
    assert shell("--home", home, "db", "status", "--json").stderr == ""
    assert document["embedded"] is True
    assert document["home"] == str(home)
    assert not server.is_running()

    started = shell("--home", home, "db", "start")
    assert started.status == 0
    assert "psql 'postgresql://" in started.stderr
    assert server.is_running()
    assert shell("--home", home, "db", "migrate", "--json").document == {"applied": []}
    assert server.is_running()

    server.start()
    assert "used by another process" in shell.fails("--home", home, "db", "stop")
    assert server.is_running()
    server.release()

    assert shell("--home", home, "db", "stop", "--json").document == {"stopped": True}
    assert not server.is_running()
    assert shell("--home", home, "db", "stop").status == 0


def test_a_command_that_is_run_to_make_a_home_makes_it_without_a_note(
    shell: Any, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "p.csv").write_text("date,ticker,close\n2024-01-16,ACME,101.25\n")
    found = shell("--home", home, "ingest", "prices", "p.csv", "--json")
    assert (found.status, found.stderr) == (0, "")
    assert EmbeddedServer(home / "postgres").is_new is False


def test_the_doctor_says_that_it_made_a_home(shell: Any, home: Path) -> None:
    found = shell("--home", home, "doctor", "--json")
    assert found.status == 0
    assert found.stderr == f"note: there was no home at {home}; a new, empty one was made\n"


def test_a_home_that_is_full_of_something_else_is_refused_in_a_sentence(
    shell: Any, home: Path
) -> None:
    (home / "postgres").mkdir()
    (home / "postgres" / "diary.txt").write_text("dear diary")
    sentence = shell.fails("--home", home, "db", "status")
    assert "is no PostgreSQL data folder" in sentence
    assert (home / "postgres" / "diary.txt").read_text() == "dear diary"
