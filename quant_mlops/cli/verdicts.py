"""`quant-mlops models verdicts`: what was decided between champions and challengers."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import click

from quant_mlops.cli.output import emit, json_option, print_table
from quant_mlops.cli.workspace import open_strategy, strategy_option
from quant_mlops.registry.comparisons import ModelComparison, list_comparisons

# Short, so that two names of nineteen letters fit beside them in 80 columns.
HEADER = ("as of", "champion", "challenger", "IC p", "net p", "live")


@click.command(epilog="Example: quant-mlops models verdicts --json")
@strategy_option
@json_option
def verdicts(strategy_name: str | None, as_json: bool) -> None:
    """Show each decision between the live model and a challenger, and its evidence.

    IC p is the probability that the challenger's mean daily IC is above the champion's, net p
    that its return after cost is; both come of the same sessions. Live says whether the
    challenger was promoted. --json has reasons, differences and their errors.
    """
    with open_strategy(strategy_name) as work:
        found = list_comparisons(work.database, work.strategy.name)
    emit(found, as_json=as_json, show=lambda: print_table(HEADER, [_row(each) for each in found]))


def _row(verdict: ModelComparison) -> tuple[object, ...]:
    compared: dict[str, Any] = verdict.evidence.get("comparison") or {}
    returns: dict[str, Any] = compared.get("returns") or {}
    return (
        verdict.as_of.astimezone(UTC).date(),
        verdict.champion,
        verdict.challenger,
        _probability(compared.get("probability_better")),
        _probability(returns.get("probability_better")),
        "yes" if verdict.promoted else "no",
    )


def _probability(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"
