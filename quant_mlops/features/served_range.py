"""What was served over a range of sessions, beside what the prices known then give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant_mlops.database import Database
from quant_mlops.database.binary_copy import stream_arrays
from quant_mlops.database.queries import query
from quant_mlops.errors import FeatureStoreError
from quant_mlops.features.definition import FeatureDefinition
from quant_mlops.features.discrepancy import Values
from quant_mlops.features.recomputation import recomputed_values, with_history
from quant_mlops.instants import from_microseconds, to_microseconds
from quant_mlops.market.calendar import TradingCalendar

Instants = npt.NDArray[np.int64]
Sessions = npt.NDArray[np.datetime64]

NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class ServedRange:
    """Served and recomputed values over consecutive sessions, by entity.

    Attributes
    ----------
    definitions : sequence of FeatureDefinition
        Those whose served values are there, and behind them the further ones.
    entities : sequence of str, length N
    sessions, window : ndarray of datetime64[D], shape (S,) and (W,)
        The window has sessions before and after as well.
    decisions : ndarray of int64, shape (S,)
        When the sessions are decided about, microseconds UTC.
    served, recomputed : list of ndarray, shape (S, N) and (W, N)
        By definition; only those that were asked about are among the served ones.
    """

    definitions: Sequence[FeatureDefinition]
    entities: Sequence[str]
    sessions: Sessions
    window: Sessions
    decisions: Instants
    served: list[Values]
    recomputed: list[Values]


def collect_served(
    database: Database,
    calendar: TradingCalendar,
    definitions: Sequence[FeatureDefinition],
    *,
    sessions: Sessions,
    reach: int,
    tickers: Sequence[str] | None = None,
    entities: Sequence[str] | None = None,
    other_definitions: Sequence[FeatureDefinition] = (),
) -> ServedRange:
    """Read what was served about some sessions and recompute it; see `parity.parity_check`.

    Parameters
    ----------
    reach : int
        Sessions before and after for which the recomputed values are wanted as well.
    entities : sequence of str, optional
        Without `tickers`, of these those that have prices or served values; all by default.
    """
    window, decisions = _window(database, calendar, sessions, reach=reach)
    start = int(np.searchsorted(window, sessions[0]))
    everything = [*definitions, *other_definitions]
    if tickers is None:
        deepest = max((definition.lookback for definition in everything), default=0)
        priced = with_history(calendar, window, deepest)
        tickers = _entities(database, priced, calendar.closes(sessions), among=entities)
    names = sorted(set(tickers))
    recomputed = recomputed_values(
        database, calendar, everything, sessions=window, decisions=decisions, tickers=names
    )
    decided = decisions[start : start + len(sessions)]
    served = _served_values(
        database,
        definitions,
        events=calendar.closes(sessions),
        decisions=decided,
        entities=names,
    )
    return ServedRange(everything, names, sessions, window, decided, served, recomputed)


def _served_values(
    database: Database,
    definitions: Sequence[FeatureDefinition],
    *,
    events: Instants,
    decisions: Instants,
    entities: Sequence[str],
) -> list[Values]:
    """Return the value of each event that was the newest known at its decision, (S, N) each."""
    column = {entity: i for i, entity in enumerate(entities)}
    found = {
        (d.name, d.version): np.full((len(events), len(entities)), np.nan) for d in definitions
    }
    parameters = {
        "entities": list(entities),
        "names": [name for name, _ in found],
        "versions": [version for _, version in found],
        "events": [from_microseconds(event) for event in events],
        "decisions": [from_microseconds(decision) for decision in decisions],
        "first": from_microseconds(events[0]),
        "last": from_microseconds(events[-1]),
    }
    with database.transaction() as connection:
        for entity, name, version, event, values in stream_arrays(
            connection, query("select_served_values"), parameters
        ):
            found[name, version][np.searchsorted(events, event), column[entity]] = values
    return [found[d.name, d.version] for d in definitions]


def _entities(
    database: Database, priced: Sessions, events: Instants, *, among: Sequence[str] | None
) -> list[str]:
    """Return what has prices in some sessions, or was served about some events."""
    rows = database.fetch_all(
        query("select_priced_or_served_entities"),
        {
            "first_session": priced[0].item(),
            "last_session": priced[-1].item(),
            "first_event": from_microseconds(events[0]),
            "last_event": from_microseconds(events[-1]),
            "tickers": None if among is None else list(among),
        },
    )
    return [entity for (entity,) in rows]


def _window(
    database: Database, calendar: TradingCalendar, days: Sessions, *, reach: int
) -> tuple[Sessions, Instants]:
    """Return the sessions up to so many before and after, and when each is decided about."""
    positions = calendar.positions(days)
    if len(days) == 0 or (np.diff(positions) != 1).any():
        raise FeatureStoreError(
            f"parity was asked for {len(days)} sessions"
            f"{f' from {days[0]} to {days[-1]}' if len(days) else ''}, which is not one "
            f"unbroken run of them; give all sessions of a range, in order"
        )
    now = to_microseconds(database.now())
    every = calendar.sessions(calendar.first_day, calendar.last_day)
    over = int((calendar.closes(every) <= now).sum())
    first, last = np.searchsorted(every, days[[0, -1]])
    if last >= over:
        raise FeatureStoreError(
            f"session {days[-1]} is not over yet, so nothing about it can be known; check sessions "
            f"up to {every[over - 1]}"
        )
    chosen = slice(max(first - reach, 0), last + 1 + reach)
    opens = np.append(calendar.opens(every)[1:], NEVER)
    return every[chosen], np.minimum(opens[chosen], now)
