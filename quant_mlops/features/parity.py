"""Whether served feature values are what the prices known at each decision give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from quant_mlops.database import Database
from quant_mlops.database.binary_copy import stream_arrays
from quant_mlops.database.queries import query
from quant_mlops.errors import FeatureStoreError
from quant_mlops.features.definition import FeatureDefinition
from quant_mlops.features.discrepancy import Explanation, Values, differs, explain
from quant_mlops.features.recomputation import recomputed_values, with_history
from quant_mlops.features.store import FeatureStore
from quant_mlops.instants import from_microseconds, to_microseconds
from quant_mlops.market.calendar import TradingCalendar

Instants = npt.NDArray[np.int64]
Sessions = npt.NDArray[np.datetime64]

NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class FeatureParity:
    """Served against recomputed values of a feature; a cell is one entity at one session.

    Attributes
    ----------
    feature_name, feature_version : str, int
    compared : int
        Cells with a number on both sides.
    not_recomputable, not_served : int
        Cells with a number among the served values alone, and among the recomputed ones alone.
    mismatches : int
        Compared cells that differ by more than the tolerance.
    largest_difference : float
        Absolute, over the compared cells; NaN without any.
    largest_entity, largest_session : str, date, optional
        Where that is; None where no cell differs at all.
    first_mismatch : date, optional
        First session with a mismatch.
    explanation : Explanation
        By which transformation the served values differ.
    """

    feature_name: str
    feature_version: int
    compared: int
    not_recomputable: int
    not_served: int
    mismatches: int
    largest_difference: float
    largest_entity: str | None
    largest_session: date | None
    first_mismatch: date | None
    explanation: Explanation

    @property
    def mismatch_share(self) -> float:
        """Share of the compared cells that mismatch; NaN where none could be compared."""
        return self.mismatches / self.compared if self.compared else float("nan")

    @property
    def agrees(self) -> bool:
        """Whether no cell mismatches and none has a number on one side alone."""
        return not (self.mismatches or self.not_recomputable or self.not_served)


def parity_check(
    store: FeatureStore,
    calendar: TradingCalendar,
    definitions: Sequence[FeatureDefinition],
    *,
    sessions: Sessions,
    tickers: Sequence[str] | None = None,
    tolerance: float = 1e-9,
    max_shift: int = 5,
    other_definitions: Sequence[FeatureDefinition] = (),
) -> list[FeatureParity]:
    """Hold what was served for each decision against what the prices known then give.

    The decision about a session is made at the open of the next one, or now if that is earlier.
    Served is the newest value about the session's close that was known at the decision; recomputed
    is the definition's value from the bars that were known its availability lag earlier.

    Parameters
    ----------
    store : FeatureStore
    calendar : TradingCalendar
        That of the computation; at another's closes nothing is found.
    definitions : sequence of FeatureDefinition
    sessions : ndarray of datetime64[D], shape (S,)
        Consecutive, ascending, and over.
    tickers : sequence of str, optional
        Those of the computation; all by default. With fewer, a feature that ranks tickers against
        each other is recomputed to other values.
    tolerance : float
        A mismatch is |served - recomputed| > tolerance * max(1, |recomputed|).
    max_shift : int
        Longest shift, in sessions, to be recognised.
    other_definitions : sequence of FeatureDefinition
        Further versions of the features, to be recognised where they were served instead.

    Returns
    -------
    list of FeatureParity
        One for each definition, in their order.

    Raises
    ------
    FeatureStoreError
        The sessions are none, not consecutive or not over, or a number is negative or NaN.
    NotASessionError
        A day is not a session of the exchange.
    """
    if not tolerance >= 0.0 or max_shift < 0:  # by NaN nothing would ever differ
        raise FeatureStoreError(
            f"parity was asked for with tolerance {tolerance} and max_shift {max_shift}; give "
            f"numbers of zero or more"
        )
    days = np.asarray(sessions, dtype="datetime64[D]")
    window, decisions = _window(store.database, calendar, days, reach=max_shift)
    start = int(np.searchsorted(window, days[0]))
    checked = slice(start, start + len(days))
    beyond = (max_shift - start, max_shift - (len(window) - checked.stop))
    everything = [*definitions, *other_definitions]
    if tickers is None:
        deepest = max((definition.lookback for definition in everything), default=0)
        priced = with_history(calendar, window, deepest)
        tickers = _entities(store.database, priced, events=calendar.closes(days))
    names = sorted(set(tickers))
    recomputed = recomputed_values(
        store.database, calendar, everything, sessions=window, decisions=decisions, tickers=names
    )
    served = _served_values(
        store.database,
        definitions,
        events=calendar.closes(days),
        decisions=decisions[checked],
        entities=names,
    )
    found = []
    for definition, was, around in zip(definitions, served, recomputed, strict=False):
        explanation = explain(
            was,
            np.pad(around, (beyond, (0, 0)), constant_values=np.nan),
            versions={
                other.version: values[checked]
                for other, values in zip(everything, recomputed, strict=True)
                if other.name == definition.name and other.version != definition.version
            },
            tolerance=tolerance,
        )
        wrong = differs(was, around[checked], tolerance=tolerance)
        found.append(
            _report(
                definition, explanation, was, around[checked], wrong=wrong, days=days, names=names
            )
        )
    return found


def _report(
    definition: FeatureDefinition,
    explanation: Explanation,
    served: Values,
    recomputed: Values,
    *,
    wrong: npt.NDArray[np.bool_],
    days: Sessions,
    names: Sequence[str],
) -> FeatureParity:
    was, should = np.isfinite(served), np.isfinite(recomputed)
    distance = np.where(was & should, np.abs(served - recomputed), -1.0)
    largest = float(distance.max(initial=-1.0))
    row, column = np.argwhere(distance == largest)[0] if largest > 0.0 else (None, None)
    return FeatureParity(
        feature_name=definition.name,
        feature_version=definition.version,
        compared=int((was & should).sum()),
        not_recomputable=int((was & ~should).sum()),
        not_served=int((should & ~was).sum()),
        mismatches=explanation.mismatching,
        largest_difference=largest if largest >= 0.0 else float("nan"),
        largest_entity=None if column is None else names[column],
        largest_session=None if row is None else days[row].item(),
        first_mismatch=days[wrong.any(axis=1)][0].item() if wrong.any() else None,
        explanation=explanation,
    )


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


def _entities(database: Database, priced: Sessions, events: Instants) -> list[str]:
    """Return what has prices in some sessions, or was served about some events."""
    rows = database.fetch_all(
        query("select_priced_or_served_entities"),
        {
            "first_session": priced[0].item(),
            "last_session": priced[-1].item(),
            "first_event": from_microseconds(events[0]),
            "last_event": from_microseconds(events[-1]),
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
