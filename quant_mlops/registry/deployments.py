"""Which version was live for a strategy over which time, and who made it so."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import PromotionConflictError, RegistryError
from quant_mlops.registry.records import Deployment
from quant_mlops.registry.versions import unknown_model

UNSET = object()


def promote(
    connection: psycopg.Connection[TupleRow],
    *,
    model_id: UUID,
    strategy_id: str,
    by: str,
    reason: str,
    expected_current: UUID | object | None = UNSET,
    effective_from: datetime | None = None,
    evidence: dict[str, Any] | None = None,
) -> datetime:
    """Make a model live for a strategy from an instant on, ending what was live before.

    A model that is live already stays so from when it was, and the same promotion made again
    changes nothing, even after later ones.

    Parameters
    ----------
    connection : psycopg.Connection
        In the caller's transaction.
    model_id : UUID
    strategy_id : str
    by, reason : str
        Who promotes and why; neither may be empty.
    expected_current : UUID or None, optional
        Compare-and-set: the model that must be live at present (None: none at all).
    effective_from : datetime, optional
        Aware; the database's clock by default. A time before the start of the current
        deployment is refused, since it would rewrite what was live.
    evidence : dict, optional
        Why the gate let it through.

    Returns
    -------
    datetime
        Start of the deployment.

    Raises
    ------
    PromotionConflictError
        Another model than expected is live, or the time lies before the current deployment.
    ModelNotFoundError
        The model was deleted meanwhile.
    RegistryError
        `by` or `reason` is empty, or the time has no zone.
    """
    if not by.strip() or not reason.strip():
        raise RegistryError("a promotion needs to know who makes it and why; give by and reason")
    refuse_naive(effective_from)
    connection.execute(query("lock_deployments"), [strategy_id])
    row = connection.execute(query("select_open_deployment"), [strategy_id]).fetchone()
    current_id, current_model, live_from = row if row else (None, None, None)
    if expected_current is not UNSET and current_model != expected_current:
        raise PromotionConflictError(
            f"{_named(connection, current_model)} is live for {strategy_id} and "
            f"{_named(connection, expected_current)} was expected; look at what changed and "
            f"promote again"
        )
    if current_id is not None and current_model == model_id:
        return _instant(live_from)
    parameters = {
        "deployment_id": current_id,
        "strategy_id": strategy_id,
        "model_id": model_id,
        "live_from": effective_from or _now(connection),
        "by": by,
        "reason": reason,
        "evidence": Jsonb(evidence or {}),
    }
    start = _instant(parameters["live_from"])
    if connection.execute(query("select_repeated_deployment"), parameters).fetchone():
        return start
    if live_from is not None and start <= live_from:
        raise PromotionConflictError(
            f"the model live for {strategy_id} has been so since {live_from.isoformat()}; a "
            f"promotion from {start.isoformat()} would rewrite that, give a later time"
        )
    if current_id is not None:
        connection.execute(query("end_deployment"), parameters)
    try:
        connection.execute(query("insert_deployment"), parameters)
    except psycopg.errors.ForeignKeyViolation:
        raise unknown_model(model_id) from None
    return start


def rollback(
    connection: psycopg.Connection[TupleRow], *, strategy_id: str, by: str, reason: str
) -> datetime:
    """Promote the model that was live before the current one; return when it became live again.

    A second rollback goes further back: what was rolled back from is not returned to.

    Raises
    ------
    RegistryError
        No other model was ever live for the strategy.
    """
    connection.execute(query("lock_deployments"), [strategy_id])
    promoted: list[UUID] = []
    for model_id, is_rollback in connection.execute(query("select_promotions"), [strategy_id]):
        if not is_rollback:
            promoted.append(model_id)
        elif len(promoted) > 1:
            promoted.pop()
    earlier = [model_id for model_id in promoted if model_id != promoted[-1]] if promoted else []
    if not earlier:
        raise RegistryError(
            f"no model was live for {strategy_id} before the current one; promote a version instead"
        )
    return promote(
        connection,
        model_id=earlier[-1],
        strategy_id=strategy_id,
        by=by,
        reason=reason,
        evidence={"rollback": True},
    )


def live_deployment(
    database: Database, strategy_id: str, *, at: datetime | None = None
) -> Deployment | None:
    """Return the deployment that was live at an instant, now by default."""
    refuse_naive(at)
    found = database.fetch_rows(
        Deployment, query("select_live_deployment"), {"strategy_id": strategy_id, "at": at}
    )
    return found[0] if found else None


def deployments(database: Database, strategy_id: str) -> list[Deployment]:
    """Return every deployment of a strategy, oldest first."""
    return database.fetch_rows(Deployment, query("select_deployments"), [strategy_id])


def model_deployments(database: Database, model_id: UUID) -> list[Deployment]:
    """Return every deployment of a model, for whichever strategy, oldest first."""
    return database.fetch_rows(Deployment, query("select_model_deployments"), [model_id])


def refuse_naive(moment: datetime | None) -> None:
    """Raise RegistryError for a datetime without a zone, which could be any of several instants."""
    if moment is not None and moment.tzinfo is None:
        raise RegistryError(
            f"{moment.isoformat()} has no time zone; give an aware datetime, for example in UTC"
        )


def _named(connection: psycopg.Connection[TupleRow], model_id: object) -> str:
    """Return a model as people and programs know it, by label and id."""
    row = connection.execute(
        "SELECT name || ' v' || version FROM models WHERE model_id = %s", [model_id]
    ).fetchone()
    return str(model_id or "none") if row is None else f"{row[0]}, {model_id}"


def _now(connection: psycopg.Connection[TupleRow]) -> datetime:
    """Return the server's clock: read under the lock, it is after what was waited for."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    return _instant(row[0])


def _instant(value: object) -> datetime:
    assert isinstance(value, datetime)
    return value
