"""`quant-mlops db timescale`: large tables as compressed hypertables, and plain again."""

from __future__ import annotations

from typing import Any

import click

from quant_mlops.cli.output import emit, json_option, print_table, say
from quant_mlops.cli.workspace import open_workspace
from quant_mlops.database.access import open_server
from quant_mlops.database.hypertables import Hypertable, hypertables
from quant_mlops.database.timescale import disable_timescale, enable_timescale
from quant_mlops.settings import load_settings


@click.group(epilog="Example: quant-mlops db timescale enable")
def timescale() -> None:
    """Turn tables into compressed hypertables of TimescaleDB, and back."""


@timescale.command(epilog="Example: quant-mlops db timescale enable")
@json_option
def enable(as_json: bool) -> None:
    """Make hypertables of prices, features, predictions and drift, with the rows they hold.

    `db migrate` does so by itself where the server has TimescaleDB, unless it was disabled. Who
    reads or writes these tables waits meanwhile, about 3 seconds for a million rows.
    """
    with open_workspace() as (_, access):
        enable_timescale(access.database)
        found = hypertables(access.database)
    emit(
        {"hypertables": [as_document(table) for table in found]},
        as_json=as_json,
        show=lambda: print_hypertables(found),
    )


@timescale.command(epilog="Example: quant-mlops db timescale disable")
@json_option
def disable(as_json: bool) -> None:
    """Make plain tables of the hypertables again, with the same rows.

    They stay plain until `db timescale enable`. The extension itself is left in the database.
    """
    with open_server(load_settings(), migrated=False) as access:
        done = disable_timescale(access.database)
    sentence = "the tables are plain again" if done else "TimescaleDB was not enabled here"
    emit({"disabled": done}, as_json=as_json, show=lambda: say(sentence))


def as_document(table: Hypertable) -> dict[str, Any]:
    """Return a hypertable's figures by name."""
    return {
        **vars(table),
        "bytes_a_row": table.bytes_a_row,
        "bytes_a_compressed_row": table.bytes_a_compressed_row,
    }


def print_hypertables(found: list[Hypertable]) -> None:
    """Print a line for each hypertable."""
    header = ("hypertable", "chunks", "rows", "size", "bytes a row")
    print_table(header, [_cells(table) for table in found])


def _cells(table: Hypertable) -> tuple[object, ...]:
    """Return a hypertable's line; how its compressed chunks stand is below it."""
    lines = [
        (str(table.chunks), f"{table.compressed_chunks} compressed"),
        (f"{table.rows:,}", f"{table.compressed_rows:,}"),
        (_megabytes(table.bytes), _megabytes(table.compressed_bytes)),
        (_number(table.bytes_a_row), _number(table.bytes_a_compressed_row)),
    ]
    shown = lines if table.compressed_chunks else [(whole, "") for whole, _ in lines]
    return (table.hypertable_name, *("\n".join(filter(None, each)) for each in shown))


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
