"""What was decided between champion and challenger, kept whichever way it went."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import RegistryError


@dataclass(frozen=True)
class ModelComparison:
    """A stored decision.

    Attributes
    ----------
    champion_id, champion : UUID and str, or None
        What was live before, and its name and version; None for the first model of a strategy.
    as_of : datetime
        From when on the promotion holds, or would have held.
    promoted : bool
        Whether the challenger went live by it.
    evidence : dict
        Candidates, both paired comparisons, fingerprint and request.
    """

    comparison_id: int
    strategy_id: str
    champion_id: UUID | None
    champion: str | None
    challenger_id: UUID
    challenger: str
    snapshot_id: UUID
    as_of: datetime
    promoted: bool
    reason: str
    evidence: dict[str, Any]
    recorded_at: datetime


def record_comparison(
    connection: psycopg.Connection[TupleRow],
    *,
    strategy_id: str,
    champion_id: UUID | None,
    challenger_id: UUID,
    snapshot_id: UUID,
    as_of: datetime,
    promoted: bool,
    reason: str,
    evidence: dict[str, Any],
) -> bool:
    """Store a decision in the caller's transaction, which makes the promotion as well.

    The same decision taken again changes nothing: the same models on the same snapshot as of the
    same time with the same outcome. Another outcome is another decision, such as when a model
    that could only be prepared may be promoted later.

    Parameters
    ----------
    as_of : datetime
        Aware.
    evidence : dict
        Plain JSON values, None for what could not be computed.

    Returns
    -------
    bool
        Whether it is stored now.

    Raises
    ------
    RegistryError
        The time has no zone.
    """
    if as_of.tzinfo is None:
        raise RegistryError(
            f"a comparison as of {as_of.isoformat()} has no time zone; give an aware datetime"
        )
    parameters = {
        "strategy_id": strategy_id,
        "champion_id": champion_id,
        "challenger_id": challenger_id,
        "snapshot_id": snapshot_id,
        "as_of": as_of,
        "promoted": promoted,
        "reason": reason,
        "evidence": Jsonb(evidence),
    }
    return connection.execute(query("insert_model_comparison"), parameters).rowcount == 1


def list_comparisons(database: Database, strategy_id: str) -> list[ModelComparison]:
    """Return every decision of a strategy, in the order of the times they hold from."""
    return database.fetch_rows(ModelComparison, query("select_model_comparisons"), [strategy_id])
