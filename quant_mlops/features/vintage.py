"""Vintages: which print of an event an answer takes."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from quant_mlops.errors import FeatureStoreError
from quant_mlops.features.point_in_time import KnownSeries, collapse, in_event_order

Vintage = Literal["as_known", "first", "latest"]
VINTAGES: tuple[Vintage, ...] = get_args(Vintage)
Instants = npt.NDArray[np.int64]


def require_vintage(vintage: str) -> None:
    """Refuse a name that is no vintage.

    Raises
    ------
    FeatureStoreError
        It is none of the three.
    """
    if vintage not in VINTAGES:
        raise FeatureStoreError(f"vintage {vintage!r} is none of {', '.join(VINTAGES)}; use one")


def series_of_vintage(event: Instants, ingest: Instants, vintage: Vintage) -> KnownSeries:
    """Return a series whose answers are of one vintage.

    Parameters
    ----------
    event, ingest : ndarray of int64, shape (R,)
        Microseconds UTC; without what a knowledge time cuts off.
    vintage : {"as_known", "first", "latest"}
        What was known at the time; the first print of the event that was known then; or the
        newest print of the newest event, whenever it became known.
    """
    if vintage == "as_known":
        return collapse(event, ingest)
    events, _, order = in_event_order(event, ingest)
    if vintage == "latest":
        return KnownSeries(events, order, event)
    first_print = np.searchsorted(events, events, side="left")
    rows = first_print if order is None else order[first_print]
    return KnownSeries(collapse(event, ingest).known_from, rows, event)
