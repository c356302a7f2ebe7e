"""Computing features anew as they should have been known at past decisions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import MarketDataError
from quant_mlops.features.definition import FeatureDefinition, Values
from quant_mlops.instants import MICROSECOND, from_microseconds, to_microseconds
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.price_bars import read_panel

Instants = npt.NDArray[np.int64]
Sessions = npt.NDArray[np.datetime64]

NEVER = np.iinfo(np.int64).max


def recomputed_values(
    database: Database,
    calendar: TradingCalendar,
    definitions: Sequence[FeatureDefinition],
    *,
    sessions: Sessions,
    decisions: Instants,
    tickers: Sequence[str],
) -> list[Values]:
    """Compute features of sessions, each from the bars that were known for its decision.

    Parameters
    ----------
    database : Database
    calendar : TradingCalendar
    definitions : sequence of FeatureDefinition
    sessions : ndarray of datetime64[D], shape (S,)
        Consecutive, ascending.
    decisions : ndarray of int64, shape (S,)
        Microseconds UTC, ascending; bars count that were known a definition's lag earlier.
    tickers : sequence of str, length N
        Ascending.

    Returns
    -------
    list of ndarray of float64, shape (S, N)
        One for each definition; NaN where it is undefined, or not yet known at the decision.
    """
    found = [np.full((len(sessions), len(tickers)), np.nan) for _ in definitions]
    for lag in sorted({definition.availability_lag for definition in definitions}):
        chosen = [i for i, d in enumerate(definitions) if d.availability_lag == lag]
        lookback = max(definitions[i].lookback for i in chosen)
        days = with_history(calendar, sessions, lookback)
        before = len(days) - len(sessions)
        known_by = np.pad(decisions - lag // MICROSECOND, (before, 0), mode="edge")
        # A value is not known before its session is over: with a long lag there is none to find.
        due = calendar.closes(days) <= known_by
        due[:before] = False
        changed = _first_changes(database, days, known_by, lookback=lookback, tickers=tickers)
        for places in _states(np.flatnonzero(due), known_by, changed):
            try:
                panel = read_panel(
                    database,
                    calendar,
                    first=days[max(places[0] - lookback, 0)].item(),
                    last=days[places[-1]].item(),
                    as_of=from_microseconds(int(known_by[places[-1]])),
                    tickers=list(tickers),
                )
            except MarketDataError:
                continue  # no bar of these sessions was known, so their values stay unknown
            cells = np.ix_(places - before, np.searchsorted(tickers, panel.tickers))
            rows = np.searchsorted(panel.sessions, days[places])
            for i in chosen:
                values = definitions[i].function(panel)[rows]
                found[i][cells] = np.where(np.isfinite(values), values, np.nan)
    return found


def with_history(calendar: TradingCalendar, sessions: Sessions, lookback: int) -> Sessions:
    """Put as many sessions before the given ones, or as many as the calendar has."""
    days = calendar.sessions(calendar.first_day, sessions[-1].item())
    return days[max(len(days) - len(sessions) - lookback, 0) :]


def _first_changes(
    database: Database,
    days: Sessions,
    known_by: Instants,
    *,
    lookback: int,
    tickers: Sequence[str],
) -> Instants:
    """Return when a bar in the window of each session first changed after its own time."""
    late = database.fetch_all(
        query("find_late_bars"),
        {
            "sessions": days.tolist(),
            "times": [from_microseconds(time) for time in known_by],
            "first": days[0].item(),
            "last": days[-1].item(),
            "last_time": from_microseconds(int(known_by[-1])),
            "tickers": list(tickers),
        },
    )
    place = np.searchsorted(days, np.array([day for day, _ in late], dtype="datetime64[D]"))
    change = np.array([to_microseconds(moment) for _, moment in late], dtype=np.int64)
    first = np.full(len(days), NEVER)
    for newest in range(len(days)):
        inside = (place <= newest) & (place >= newest - lookback) & (change > known_by[newest])
        first[newest] = change[inside].min(initial=NEVER)
    return first


def _states(
    places: npt.NDArray[np.int64], known_by: Instants, changed: Instants
) -> Iterator[npt.NDArray[np.int64]]:
    """Group sessions whose windows one read shows as they were known for each of them.

    What was known for a session is read the same from its own time until the first change.
    Taken in order, sessions share a read until the first change of any of them, which makes the
    fewest reads possible.
    """
    start, until = 0, NEVER
    for end, place in enumerate(places):
        if known_by[place] >= until:
            yield places[start:end]
            start, until = end, NEVER
        until = min(until, int(changed[place]))
    if len(places):
        yield places[start:]
