"""`quant-mlops features`: definitions, values and backfill."""

from __future__ import annotations

import difflib
from datetime import date, datetime

import click

from quant_mlops.cli.audits import arrival, leakage, parity, revise
from quant_mlops.cli.feature_reviews import review
from quant_mlops.cli.output import COUNT, emit, json_option, print_table, say
from quant_mlops.cli.workspace import Instant, open_strategy, open_workspace, strategy_option
from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.features.catalog import registered_features
from quant_mlops.features.store import FeatureStore
from quant_mlops.features.values import FeatureValue
from quant_mlops.pipeline import compute_features
from quant_mlops.strategy_context import history_start, newest_priced_session, newest_session
from quant_mlops.wording import short_time

NEAR = 3
DAY = click.DateTime(formats=["%Y-%m-%d"])


@click.group(epilog="Example: quant-mlops features latest AAPL")
def features() -> None:
    """Look at features, and compute them."""


@features.command("list", epilog="Example: quant-mlops features list")
@json_option
def list_features(as_json: bool) -> None:
    """List registered features with their versions and logic."""
    with open_workspace() as (_, access):
        found = registered_features(access.database)
    rows = [
        (f.feature_name, f.feature_version, f.lookback, f.logic_hash[:12], f.description)
        for f in found
    ]
    header = ("feature", "version", "lookback", "logic", "description")
    emit(found, as_json=as_json, show=lambda: print_table(header, rows))


@features.command(epilog="Example: quant-mlops features latest AAPL --as-of 2022-06-30T13:30+00:00")
@click.argument("entity")
@click.argument("names", nargs=-1)
@click.option(
    "--as-of",
    type=Instant(),
    help="As known at this time (wall time in New York unless it has a zone); now by default.",
)
@json_option
def latest(entity: str, names: tuple[str, ...], as_of: datetime | None, as_json: bool) -> None:
    """Show the newest value of each feature of ENTITY that was known at a time."""
    with open_workspace() as (_, access):
        store = FeatureStore(access.database)
        found = store.get_latest(entity, list(names) or None, as_of=as_of)
        hint = "" if found or as_json else _where_to_look(access.database, entity)
    values = list(found.values())
    emit(values, as_json=as_json, show=lambda: _show_values(values))
    if hint:
        what = f"{', '.join(names)} of {entity}" if names else entity
        say(f"nothing was known of {what} at that time; {hint}")


@features.command(epilog="Example: quant-mlops features history AAPL rsi_14")
@click.argument("entity")
@click.argument("name")
@click.option(
    "--event-time",
    type=Instant(),
    help="Revisions of the event of this time only (wall time in New York unless it has a zone).",
)
@click.option("--last", type=COUNT, default=20, show_default=True, help="Newest rows to show.")
@json_option
def history(entity: str, name: str, event_time: datetime | None, last: int, as_json: bool) -> None:
    """Show every stored value of a feature of ENTITY, in the order it became known."""
    with open_workspace() as (_, access):
        found = FeatureStore(access.database).history(entity, name, event_time)
    values = found[-last:]
    emit(values, as_json=as_json, show=lambda: _show_values(values))


@features.command(epilog="Example: quant-mlops features backfill --first 2021-01-04")
@click.option("--first", type=DAY, help="First session; that of the oldest price by default.")
@click.option("--last", type=DAY, help="Last session; that of the newest price by default.")
@strategy_option
@json_option
def backfill(
    first: datetime | None, last: datetime | None, strategy_name: str | None, as_json: bool
) -> None:
    """Compute the strategy's features over sessions and store what is new."""
    if first and last and first > last:
        raise click.BadParameter(
            f"{first.date()} is after --last {last.date()}; exchange the two", param_hint="--first"
        )
    with open_strategy(strategy_name) as work:
        start: date = first.date() if first else history_start(work)
        end = last.date() if last else min(newest_session(work), newest_priced_session(work))
        rows = []
        for done in compute_features(work, start, end):
            say(f"{done.feature}: {done.result.stored:,} stored")
            rows.append((done.feature, done.result.offered, done.result.stored))
    document = [dict(zip(("feature", "offered", "stored"), row, strict=True)) for row in rows]
    header = ("feature", "offered", "stored")
    emit(document, as_json=as_json, show=lambda: print_table(header, rows))


for _audit in (parity, leakage, arrival, revise, review):
    features.add_command(_audit)


def _where_to_look(database: Database, entity: str) -> str:
    """Return what helps whoever asked for an entity of which nothing was known."""
    stored = [key for (key,) in database.fetch_all(query("select_entities"))]
    if not stored:
        return "no value is stored yet, and `quant-mlops features backfill` stores some"
    if entity in stored:
        return f"`quant-mlops features history {entity} FEATURE` shows when its values became known"
    by_spelling: dict[str, str] = {}
    for key in stored:
        by_spelling.setdefault(key.casefold(), key)
    near = difflib.get_close_matches(entity.casefold(), by_spelling, n=NEAR)
    if near:
        return f"near in spelling: {', '.join(by_spelling[key] for key in near)}"
    return f"none of the {len(stored):,} entities with values is near it in spelling"


def _show_values(values: list[FeatureValue]) -> None:
    """Print a line for each value; who wrote it stands below, or beside it if there are several."""
    producers = sorted({v.producer for v in values})
    rows = [
        (
            f"{v.feature_name}@{v.feature_version}"
            + (f"\nby {v.producer}" if len(producers) > 1 else ""),
            short_time(v.event_time),
            short_time(v.ingest_time),
            v.value,
        )
        for v in values
    ]
    print_table(("feature", "event time", "known since", "value"), rows)
    if len(producers) == 1:
        click.echo(f"all of them by {producers[0]}")
