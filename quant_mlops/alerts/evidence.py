"""What an alert is founded on: the numbers, their noise, and where to look first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from typing import Any

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.drift.rules import Rule

FEATURES_SHOWN = 5
TREND_SESSIONS = 20


def gather_evidence(
    database: Database,
    *,
    strategy_id: str,
    rule: Rule,
    sessions: Sequence[date],
    values: Sequence[float],
    without_value: Sequence[date],
) -> dict[str, Any]:
    """Return the evidence of an alert as plain values.

    Parameters
    ----------
    database : Database
    strategy_id : str
    rule : Rule
    sessions : sequence of date
        From the beginning of the condition to the session that opened the alert.
    values : sequence of float
        The rule's metric on those sessions.
    without_value : sequence of date
        Sessions among them that neither counted nor reset.
    """
    opened = sessions[-1]
    evidence: dict[str, Any] = {
        "rule": rule.describe(),
        "threshold": rule.threshold,
        "values": {
            day.isoformat(): None if math.isnan(value) else round(float(value), 6)
            for day, value in zip(sessions, values, strict=True)
        },
        "sessions_without_value": [day.isoformat() for day in without_value],
    }
    row = database.fetch_one(query("select_metric_errors"), [strategy_id, opened])
    if row is not None:
        names = ("ic_names", "ic_20d_mean", "ic_20d_se", "sharpe_60d", "sharpe_60d_se")
        evidence["sampling"] = dict(zip(names, row, strict=True))
    if rule.action in ("check_features", "watch_features", "request_retrain", "reduce_position"):
        evidence["features"] = _features(database, strategy_id, opened)
    if rule.action in ("check_market", "reduce_and_prepare_retrain"):
        evidence["market"] = _market(database, strategy_id, opened)
    return evidence


def _features(database: Database, strategy_id: str, session: date) -> list[dict[str, Any]]:
    """Return the features that moved most, with their PSI before and its no-drift bound."""
    rows = database.fetch_all(
        query("select_drifting_features"),
        {
            "strategy_id": strategy_id,
            "session": session,
            "limit": FEATURES_SHOWN,
            "trend": TREND_SESSIONS,
        },
    )
    names = ("feature", "psi", "psi_no_drift_95", "missing_rate", "psi_before")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _market(database: Database, strategy_id: str, session: date) -> dict[str, Any]:
    """Return market return and volatility of the last month, and over all sessions before it."""
    row = database.fetch_one(
        query("select_market_conditions"),
        {"strategy_id": strategy_id, "session": session, "recent": TREND_SESSIONS},
    )
    names = (
        "recent_mean_daily_return",
        "recent_daily_volatility",
        "earlier_mean_daily_return",
        "earlier_daily_volatility",
    )
    return {} if row is None else dict(zip(names, row, strict=True))
