"""What is known at a decision, and which model is live at it, in one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from uuid import UUID

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.rows import TupleRow

from quant_mlops.database.binary_copy import ARRAY_LOADERS
from quant_mlops.database.queries import query
from quant_mlops.market.calendar import TradingCalendar

Floats = npt.NDArray[np.float64]
Instants = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Decision:
    """The features of some names at one instant.

    Attributes
    ----------
    as_of_time : datetime
    ahead : bool
        Whether that instant lies after the database's clock.
    model_id : UUID or None
        The model live then.
    values : ndarray of float64, shape (N, F)
        NaN where nothing was known, or where it was known to be missing.
    event_times, ingest_times : ndarray of int64, shape (N, F)
        Microseconds since 1970-01-01 UTC; `NEVER` where nothing was known.
    """

    as_of_time: datetime
    ahead: bool
    model_id: UUID | None
    values: Floats
    event_times: Instants
    ingest_times: Instants


def prepare_connection(connection: psycopg.Connection[TupleRow]) -> None:
    """Set what `read_decision` needs on a connection that is kept for it."""
    for oid, loader in ARRAY_LOADERS.items():
        connection.adapters.register_loader(oid, loader)
    # Planned anew for each call, the read costs several times as much.
    connection.execute("SET plan_cache_mode = force_generic_plan")


def read_decision(
    connection: psycopg.Connection[TupleRow],
    *,
    strategy_id: str,
    entities: Sequence[str],
    features: dict[str, int],
    as_of: datetime | None,
) -> Decision:
    """Read the newest value of each feature known at an instant, and the model live at it.

    Parameters
    ----------
    connection : psycopg.Connection
        To which `prepare_connection` was applied.
    strategy_id : str
    entities : sequence of str
    features : dict of str to int
        Pinned versions, in the order of the columns.
    as_of : datetime or None
        Aware; None is the database's clock.
    """
    parameters = {
        "strategy_id": strategy_id,
        "entities": list(entities),
        "names": list(features),
        "versions": list(features.values()),
        "as_of": as_of,
    }
    with connection.cursor(binary=True) as cursor:
        row = cursor.execute(query("select_decision"), parameters, prepare=True).fetchone()
    assert row is not None
    as_of_time, ahead, model_id, *arrays = row
    shape = (len(entities), len(features))
    values, event_times, ingest_times = (array.reshape(shape) for array in arrays)
    return Decision(as_of_time.astimezone(UTC), ahead, model_id, values, event_times, ingest_times)


def decided_session(calendar: TradingCalendar, instant: datetime) -> date:
    """Return the session that a decision is for: the first that opens at or after the instant.

    At an open that is the session which opens, as for the daily predictions. While a session is
    under way, in the evening, at weekends and on holidays it is the next one.

    Parameters
    ----------
    calendar : TradingCalendar
    instant : datetime
        Aware.

    Raises
    ------
    MarketDataError
        The calendar does not cover the day.
    """
    session = instant.astimezone(calendar.timezone).date()
    if not calendar.is_session(session):
        session = calendar.next(session)
    while calendar.open_time(session) < instant:
        session = calendar.next(session)
    return session
