"""`quant-mlops snapshot`: training sets."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import fields
from datetime import UTC, datetime
from uuid import UUID

import click

from quant_mlops.cli.output import COUNT, emit, json_option, print_pairs, print_table
from quant_mlops.cli.snapshot_key import SnapshotKey, find_by_key
from quant_mlops.cli.workspace import Instant, open_strategy, open_workspace, strategy_option
from quant_mlops.features.store import FeatureStore
from quant_mlops.pipeline import build_snapshot
from quant_mlops.strategy_context import newest_knowledge
from quant_mlops.training.snapshot_diff import CELLS_LISTED, SnapshotDiff, diff_files
from quant_mlops.training.snapshot_files import (
    FEWEST_DIGITS,
    Snapshot,
    check_file,
    list_snapshots,
    verified_data,
)
from quant_mlops.training.snapshot_verification import revisions_since, verify_snapshot
from quant_mlops.wording import counted, short_time


@click.group(epilog="Example: quant-mlops snapshot list")
def snapshot() -> None:
    """Build, list, verify and compare training snapshots."""


@snapshot.command(epilog="Example: quant-mlops snapshot build --as-of 2022-06-30T20:00+00:00")
@click.option(
    "--as-of",
    type=Instant(),
    help="Knowledge time (wall time in New York unless it has a zone); that of the newest price, "
    "or now, by default.",
)
@strategy_option
@json_option
def build(as_of: datetime | None, strategy_name: str | None, as_json: bool) -> None:
    """Build the training set of what was known at a time."""
    now = datetime.now(UTC)
    if as_of is not None and as_of > now:
        raise click.BadParameter(f"{as_of.isoformat()} lies in the future", param_hint="--as-of")
    with open_strategy(strategy_name) as work:
        built = build_snapshot(work, as_of or newest_knowledge(work))
    emit(built, as_json=as_json, show=lambda: print_pairs(_pairs(built)))


@snapshot.command("list", epilog="Example: quant-mlops snapshot list --json")
@json_option
def list_all(as_json: bool) -> None:
    """List snapshots, newest knowledge first."""
    with open_workspace() as (_, access):
        found = list_snapshots(access.database)
    rows = [
        (s.fingerprint[:16], s.strategy_id, short_time(s.knowledge_time), s.row_count,
         str(s.snapshot_id)[:FEWEST_DIGITS])
        for s in found
    ]  # fmt: skip
    header = ("fingerprint", "strategy", "knowledge time", "rows", "id")
    emit(found, as_json=as_json, show=lambda: print_table(header, rows))


@snapshot.command(epilog="Example: quant-mlops snapshot show 276927113199d9c0")
@click.argument("key", type=SnapshotKey(), metavar="SNAPSHOT")
@json_option
def show(key: UUID | str, as_json: bool) -> None:
    """Show one SNAPSHOT: its UUID, or the first eight or more digits of its fingerprint."""
    with open_workspace() as (_, access):
        found = find_by_key(access.database, key)
    emit(found, as_json=as_json, show=lambda: print_pairs(_pairs(found)))


@snapshot.command(epilog="Example: quant-mlops snapshot verify 276927113199d9c0")
@click.argument("key", type=SnapshotKey(), metavar="SNAPSHOT")
@json_option
def verify(key: UUID | str, as_json: bool) -> None:
    """Check a snapshot: its file against the record, and the record against the database.

    SNAPSHOT is its UUID, or the first eight or more digits of its fingerprint. The training set
    is collected again as it was known at its knowledge time. Ends with status 1 if either differs;
    what `db retain` has dropped of its rows is said, and is no difference.
    """
    with open_workspace() as (_, access):
        found = find_by_key(access.database, key)
        verdict = verify_snapshot(FeatureStore(access.database), found)
    document = {
        "snapshot_id": found.snapshot_id,
        "fingerprint": found.fingerprint,
        "rows": found.row_count,
        "intact": verdict.intact,
        "reproducible": verdict.reproducible,
        **{f.name: getattr(verdict, f.name) for f in fields(verdict)},
    }
    pairs = [
        ("snapshot", found.snapshot_id),
        ("fingerprint", found.fingerprint),
        ("rows", f"{found.row_count:,}"),
        ("file", "intact" if verdict.intact else f"TAMPERED: {verdict.file_problem}"),
        ("database", verdict.database_words),
    ]

    def show_verdict() -> None:
        print_pairs(pairs)
        if verdict.differences is not None and not verdict.differences.identical:
            _show_diff(verdict.differences, ("file", "database"))

    emit(document, as_json=as_json, show=show_verdict)
    if verdict.file_problem or verdict.database_problem:
        raise click.exceptions.Exit(1)


@snapshot.command(epilog="Example: quant-mlops snapshot diff 276927113199d9c0 --cells 50")
@click.argument("key", type=SnapshotKey(), metavar="SNAPSHOT")
@click.argument("other", type=SnapshotKey(), metavar="OTHER", required=False)
@click.option("--cells", type=COUNT, default=CELLS_LISTED, show_default=True, help="How many.")
@json_option
def diff(key: UUID | str, other: UUID | str | None, cells: int, as_json: bool) -> None:
    """Say which rows and cells of SNAPSHOT differ from OTHER, and list the first of them.

    Without OTHER it is held against the same training set built with today's knowledge: revised
    features and prices that nobody had at the decisions.
    """
    with open_workspace() as (_, access):
        found = find_by_key(access.database, key)
        if other is None:
            check_file(found)
            store = FeatureStore(access.database)
            found_diff = revisions_since(store, found, now=access.database.now(), cells=cells)
        else:
            second = find_by_key(access.database, other)
            with verified_data(found) as before, verified_data(second) as after:
                found_diff = diff_files(before, after, cells=cells)
    names = ("snapshot", "today" if other is None else "other")
    emit(
        {"identical": found_diff.identical, "cells_changed": found_diff.cells_changed}
        | {f.name: getattr(found_diff, f.name) for f in fields(found_diff)},
        as_json=as_json,
        show=lambda: _show_diff(found_diff, names),
    )


def _show_diff(found: SnapshotDiff, names: tuple[str, str]) -> None:
    before, after = names
    print_pairs(
        [
            (f"rows of {before}", f"{found.rows_before:,}, {found.rows_gone:,} of them only there"),
            (f"rows of {after}", f"{found.rows_after:,}, {found.rows_new:,} of them only there"),
            ("cells compared", f"{found.cells_compared:,}"),
            ("cells that differ", f"{found.cells_changed:,}"),
            *((f"columns only of {before}", c) for c in found.columns_gone),
            *((f"columns only of {after}", c) for c in found.columns_new),
        ]
    )
    if found.columns:
        rows = [(name, c.cells, c.largest) for name, c in found.columns.items()]
        print_table(("column", "cells", "largest difference"), rows)
    if found.cells:
        cells = [(c.session, c.entity_key, c.column, c.before, c.after) for c in found.cells]
        print_table(("session", "entity", "column", before, after), cells)
    for name, keys in ((before, found.keys_gone), (after, found.keys_new)):
        if keys:
            print_table(("session", f"entity only of {name}"), keys)


def _pairs(found: Snapshot) -> list[tuple[str, object]]:
    return [
        ("snapshot", found.snapshot_id),
        ("strategy", found.strategy_id),
        ("fingerprint", found.fingerprint),
        ("knowledge time", found.knowledge_time),
        ("sessions", f"{found.first_session} to {found.last_session}"),
        ("rows", f"{found.row_count:,}"),
        ("left out", ", ".join(f"{n:,} {why}" for why, n in found.left_out.items())),
        ("features", ", ".join(f"{n}@{v}" for n, v in found.feature_versions.items())),
        ("values", _ages(found)),
        ("label", found.label),
        ("file", found.uri),
        ("code", found.code_version),
    ]


def _ages(found: Snapshot) -> str:
    """Say how old values may be: what most features have in common, then the others."""
    ages = found.max_ages
    names: dict[int | None, list[str]] = defaultdict(list)
    for name in found.feature_names:
        names[ages.get(name)].append(name)
    usual, *others = sorted(names, key=lambda age: -len(names[age]))
    said = [_age(usual), *(f"{', '.join(names[age])} {_age(age)}" for age in others)]
    return "; ".join(said)


def _age(sessions: int | None) -> str:
    return "of any age" if sessions is None else f"up to {counted(sessions, 'session')} old"
