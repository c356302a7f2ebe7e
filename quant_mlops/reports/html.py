"""The report on a strategy: one HTML file that needs nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np

from quant_mlops.reports.figures import (
    alerts_figure,
    cumulative_return_figure,
    information_coefficient_figure,
    psi_figure,
)
from quant_mlops.reports.onsets import (
    interval,
    newest_onset,
    newest_that_stands_out,
    onset_tables,
)
from quant_mlops.reports.page import (
    Markup,
    bullets,
    drawn,
    page,
    paragraph,
    section,
    subheading,
    summary_table,
)
from quant_mlops.reports.records import MonitoringHistory
from quant_mlops.reports.tables import (
    alert_tables,
    feature_table,
    model_table,
    number,
    retrain_table,
    return_table,
    rule_table,
    with_error,
)
from quant_mlops.wording import counted, level_text

NOTHING = "nothing to show yet"
TEST_SET = "± is one standard error; the Sharpe ratio is that of the backtest on the test set."
EXACT_ZERO = 1e-12
RESUME = "`quant-mlops alerts resume`"
HOW_TO_READ = (
    "Information coefficient (IC): rank correlation of a session's predictions with the returns "
    "that followed. By rule of thumb, above 0.05 is excellent, above 0.02 normal, below 0.01 "
    "severe; below 0 the model may be wrong. One day's IC is mostly noise: judge the 20-session "
    "mean, and only where its band of two standard errors leaves zero.",
    "Population stability index (PSI): distance of a feature's recent values from those the model "
    "learned from. By rule of thumb, below 0.10 is normal, up to 0.25 mild, above it severe. Small "
    "samples score high without any drift: a PSI below its no-drift level (which 95% of samples "
    "without drift stay under) says nothing. A cross-sectional rank always scores 0, so PSI is "
    "blind to it.",
    "Rules: what this strategy is judged by, as in force on the newest session; the lines of the "
    "plots are their limits. A rule that watches a sum of deviations (CUSUM) has no such line.",
    "Sharpe ratio: by rule of thumb, above 0.5 is normal, below 0 severe. Over 5 sessions the "
    "estimate has a standard deviation near 10, so at a true Sharpe of 2 it is often negative; "
    "alerts on it are reasons to look, not proof. ± s.e. is one standard error.",
    "Alerts: one bar is one episode, from the session that met the rule's condition to the one "
    "that ended it. A session without a value neither counts towards a rule nor resets it.",
    "Strategy state: reduced halves the position and paused sets it to zero. Both concern the "
    "traded line only; the model line goes on as if fully invested, which is how a paused model "
    "can show that it has recovered. Neither ends with its alert: a reduced or paused position "
    f"lasts until a person resumes the strategy by {RESUME}.",
    "Gaps in a line are sessions for which nothing could be computed. They are not zeros.",
)


def write_report(
    history: MonitoringHistory, path: Path, *, title: str,
    summary_rows: Sequence[tuple[str, str]],
) -> Path:  # fmt: skip
    """Write the report on a strategy as one self-contained HTML file.

    Parameters
    ----------
    history : MonitoringHistory
        What is shown; the same history gives the same bytes.
    path : Path
        Where the report goes. It appears complete or, on failure, stays what it was before;
        missing folders are made.
    title : str
        Heading of the page.
    summary_rows : sequence of (str, str)
        Names and values of the table at its top.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    OSError
        The file cannot be written.

    """
    text = render_report(history, title=title, summary_rows=summary_rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with temporary.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def render_report(
    history: MonitoringHistory, *, title: str, summary_rows: Sequence[tuple[str, str]]
) -> str:
    """Return the report's HTML; the parameters are those of `write_report`."""
    sections = [
        section("Summary", summary_table(summary_rows)),
        section("Information coefficient", *_information_coefficient(history)),
        section("Feature drift", *_feature_drift(history)),
        section("Strategy return", *_strategy_return(history)),
        section("Alerts", *_alerts(history)),
        section("Models", *_models(history)),
        section("How to read this", bullets(HOW_TO_READ)),
    ]
    return page(sections, title=title, lead=_lead(history))


def _lead(history: MonitoringHistory) -> str:
    if len(history.sessions) == 0:
        return f"Strategy {history.strategy_id}; {NOTHING}"
    first, last = history.sessions[0], history.sessions[-1]
    count = counted(len(history.sessions), "session")
    state = ""
    if history.states:
        newest = history.states[-1]
        ends = "" if newest.position_scale == 1 else f", which lasts until {RESUME}"
        state = f"; {newest.status} since {newest.effective_from:%Y-%m-%d}{ends}: {newest.reason}"
    return f"Strategy {history.strategy_id}; {count} from {first} to {last}{state}"


