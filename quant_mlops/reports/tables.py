"""The tables of a report: what each alert did, which model was live and why, what it earned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

import numpy as np

from quant_mlops.reports.page import Cell, Markup, badge, folded, table
from quant_mlops.reports.records import (
    AlertEpisode,
    Deployment,
    Floats,
    ModelRecord,
    MonitoringHistory,
    Retrain,
    RuleRecord,
)
from quant_mlops.statistics import maximum_drawdown, sharpe_ratio, sharpe_standard_error
from quant_mlops.wording import counted, level_text, short_time

NONE = "\N{EN DASH}"
ALERTS_SHOWN = 25
SESSIONS_PER_YEAR = 252
RETRAIN_WORDS = {
    "open": "waiting",
    "coalesced": "merged into a request that was open already",
    "promoted": "promoted",
    "rejected": "rejected; the live model stayed",
    "prepared": "trained and kept ready, not promoted",
    "failed": "failed",
}


def number(value: float, form: str = "+.3f") -> str:
    """Return a formatted number, or a dash where it is undefined."""
    return format(value, form).replace("-", "\N{MINUS SIGN}") if math.isfinite(value) else NONE


def with_error(value: float, error: float, form: str = "+.3f") -> str:
    """Return a number with its standard error, as far as they are defined."""
    if not math.isfinite(error):
        return number(value, form)
    return f"{number(value, form)} ± {number(error, form.lstrip('+'))}"


def when(moment: date | datetime | None) -> str:
    """Return a date in ISO form, an instant in UTC with its time, or a dash.

    The evening after a session is the next day in UTC, which a bare date would not tell.
    """
    if isinstance(moment, date) and not isinstance(moment, datetime):
        return moment.isoformat()
    return short_time(moment) or NONE


def return_table(history: MonitoringHistory) -> Markup:
    """Compare the model, what was traded of it, and the market."""
    series = {
        "model, net of cost": history.returns.net,
        "as traded": history.returns.traded,
        "market": history.returns.market,
    }
    columns = [("", ""), ("sessions", "number"), ("annual return", "number"),
               ("annual volatility", "number"), ("Sharpe ± s.e.", "number"),
               ("max drawdown", "number")]  # fmt: skip
    return table(columns, [_return_row(name, values) for name, values in series.items()])


def _return_row(name: str, returns: Floats) -> list[Cell]:
    present = returns[np.isfinite(returns)]
    growth = volatility = math.nan
    if len(present) > 1:
        growth = float(np.prod(1.0 + present)) ** (SESSIONS_PER_YEAR / len(present)) - 1.0
        volatility = float(np.std(present, ddof=1)) * math.sqrt(SESSIONS_PER_YEAR)
    return [
        name,
        f"{len(present):,}",
        number(growth, "+.1%"),
        number(volatility, ".1%"),
        with_error(sharpe_ratio(present), sharpe_standard_error(present), "+.2f"),
        number(maximum_drawdown(present), ".1%"),
    ]


def feature_table(history: MonitoringHistory) -> Markup:
    """List the features by their newest PSI, beside what no drift would give."""
    rows: list[tuple[float, list[Cell]]] = []
    features, severe = history.features, history.levels.psi_severe
    columns = [("feature", "wide"), ("newest", "fixed"), ("PSI", "number"),
               ("no-drift 95%", "number"), ("highest PSI", "number"), ("on", "fixed")]  # fmt: skip
    if math.isfinite(severe):
        columns.append((f"sessions above {level_text(severe)}", "number"))
    for i, name in enumerate(features.names):
        psi = features.psi[:, i]
        present = np.flatnonzero(np.isfinite(psi))
        if len(present) == 0:
            rows.append((-1.0, [name, *[NONE] * (len(columns) - 1)]))
            continue
        newest, worst = present[-1], present[np.argmax(psi[present])]
        cells: list[Cell] = [
            name,
            str(history.sessions[newest]),
            number(psi[newest], ".3f"),
            number(features.no_drift_95[newest, i], ".3f"),
            number(psi[worst], ".3f"),
            str(history.sessions[worst]),
            f"{np.mean(psi[present] > severe):.0%}",
        ]
        rows.append((float(psi[newest]), cells[: len(columns)]))
    rows.sort(key=lambda row: -row[0])
    return table(columns, [cells for _, cells in rows])


def rule_table(rules: Sequence[RuleRecord]) -> Markup:
    """List the rules that the strategy is judged by, by metric, the gravest last."""
    columns = [("rule", "words"), ("severity", "fixed"), ("condition", "wide"), ("action", "words"),
               ("in force since", "fixed")]  # fmt: skip
    order = {name: i for i, name in enumerate(("warning", "severe", "critical"))}
    ranked = sorted(rules, key=lambda rule: (rule.metric, order[rule.severity]))
    return table(
        columns,
        [
            [
                rule.name.replace("_", " "),
                badge(rule.severity),
                rule.condition,
                rule.action.replace("_", " "),
                when(rule.first_session),
            ]
            for rule in ranked
        ],
    )


def alert_tables(history: MonitoringHistory) -> list[Markup]:
    """List the alerts, newest first; the older ones are folded away."""
    columns = [("severity", "fixed"), ("rule", "words"), ("opened", "fixed"), ("closed", "fixed"),
               ("what it said", "wide"), ("what it did", "wide")]  # fmt: skip
    newest_first = history.alerts[::-1]
    rows = [_alert_row(alert, history) for alert in newest_first]
    shown, older = rows[:ALERTS_SHOWN], rows[ALERTS_SHOWN:]
    tables = [table(columns, shown)]
    if older:
        tables.append(folded(counted(len(older), "earlier alert"), table(columns, older)))
    return tables


def _alert_row(alert: AlertEpisode, history: MonitoringHistory) -> list[Cell]:
    did = [alert.action.replace("_", " ")] if alert.action else []
    for state in history.states:
        if state.alert_id == alert.alert_id:
            did.append(
                f"{state.status}, position scale {state.position_scale:g} "
                f"from {when(state.effective_from)}"
            )
    for retrain in history.retrains:
        if retrain.alert_id == alert.alert_id:
            did.append(f"request {retrain.request_id}: {retrain_words(retrain)}")
    if alert.acknowledged_by is not None:
        did.append(f"acknowledged by {alert.acknowledged_by} on {when(alert.acknowledged_at)}")
    return [
        badge(alert.severity),
        alert.rule.replace("_", " "),
        when(alert.opened_session),
        "open" if alert.closed_session is None else when(alert.closed_session),
        alert.message,
        "; ".join(did),
    ]


def model_table(history: MonitoringHistory) -> Markup:
    """List every model version with the times it was live, newest first."""
    columns = [("model", "fixed"), ("live from", ""), ("to", ""), ("promoted by", ""),
               ("why", "wide"), ("learned from", "words"), ("test IC", "number"),
               ("test Sharpe", "number")]  # fmt: skip
    live: dict[UUID, list[Deployment]] = {model.model_id: [] for model in history.models}
    for deployment in history.deployments:
        live[deployment.model_id].append(deployment)
    rows: list[tuple[Any, list[Cell]]] = []
    for model in history.models:
        facts = [
            _training_words(model, history),
            _out_of_sample(model, "ic_mean", "+.3f"),
            _out_of_sample(model, "sharpe_ratio", "+.2f"),
        ]
        for deployment in live[model.model_id]:
            began = deployment.live_from
            ended = "live now" if deployment.live_to is None else when(deployment.live_to)
            cells = [when(began), ended, deployment.promoted_by, deployment.reason]
            rows.append(((model.name, model.version, began), [_named(model), *cells, *facts]))
        if not live[model.model_id]:
            never = ["never", NONE, NONE, _outcomes(model, history)]
            rows.append(((model.name, model.version, None), [_named(model), *never, *facts]))
    return table(columns, [cells for _, cells in reversed(rows)])


def _named(model: ModelRecord) -> str:
    return f"{model.name} v{model.version}"


def _outcomes(model: ModelRecord, history: MonitoringHistory) -> str:
    words = [
        f"request {retrain.request_id}: {retrain_words(retrain)}"
        for retrain in history.retrains
        if retrain.model_id == model.model_id
    ]
    return "; ".join(words) or NONE


def _out_of_sample(model: ModelRecord, name: str, form: str) -> str:
    """Return a metric of the test set; the backtest is run on it as well."""
    for dataset in ("test", "backtest"):
        value = model.metrics.get(f"{name}_{dataset}")
        if value is not None:
            return with_error(value, model.metrics.get(f"{name}_se_{dataset}", math.nan), form)
    return NONE


def _training_words(model: ModelRecord, history: MonitoringHistory) -> str:
    for snapshot in history.snapshots:
        if snapshot.snapshot_id == model.snapshot_id:
            return (
                f"{snapshot.row_count:,} rows, {snapshot.first_session} to "
                f"{snapshot.last_session} ({snapshot.fingerprint[:10]})"
            )
    return NONE


def retrain_table(retrains: Sequence[Retrain]) -> Markup:
    """List the requests for a new model and what became of them, newest first."""
    columns = [("request", "number"), ("session", "fixed"), ("asked by", ""),
               ("could promote", "fixed"), ("outcome", "wide"), ("verdict", "wide")]  # fmt: skip
    rows: list[list[Cell]] = [
        [
            str(retrain.request_id),
            when(retrain.session),
            retrain.requested_by,
            "yes" if retrain.may_promote else "no",
            retrain_words(retrain),
            verdict_words(retrain.verdict),
        ]
        for retrain in reversed(retrains)
    ]
    return table(columns, rows)


def retrain_words(retrain: Retrain) -> str:
    """Say in words what became of a request."""
    words = RETRAIN_WORDS[retrain.status]
    return words if retrain.model_version is None else f"v{retrain.model_version} {words}"


def verdict_words(verdict: Any) -> str:
    """Say a stored verdict in words: its reason, or else every name and value it has."""
    if verdict is None or verdict in ({}, []):
        return NONE
    if isinstance(verdict, Mapping):
        if verdict.get("reason"):
            return verdict_words(verdict["reason"])
        parts = (f"{key} {verdict_words(verdict[key])}" for key in sorted(verdict))
        return "; ".join(parts).replace("_", " ")
    if isinstance(verdict, list):
        return ", ".join(verdict_words(value) for value in verdict)
    if isinstance(verdict, bool):
        return "yes" if verdict else "no"
    return f"{verdict:.4g}" if isinstance(verdict, float) else str(verdict)
