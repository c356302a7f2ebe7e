"""`quant-mlops demo`: the whole loop on the bundled sample or on a price file."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from quant_mlops.cli.output import emit, json_option, print_pairs, print_table, say
from quant_mlops.cli.workspace import choose_strategy, open_workspace
from quant_mlops.demonstration import (
    DEFAULT_CALENDAR,
    bundled_strategies,
    write_demonstration_strategy,
)
from quant_mlops.settings import Settings, load_settings
from quant_mlops.strategy_context import StrategyContext

HOME_VARIABLE, STRATEGIES_VARIABLE = "QUANT_MLOPS_HOME", "QUANT_MLOPS_STRATEGIES"
DEFAULT_HOME = ".quant_mlops"


@click.command(epilog="Example: quant-mlops demo --prices my_prices.csv")
@click.option(
    "--prices",
    type=click.Path(path_type=Path),
    help="CSV or Parquet, long (date, ticker, close, ...) or wide (dates by tickers); the bundled "
    "sample by default. Its home is a folder of its own inside the home.",
)
@click.option(
    "--calendar",
    help=f"Exchange of --prices; that of their strategy file, else {DEFAULT_CALENDAR}, by default.",
)
@json_option
def demo(prices: Path | None, calendar: str | None, as_json: bool) -> None:
    """Run the whole loop, from prices to a retrained model, and write a report.

    Interrupted at any moment, it goes on where it was when it is started again; finished, it
    stores nothing further.
    """
    if prices is None and calendar is not None:
        raise click.UsageError(
            f"--calendar {calendar} is the exchange of a price file, and the bundled sample has "
            f"its own; give --prices FILE as well"
        )
    started = time.perf_counter()
    if prices is not None:
        settings = _settings_for(prices)
        written = write_demonstration_strategy(settings, prices, calendar=calendar)
        if written.edited:
            say(
                f"note: {written.path} was kept as it is and differs from what would be written "
                f"for {prices} now"
            )
        folder, name = written.path.parent, written.name
    else:
        folder, name = bundled_strategies(), None
    # The demonstration has a strategy of its own, whatever the strategies of the settings are.
    os.environ[STRATEGIES_VARIABLE] = str(folder)
    with open_workspace() as (settings, access), _Stages() as progress:
        # Dagster takes seconds to import, and most commands do not need it.
        progress("database", "loading Dagster")
        from quant_mlops.orchestration.demo import DemoRun
        from quant_mlops.orchestration.instance import prepare_environment

        prepare_environment(settings, access)
        context = StrategyContext(access.database, settings, choose_strategy(settings, name))
        opened = time.perf_counter() - started
        result = DemoRun(context, progress=progress).run()
    seconds = {"start": opened, **result.seconds, "total": time.perf_counter() - started}
    summary = result.summary
    document: dict[str, Any] = {
        "prices": {
            "rows": summary.prices,
            "tickers": summary.tickers,
            "defects": result.prices.defects,
            "notes": result.prices.notes,
            "quarantine": result.prices.quarantine or None,
        },
        "features": {"events": summary.events},
        "snapshot": None
        if summary.snapshot is None
        else {
            "id": summary.snapshot.snapshot_id,
            "fingerprint": summary.snapshot.fingerprint,
            "rows": summary.snapshot.row_count,
        },
        "model": None
        if summary.model is None
        else {
            "name": summary.model.name,
            "version": summary.model.version,
            "model_id": summary.model.model_id,
            "digest": summary.weights_digest,
            "metrics": summary.metrics,
        },
        "monitoring": {
            "sessions": summary.sessions,
            "first": summary.first,
            "last": summary.last,
        },
        "alerts": summary.alerts,
        "retrains": sum(summary.retrains.values()),
        "retrain_verdicts": summary.retrains,
        "report": result.report,
        "seconds": {stage: round(spent, 2) for stage, spent in seconds.items()},
        "database": {"server": summary.server, "timescaledb": summary.timescaledb},
    }

    def show() -> None:
        if result.prices.defects:
            print_table(
                ("price defect", "rows", "outcome", "rule"),
                [(d.reason, f"{d.rows:,}", d.outcome, d.rule) for d in result.prices.defects],
            )
        for note in result.prices.notes:
            say(f"prices: {note}")
        if result.prices.quarantine:
            say(f"prices: the rows concerned are in {result.prices.quarantine}")
        print_pairs(summary.rows(), title=f"strategy {summary.strategy_id}")
        print_table(
            ("stage", "seconds"), [(stage, f"{spent:.1f}") for stage, spent in seconds.items()]
        )
        say(f"report: {result.report}")
        say(f"to look around in Dagster: {_dev_command(settings)}")

    emit(document, as_json=as_json, show=show)


def _dev_command(settings: Settings) -> str:
    """Return how to serve the home that was filled, from the folder the user is in."""
    program = "quant-mlops"
    if shutil.which(program) is None:
        script = Path(sys.executable).with_name(program)
        program = os.path.relpath(script) if script.is_relative_to(Path.cwd()) else str(script)
    home = [] if settings.home == Path.cwd() / DEFAULT_HOME else ["--home", str(settings.home)]
    return shlex.join([program, *home, "dev"])


def _settings_for(prices: Path) -> Settings:
    """Give each price file a home of its own, since two vendors may differ on the same bar.

    On a server of the user's there is one database for all, and one home with it.
    """
    settings = load_settings()
    if settings.database_url is not None:
        return settings
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", prices.stem).strip(".") or "prices"
    os.environ[HOME_VARIABLE] = str(settings.home / "demos" / stem)
    return load_settings()


class _Stages:
    """Progress on standard error: a spinner on a terminal, a line a stage elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[stage]:<11}", style="bold", markup=False),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task: Any = None

    def __enter__(self) -> _Stages:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()
        self._bar.stop()

    def __call__(self, stage: str, what: str) -> None:
        self._finish()
        if not self._console.is_terminal:
            say(f"{stage}: {what}")
        self._task = self._bar.add_task(what, total=1, stage=stage)

    def _finish(self) -> None:
        if self._task is not None:
            self._bar.update(self._task, completed=1)
            self._task = None
