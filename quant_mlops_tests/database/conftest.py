"""Homes of the test's own for embedded servers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quant_mlops.database.embedded import EmbeddedServer


@pytest.fixture
def home(reachable: Any) -> Iterator[Path]:
    """Give a folder that the server's user may enter; its servers are stopped afterwards."""
    with reachable() as folder:
        yield folder
        for pid_file in folder.rglob("postmaster.pid"):
            EmbeddedServer(pid_file.parent).stop()
        for path in folder.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(path.stat().st_mode | 0o700)


@pytest.fixture(scope="session")
def seed(reachable: Any) -> Iterator[Path]:
    """Give a home with a server's data, made once as that takes most of a start."""
    with reachable() as folder:
        server = EmbeddedServer(folder / "postgres")
        server.start()
        server.stop()
        yield folder


@pytest.fixture
def used_home(home: Path, seed: Path) -> Path:
    """Give a home whose server has run before."""
    subprocess.run(["cp", "-a", seed / "postgres", home / "postgres"], check=True)
    return home


@pytest.fixture
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has another user run the server")
