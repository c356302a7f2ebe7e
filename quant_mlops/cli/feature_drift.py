"""`quant-mlops drift feature`: one feature beside the rows its model was trained on."""

from __future__ import annotations

from datetime import datetime

import click

from quant_mlops.cli.output import COUNT, emit, json_option, print_pairs
from quant_mlops.cli.workspace import chosen_session, open_strategy, strategy_option
from quant_mlops.drift.feature_comparison import FeatureComparison, compare_feature

DAY = click.DateTime(formats=["%Y-%m-%d"])


@click.command(epilog="Example: quant-mlops drift feature rsi_14 --session 2022-06-30")
@click.argument("name")
@click.option("--session", type=DAY, help="Last session to look at; the newest by default.")
@click.option("--window", type=COUNT, help="Sessions pooled; as the strategy says by default.")
@strategy_option
@json_option
def feature(
    name: str,
    session: datetime | None,
    window: int | None,
    strategy_name: str | None,
    as_json: bool,
) -> None:
    """Compare feature NAME now with what the live model was trained on: PSI, KS, Wasserstein."""
    with open_strategy(strategy_name) as work:
        found = compare_feature(
            work.store,
            work.registry,
            work.calendar,
            strategy_id=work.strategy.name,
            name=name,
            session=chosen_session(work, session),
            window=window or work.strategy.monitoring.psi_window_sessions,
            evaluation_lag=work.strategy.evaluation_lag,
            universe=work.strategy.universe_name,
        )
    emit(found, as_json=as_json, show=lambda: print_pairs(_lines(found)))


def _lines(found: FeatureComparison) -> list[tuple[str, object]]:
    by = found.measures
    lines: list[tuple[str, object]] = [
        ("feature", f"{found.feature_name}@{found.feature_version} of {found.model}"),
        ("trained on", f"{found.reference_first} to {found.reference_last}"),
        ("compared with", f"{found.current_first} to {found.current_last}"),
        ("rows", f"{by.n_reference:,} and {by.n_current:,}"),
        ("missing", f"{by.missing_reference:.2%} and {by.missing_current:.2%}"),
        ("PSI", f"{by.psi:.4f} in {by.bins} bins"),
        ("PSI without drift, 95%", by.psi_no_drift_95),
        ("KS", f"{by.ks_statistic:.4f}, p-value {by.ks_p_value:.3g}"),
        (
            "Wasserstein",
            f"{by.wasserstein:.4g}, or {by.wasserstein_in_deviations:.4g} deviations",
        ),
    ]
    return [*lines, ("note", found.note)] if found.note else lines
