"""How far each alert has got by each channel, and a further try for what was given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from quant_mlops.database import Database
from quant_mlops.database.queries import query

DELIVERED, WAITING, UNDELIVERABLE = "delivered", "waiting", "undeliverable"


@dataclass(frozen=True)
class DeliveryState:
    """The newest attempt of an alert by a channel; a pair never tried has none.

    Attributes
    ----------
    state : {"delivered", "waiting", "undeliverable"}
        Waiting is due again at `next_attempt_at`; undeliverable was given up.
    attempts : int
    in_digest : bool
        Whether that attempt was a digest with others.
    detail : str
        Why the attempt failed, free of secrets; empty if it did not.
    """

    alert_id: int
    channel: str
    attempts: int
    state: str
    attempted_at: datetime
    next_attempt_at: datetime | None
    in_digest: bool
    detail: str


def delivery_states(database: Database, alert_ids: Sequence[int]) -> list[DeliveryState]:
    """Return the states of the alerts given, by alert and channel."""
    parameters = {"alert_ids": list(alert_ids)}
    return database.fetch_rows(DeliveryState, query("select_delivery_states"), parameters)


def undeliverable_alerts(database: Database) -> list[int]:
    """Return the alerts, of all strategies, that some channel was given up for."""
    rows = database.fetch_all(query("select_undeliverable_alerts"))
    return [alert_id for (alert_id,) in rows]


def reopen_deliveries(database: Database) -> int:
    """Make what was given up due for one more attempt, and return how many pairs that are."""
    return database.execute(query("reopen_deliveries"))
