"""Parity over many windows of sessions, each as it stood at the window's end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from quant_mlops.database import Database
from quant_mlops.features.definition import FeatureDefinition
from quant_mlops.features.parity import FeatureParity, compare_served
from quant_mlops.features.served_range import collect_served
from quant_mlops.market.calendar import TradingCalendar

Sessions = npt.NDArray[np.datetime64]

# Sessions between two windows that are cheaper read with them than passed over.
LARGEST_GAP = 60
MAX_SHIFT = 5
TOLERANCE = 1e-9


def parity_of_windows(
    database: Database,
    calendar: TradingCalendar,
    definitions: Sequence[FeatureDefinition],
    windows: Sequence[Sessions],
    *,
    entities: Sequence[str] | None = None,
) -> list[list[FeatureParity]]:
    """Check parity over several windows, reading and recomputing neighbours together.

    Nothing that was not known at the open after a window's last session has a part in its result,
    so that it is the one that a check on that morning gave.

    Parameters
    ----------
    database : Database
    calendar : TradingCalendar
    definitions : sequence of FeatureDefinition
    windows : sequence of ndarray of datetime64[D]
        Consecutive, ascending and over each; they may overlap, in any order.
    entities : sequence of str, optional
        All by default.

    Returns
    -------
    list of list of FeatureParity
        For each window one for each definition, see `parity_check`.

    Raises
    ------
    FeatureStoreError
        A window has no session, or one that is not over.
    """
    found: list[list[FeatureParity]] = [[] for _ in windows]
    for group in _neighbours(calendar, windows):
        first = min(windows[i][0] for i in group)
        last = max(windows[i][-1] for i in group)
        served = collect_served(
            database,
            calendar,
            definitions,
            sessions=calendar.sessions(first.item(), last.item()),
            reach=MAX_SHIFT,
            entities=entities,
        )
        for i in group:
            found[i] = compare_served(
                served, windows[i], tolerance=TOLERANCE, max_shift=MAX_SHIFT, ahead=False
            )
    return found


def _neighbours(calendar: TradingCalendar, windows: Sequence[Sessions]) -> list[list[int]]:
    """Return places of windows in groups whose gaps are small."""
    groups: list[list[int]] = []
    reached = None
    for i in sorted(range(len(windows)), key=lambda i: windows[i][0]):
        begins = windows[i][0].item()
        if reached is None or calendar.sessions_between(reached, begins) > LARGEST_GAP:
            groups.append([])
        groups[-1].append(i)
        ends = windows[i][-1].item()
        reached = ends if reached is None else max(reached, ends)
    return groups
