"""Seconds of the demonstration's stages: a first run in an empty home, and its repetition."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
RUNS = ("first", "repeated")


def main() -> None:
    """Run the demonstration twice, print the table and write the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prices", type=Path, help="price file; the bundled sample by default")
    prices: Path | None = parser.parse_args().prices
    # Private to this user it would be closed to the user that a root's PostgreSQL runs as.
    with tempfile.TemporaryDirectory(prefix="quant-mlops-bench-") as folder:
        Path(folder).chmod(0o755)
        runs = {name: run_demo(Path(folder), prices) for name in RUNS}
    table = Table("stage", *(f"{name} run, s" for name in RUNS))
    for row in table_rows(runs):
        table.add_row(*row)
    Console().print(table)
    print(f"written to {write_results(runs, prices)}")


def run_demo(home: Path, prices: Path | None) -> dict[str, Any]:
    """Run `quant-mlops demo --json` in a home and return its document."""
    command = [sys.executable, "-m", "quant_mlops", "--home", str(home), "demo", "--json"]
    if prices is not None:
        command += ["--prices", str(prices.absolute())]
    done = subprocess.run(command, stdout=subprocess.PIPE, env=own_server(), check=False)
    if done.returncode != 0:
        sys.exit(f"error: {' '.join(command)} ended with status {done.returncode}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def own_server() -> dict[str, str]:
    """Return the environment without the names of servers that are somebody's already."""
    others = ("QUANT_MLOPS_DATABASE_URL", "DAGSTER_PG_URL", "DAGSTER_HOME")
    return {name: value for name, value in os.environ.items() if name not in others}


def table_rows(runs: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return a row for each stage: its name and its seconds in each run."""
    stages = list(dict.fromkeys(stage for run in runs.values() for stage in run["seconds"]))
    return [
        (stage, *(_seconds(run["seconds"].get(stage)) for run in runs.values())) for stage in stages
    ]


def write_results(runs: dict[str, dict[str, Any]], prices: Path | None) -> Path:
    """Write what was measured, on what machine and with what data, as one JSON document."""
    now = datetime.now(UTC)
    document = {
        "measured_at": now.isoformat(timespec="seconds"),
        "prices": prices.name if prices else "bundled sample",
        "machine": {
            "system": platform.platform(),
            "processors": os.cpu_count(),
            "python": platform.python_version(),
        },
        **{name: _measured(run) for name, run in runs.items()},
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"demo-{now:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    return path


def _measured(run: dict[str, Any]) -> dict[str, Any]:
    return {
        "seconds": run["seconds"],
        "price_rows": run["prices"]["rows"],
        "feature_events": run["features"]["events"],
        "database": run["database"],
    }


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    main()
