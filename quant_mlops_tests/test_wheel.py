"""The wheel, installed into an environment of its own, has all it needs; `test_demo` runs it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from quant_mlops.database.embedded import EmbeddedServer

pytestmark = pytest.mark.slow(seconds=10, group="wheel")

REPOSITORY = Path(__file__).resolve().parents[1]


def test_statements_sample_strategies_and_configuration_are_inside(installed: Any) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        names = set(archive.namelist())
        entry = next(name for name in names if name.endswith("entry_points.txt"))
        assert "quant-mlops = quant_mlops.cli.main:main" in archive.read(entry).decode()
    inside = {
        "quant_mlops/dagster.yaml",
        "quant_mlops/workspace.yaml",
        "quant_mlops/strategies/momentum.toml",
        "quant_mlops/market/sample/prices.parquet",
    }
    statements = {
        f"quant_mlops/{path.relative_to(REPOSITORY)}" for path in REPOSITORY.glob("sql/**/*.sql")
    }
    assert statements
    assert inside | statements <= names
    outside = ("quant_mlops_tests", "__pycache__", "docs/", ".png")
    assert not [name for name in names if any(part in name for part in outside)]


def test_the_doctor_finds_nothing_to_mend(installed: Any, reachable: Any) -> None:
    with reachable() as folder:
        process = installed.start(folder, "--home", folder / "home", "doctor", "--json")
        stdout, _ = process.communicate(timeout=200)
        EmbeddedServer(folder / "home" / "postgres").stop()
    document = json.loads(stdout)
    failed = [name for name, check in document.items() if check["status"] != "ok"]
    # The disk of a test machine may be small.
    assert set(failed) <= {"disk"}, document
    assert document["strategies"]["detail"] == "momentum"
