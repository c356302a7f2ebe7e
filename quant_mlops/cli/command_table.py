"""The commands by name: what each does in a line, and the module that is imported to run it."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click


@dataclass(frozen=True)
class Entry:
    """A command of the table.

    Attributes
    ----------
    module : str
        Below `quant_mlops.cli`; it holds the command by its own name.
    summary : str
        The first sentence of the command's help, as the list of commands shows it.
    """

    module: str
    summary: str


TABLE = {
    "demo": Entry(
        "demo", "Run the whole loop, from prices to a retrained model, and write a report."
    ),
    "dev": Entry("dev", "Serve the graph, its schedules and its sensors in Dagster's UI."),
    "db": Entry("db", "Start, stop and look at the database."),
    "ingest": Entry("ingest", "Load data from files."),
    "features": Entry("features", "Look at features, and compute them."),
    "snapshot": Entry("snapshots", "Build, list, verify and compare training snapshots."),
    "models": Entry("models", "Look at models, and say which one is live."),
    "drift": Entry("drift", "Judge sessions, and look at the verdicts."),
    "alerts": Entry(
        "alerts", "Look at alerts, deliver and acknowledge them, and resume a strategy."
    ),
    "trace": Entry("trace", "Show where the prediction of ENTITY at TIME came from."),
    "daily": Entry("runs", "Run everything a session needs, and report what it says."),
    "report": Entry("runs", "Write the HTML report of a strategy."),
    "doctor": Entry(
        "doctor", "Check settings, disk, database, storage, channels, strategies and prices."
    ),
}


class ImportedCommands(MutableMapping[str, click.Command]):
    """The commands of the table, each imported when it is looked up."""

    def __init__(self) -> None:
        self._imported: dict[str, click.Command | None] = dict.fromkeys(TABLE)

    def __getitem__(self, name: str) -> click.Command:
        command = self._imported[name]
        if command is None:
            module = import_module(f"quant_mlops.cli.{TABLE[name].module}")
            command = self._imported[name] = getattr(module, name)
        return command

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._imported[name] = command

    def __delitem__(self, name: str) -> None:
        del self._imported[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._imported)

    def __len__(self) -> int:
        return len(self._imported)

    def __contains__(self, name: object) -> bool:
        return name in self._imported


class CommandTable(click.Group):
    """A group that lists its commands without importing them, which takes seconds."""

    def __init__(self, name: str | None = None, **options: Any) -> None:
        super().__init__(name, commands=ImportedCommands(), **options)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, TABLE[name].summary) for name in sorted(TABLE)])
