"""Finding one stored prediction, by its decision time, by a time after it, or by its session."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import PredictionError
from quant_mlops.market.calendar import TradingCalendar

NEAR = 3


@dataclass(frozen=True)
class StoredPrediction:
    """A row of `predictions`."""

    strategy_id: str
    entity_key: str
    event_time: datetime
    session: date
    model_id: UUID
    signal: float
    feature_digest: str
    recorded_at: datetime


def find_prediction(
    database: Database,
    calendar: TradingCalendar,
    *,
    strategy_id: str,
    entity_key: str,
    time: datetime | date,
) -> StoredPrediction:
    """Return the prediction that was in force at a time.

    Parameters
    ----------
    database : Database
    calendar : TradingCalendar
    strategy_id, entity_key : str
    time : datetime or date
        An aware instant is the decision time itself or, where nothing was decided at it, one
        after it: the newest decision at or before it counts, back to the newest open. A date is
        a session: the last decision for it counts.

    Raises
    ------
    PredictionError
        There is none; the message names the nearest there are.
    """
    instant = time if isinstance(time, datetime) else None
    found = database.fetch_rows(
        StoredPrediction,
        query("select_traced_prediction"),
        {
            "strategy_id": strategy_id,
            "entity": entity_key,
            "session": time if instant is None else None,
            "newest": instant,
            "oldest": None if instant is None else newest_open(calendar, instant),
        },
    )
    if not found:
        raise _not_found(database, calendar, strategy_id, entity_key, time)
    return found[0]


def newest_open(calendar: TradingCalendar, instant: datetime) -> datetime:
    """Return the newest open at or before an instant."""
    # An evening may belong to the session of the next day already.
    session = calendar.next(instant.astimezone(calendar.timezone).date())
    while calendar.open_time(session) > instant:
        session = calendar.previous(session)
    return calendar.open_time(session)


def _not_found(
    database: Database,
    calendar: TradingCalendar,
    strategy_id: str,
    entity_key: str,
    time: datetime | date,
) -> PredictionError:
    if isinstance(time, datetime):
        when, instant = f"at or before {time.isoformat()} since the open before it", time
    else:
        when = f"for the session {time}"
        instant = calendar.open_time(calendar.next(time - timedelta(days=1)))
    row = database.fetch_one(
        query("select_nearest_predictions"),
        {"strategy_id": strategy_id, "entity": entity_key, "instant": instant},
    )
    near = [moment.isoformat() for moment in row or () if moment is not None]
    if near:
        advice = f"the nearest were decided at {' and '.join(near)}; give one of these times"
    else:
        advice = (
            f"nothing was ever predicted for {entity_key}; correct the name, or predict its "
            f"sessions first"
        )
    return PredictionError(f"{strategy_id} has no prediction of {entity_key} {when}; {advice}")
