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
    header = (
        "hypertable",
        "chunks",
        "compressed",
        "rows (estimate)",
        "bytes",
        "a row",
        "a compressed row",
    )
    rows = [
        (h.hypertable_name, h.chunks, h.compressed_chunks, f"{h.rows:,}", f"{h.bytes:,}",
         h.bytes_a_row, h.bytes_a_compressed_row)
        for h in found
    ]  # fmt: skip
    print_table(header, rows)