def _information_coefficient(history: MonitoringHistory) -> list[Markup]:
    drift = history.drift
    onset = newest_onset(history.alerts, series="ic")
    figure = information_coefficient_figure(
        history.sessions, drift.ic, rolling_mean=drift.ic_20d_mean,
        rolling_error=drift.ic_20d_error, levels=history.levels,
        onset=newest_that_stands_out(history.alerts, series="ic"),
    )  # fmt: skip
    description = "Rolling mean of the information coefficient with its band, over daily values"
    parts = [drawn(figure, name="ic", description=description)]
    present = drift.ic[np.isfinite(drift.ic)]
    if len(present):
        missing = len(history.sessions) - len(present)
        limit = history.levels.ic_warning
        above = f" and {np.mean(present > limit):.0%} above {level_text(limit)}"
        parts.append(
            paragraph(
                f"{np.mean(present < 0):.0%} of the daily values are below 0"
                f"{above if np.isfinite(limit) else ''}; {missing:,} of "
                f"{len(history.sessions):,} sessions have none. Each value is shown on the session "
                f"on which it was known."
            )
        )
    if onset is not None:
        told = (
            "Shaded: the newest dated change of the IC,"
            if onset.stands_out
            else "No change of the IC stands out from its noise; the newest that was dated lies"
        )
        parts.append(paragraph(f"{told} {interval(onset)}."))
    return parts


def _feature_drift(history: MonitoringHistory) -> list[Markup]:
    features = history.features
    by_name = {name: features.psi[:, i] for i, name in enumerate(features.names)}
    figure = psi_figure(
        history.sessions, by_name, aggregate=history.drift.psi,
        signals=history.drift.prediction_psi, levels=history.levels,
    )  # fmt: skip
    parts = [drawn(figure, name="psi", description="PSI of every feature and in aggregate")]
    if features.names:
        parts.append(feature_table(history))
    blind = [
        name
        for name, psi in by_name.items()
        if np.isfinite(psi).any() and np.nanmax(np.abs(psi)) < EXACT_ZERO
    ]
    if blind:
        parts.append(
            paragraph(
                f"Always exactly 0, as ranks are, so PSI cannot see them drift: {', '.join(blind)}."
            )
        )
    return parts


def _strategy_return(history: MonitoringHistory) -> list[Markup]:
    returns = history.returns
    figure = cumulative_return_figure(
        history.sessions,
        returns.net,
        market_returns=returns.market,
        position_scale=returns.position_scale,
        deployments=history.deployments,
    )
    description = "Cumulative return of the model, of what was traded, and of the market"
    parts = [drawn(figure, name="return", description=description)]
    if np.isfinite(returns.net).any():
        parts.append(return_table(history))
    return [*parts, *_rolling_sharpe(history)]


def _rolling_sharpe(history: MonitoringHistory) -> list[Markup]:
    drift = history.drift
    known = np.flatnonzero(np.isfinite(drift.sharpe_5d) | np.isfinite(drift.sharpe_60d))
    if len(known) == 0:
        return []
    newest = known[-1]
    quarter = with_error(drift.sharpe_60d[newest], drift.sharpe_60d_error[newest], "+.2f")
    words = (
        f"Rolling Sharpe ratio of the model on {history.sessions[newest]}: "
        f"{number(drift.sharpe_5d[newest], '+.2f')} over 5 sessions, "
        f"{number(drift.sharpe_20d[newest], '+.2f')} over 20, {quarter} over 60."
    )
    return [paragraph(words)]


def _alerts(history: MonitoringHistory) -> list[Markup]:
    rules = [subheading("Rules"), rule_table(history.rules)] if history.rules else []
    if not history.alerts and not history.retrains:
        return [paragraph("No alert was raised."), *rules]
    shown = [alert.opened_session for alert in history.alerts]
    shown += [alert.last_session for alert in history.alerts]
    shown += [retrain.session for retrain in history.retrains]
    if len(history.sessions):
        shown = [history.sessions[0].item(), history.sessions[-1].item()]
    figure = alerts_figure(history.alerts, history.retrains, first=min(shown), last=max(shown))
    parts = [drawn(figure, name="alerts", description="Alert episodes by rule, and retrains")]
    if history.alerts:
        parts += onset_tables(history.alerts) + alert_tables(history)
    return parts + rules


def _models(history: MonitoringHistory) -> list[Markup]:
    if not history.models and not history.retrains:
        return [paragraph(NOTHING)]
    parts = []
    if history.models:
        parts = [model_table(history), paragraph(TEST_SET)]
    if history.retrains:
        parts += [subheading("Retrains"), retrain_table(history.retrains)]
    return parts
