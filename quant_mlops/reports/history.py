"""Loading what was monitored of one strategy, as arrays and rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
import psycopg
from psycopg.rows import TupleRow, class_row

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import MonitoringError
from quant_mlops.reports.records import (
    AlertEpisode,
    Days,
    Deployment,
    DriftSeries,
    FeatureDrift,
    Floats,
    ModelRecord,
    MonitoringHistory,
    Onset,
    Retrain,
    ReturnSeries,
    RuleRecord,
    SnapshotRecord,
    StateStep,
)

__all__ = [
    "AlertEpisode",
    "Deployment",
    "DriftSeries",
    "FeatureDrift",
    "ModelRecord",
    "MonitoringHistory",
    "Retrain",
    "ReturnSeries",
    "RuleRecord",
    "SnapshotRecord",
    "StateStep",
    "load_monitoring_history",
]

Row = TypeVar("Row")


def load_monitoring_history(
    database: Database, strategy_id: str, *, first: date | None = None, last: date | None = None
) -> MonitoringHistory:
    """Read what is stored about the monitoring of a strategy.

    Parameters
    ----------
    database : Database
        All of it is read in one transaction, so a daily run that is being stored meanwhile is
        either in every part of the history or in none.
    strategy_id : str
        One that nothing is stored about gives a history without sessions, not an error.
    first, last : date, optional
        Sessions to keep, both included; all by default. Alerts and live ranges that reach into
        them are kept whole, and so are the state changes before `first`, since the last of them
        is still in force there.

    Returns
    -------
    MonitoringHistory
        Series aligned to one axis of sessions, NaN for NULL and for sessions without a row.

    Raises
    ------
    MonitoringError
        `first` is after `last`.

    """
    if first is not None and last is not None and first > last:
        raise MonitoringError(
            f"a history from {first} to {last} has no sessions; give the earlier day as first"
        )
    with database.transaction() as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        reader = _Reader(connection, {"strategy_id": strategy_id, "first": first, "last": last})
        drift = reader.columns("select_report_drift", 10)
        features = reader.columns("select_report_feature_drift", 4)
        returns = reader.columns("select_report_returns", 4)
        sessions = _union(drift[0], features[0], returns[0])
        return MonitoringHistory(
            strategy_id=strategy_id,
            sessions=sessions,
            drift=DriftSeries(*(_align(sessions, drift[0], column) for column in drift[1:])),
            features=_feature_drift(sessions, features),
            returns=ReturnSeries(*(_align(sessions, returns[0], column) for column in returns[1:])),
            states=reader.rows(StateStep, "select_report_states"),
            alerts=_alerts(reader),
            deployments=reader.rows(Deployment, "select_report_deployments"),
            retrains=reader.rows(Retrain, "select_report_retrains"),
            models=_models(reader),
            snapshots=reader.rows(SnapshotRecord, "select_report_snapshots"),
            rules=_rules(reader),
        )


class _Reader:
    """The report's statements on one connection, all about the same strategy and sessions."""

    def __init__(
        self, connection: psycopg.Connection[TupleRow], parameters: dict[str, Any]
    ) -> None:
        self._connection = connection
        self._parameters = parameters

    def tuples(self, name: str, **further: Any) -> list[TupleRow]:
        return self._connection.execute(query(name), self._parameters | further).fetchall()

    def columns(self, name: str, count: int) -> list[tuple[Any, ...]]:
        rows = self.tuples(name)
        return list(zip(*rows, strict=True)) if rows else [()] * count

    def rows(self, row: type[Row], name: str) -> tuple[Row, ...]:
        with self._connection.cursor(row_factory=class_row(row)) as cursor:
            return tuple(cursor.execute(query(name), self._parameters).fetchall())


def _alerts(reader: _Reader) -> tuple[AlertEpisode, ...]:
    """Return the alerts, what is dated in their evidence read as dates again."""
    alerts = []
    for row in reader.tuples("select_report_alerts"):
        onset, found = None, row[-1]
        if found is not None:
            days = {name: date.fromisoformat(found[name]) for name in ("session", "first", "last")}
            onset = Onset(**found | days)
        alerts.append(AlertEpisode(*(*row[:-1], onset)))
    return tuple(alerts)


def _rules(reader: _Reader) -> tuple[RuleRecord, ...]:
    rules = []
    for name, condition, definition, first_session in reader.tuples("select_report_rules"):
        found = json.loads(definition)
        level = found["threshold"] if found["cusum_reference"] is None else np.nan
        rules.append(
            RuleRecord(
                name, condition, found["metric"], found["severity"], found["action"], level,
                first_session,
            )
        )  # fmt: skip
    return tuple(rules)


def _days(values: Iterable[date]) -> Days:
    return np.array(list(values), dtype="datetime64[D]")


def _union(*columns: Sequence[date]) -> Days:
    return np.unique(np.concatenate([_days(column) for column in columns]))


def _align(sessions: Days, days: Sequence[date], values: Sequence[float | None]) -> Floats:
    aligned = np.full(len(sessions), np.nan)
    aligned[np.searchsorted(sessions, _days(days))] = np.array(values, dtype=np.float64)
    return aligned


def _feature_drift(sessions: Days, columns: list[tuple[Any, ...]]) -> FeatureDrift:
    days, features, psi, no_drift_95 = columns
    names, position = np.unique(np.array(features, dtype=np.str_), return_inverse=True)
    tables = []
    for values in (psi, no_drift_95):
        table = np.full((len(sessions), len(names)), np.nan)
        table[np.searchsorted(sessions, _days(days)), position] = np.array(values, np.float64)
        tables.append(table)
    return FeatureDrift(tuple(str(name) for name in names), *tables)


def _models(reader: _Reader) -> tuple[ModelRecord, ...]:
    rows = reader.tuples("select_report_models")
    metrics: dict[UUID, dict[str, float]] = {row[0]: {} for row in rows}
    ids = list(metrics)
    for model_id, name, dataset, value in reader.tuples(
        "select_report_model_metrics", model_ids=ids
    ):
        metrics[model_id][f"{name}_{dataset}"] = float("nan") if value is None else value
    return tuple(ModelRecord(*(*row, metrics[row[0]])) for row in rows)
