"""`quant-mlops snapshot`: training sets."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import click

from quant_mlops.cli.output import emit, json_option, print_pairs, print_table
from quant_mlops.cli.workspace import Instant, open_strategy, open_workspace, strategy_option
from quant_mlops.database import Database
from quant_mlops.pipeline import build_snapshot, evaluation_time
from quant_mlops.training.snapshot_files import (
    FEWEST_DIGITS,
    Snapshot,
    find_snapshot,
    find_snapshot_by_fingerprint,
    list_snapshots,
    read_snapshot,
)


class SnapshotKey(click.ParamType["UUID | str"]):
    """The UUID of a snapshot, or the first digits of its fingerprint."""

    name = "snapshot"

    def convert(self, value: Any, param: Any, ctx: Any) -> UUID | str:
        if isinstance(value, UUID):
            return value
        # Of 32 digits without hyphens a fingerprint is meant: nothing prints a UUID like that.
        if re.fullmatch(rf"[0-9a-fA-F]{{{FEWEST_DIGITS},}}", value):
            return str(value).lower()
        try:
            return UUID(value)
        except ValueError:
            self.fail(
                f"{value!r} is neither the UUID of a snapshot nor {FEWEST_DIGITS} or more "
                f"hexadecimal digits of its fingerprint; `quant-mlops snapshot list` shows both",
                param,
                ctx,
            )


def _find(database: Database, key: UUID | str) -> Snapshot:
    if isinstance(key, UUID):
        return find_snapshot(database, key)
    return find_snapshot_by_fingerprint(database, key)


@click.group(epilog="Example: quant-mlops snapshot list")
def snapshot() -> None:
    """Build, list and verify training snapshots."""


@snapshot.command(epilog="Example: quant-mlops snapshot build --as-of 2022-06-30T20:00+00:00")
@click.option(
    "--as-of",
    type=Instant(),
    help="Knowledge time (wall time in New York unless it has a zone); now by default.",
)
@strategy_option
@json_option
def build(as_of: datetime | None, strategy_name: str | None, as_json: bool) -> None:
    """Build the training set of what was known at a time."""
    now = datetime.now(UTC)
    if as_of is not None and as_of > now:
        raise click.BadParameter(f"{as_of.isoformat()} lies in the future", param_hint="--as-of")
    with open_strategy(strategy_name) as work:
        last = work.strategy.monitoring.last_session
        default = now if last is None else min(now, evaluation_time(work, last))
        built = build_snapshot(work, as_of or default)
    emit(built, as_json=as_json, show=lambda: print_pairs(_pairs(built)))


@snapshot.command("list", epilog="Example: quant-mlops snapshot list --json")
@json_option
def list_all(as_json: bool) -> None:
    """List snapshots, newest knowledge first."""
    with open_workspace() as (_, access):
        found = list_snapshots(access.database)
    rows = [
        (s.snapshot_id, s.strategy_id, s.knowledge_time, s.row_count, s.fingerprint[:16])
        for s in found
    ]
    header = ("snapshot", "strategy", "knowledge time", "rows", "fingerprint")
    emit(found, as_json=as_json, show=lambda: print_table(header, rows))


@snapshot.command(epilog="Example: quant-mlops snapshot show 276927113199d9c0")
@click.argument("key", type=SnapshotKey(), metavar="SNAPSHOT")
@json_option
def show(key: UUID | str, as_json: bool) -> None:
    """Show one SNAPSHOT: its UUID, or the first eight or more digits of its fingerprint."""
    with open_workspace() as (_, access):
        found = _find(access.database, key)
    emit(found, as_json=as_json, show=lambda: print_pairs(_pairs(found)))


@snapshot.command(epilog="Example: quant-mlops snapshot verify 276927113199d9c0")
@click.argument("key", type=SnapshotKey(), metavar="SNAPSHOT")
@json_option
def verify(key: UUID | str, as_json: bool) -> None:
    """Check a snapshot's file: its bytes and its content against what was recorded.

    SNAPSHOT is its UUID, or the first eight or more digits of its fingerprint.
    """
    with open_workspace() as (_, access):
        found = _find(access.database, key)
        table = read_snapshot(found)
    document = {
        "snapshot_id": found.snapshot_id,
        "intact": True,
        "rows": table.num_rows,
        "fingerprint": found.fingerprint,
    }
    emit(document, as_json=as_json, show=lambda: print_pairs(list(document.items())))


def _pairs(found: Snapshot) -> list[tuple[str, object]]:
    return [
        ("snapshot", found.snapshot_id),
        ("strategy", found.strategy_id),
        ("fingerprint", found.fingerprint),
        ("knowledge time", found.knowledge_time),
        ("sessions", f"{found.first_session} to {found.last_session}"),
        ("rows", f"{found.row_count:,}"),
        ("left out", ", ".join(f"{n:,} {why}" for why, n in found.left_out.items())),
        ("features", ", ".join(f"{n}@{e['version']}" for n, e in found.features.items())),
        ("label", found.label),
        ("file", found.uri),
        ("code", found.code_version),
    ]
