"""`quant-mlops db`: the database server and its schema."""

from __future__ import annotations

from dataclasses import replace

import click

from quant_mlops.cli.output import emit, json_option, print_pairs, say
from quant_mlops.cli.retention import retain
from quant_mlops.cli.timescale import as_document, print_hypertables, timescale
from quant_mlops.cli.workspace import open_workspace
from quant_mlops.database.access import open_server
from quant_mlops.database.embedded import EmbeddedServer
from quant_mlops.database.hypertables import Hypertable, hypertables
from quant_mlops.database.migrations import migrate as apply_migrations
from quant_mlops.database.queries import query
from quant_mlops.database.table_sizes import TableSize, table_sizes
from quant_mlops.errors import ServerUnavailableError
from quant_mlops.settings import load_settings
from quant_mlops.wording import counted


@click.group(epilog="Example: quant-mlops db status")
def db() -> None:
    """Start, stop and look at the database."""


db.add_command(timescale)
db.add_command(retain)


@db.command(epilog="Example: quant-mlops db start")
@json_option
def start(as_json: bool) -> None:
    """Start the embedded server and leave it running."""
    with open_workspace() as (_, access):
        if access.embedded is None:
            address = access.database.address
            sentence = f"the server at {address} is not ours to start; it answers"
        else:
            access.embedded.keep_running()
            address = access.embedded.url()
            sentence = f"running; connect with psql '{address}'"
    document = {"embedded": access.embedded is not None, "address": address}
    emit(document, as_json=as_json, show=lambda: say(sentence))


@db.command(epilog="Example: quant-mlops db stop")
@json_option
def stop(as_json: bool) -> None:
    """Stop the embedded server, unless another process is using it."""
    settings = load_settings()
    if settings.database_url is not None:
        sentence = "QUANT_MLOPS_DATABASE_URL names a server of your own, which is not ours to stop"
        emit({"stopped": False}, as_json=as_json, show=lambda: say(sentence))
        return
    server = EmbeddedServer(settings.postgres_folder)
    if not server.stop():
        raise ServerUnavailableError(
            f"the server at {server.placement.data} is being used by another process, such as "
            f"`quant-mlops dev`; end that first, and it stops by itself"
        )
    emit({"stopped": True}, as_json=as_json, show=lambda: say("stopped"))


@db.command(epilog="Example: quant-mlops db status --json")
@json_option
def status(as_json: bool) -> None:
    """Show server, extension, schema, sizes, and how the hypertables are compressed.

    Rows of large tables are what the server estimates; those of chunks that are compressed, or were
    never analysed, are counted.
    """
    with open_workspace() as (settings, access):
        row = access.database.fetch_one(query("select_server_status"))
        hyper = hypertables(access.database)
        tables = _with_rows_of_chunks(table_sizes(access.database), hyper)
        assert row is not None
        version, timescaledb, migration, size = row
        document = {
            "address": access.database.address,
            "embedded": access.embedded is not None,
            "home": settings.home,
            "server": version,
            "timescaledb": timescaledb,
            "migration": migration,
            "bytes": size,
            "tables": {
                t.name: {"rows": t.rows, "estimated": t.estimated, "bytes": t.bytes} for t in tables
            },
            "hypertables": [as_document(table) for table in hyper],
        }
    pairs = [
        (key, f"{value:,}" if key == "bytes" else value)
        for key, value in document.items()
        if key not in ("tables", "hypertables")
    ]
    pairs += [(table.name, f"{_rows(table)}, {table.bytes:,} bytes") for table in tables]

    def show() -> None:
        print_pairs(pairs)
        if hyper:
            print_hypertables(hyper)

    emit(document, as_json=as_json, show=show)


def _with_rows_of_chunks(tables: list[TableSize], hyper: list[Hypertable]) -> list[TableSize]:
    """Take the rows of a hypertable from its chunks, which know more than an estimate of all."""
    found = {table.hypertable_name: table.rows for table in hyper}
    return [
        replace(table, rows=found[table.name]) if table.estimated and table.name in found else table
        for table in tables
    ]


def _rows(table: TableSize) -> str:
    if table.rows is None:
        return "rows not counted, as it was never analysed"
    return f"{'about ' if table.estimated else ''}{counted(table.rows, 'row')}"


@db.command(epilog="Example: quant-mlops db migrate")
@json_option
def migrate(as_json: bool) -> None:
    """Bring the schema up to date."""
    with open_server(load_settings(), migrated=False) as access:
        names = [f"{m.number:03d}_{m.name}" for m in apply_migrations(access.database)]
    sentence = f"applied {', '.join(names)}" if names else "the schema is up to date"
    emit({"applied": names}, as_json=as_json, show=lambda: say(sentence))
