"""Requests to retrain: at most one open per strategy, whatever the number of alerts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import TupleRow, class_row

from quant_mlops.alerts.outbox import to_jsonb
from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import MonitoringError

OPEN, COALESCED, PROMOTED = "open", "coalesced", "promoted"
FINISHED = (PROMOTED, "rejected", "prepared", "failed")


@dataclass(frozen=True)
class RetrainRequest:
    """A stored request.

    Attributes
    ----------
    session : date
        The session whose evaluation asked for it.
    may_promote : bool
        Whether the new model may go live by itself; if not it is only prepared.
    status : str
        open, coalesced (into the request that `verdict` names), promoted, rejected, prepared
        or failed.
    """

    request_id: int
    strategy_id: str
    session: date
    alert_id: int | None
    requested_by: str
    may_promote: bool
    status: str
    model_id: UUID | None
    verdict: dict[str, Any] | None
    recorded_at: datetime
    finished_at: datetime | None


def request_retrain(
    connection: psycopg.Connection[TupleRow],
    *,
    strategy_id: str,
    session: date,
    alert_id: int | None,
    requested_by: str,
    may_promote: bool,
    cooldown_start: date | None = None,
) -> RetrainRequest:
    """Ask for a retraining, or join the one that is open or has just been done.

    While a request is open, a further one is stored as coalesced into it and hands it the
    permission to promote if it lacked that. The same holds for a retraining that was done
    within the cool-down, with two exceptions: one that failed cools nothing down, and one that
    could only prepare a model does not stand in for one that may promote.

    Parameters
    ----------
    alert_id : int or None
        A second request for the same alert returns the first and stores nothing; None when a
        person asks.
    cooldown_start : date, optional
        First session of the cool-down: a finished request of that session or a later one
        absorbs this one. None means no cool-down; sessions are the caller's to count.

    Returns
    -------
    RetrainRequest
        The stored request; its `status` tells whether there is anything to do.
    """
    if not requested_by.strip():
        raise MonitoringError("a retraining is requested by somebody: give a name, not ''")
    row: dict[str, Any] = {
        "strategy_id": strategy_id,
        "session": session,
        "alert_id": alert_id,
        "requested_by": requested_by.strip(),
        "may_promote": may_promote,
        "cooldown_start": cooldown_start,
    }
    with connection.transaction():
        connection.execute(query("lock_alerts"), row)
        known = _first(connection, query("select_alert_retrain"), row)
        if known is not None:
            return known
        earlier = _first(connection, query("select_open_retrain"), row)
        if earlier is None and cooldown_start is not None:
            earlier = _first(connection, query("select_cooling_retrain"), row)
        elif earlier is not None and may_promote and not earlier.may_promote:
            upgrade = "UPDATE retrain_requests SET may_promote = true WHERE request_id = %s"
            connection.execute(upgrade, [earlier.request_id])
        verdict = None if earlier is None else {"coalesced_into": earlier.request_id}
        row["status"] = OPEN if earlier is None else COALESCED
        row["verdict"] = None if verdict is None else to_jsonb(verdict)
        return _only(connection, query("insert_retrain_request"), row)


def open_request(database: Database, strategy_id: str) -> RetrainRequest | None:
    """Return the request that waits to be worked on, if there is one."""
    parameters = {"strategy_id": strategy_id}
    rows = database.fetch_rows(RetrainRequest, query("select_open_retrain"), parameters)
    return rows[0] if rows else None


def finish_request(
    connection: psycopg.Connection[TupleRow],
    request_id: int,
    *,
    status: str,
    model_id: UUID | None,
    verdict: Mapping[str, Any] | None,
) -> RetrainRequest:
    """Close an open request with what became of it; saying the same again changes nothing.

    Parameters
    ----------
    status : {"promoted", "rejected", "prepared", "failed"}
        Promoted is refused unless the request may promote by now.
    model_id : UUID or None
        The model that was trained, if one was.
    verdict : mapping or None
        Why, as the comparison with the live model or the error gives it.

    Raises
    ------
    MonitoringError
        The request is unknown, is not open, or may not promote.
    """
    if status not in FINISHED:
        raise MonitoringError(
            f"a retraining cannot end as {status!r}; it ends as one of {', '.join(FINISHED)}"
        )
    row = {
        "request_id": request_id,
        "status": status,
        "model_id": model_id,
        "verdict": None if verdict is None else to_jsonb(verdict),
    }
    with connection.transaction():
        request = _known(connection, row)
        connection.execute(query("lock_alerts"), asdict(request))
        # Read once more: until the lock was held the request could change.
        request = _known(connection, row)
        if (request.status, request.model_id) == (status, model_id):
            return request
        if request.status != OPEN:
            raise MonitoringError(
                f"retrain request {request_id} is {request.status} and was to become {status}; "
                f"only an open one can be finished"
            )
        if status == PROMOTED and not request.may_promote:
            raise MonitoringError(
                f"retrain request {request_id} may only prepare a model; finish it as prepared"
            )
        return _only(connection, query("finish_retrain_request"), row)


def _known(connection: psycopg.Connection[TupleRow], row: Mapping[str, Any]) -> RetrainRequest:
    request = _first(connection, query("select_retrain_request"), row)
    if request is None:
        raise MonitoringError(f"there is no retrain request {row['request_id']}")
    return request


def _only(
    connection: psycopg.Connection[TupleRow], statement: LiteralString, row: Mapping[str, Any]
) -> RetrainRequest:
    with connection.cursor(row_factory=class_row(RetrainRequest)) as cursor:
        return cursor.execute(statement, row).fetchall()[0]


def _first(
    connection: psycopg.Connection[TupleRow], statement: LiteralString, row: Mapping[str, Any]
) -> RetrainRequest | None:
    with connection.cursor(row_factory=class_row(RetrainRequest)) as cursor:
        return cursor.execute(statement, row).fetchone()
