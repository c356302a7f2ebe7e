"""`quant-mlops drift`: metrics and rules."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime

import click
from rich.console import Console
from rich.progress import track

from quant_mlops.cli.feature_drift import feature
from quant_mlops.cli.output import (
    COUNT,
    emit,
    json_option,
    print_pairs,
    print_table,
    say,
)
from quant_mlops.cli.workspace import chosen_session, open_strategy, strategy_option
from quant_mlops.database.queries import query
from quant_mlops.drift.monitor import DriftMetrics
from quant_mlops.drift.rules import Rule
from quant_mlops.judged_rules import JudgedRule, JudgedRules, judge_rules
from quant_mlops.wording import short_time

DAY = click.DateTime(formats=["%Y-%m-%d"])
COLUMNS = (
    "date", "ic", "ic_5d_avg", "psi", "psi_max", "psi_max_feature", "prediction_psi", "sharpe_5d",
    "sharpe_20d", "no_data",
)  # fmt: skip
# What fits into 80 columns, under headings that do.
SHOWN = {
    "date": "date", "ic": "IC", "ic_5d_avg": "IC, 5d", "psi": "PSI", "prediction_psi": "signals",
    "sharpe_5d": "Sharpe", "sharpe_20d": "20d", "no_data": "no data",
}  # fmt: skip


@click.group(epilog="Example: quant-mlops drift show")
def drift() -> None:
    """Judge sessions, and look at the verdicts."""


drift.add_command(feature)


@drift.command(epilog="Example: quant-mlops drift run --session 2022-06-30")
@click.option("--session", type=DAY, help="Session to judge; the newest by default.")
@strategy_option
@json_option
def run(session: datetime | None, strategy_name: str | None, as_json: bool) -> None:
    """Calculate and store the drift metrics of one session."""
    with open_strategy(strategy_name) as work:
        metrics = work.monitor.run_daily(chosen_session(work, session))
    emit(metrics, as_json=as_json, show=lambda: _show_metrics(metrics))


@drift.command(epilog="Example: quant-mlops drift show --last 40")
@click.option("--last", type=COUNT, default=20, show_default=True, help="Newest sessions to show.")
@strategy_option
@json_option
def show(last: int, strategy_name: str | None, as_json: bool) -> None:
    """Show the stored metrics of the newest sessions.

    PSI is the mean over the features; that of the model's own signals stands beside it and is in
    no rule. Sharpe ratios are of 5 and of 20 sessions. --json names the feature that moved most.
    """
    with open_strategy(strategy_name) as work:
        rows = work.database.fetch_all(
            query("select_newest_drift_metrics"), [work.strategy.name, last]
        )
    document = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    cells = [[_short(entry[name]) for name in SHOWN] for entry in document]
    emit(document, as_json=as_json, show=lambda: print_table(tuple(SHOWN.values()), cells))


@drift.command(epilog="Example: quant-mlops drift rules --paths 2000")
@click.option(
    "--paths", type=click.IntRange(min=2), default=500, show_default=True,
    help="Simulated pairs of healthy years; four times as many halve the errors.",
)  # fmt: skip
@click.option("--seed", type=COUNT, default=1, show_default=True, help="Of the simulation.")
@strategy_option
@json_option
def rules(paths: int, seed: int, strategy_name: str | None, as_json: bool) -> None:
    """Show the rules in each mode, with their false alarms a year and their delay.

    They are simulated from what the first live model did on its test split, or from a stated law
    where no model was ever live: an IC of mean 0.05 and deviation 0.10, a Sharpe ratio of 2. A
    break takes the true IC and Sharpe ratio to 0, and adds to the PSI as it grows through the
    window, by 0.5 once all of it is broken. A rule that is always in alarm opens next to no
    episode: the share of healthy sessions in alarm tells it from one that keeps quiet.
    """
    with open_strategy(strategy_name) as work:
        judged = judge_rules(work, paths=paths, seed=seed, progress=_progress)
    emit(judged, as_json=as_json, show=lambda: _show_rules(judged))


def _short(value: object) -> object:
    """Return a number with three digits, and anything else as it is."""
    return f"{value:.3g}" if isinstance(value, float) else value


def _show_metrics(metrics: DriftMetrics) -> None:
    names = [f.name for f in fields(metrics) if f.name not in ("ic_by_horizon", "evaluation_time")]
    print_pairs(
        [
            *((name, getattr(metrics, name)) for name in names),
            ("judged at", short_time(metrics.evaluation_time)),
        ]
    )
    print_table(
        ("sessions of the label", "decided on", "names", "IC", "mean of 20", "s.e."),
        [
            (i.horizon, i.session, i.names, i.ic, i.ic_20d_mean, i.ic_20d_se)
            for i in metrics.ic_by_horizon
        ],
    )


def _show_rules(judged: JudgedRules) -> None:
    since = judged.in_force_since
    begins = "from the next session on" if since is None else f"since {since}"
    written = [rate for rate in judged.rates if rate.mode == "as_written"]
    print_table(
        ("rule", "severity", "action", "clears after"),
        [(r.rule, r.severity, r.action, r.clear_after) for r in written],
        title=f"mode in force: {judged.mode_in_force}, {begins}",
    )
    print_table(
        ("rule, mode", "condition", "alarms/year", "in alarm", "delay"),
        [
            (f"{r.rule}\n{r.mode}", r.condition, _alarms(r), _share(r), _delay(r))
            for r in judged.rates
        ],
        title=f"false alarms a year, share of healthy sessions in alarm and sessions of delay, "
        f"simulated from {judged.source}",
    )
    for note in judged.notes:
        say(f"note: {note}")


def _alarms(rate: JudgedRule) -> str:
    if math.isnan(rate.false_alarms_a_year):
        return "undefined"
    return f"{rate.false_alarms_a_year:.2f} ±{rate.false_alarms_se:.2f}"


def _share(rate: JudgedRule) -> str:
    return "-" if math.isnan(rate.in_alarm) else f"{rate.in_alarm:.0%}"


def _delay(rate: JudgedRule) -> str:
    if math.isnan(rate.delay_sessions):
        return "-"
    return f"{rate.delay_sessions:.0f}" if math.isfinite(rate.delay_sessions) else "never"


def _progress(rules: Sequence[Rule]) -> Iterable[Rule]:
    """Pass rules on with a bar on standard error, where that is a terminal."""
    console = Console(stderr=True)
    return track(rules, "simulating", console=console, disable=not console.is_terminal)
