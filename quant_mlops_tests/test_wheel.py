"""The wheel, installed into an environment of its own, has all it needs to run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quant_mlops.database.embedded import EmbeddedServer
from quant_mlops.market.calendar import TradingCalendar

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Installed:
    """A wheel, an environment with it, and a folder to work in."""

    wheel: Path
    command: Path
    folder: Path

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("QUANT_MLOPS_", "DAGSTER_", "PYTHON"))
        }
        return subprocess.run(
            [self.command, *map(str, arguments)], cwd=self.folder, env=environment,
            capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, reachable: Any) -> Iterator[Installed]:
    built = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", built]
    done = subprocess.run(
        [*build, REPOSITORY], cwd=built, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = built.glob("*.whl")
    environment = built / "environment"
    venv.create(environment, with_pip=False)
    paths = {"base": str(environment), "platbase": str(environment)}
    packages = Path(sysconfig.get_path("purelib", scheme="venv", vars=paths))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    # The libraries of this environment; its own links to checkouts are not followed.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = environment / "bin" / "quant-mlops"
    command.write_text(
        f"#!{environment}/bin/python\nfrom quant_mlops.cli.main import main\nmain()\n"
    )
    command.chmod(0o755)
    with reachable() as folder:
        yield Installed(wheel, command, folder)
        for home in (folder / "home", folder / "home" / "demos" / "tiny"):
            EmbeddedServer(home / "postgres").stop()


def test_statements_sample_strategies_and_configuration_are_inside(installed: Installed) -> None:
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
    assert not [name for name in names if "quant_mlops_tests" in name or "__pycache__" in name]


def test_the_doctor_finds_nothing_to_mend(installed: Installed) -> None:
    done = installed.run("--home", installed.folder / "home", "doctor", "--json")
    document = json.loads(done.stdout)
    failed = [name for name, check in document.items() if check["status"] != "ok"]
    # The disk of a test machine may be small.
    assert set(failed) <= {"disk"}, document
    assert document["strategies"]["detail"] == "momentum"


def test_the_demonstration_runs_from_the_wheel(
    installed: Installed, calendar: TradingCalendar
) -> None:
    days = calendar.sessions(date(2022, 1, 3), date(2022, 12, 30))[:210]
    closes = 50 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.02, (210, 6)), axis=0))
    lines = ["date,ticker,close"]
    for i, day in enumerate(days):
        lines += [f"{day},T{n},{closes[i, n]:.4f}" for n in range(6)]
    prices = installed.folder / "tiny.csv"
    prices.write_text("\n".join(lines) + "\n")
    done = installed.run("--home", installed.folder / "home", "demo", "--prices", prices, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["prices"]["rows"] == 210 * 6
    assert document["model"]["version"] == 1
    assert Path(document["report"]).is_file()
    where = installed.run("--help")
    assert where.returncode == 0
