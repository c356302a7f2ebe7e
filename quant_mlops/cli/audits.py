"""`quant-mlops features parity|leakage|arrival|revise`: whether values are what they should be."""

from __future__ import annotations

from datetime import date, datetime

import click

from quant_mlops.audits import feature_arrivals, leakage_audit, parity_check
from quant_mlops.cli.output import COUNT, emit, json_option, print_table
from quant_mlops.cli.workspace import Instant, chosen_session, open_strategy, strategy_option
from quant_mlops.features.parity import FeatureParity
from quant_mlops.features.truncation import TruncationResult
from quant_mlops.pipeline import revise_features
from quant_mlops.strategy_context import StrategyContext, newest_priced_session

DAY = click.DateTime(formats=["%Y-%m-%d"])
WORDS = {"look_ahead": "what comes later", "short_lookback": "beyond its lookback"}

last_option = click.option(
    "--last", "count", type=COUNT, default=20, show_default=True, help="Sessions to check."
)
session_option = click.option(
    "--session", type=DAY, help="The newest of them; by default the newest that can be judged."
)


@click.command(epilog="Example: quant-mlops features parity --last 5")
@session_option
@last_option
@strategy_option
@json_option
def parity(session: datetime | None, count: int, strategy_name: str | None, as_json: bool) -> None:
    """Recompute what was served from the prices known then, and say how it differs."""
    with open_strategy(strategy_name) as work:
        first, last = _range(work, session, count)
        found = parity_check(work, work.sessions(first, last))
    header = ("feature", "cells", "unserved", "differ", "largest", "explanation")
    rows = [
        (
            f"{p.feature_name}@{p.feature_version}", p.compared, p.not_served, p.mismatches,
            p.largest_difference, _explained(p),
        )
        for p in found
    ]  # fmt: skip
    emit(found, as_json=as_json, show=lambda: print_table(header, rows))


@click.command(epilog="Example: quant-mlops features leakage --last 60")
@session_option
@last_option
@strategy_option
@json_option
def leakage(session: datetime | None, count: int, strategy_name: str | None, as_json: bool) -> None:
    """Measure how much of the features was not known at the decisions.

    By default these are the newest sessions whose labels are known. Shown are the share of values
    that were changed since, the IC as known and with that hindsight, the share of rows whose
    availability is assumed, and what the definition was seen to read.
    """
    with open_strategy(strategy_name) as work:
        first, last = _range(work, session, count)
        if session is None:
            horizon = work.strategy.horizon
            first, last = (work.calendar.offset(day, -horizon) for day in (first, last))
        found = leakage_audit(work, first, last)
    header = ("feature", "changed", "IC", "hindsight", "assumed", "reads")
    rows = [
        (
            audit.key, audit.share_differing, audit.ic_as_known, audit.ic_latest,
            audit.share_assumed, _verdict(audit.truncation),
        )
        for audit in found
    ]  # fmt: skip
    emit(found, as_json=as_json, show=lambda: print_table(header, rows))


@click.command(epilog="Example: quant-mlops features arrival --since 2022-01-01")
@click.option(
    "--since",
    type=Instant(),
    help="Leave out events before this time (wall time in New York unless it has a zone).",
)
@strategy_option
@json_option
def arrival(since: datetime | None, strategy_name: str | None, as_json: bool) -> None:
    """Show how late values arrive, how often they are revised, and how fresh they are.

    The lag is the median; sessions are the median, the 95th percentile and the maximum of the
    closes between event and arrival; age counts the sessions since the newest value; assumed is
    the share of rows that were recorded long after they are said to have been known.
    """
    with open_strategy(strategy_name) as work:
        found = feature_arrivals(work, since=since)
    several = len({a.producer for a in found}) > 1
    header = ("feature", "rows", "lag", "sessions", "revised", "age", "assumed")
    rows = [
        (
            f"{a.key} by {a.producer}" if several else a.key, a.rows, str(a.lag_p50),
            f"{a.lag_sessions_p50}/{a.lag_sessions_p95}/{a.lag_sessions_max}",
            a.revision_rate, a.freshness_sessions, a.share_assumed,
        )
        for a in found
    ]  # fmt: skip
    emit(found, as_json=as_json, show=lambda: print_table(header, rows))


@click.command(epilog="Example: quant-mlops features revise")
@strategy_option
@json_option
def revise(strategy_name: str | None, as_json: bool) -> None:
    """Carry prices restated since the last time into the features that they touch."""
    with open_strategy(strategy_name) as work:
        stored = revise_features(work)
    emit(
        {"revised": stored}, as_json=as_json, show=lambda: click.echo(f"{stored:,} values revised")
    )


def _range(work: StrategyContext, session: datetime | None, count: int) -> tuple[date, date]:
    last = chosen_session(work, session)
    if session is None:
        last = min(last, newest_priced_session(work))
    return (work.calendar.offset(last, 1 - count) if count > 1 else last), last


def _explained(found: FeatureParity) -> str:
    since = f", first on {found.first_mismatch}" if found.first_mismatch else ""
    return f"{found.explanation}{since}"


def _verdict(found: TruncationResult | None) -> str:
    if found is None:
        return "-"
    problems = [WORDS[name] for name in found.findings]
    return " and ".join(problems) or "past only"
