"""The doctor tries what the settings name, and leaves everything as it found it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest

from quant_mlops.database import Database
from quant_mlops.database.migrations import migrate, read_migrations

URL = "http://127.0.0.1:{port}/services/T0SECRET"


@pytest.fixture
def port() -> Iterator[int]:
    """Give a port of this machine at which somebody listens and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def bare(
    empty_database: Database, shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Give a shell whose server has a database without a table."""
    monkeypatch.setenv("QUANT_MLOPS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("QUANT_MLOPS_DATABASE_URL", empty_database.conninfo)
    return shell


def test_a_database_without_tables_is_left_so_and_said_to_be(
    bare: Any, empty_database: Database
) -> None:
    found = bare("doctor", "--json")
    assert found.status == 0
    assert found.document["database"]["detail"].endswith(
        "and its tables are not made yet; `quant-mlops db migrate` makes them"
    )
    assert empty_database.fetch_one(
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    ) == (0,)
    migrate(empty_database)
    number = len(read_migrations())
    assert bare("doctor", "--json").document["database"]["detail"].endswith(f"schema {number}")
    empty_database.execute("DELETE FROM schema_migrations WHERE number > 3")
    assert (
        f"schema 3 of {number}; `quant-mlops db migrate` brings it up to date"
        in (bare("doctor", "--json").document["database"]["detail"])
    )
    empty_database.execute("UPDATE schema_migrations SET number = 1000 WHERE number = 3")
    newer = bare("doctor", "--json")
    assert (newer.status, newer.document["database"]["status"]) == (1, "failed")


@pytest.mark.parametrize("scheme", ["path", "file", "memory"])
def test_storage_is_written_read_and_left_empty(
    empty: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    folder = tmp_path / "far away"
    folder.mkdir()
    name = uuid4().hex
    place = {"path": str(folder), "file": f"file://{folder}", "memory": f"memory://{name}"}[scheme]
    monkeypatch.setenv("QUANT_MLOPS_SNAPSHOTS", place)
    checks = empty("doctor", "--json").document
    shown = place.removeprefix("file://")
    assert checks["snapshots"] == {
        "status": "ok", "detail": f"written, read and removed at {shown}"
    }  # fmt: skip
    # The home is not made for it.
    home = tmp_path / "home"
    assert checks["artifacts"]["detail"] == (
        f"written, read and removed at {tmp_path}; {home / 'artifacts'} is made when it is first "
        f"written to"
    )
    assert not home.exists()
    assert list(folder.iterdir()) == []
    assert fsspec.filesystem("memory").find(f"/{name}") == []


def test_storage_that_cannot_be_used_is_said_with_the_reason(
    empty: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QUANT_MLOPS_SNAPSHOTS", str(tmp_path / "file"))
    monkeypatch.setenv("QUANT_MLOPS_ARTIFACTS", "nosuch://bucket/x")
    found = empty("doctor", "--json")
    assert found.status == 1
    for name, words in (("snapshots", "cannot be written"), ("artifacts", "nosuch")):
        assert found.document[name]["status"] == "failed"
        assert words in found.document[name]["detail"]


def test_channels_are_connected_to_and_no_secret_is_shown(
    empty: Any, monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    assert not {"webhook", "mail"} & set(empty("doctor", "--json").document)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("QUANT_MLOPS_WEBHOOK_URL", URL.format(port=port))
    monkeypatch.setenv("QUANT_MLOPS_SMTP_HOST", "127.0.0.1")
    monkeypatch.setenv("QUANT_MLOPS_SMTP_PASSWORD", "hush")
    found = empty("doctor", "--json")
    assert found.document["webhook"] == {
        "status": "ok", "detail": f"127.0.0.1:{port} answers; nothing was posted"
    }  # fmt: skip
    assert found.document["mail"]["status"] == "failed"
    assert "QUANT_MLOPS_SMTP_SENDER" in found.document["mail"]["detail"]
    monkeypatch.setenv("QUANT_MLOPS_SMTP_SENDER", "desk@example.com")
    monkeypatch.setenv("QUANT_MLOPS_SMTP_RECIPIENTS", "ann@example.com")
    monkeypatch.setenv("QUANT_MLOPS_SMTP_PORT", "1")
    monkeypatch.setenv("QUANT_MLOPS_WEBHOOK_URL", URL.format(port=1))
    closed = empty("doctor", "--json")
    for name in ("webhook", "mail"):
        assert "Connection refused" in closed.document[name]["detail"]
    for said in (found, closed):
        assert not any(secret in said.stdout + said.stderr for secret in ("SECRET", "hush"))
