"""The outbox: each alert is a row before anybody is told of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.drift.rules import AlertConfig
from quant_mlops.errors import MonitoringError

SEVERITIES = ("info", "warning", "severe", "critical")
UNACKNOWLEDGED = "unacknowledged"
METRICS = {rule.name: rule.metric for rule in AlertConfig().rules()}


@dataclass(frozen=True)
class NewAlert:
    """One episode of a rule, as an evaluation sees it.

    Attributes
    ----------
    dedupe_key : str
        The episode's identity. Two episodes under one key become one alert, and one episode
        under two keys is told twice.
    opened_session, last_session, closed_session : date
        First session of the episode, newest session at which it held, and the session at which
        it ended; None while it lasts.
    evidence : mapping
        What was known when the episode opened, stored as JSON; NaN and infinity become null.
    """

    dedupe_key: str
    strategy_id: str
    rule: str
    severity: str
    action: str
    message: str
    opened_session: date
    last_session: date
    closed_session: date | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    model_id: UUID | None = None

    def __post_init__(self) -> None:
        _check_severity(self.severity)
        if min(self.last_session, self.closed_session or date.max) < self.opened_session:
            raise MonitoringError(
                f"alert {self.dedupe_key!r} opened on {self.opened_session}, was last seen on "
                f"{self.last_session} and closed on {self.closed_session}; nothing of an episode "
                f"comes before it opens"
            )


@dataclass(frozen=True)
class Alert:
    """A stored alert; see `NewAlert` for what its sessions mean.

    Attributes
    ----------
    escalates : int or None
        The alert that this one makes graver: a milder one of the same metric that was open when
        this one opened, or the one that nobody has acknowledged.
    closed_reason : str or None
        Why it ended, if not because its condition did.
    """

    alert_id: int
    dedupe_key: str
    strategy_id: str
    rule: str
    severity: str
    action: str
    message: str
    opened_session: date
    last_session: date
    closed_session: date | None
    evidence: dict[str, Any]
    model_id: UUID | None
    recorded_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    escalates: int | None
    closed_reason: str | None


def record_alerts(
    connection: psycopg.Connection[TupleRow],
    alerts: Sequence[NewAlert],
    *,
    judged_until: date | None = None,
) -> list[Alert]:
    """Store the alerts that are new and bring the episodes of the others up to date.

    Of an alert that is stored already only `last_session` and `closed_session` may change, and
    only towards an evaluation that saw at least as much of the episode: message and evidence
    stay those of the opening, and a run over past sessions does not shorten an episode. An alert
    that opens while a milder one of its metric has been open for a session or more is linked to
    it, and its message says so.

    Parameters
    ----------
    connection : psycopg.Connection
        The caller's; inside its transaction, the alerts are stored with the rest or not at all.
        The strategies named stay locked against other recorders until that transaction ends.
    alerts : sequence of NewAlert
        In the order in which they are to be numbered.
    judged_until : date, optional
        Newest session that the evaluation saw; by default each alert's own newest one.

    Returns
    -------
    list of Alert
        Those stored by this call, hence those whose actions are to be taken now.
    """
    stored: list[Alert] = []
    with connection.transaction(), connection.cursor(row_factory=class_row(Alert)) as cursor:
        for strategy_id in sorted({alert.strategy_id for alert in alerts}):
            connection.execute(query("lock_alerts"), {"strategy_id": strategy_id})
        for alert in alerts:
            row = asdict(alert) | {
                "evidence": to_jsonb(alert.evidence),
                "rules": _rules_beside(alert.rule),
                "milder": list(SEVERITIES[: SEVERITIES.index(alert.severity)]),
                "unacknowledged": UNACKNOWLEDGED,
                "judged_until": judged_until,
            }
            inserted = cursor.execute(query("insert_alert"), row).fetchone()
            if inserted is not None:
                stored.append(inserted)
            else:
                cursor.execute(query("update_alert_episode"), row)
    return stored


def list_alerts(
    database: Database,
    *,
    strategy_id: str | None = None,
    severity: str | None = None,
    open_only: bool = False,
    limit: int | None = 100,
) -> list[Alert]:
    """Return alerts, those that opened last first.

    Parameters
    ----------
    strategy_id, severity : str, optional
        Only those of one strategy, or of exactly one severity.
    open_only : bool
        Leave out episodes that have ended.
    limit : int or None
        At most so many; None returns every one.
    """
    if severity is not None:
        _check_severity(severity)
    parameters = {
        "strategy_id": strategy_id,
        "severity": severity,
        "open_only": open_only,
        "limit": limit,
    }
    return database.fetch_rows(Alert, query("select_alerts"), parameters)


def acknowledge(database: Database, alert_id: int, *, by: str) -> Alert:
    """Note that a person has seen an alert; the first to say so is remembered.

    Whoever has seen the reminder of an unacknowledged alert has seen that alert, and conversely.

    Raises
    ------
    MonitoringError
        No alert has that number, or `by` is empty.
    """
    if not by.strip():
        raise MonitoringError("an alert is acknowledged by somebody: give a name, not ''")
    parameters = {"alert_id": alert_id, "by": by.strip(), "unacknowledged": UNACKNOWLEDGED}
    rows = database.fetch_rows(Alert, query("acknowledge_alert"), parameters)
    if not rows:
        raise MonitoringError(
            f"there is no alert {alert_id}; `quant-mlops alerts list` shows the numbers"
        )
    return rows[0]


def count_by_severity(database: Database, strategy_id: str) -> dict[str, int]:
    """Return how many alerts a strategy has had, for every severity, mildest first."""
    rows = database.fetch_all(query("count_alerts_by_severity"), {"strategy_id": strategy_id})
    counts = dict(rows)
    return {severity: int(counts.get(severity, 0)) for severity in SEVERITIES}


def to_jsonb(value: Any) -> Jsonb:
    """Wrap a value for a jsonb column: times as ISO text, numbers that are not finite as null."""
    return Jsonb(_plain(value))


def _rules_beside(rule: str) -> list[str]:
    """Return the other rules of a rule's metric; a rule that stands alone has none."""
    metric = METRICS.get(rule)
    return [name for name, other in METRICS.items() if other == metric and name != rule]


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return value.isoformat() if isinstance(value, date) else str(value)


def _check_severity(severity: str) -> None:
    if severity not in SEVERITIES:
        raise MonitoringError(
            f"{severity!r} is not a severity; it is one of {', '.join(SEVERITIES)}"
        )
