"""`db start`, `status` and `stop` with the embedded server of a home."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quant_mlops.database.embedded import EmbeddedServer

pytestmark = pytest.mark.slow


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="qm-cli-"))
    folder.chmod(0o755)
    yield folder
    EmbeddedServer(folder / "postgres").stop()
    shutil.rmtree(folder, ignore_errors=True)


def test_a_started_server_stays_until_it_is_stopped_and_another_ends_with_its_command(
    shell: Any, home: Path
) -> None:
    server = EmbeddedServer(home / "postgres")
    document = shell("--home", home, "db", "status", "--json").document
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


def test_a_home_that_is_full_of_something_else_is_refused_in_a_sentence(
    shell: Any, home: Path
) -> None:
    (home / "postgres").mkdir()
    (home / "postgres" / "diary.txt").write_text("dear diary")
    sentence = shell.fails("--home", home, "db", "status")
    assert "is no PostgreSQL data folder" in sentence
    assert (home / "postgres" / "diary.txt").read_text() == "dear diary"
