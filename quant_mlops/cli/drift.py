"""`quant-mlops drift`: metrics and rules."""

from __future__ import annotations

from datetime import datetime

import click

from quant_mlops.cli.output import COUNT, emit, json_option, print_pairs, print_table
from quant_mlops.cli.workspace import chosen_session, open_strategy, strategy_option
from quant_mlops.database.queries import query

DAY = click.DateTime(formats=["%Y-%m-%d"])
COLUMNS = (
    "date", "ic", "ic_5d_avg", "psi", "psi_max", "psi_max_feature", "sharpe_5d", "sharpe_20d",
    "no_data",
)  # fmt: skip


@click.group(epilog="Example: quant-mlops drift show")
def drift() -> None:
    """Judge sessions, and look at the verdicts."""


@drift.command(epilog="Example: quant-mlops drift run --session 2022-06-30")
@click.option("--session", type=DAY, help="Session to judge; the newest by default.")
@strategy_option
@json_option
def run(session: datetime | None, strategy_name: str | None, as_json: bool) -> None:
    """Calculate and store the drift metrics of one session."""
    with open_strategy(strategy_name) as work:
        metrics = work.monitor.run_daily(chosen_session(work, session))
    pairs = [(name, getattr(metrics, name)) for name in metrics.__dataclass_fields__]
    emit(metrics, as_json=as_json, show=lambda: print_pairs(pairs))


@drift.command(epilog="Example: quant-mlops drift show --last 40")
@click.option("--last", type=COUNT, default=20, show_default=True, help="Newest sessions to show.")
@strategy_option
@json_option
def show(last: int, strategy_name: str | None, as_json: bool) -> None:
    """Show the stored metrics of the newest sessions."""
    with open_strategy(strategy_name) as work:
        rows = work.database.fetch_all(
            query("select_newest_drift_metrics"), [work.strategy.name, last]
        )
    document = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    emit(document, as_json=as_json, show=lambda: print_table(COLUMNS, rows))


@drift.command(epilog="Example: quant-mlops drift rules")
@strategy_option
@json_option
def rules(strategy_name: str | None, as_json: bool) -> None:
    """Show the rules with the strategy's thresholds, and what each does."""
    with open_strategy(strategy_name) as work:
        found = work.strategy.alert_config.rules()
    rows = [(r.name, r.describe(), r.severity, r.action, r.clear_after) for r in found]
    header = ("rule", "condition", "severity", "action", "clears after")
    emit(found, as_json=as_json, show=lambda: print_table(header, rows))
