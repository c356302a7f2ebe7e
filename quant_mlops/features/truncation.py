"""Computing a feature again on a panel cut short, which shows what it reads and should not."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from quant_mlops.database import Database
from quant_mlops.errors import FeatureStoreError
from quant_mlops.features.definition import FeatureDefinition, Values
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.panel import Panel
from quant_mlops.market.price_bars import read_panel

Finding = Literal["look_ahead", "short_lookback"]
Rows = npt.NDArray[np.int64]

DEFAULT_SAMPLES = 25
# A feature that reads further back than it says must find prices there, or it does not show.
SPARE_SESSIONS = 252


@dataclass(frozen=True)
class RowChanges:
    """What became of the rows of a feature when sessions were cut off the panel.

    Attributes
    ----------
    sessions : int
        Sessions whose row was computed again on a panel that was really shorter.
    cells : int
        Cells of these rows with a number before or after the cut; with none, nothing was tested.
    changed : int
        Cells that are not the same to the bit; NaN is the same as NaN.
    first_session : date, optional
        The earliest of the sessions tested at which a cell changed.
    largest : float
        Largest absolute change, in units of the feature. NaN where no cell was compared, or
        where every changed cell has a number on one side only.
    """

    sessions: int
    cells: int
    changed: int
    first_session: date | None
    largest: float

    @property
    def found(self) -> bool | None:
        """Whether any cell changed; None where no cell could have."""
        return self.changed > 0 if self.cells else None


@dataclass(frozen=True)
class TruncationResult:
    """What a feature reads beyond the session it is about, and beyond its lookback.

    Attributes
    ----------
    feature : str
        Name and version, such as rsi_14@1.
    lookback : int
        As the definition declares it.
    look_ahead : RowChanges
        Row t of the whole panel against row t of the panel without a session after t. Any
        change is look-ahead: the value uses what happens later.
    short_lookback : RowChanges
        Row t of the panel without a session after t against row t of its last `lookback` + 1
        sessions. Any change makes the daily run store other values than the backfill.
    """

    feature: str
    lookback: int
    look_ahead: RowChanges
    short_lookback: RowChanges

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Names of what was found; empty where nothing was, or nothing could be tested."""
        found: list[Finding] = []
        if self.look_ahead.found:
            found.append("look_ahead")
        if self.short_lookback.found:
            found.append("short_lookback")
        return tuple(found)


def truncation_test(
    panel: Panel,
    definition: FeatureDefinition,
    *,
    samples: int = DEFAULT_SAMPLES,
    first: np.datetime64 | None = None,
) -> TruncationResult:
    """Compute a feature again as of single sessions and compare bit for bit.

    Parameters
    ----------
    panel : Panel
        Should begin well before the lookback of the first session tested: how far back a feature
        reads does not show where the panel itself begins.
    definition : FeatureDefinition
    samples : int
        Sessions to test: all if there are no more, else evenly spaced ones with the last among
        them. Up to half are sessions that lack a bar which the next one has, as a fill from the
        future may show nowhere else. With too few, look-ahead at single sessions goes unseen.
    first : numpy.datetime64, optional
        Earlier sessions serve as history only; by default all are tested.

    Raises
    ------
    FeatureStoreError
        `samples` is below 1, or the feature fails on a panel of more sessions than its lookback.
    """
    if samples < 1:
        raise FeatureStoreError(f"samples is {samples}; give 1 session or more to be tested")
    start = 0 if first is None else panel.tail(first).start
    rows = _sampled_rows(panel, definition, samples=samples, start=start)
    reach = definition.lookback
    whole = _computed(panel, definition, slice(None))[rows]
    cut = _last_rows(panel, definition, starts=np.zeros_like(rows), rows=rows)
    # A cut that takes nothing away shows nothing: at the last session, and within the lookback.
    early, deep = rows < len(panel.sessions) - 1, rows > reach
    recent = _last_rows(panel, definition, starts=rows[deep] - reach, rows=rows[deep])
    return TruncationResult(
        feature=definition.key,
        lookback=reach,
        look_ahead=_changes(panel.sessions[rows[early]], whole[early], cut[early]),
        short_lookback=_changes(panel.sessions[rows[deep]], cut[deep], recent),
    )


