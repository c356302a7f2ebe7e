"""A strategy's state, which a trading system reads: active, reduced or paused, and since when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.rows import TupleRow, class_row

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import MonitoringError

# Who changes a state when a rule does; no person may resume under this name.
MONITOR = "monitor"
ACTIVE, REDUCED, PAUSED = "active", "reduced", "paused"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_END_OF_TIME = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class StrategyState:
    """What holds for a strategy from `effective_from` on; a default has no row and no times.

    Attributes
    ----------
    position_scale : float
        What every position is multiplied by: 1 when active, 0 when paused.
    alert_id : int or None
        The alert that brought the state about; None if a person did.
    """

    strategy_id: str
    status: str = ACTIVE
    position_scale: float = 1.0
    state_id: int | None = None
    effective_from: datetime | None = None
    changed_by: str | None = None
    reason: str | None = None
    alert_id: int | None = None
    recorded_at: datetime | None = None

    def words(self) -> str:
        """Return status and scale; what limits the position lasts until a person resumes it."""
        ends = "" if self.status == ACTIVE else "; it lasts until `quant-mlops alerts resume`"
        return f"{self.status}, position scale {self.position_scale:g}{ends}"


def current_state(
    database: Database, strategy_id: str, *, at: datetime | None = None
) -> StrategyState:
    """Return the state in force at a moment.

    Parameters
    ----------
    at : datetime, optional
        Aware; None means now, so that a state which takes effect later is not yet returned.
    """
    with database.connection() as connection:
        return _state_at(connection, strategy_id, None if at is None else _aware(at))


def apply_scale(
    connection: psycopg.Connection[TupleRow],
    *,
    strategy_id: str,
    factor: float,
    alert_id: int,
    effective_from: datetime,
    reason: str,
) -> StrategyState | None:
    """Multiply the position scale, because of an alert, and return what was stored.

    Changes that take effect later and were stored first are scaled as well, up to the next
    resumption: the order in which history is replayed does not matter. None means that nothing
    was written, since the strategy is paused by then or the alert was applied before.

    Parameters
    ----------
    factor : float
        Above 0 and below 1.
    effective_from : datetime
        Aware; may lie in the past. A moment before the alert could be known falsifies a replay.
    """
    if not 0 < factor < 1:
        raise MonitoringError(
            f"a position scale was to be multiplied by {factor}; a rule's factor lies between 0 "
            f"and 1, a pause is a rule's action of its own, and only a person scales up"
        )
    change = StrategyState(
        strategy_id, effective_from=effective_from, changed_by=MONITOR, reason=reason,
        alert_id=alert_id,
    )  # fmt: skip
    return _reduce(connection, change, factor=factor, effective_from=_aware(effective_from))


def pause(
    connection: psycopg.Connection[TupleRow],
    *,
    strategy_id: str,
    alert_id: int | None,
    effective_from: datetime,
    reason: str,
    by: str = MONITOR,
) -> StrategyState | None:
    """Stop a strategy until a person resumes it; see `apply_scale` for the past and for None.

    Parameters
    ----------
    alert_id : int or None
        The alert that asks for it; None when a person, named in `by`, pauses it.
    """
    change = StrategyState(
        strategy_id, effective_from=effective_from, changed_by=by, reason=reason,
        alert_id=alert_id,
    )  # fmt: skip
    return _reduce(connection, change, factor=0.0, effective_from=_aware(effective_from))


def resume(
    database: Database,
    *,
    strategy_id: str,
    by: str,
    reason: str,
    effective_from: datetime | None = None,
) -> StrategyState:
    """Make a reduced or paused strategy active again; nothing else does.

    Parameters
    ----------
    by, reason : str
        The person and why, both kept.
    effective_from : datetime, optional
        Aware; None means now, or the newest change where that takes effect later.

    Raises
    ------
    MonitoringError
        `by` or `reason` is empty or `by` is the monitor, the strategy is active already, or it
        has changed after `effective_from`.
    """
    if not by.strip() or not reason.strip() or by.strip() == MONITOR:
        raise MonitoringError(
            f"strategy {strategy_id!r} was to be resumed by {by!r} because {reason!r}; a person's "
            f"name and a reason are needed"
        )
    with database.transaction() as connection:
        connection.execute(query("lock_alerts"), {"strategy_id": strategy_id})
        newest = _state_at(connection, strategy_id, _END_OF_TIME)
        if newest.status == ACTIVE or newest.effective_from is None:
            raise MonitoringError(f"strategy {strategy_id!r} is active already; nothing to resume")
        if effective_from is None:
            now = connection.execute("SELECT clock_timestamp()").fetchall()[0][0]
            effective_from = max(now, newest.effective_from)
        elif _aware(effective_from) < newest.effective_from:
            raise MonitoringError(
                f"strategy {strategy_id!r} was to be resumed from {effective_from}, but has been "
                f"{newest.status} from {newest.effective_from} on; resume it from then or later"
            )
        active = StrategyState(
            strategy_id, effective_from=effective_from, changed_by=by.strip(), reason=reason.strip()
        )
        return _append(connection, active)


def position_scales(
    database: Database, strategy_id: str, instants: Sequence[datetime]
) -> NDArray[np.float64]:
    """Return the position scale in force at each instant, 1 before the first change.

    Parameters
    ----------
    instants : sequence of datetime
        Aware, in any order.

    Returns
    -------
    array of float, one per instant
    """
    rows = database.fetch_all(query("select_position_scales"), {"strategy_id": strategy_id})
    starts = np.array([_microseconds(start) for start, _ in rows], dtype=np.int64)
    scales = np.array([1.0, *(scale for _, scale in rows)], dtype=np.float64)
    asked = np.array([_microseconds(_aware(instant)) for instant in instants], dtype=np.int64)
    found: NDArray[np.float64] = scales[np.searchsorted(starts, asked, side="right")]
    return found


def _reduce(
    connection: psycopg.Connection[TupleRow],
    change: StrategyState,
    *,
    factor: float,
    effective_from: datetime,
) -> StrategyState | None:
    strategy_id = change.strategy_id
    with connection.transaction():
        connection.execute(query("lock_alerts"), {"strategy_id": strategy_id})
        applied = "SELECT 1 FROM strategy_states WHERE alert_id = %s"
        if connection.execute(applied, [change.alert_id]).fetchone() is not None:
            return None
        base = _state_at(connection, strategy_id, effective_from)
        if base.status == PAUSED:
            return None
        written = _append(connection, replace(change, position_scale=base.position_scale * factor))
        later = {"strategy_id": strategy_id, "after": effective_from}
        for state in _select(connection, "select_states_until_resumed", later):
            if state.status == PAUSED:
                break
            restated = replace(
                change,
                position_scale=state.position_scale * factor,
                effective_from=state.effective_from,
                reason=f"{change.reason} (in force since {effective_from})",
                alert_id=None,
            )
            _append(connection, restated)
    return written


def _append(connection: psycopg.Connection[TupleRow], state: StrategyState) -> StrategyState:
    scale = state.position_scale
    status = ACTIVE if scale == 1 else PAUSED if scale == 0 else REDUCED
    return _select(connection, "insert_strategy_state", asdict(state) | {"status": status})[0]


def _state_at(
    connection: psycopg.Connection[TupleRow], strategy_id: str, at: datetime | None
) -> StrategyState:
    rows = _select(connection, "select_strategy_state", {"strategy_id": strategy_id, "at": at})
    return rows[0] if rows else StrategyState(strategy_id)


def _select(
    connection: psycopg.Connection[TupleRow], name: str, parameters: Mapping[str, Any]
) -> list[StrategyState]:
    with connection.cursor(row_factory=class_row(StrategyState)) as cursor:
        return cursor.execute(query(name), parameters).fetchall()


def _aware(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise MonitoringError(f"{instant} has no time zone; give an aware datetime")
    return instant


def _microseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1)
