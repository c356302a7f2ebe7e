"""What commands print: a table for a person, or one JSON document."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

json_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
)

COUNT = click.IntRange(min=1)
WIDTH_OF_FILES = 240
UNBROKEN = (date, int, float, type(None))


def emit(document: Any, *, as_json: bool, show: Callable[[], None]) -> None:
    """Print a document as JSON, or call what shows it to a person."""
    if as_json:
        click.echo(json.dumps(_plain(document), indent=2))
    else:
        show()


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = ""
) -> None:
    """Print rows as a table no wider than the terminal."""
    if not rows:
        click.echo("nothing to show")
        return
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for column, name in enumerate(header):
        # A date or a number that is broken over two lines cannot be read.
        whole = all(type(row[column]) in UNBROKEN for row in rows)
        table.add_column(name, overflow="fold", no_wrap=whole)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    _print(table)


def print_pairs(rows: Sequence[tuple[str, object]], *, title: str = "") -> None:
    """Print names and values."""
    table = Table(title=title or None, title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, _cell(value))
    _print(table)


def say(sentence: str) -> None:
    """Tell a person something that is no result, on standard error."""
    click.echo(sentence, err=True)


def _print(table: Table) -> None:
    console = Console(highlight=False)
    # In a file, a line for each row; COLUMNS says otherwise.
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH_OF_FILES
    console.print(table)


def _cell(value: object) -> Text:
    """Return a value as text that is shown as it stands, brackets included."""
    return Text(_text(value))


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return "undefined" if math.isnan(value) else f"{value:.4g}"
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, dict | list | tuple):
        return json.dumps(_plain(value))
    return str(value)


def _plain(value: Any) -> Any:
    """Return a value as JSON holds it; what is undefined is null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, UUID | Path):
        return str(value)
    return value