def truncation_tests(
    database: Database,
    calendar: TradingCalendar,
    definitions: Sequence[FeatureDefinition],
    *,
    first: datetime,
    last: datetime,
    as_of: datetime,
    tickers: Sequence[str],
    samples: int = DEFAULT_SAMPLES,
) -> dict[str, TruncationResult]:
    """Put definitions to the test at the sessions on which decisions between two instants rest.

    Parameters
    ----------
    database, calendar, definitions, tickers
    first, last : datetime
        Aware; the first and the last session tested are the newest that are over at them.
    as_of : datetime
        Prices as known then.
    samples : int
        As in `truncation_test`.

    Returns
    -------
    dict of str to TruncationResult
        By name of the feature.

    Raises
    ------
    MarketDataError
        No price of the tickers was known.
    """
    if not definitions:
        return {}
    last_session = calendar.session_of(min(last, as_of))
    first_session = min(calendar.session_of(first), last_session)
    reach = max(definition.lookback for definition in definitions) + SPARE_SESSIONS
    history = calendar.sessions(calendar.first_day, first_session)[-1 - reach :]
    panel = read_panel(
        database,
        calendar,
        first=history[0].item(),
        last=last_session,
        as_of=as_of,
        tickers=tickers,
    )
    return {
        definition.name: truncation_test(
            panel, definition, samples=samples, first=np.datetime64(first_session)
        )
        for definition in definitions
    }


def largest_difference(before: Values, after: Values, changed: npt.NDArray[np.bool_]) -> float:
    """Return the largest absolute difference of changed cells; NaN where none has a size.

    It is 0 where cells have numbers on both sides and none changed.
    """
    numbers = ~(np.isnan(before) | np.isnan(after))
    sized = numbers & changed
    if sized.any():
        with np.errstate(over="ignore"):
            return float(np.abs(after[sized] - before[sized]).max())
    return 0.0 if numbers.any() and not changed.any() else float("nan")


def _sampled_rows(panel: Panel, definition: FeatureDefinition, *, samples: int, start: int) -> Rows:
    present = panel.known_at > 0
    for name in definition.fields:
        present &= np.isfinite(panel.fields[name])
    returning = np.flatnonzero((present[1:] & ~present[:-1]).any(axis=1))
    every = np.arange(start, len(panel.sessions))
    before_return = _evenly(returning[returning >= start], samples // 2)
    others = np.setdiff1d(every, before_return)
    return np.union1d(before_return, _evenly(others, samples - len(before_return)))


def _evenly(rows: Rows, count: int) -> Rows:
    """Return that many of the rows at even distances, the last among them; all if fewer."""
    count = min(count, len(rows))
    return rows[np.arange(1, count + 1) * len(rows) // max(count, 1) - 1]


def _last_rows(panel: Panel, definition: FeatureDefinition, *, starts: Rows, rows: Rows) -> Values:
    """Return each of the rows as the last of the panel from its start on, shape (R, N)."""
    found = np.full((len(rows), len(panel.tickers)), np.nan)
    for nth, (start, row) in enumerate(zip(starts.tolist(), rows.tolist(), strict=True)):
        try:
            found[nth] = _computed(panel, definition, slice(start, row + 1))[-1]
        except FeatureStoreError:
            # With fewer sessions than its lookback asks for, a feature may have no value to give.
            if row - start >= definition.lookback:
                raise
    return found


def _computed(panel: Panel, definition: FeatureDefinition, part: slice) -> Values:
    cut = replace(
        panel,
        sessions=panel.sessions[part],
        event_times=panel.event_times[part],
        # A feature that writes into its input must not spoil what the next computation reads.
        fields=MappingProxyType({name: f[part].copy() for name, f in panel.fields.items()}),
        known_at=panel.known_at[part],
    )
    where = f"a panel of {len(cut.sessions)} sessions to {cut.sessions[-1]}"
    with warnings.catch_warnings():
        # Windows are empty in a panel that was cut, which numpy remarks on.
        warnings.simplefilter("ignore", category=RuntimeWarning)
        try:
            values = np.asarray(definition.function(cut), dtype=np.float64)
        except Exception as error:
            raise FeatureStoreError(
                f"{definition.key} fails on {where}: {type(error).__name__}: {error}; it must take "
                f"any panel of more sessions than its lookback, {definition.lookback}; correct one "
                f"of them"
            ) from error
    if values.shape != cut.shape:
        raise FeatureStoreError(
            f"{definition.key} gives values of shape {values.shape} for {where}; give one value "
            f"for each session and ticker, shape {cut.shape}"
        )
    return values


def _changes(sessions: npt.NDArray[np.datetime64], before: Values, after: Values) -> RowChanges:
    missing = np.isnan(before) & np.isnan(after)
    changed = (before.view(np.int64) != after.view(np.int64)) & ~missing
    touched = sessions[changed.any(axis=1)]
    return RowChanges(
        sessions=len(sessions),
        cells=int(np.count_nonzero(~missing)),
        changed=int(np.count_nonzero(changed)),
        first_session=touched[0].item() if len(touched) else None,
        largest=largest_difference(before, after, changed),
    )
