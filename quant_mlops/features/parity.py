"""Whether served feature values are what the prices known at each decision give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt

from quant_mlops.errors import FeatureStoreError
from quant_mlops.features.definition import FeatureDefinition
from quant_mlops.features.discrepancy import Explanation, Values, differs, explain
from quant_mlops.features.late_prices import explain_by_late_prices
from quant_mlops.features.served_range import ServedRange, collect_served
from quant_mlops.features.store import FeatureStore
from quant_mlops.market.calendar import TradingCalendar

Sessions = npt.NDArray[np.datetime64]


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
        By which transformation the served values differ, or whether prices came after them.
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
    entities: Sequence[str] | None = None,
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
    entities : sequence of str, optional
        Without `tickers`, of these those that have prices or served values; all by default.
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
    found = collect_served(
        store.database,
        calendar,
        definitions,
        sessions=np.asarray(sessions, dtype="datetime64[D]"),
        reach=max_shift,
        tickers=tickers,
        entities=entities,
        other_definitions=other_definitions,
    )
    reports = compare_served(found, found.sessions, tolerance=tolerance, max_shift=max_shift)
    start = int(np.searchsorted(found.window, found.sessions[0]))
    for place, (report, definition) in enumerate(zip(reports, definitions, strict=True)):
        if report.explanation.kind == "none" and report.mismatches:
            should = found.recomputed[place][start : start + len(found.sessions)]
            wrong = differs(found.served[place], should, tolerance=tolerance)
            cause = explain_by_late_prices(store.database, calendar, definition, found, wrong)
            reports[place] = replace(report, explanation=cause)
    return reports


def compare_served(
    found: ServedRange,
    days: Sessions,
    *,
    tolerance: float,
    max_shift: int,
    ahead: bool = True,
) -> list[FeatureParity]:
    """Compare the served with the recomputed values of some of the sessions of a range.

    Parameters
    ----------
    found : ServedRange
    days : ndarray of datetime64[D]
        Consecutive, among its sessions.
    ahead : bool
        Whether recomputed values of sessions after the days may be recognised. They were not
        known yet when the newest of the days was decided about.
    """
    offset = int(np.searchsorted(found.sessions, days[0]))
    start = int(np.searchsorted(found.window, days[0]))
    stop = start + len(days)
    low, high = max(start - max_shift, 0), stop + (max_shift if ahead else 0)
    reports = []
    for definition, served, recomputed in zip(
        found.definitions, found.served, found.recomputed, strict=False
    ):
        was, should = served[offset : offset + len(days)], recomputed[start:stop]
        near = recomputed[low:high]
        beyond = (max_shift - (start - low), max_shift - (low + len(near) - stop))
        explanation = explain(
            was,
            np.pad(near, (beyond, (0, 0)), constant_values=np.nan),
            versions={
                other.version: values[start:stop]
                for other, values in zip(found.definitions, found.recomputed, strict=True)
                if other.name == definition.name and other.version != definition.version
            },
            tolerance=tolerance,
        )
        wrong = differs(was, should, tolerance=tolerance)
        reports.append(
            _report(
                definition, explanation, was, should, wrong=wrong, days=days, names=found.entities
            )
        )
    return reports


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
