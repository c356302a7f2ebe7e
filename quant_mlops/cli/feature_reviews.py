"""`quant-mlops features review`: to let a session go on that stored values stop."""

from __future__ import annotations

from datetime import datetime

import click

from quant_mlops.cli.output import emit, json_option, print_table, say
from quant_mlops.cli.workspace import Instant, open_workspace
from quant_mlops.features.store import FeatureStore
from quant_mlops.features.value_reviews import review_values

HEADER = ("version", "known from", "value", "producer")


@click.command(
    epilog="Example: quant-mlops features review AAPL ret_5d 2022-06-30T20:00+00:00 --by ann "
    "--reason 'clock of the loader was slow'"
)
@click.argument("entity")
@click.argument("name")
@click.argument("event_time", type=Instant())
@click.option("--by", required=True, help="Who has looked at the values.")
@click.option("--reason", required=True, help="Why they are there.")
@json_option
def review(
    entity: str, name: str, event_time: datetime, by: str, reason: str, as_json: bool
) -> None:
    """Let runs pass the values of a feature of ENTITY that are stored about EVENT_TIME.

    For values that should not be as they are: missing, stored twice, or known too early. They stay
    as they are; what is stored of the same event later has to pass by itself.
    """
    with open_workspace() as (_, access):
        count = review_values(access.database, entity, name, event_time, by=by, reason=reason)
        stored = FeatureStore(access.database).history(entity, name, event_time)
    rows = [(v.feature_version, v.ingest_time, v.value, v.producer) for v in stored]
    emit(stored, as_json=as_json, show=lambda: print_table(HEADER, rows))
    say(
        f"{count} of them passed on the word of {by}; reads give the last one known, so if that is "
        f"wrong, write the right value with a later ingest time"
    )
