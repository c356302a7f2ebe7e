"""Reminders of open alerts that nobody has acknowledged, each told once and one severity higher."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from quant_mlops.alerts.outbox import SEVERITIES, UNACKNOWLEDGED, Alert
from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import MonitoringError


def escalate_unacknowledged(
    database: Database,
    *,
    after: timedelta,
    now: datetime | None = None,
    quiet_before: date | None = None,
) -> list[Alert]:
    """Store a reminder of each alert that is open and has been unacknowledged for so long.

    A reminder is an alert of its own under the rule `unacknowledged`, linked to the one that it
    escalates: it is delivered whatever became of that one's delivery, ends and is acknowledged
    together with it, and acts on nothing. An alert of severity info has none, a reminder has none
    of its own, and neither has an alert that a graver one of its metric has escalated already.

    Parameters
    ----------
    after : timedelta
        Since the alert was recorded.
    now : datetime, optional
        Aware; None means the database's clock.
    quiet_before : date, optional
        No reminder of an episode that was last seen before this session: filling in history
        leaves episodes open that nobody is expected to acknowledge.

    Returns
    -------
    list of Alert
        The reminders that are new; none if the same was asked before.
    """
    if after <= timedelta(0):
        raise MonitoringError(f"alerts were to be escalated after {after}; give more than 0")
    if now is not None and now.tzinfo is None:
        raise MonitoringError(f"{now} has no time zone; give an aware datetime")
    parameters = {
        "rule": UNACKNOWLEDGED,
        "severities": list(SEVERITIES),
        "hours": f"{after / timedelta(hours=1):g}",
        "before": (now or database.now()) - after,
        "quiet_before": quiet_before,
    }
    return database.fetch_rows(Alert, query("insert_unacknowledged_alerts"), parameters)
