"""A training snapshot: decision times, features as known, labels; written once, never changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quant_mlops.errors import EmptySnapshotError
from quant_mlops.features.rows import INSTANT
from quant_mlops.features.store import FeatureStore
from quant_mlops.instants import to_microseconds
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.panel import Panel
from quant_mlops.market.price_bars import read_panel
from quant_mlops.market.universe import decision_spine
from quant_mlops.training.decision_features import features_as_known
from quant_mlops.training.label import LabelDefinition, forward_returns

KEY_COLUMNS = ("session", "entity_key", "decision_time")
LABEL_COLUMNS = ("label", "label_known_at", "next_session_return")


@dataclass(frozen=True)
class SnapshotContent:
    """A training set in memory, before it is written.

    Attributes
    ----------
    table : pyarrow.Table
        `session, entity_key, decision_time`, one column a feature, `label, label_known_at,
        next_session_return`; sorted by session and entity.
    left_out : dict
        How many spine rows were left out, by reason.
    """

    table: pa.Table
    features: dict[str, int]
    label: LabelDefinition
    knowledge_time: datetime
    left_out: dict[str, int]

    def definition(self) -> dict[str, Any]:
        """Return what decides the meaning of the columns."""
        return {"features": self.features, "label": self.label.describe()}


def collect_snapshot(
    store: FeatureStore,
    calendar: TradingCalendar,
    *,
    features: Mapping[str, int],
    label: LabelDefinition,
    first: date,
    last: date,
    knowledge_time: datetime,
) -> SnapshotContent:
    """Collect the training set of a range of sessions as it was known at one instant.

    A decision for session t is taken at its open, from features known by then; its label runs
    from the close of t. A stock is in the spine of t if it had a price in the session before.

    Parameters
    ----------
    store : FeatureStore
    calendar : TradingCalendar
    features : mapping of str to int
        Pinned versions.
    label : LabelDefinition
    first, last : date
        Sessions of decision, both included.
    knowledge_time : datetime
        Aware. No price, feature or label known only later enters.

    Raises
    ------
    EmptySnapshotError
        No row is left; the message counts the reasons.
    """
    sessions = calendar.sessions(first, last)
    panel = read_panel(
        store.database, calendar, first=first, last=_reach(calendar, last, label.horizon),
        as_of=knowledge_time,
    )  # fmt: skip
    spine = decision_spine(store.database, calendar, sessions, knowledge_time=knowledge_time)
    session, entity, priced = _places(spine, panel)
    labels, label_known_at = forward_returns(panel, label.horizon)
    next_returns, _ = forward_returns(panel, 1)
    has_label = priced & np.isfinite(labels[session, entity])
    is_open = _label_is_open(panel, session, label.horizon, to_microseconds(knowledge_time))
    spine = spine.filter(pa.array(has_label))
    joined = features_as_known(
        store, spine, features, knowledge_time=knowledge_time
    ).rename_columns([*KEY_COLUMNS, *features])
    complete = _complete(joined, features)
    left_out = {
        "label open": int((~has_label & is_open).sum()),
        "label without a price": int((~has_label & ~is_open).sum()),
        "feature missing": int((~complete).sum()),
    }
    session, entity = session[has_label], entity[has_label]
    table = _with_labels(
        joined,
        labels[session, entity],
        label_known_at[session, entity],
        next_returns[session, entity],
    ).filter(pa.array(complete))
    if table.num_rows == 0:
        raise EmptySnapshotError(
            f"no training row from {first} to {last} as known at {knowledge_time.isoformat()}: "
            f"{json.dumps(left_out)}; widen the range or backfill the features"
        )
    return SnapshotContent(table, dict(features), label, knowledge_time, left_out)


def _places(
    spine: pa.Table, panel: Panel
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return each spine row's session and ticker in the panel, and whether the ticker is there."""
    days = spine["session"].to_numpy().astype("datetime64[D]")
    encoded = spine["entity_key"].combine_chunks().dictionary_encode()
    column = {ticker: i for i, ticker in enumerate(panel.tickers)}
    columns = np.array([column.get(t, -1) for t in encoded.dictionary.to_pylist()], dtype=np.int64)
    entity = columns[encoded.indices.to_numpy()] if len(columns) else np.empty(0, dtype=np.int64)
    return np.searchsorted(panel.sessions, days), np.maximum(entity, 0), entity >= 0


def _label_is_open(
    panel: Panel, session: npt.NDArray[np.int64], horizon: int, instant: int
) -> npt.NDArray[np.bool_]:
    """Tell for each spine row whether its label ends after an instant, or after the panel."""
    ends = session + horizon
    closes = panel.event_times[np.minimum(ends, len(panel.sessions) - 1)]
    return np.asarray((ends >= len(panel.sessions)) | (closes > instant), dtype=np.bool_)


def _reach(calendar: TradingCalendar, last: date, sessions: int) -> date:
    """Return the session that many after `last`, or the last one the calendar covers."""
    available = calendar.sessions_between(last, calendar.last_day)
    return calendar.next(last, min(sessions, available)) if available else last


def _complete(table: pa.Table, features: Mapping[str, int]) -> npt.NDArray[np.bool_]:
    complete = np.ones(table.num_rows, dtype=bool)
    for name in features:
        complete &= table[name].is_valid().to_numpy()
    return complete


def _with_labels(
    table: pa.Table,
    label: npt.NDArray[np.float64],
    known_at: npt.NDArray[np.int64],
    next_return: npt.NDArray[np.float64],
) -> pa.Table:
    return (
        table.append_column("label", pa.array(label))
        .append_column("label_known_at", pa.array(known_at).cast(INSTANT))
        .append_column("next_session_return", pa.array(next_return, mask=np.isnan(next_return)))
    )
