"""What an alert is founded on: the numbers, their noise, and where to look first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from quant_mlops.alerts.market_conditions import MarketReader
from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.drift.rules import Rule

FEATURES_SHOWN = 5
TREND_SESSIONS = 20
FEATURE_ACTIONS = (
    "check_features", "reduce_position", "pause_strategy", "watch_features", "request_retrain",
)  # fmt: skip


def gather_evidence(
    database: Database,
    market: MarketReader,
    *,
    strategy_id: str,
    rule: Rule,
    sessions: Sequence[date],
    values: Sequence[float],
    without_value: Sequence[date],
    model_id: UUID | None,
    as_of: datetime,
) -> dict[str, Any]:
    """Return the evidence of an alert as plain values.

    Parameters
    ----------
    database : Database
    market : MarketReader
    strategy_id : str
    rule : Rule
    sessions : sequence of date
        From the beginning of the condition to the session that opened the alert.
    values : sequence of float
        The rule's metric on those sessions.
    without_value : sequence of date
        Sessions among them that neither counted nor reset.
    model_id : UUID or None
        The live model, with whose training period the market is compared.
    as_of : datetime
        When the session that opened the alert was judged.
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
    if rule.action in FEATURE_ACTIONS:
        evidence["features"] = _features(database, strategy_id, opened)
    if rule.action in ("check_market", "reduce_and_prepare_retrain"):
        evidence["market"] = market.conditions(opened, model_id, as_of=as_of)
    return evidence


def missing_data_evidence(
    database: Database,
    *,
    strategy_id: str,
    session: date,
    missing: Sequence[str],
    tickers: Sequence[str] | None,
    as_of: datetime,
) -> dict[str, Any]:
    """Return the evidence of an alert about missing data: what, and how far there are any.

    Parameters
    ----------
    missing : sequence of str
        What the session lacks.
    tickers : sequence of str or None
        Whose prices count; None for those of every ticker.
    as_of : datetime
        When the session was judged: data that came later were missing.
    """
    parameters = {
        "strategy_id": strategy_id,
        "session": session,
        "tickers": None if tickers is None else list(tickers),
        "as_of": as_of,
    }
    prices, predictions, features = database.fetch_all(query("select_newest_data"), parameters)[0]
    return {
        "missing": list(missing),
        "newest_session": {
            "prices": prices, "predictions": predictions, "feature_drift": features,
        },
    }  # fmt: skip


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
