"""`quant-mlops db retain`: old chunks of hypertables, and the training sets that go with them."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from quant_mlops.cli.output import emit, json_option, print_table, say
from quant_mlops.cli.workspace import Instant, open_workspace
from quant_mlops.database.retention import Expiry, drop_expired, find_expired
from quant_mlops.database.timescale import HYPERTABLES
from quant_mlops.training.lost_training_sets import LostTrainingSet, lost_training_sets
from quant_mlops.wording import counted


@click.command(epilog="Example: quant-mlops db retain feature_events --before 2010-01-01")
@click.argument("table", type=click.Choice(HYPERTABLES))
@click.option(
    "--before",
    type=Instant(),
    required=True,
    help="Event time from which on all is kept (wall time in New York unless it has a zone).",
)
@click.option("--yes", is_flag=True, help="Drop what is shown; without it nothing is dropped.")
@click.option("--by", help="Who drops it, needed with --yes; it is kept.")
@json_option
def retain(table: str, before: datetime, yes: bool, by: str | None, as_json: bool) -> None:
    """Show which chunks of TABLE hold only older events, and with --yes drop them for good.

    Chunks are of a year, and one that holds any later event is kept whole. Training sets made of
    what would be dropped are named with their models: they can never be collected again, and their
    verification says who dropped what. Their files and the models stay.
    """
    if yes and not (by or "").strip():
        raise click.UsageError("--yes drops rows for good, and who does so is kept: give --by NAME")
    with open_workspace() as (_, access):
        found = find_expired(access.database, table, before=before)
        lost = lost_training_sets(access.database, table, until=found.until)
        if yes:
            ids = [each.snapshot.snapshot_id for each in lost]
            found = drop_expired(
                access.database, table, before=before, by=by or "", snapshot_ids=ids
            )
    document = {
        "table": found.table,
        "before": before,
        "rows": found.rows,
        "bytes": found.bytes,
        "chunks": found.chunks,
        "training_sets": [
            {
                "snapshot_id": each.snapshot.snapshot_id,
                "fingerprint": each.snapshot.fingerprint,
                "strategy": each.snapshot.strategy_id,
                "models": each.models,
            }
            for each in lost
        ],
        "dropped": yes,
    }

    def show() -> None:
        print_expiry(found)
        if lost:
            print_lost(lost)
        say(_summary(found, lost, dropped=yes))

    emit(document, as_json=as_json, show=show)


def print_expiry(found: Expiry) -> None:
    """Print a line for each chunk."""
    print_table(
        ("chunk", "from", "to", "compressed", "bytes"),
        [
            (
                c.chunk_name,
                c.range_start.astimezone(UTC).date(),
                c.range_end.astimezone(UTC).date(),
                "yes" if c.is_compressed else "no",
                f"{c.bytes:,}",
            )
            for c in found.chunks
        ],
    )


def print_lost(lost: list[LostTrainingSet]) -> None:
    """Print a line for each training set that cannot be collected again."""
    print_table(
        ("fingerprint", "strategy", "models"),
        [
            (
                each.snapshot.fingerprint[:16],
                each.snapshot.strategy_id,
                ", ".join(each.models) or "none",
            )
            for each in lost
        ],
        title="training sets that can never be collected again",
    )


def _summary(found: Expiry, lost: list[LostTrainingSet], *, dropped: bool) -> str:
    if not found.chunks:
        return f"no chunk of {found.table} is that old; nothing to drop"
    size = f"{found.rows:,} rows of {found.table} in {counted(len(found.chunks), 'chunk')}"
    sets = counted(len(lost), "training set")
    if dropped:
        return f"dropped {size}; {sets} can no longer be collected again"
    return (
        f"would drop {size}, and {sets} could no longer be collected again; nothing was dropped; "
        f"say --yes --by NAME to drop them for good"
    )
