"""`quant-mlops db timescale` and `db retain`: hypertables, and what of them is kept."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from quant_mlops.cli.output import emit, json_option, print_table, say
from quant_mlops.cli.workspace import Instant, open_workspace
from quant_mlops.database.access import open_server
from quant_mlops.database.hypertables import Hypertable, hypertables
from quant_mlops.database.retention import Expiry, drop_expired, find_expired
from quant_mlops.database.timescale import HYPERTABLES, disable_timescale, enable_timescale
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


@click.command(epilog="Example: quant-mlops db retain feature_events --before 2010-01-01")
@click.argument("table", type=click.Choice(HYPERTABLES))
@click.option(
    "--before",
    type=Instant(),
    required=True,
    help="Event time from which on all is kept (wall time in New York unless it has a zone).",
)
@click.option("--yes", is_flag=True, help="Drop what is shown; without it nothing is dropped.")
@json_option
def retain(table: str, before: datetime, yes: bool, as_json: bool) -> None:
    """Show which chunks of TABLE hold only older events, and with --yes drop them for good.

    Chunks are of a year, and one that holds any later event is kept whole. Models and training
    sets made of dropped rows cannot be made again.
    """
    with open_workspace() as (_, access):
        work = drop_expired if yes else find_expired
        found = work(access.database, table, before=before)
    document = {
        "table": found.table,
        "before": before,
        "rows": found.rows,
        "bytes": found.bytes,
        "chunks": found.chunks,
        "dropped": yes,
    }
    emit(document, as_json=as_json, show=lambda: _print_expiry(found, dropped=yes))


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


def _print_expiry(found: Expiry, *, dropped: bool) -> None:
    print_table(
        ("chunk", "from", "to", "compressed", "bytes"),
        [
            (c.chunk_name, c.range_start, c.range_end, c.is_compressed, f"{c.bytes:,}")
            for c in found.chunks
        ],
    )
    size = f"{found.rows:,} rows of {found.table} in {len(found.chunks)} chunks"
    if dropped:
        say(f"dropped {size}")
    elif found.chunks:
        say(f"would drop {size}; nothing was dropped; say --yes to drop them for good")
