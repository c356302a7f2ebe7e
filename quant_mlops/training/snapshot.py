"""A training set in blocks of sessions: decision times, features as known, labels."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import EmptySnapshotError
from quant_mlops.features.rows import INSTANT
from quant_mlops.features.store import FeatureStore
from quant_mlops.features.vintage import Vintage
from quant_mlops.instants import to_microseconds
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.panel import Panel
from quant_mlops.market.price_bars import read_panel
from quant_mlops.market.strategy_tickers import traded_tickers
from quant_mlops.market.universe import decision_spine
from quant_mlops.training.decision_features import features_as_known
from quant_mlops.training.label import LabelDefinition, forward_returns

KEY_COLUMNS = ("session", "entity_key", "decision_time")
LABEL_COLUMNS = ("label", "label_known_at", "next_session_return")
# Rows of the spine that are worked on at a time: some 200 MB with ten features.
BLOCK_ROWS = 1_000_000
# Of those that an empty training set lacks.
FEATURES_NAMED = 3

Sessions = npt.NDArray[np.datetime64]


@dataclass(frozen=True)
class SnapshotDefinition:
    """All that decides what a training set holds, beside what the database knows.

    A decision for session t is taken at its open, from features known by then; its label runs
    from the close of t. A stock is in the spine of t if it had a price in the session before.

    Attributes
    ----------
    features : mapping of str to int
        Pinned versions, in the order of the columns.
    label : LabelDefinition
    first, last : date
        Sessions of decision, both included.
    knowledge_time : datetime
        Aware. No price, feature, label or membership known only later enters.
    universe : str, optional
        Index of which a stock must have been a known member; see `decision_spine`.
    strategy_id : str, optional
        Without a universe only the tickers of this strategy are in, see `traded_tickers`; every
        one with a price by default.
    listed_by : datetime, optional
        Aware. Tickers that were ingested for the strategy later are not in, however old their
        prices; by default all are.
    vintage : {"as_known", "first", "latest"}
        Anything but the first makes a training set that sees the future, to be held against
        the one that does not.
    max_ages : mapping of str to int
        Sessions that a feature's value may be older than its availability lag explains; it counts
        as missing after that. Values of features that are not named count for ever.
    """

    features: Mapping[str, int]
    label: LabelDefinition
    first: date
    last: date
    knowledge_time: datetime
    universe: str | None = None
    strategy_id: str | None = None
    listed_by: datetime | None = None
    vintage: Vintage = "as_known"
    max_ages: Mapping[str, int] = field(default_factory=dict)

    def meaning(self) -> dict[str, Any]:
        """Return what decides the meaning of the columns, as the fingerprint takes it."""
        return meaning(
            self.features, self.label.describe(), universe=self.universe, max_ages=self.max_ages
        )


def meaning(
    features: Mapping[str, int],
    label: Mapping[str, Any],
    *,
    universe: str | None,
    max_ages: Mapping[str, int],
) -> dict[str, Any]:
    """Return what decides the meaning of a training set's rows and columns."""
    document: dict[str, Any] = {"features": dict(features), "label": dict(label)}
    if universe is not None:
        document["universe"] = universe
    if max_ages:
        document["max_age_sessions"] = dict(max_ages)
    return document


@dataclass(frozen=True)
class SnapshotBlock:
    """The rows of some consecutive sessions.

    Attributes
    ----------
    table : pyarrow.Table
        `session, entity_key, decision_time`, one column a feature, `label, label_known_at,
        next_session_return`; sorted by session and entity.
    left_out : dict
        How many rows of the spine were left out, by reason.
    missing : dict
        How many of those with a label lack each feature, of those that any lacks.
    """

    table: pa.Table
    left_out: dict[str, int] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)


def snapshot_blocks(
    store: FeatureStore,
    calendar: TradingCalendar,
    definition: SnapshotDefinition,
    *,
    block_rows: int = BLOCK_ROWS,
) -> Iterator[SnapshotBlock]:
    """Collect a training set in blocks that fit into memory, in order of session.

    Parameters
    ----------
    store : FeatureStore
    calendar : TradingCalendar
    definition : SnapshotDefinition
    block_rows : int
        About how many rows of the spine a block has; at least one session.
    """
    sessions = calendar.sessions(definition.first, definition.last)
    tickers = traded_tickers(
        store.database,
        definition.strategy_id,
        universe=definition.universe,
        recorded_by=definition.listed_by,
    )
    for part in _parts(
        store.database, calendar, sessions, definition, tickers=tickers, block_rows=block_rows
    ):
        yield _collect_block(store, calendar, definition, part, tickers=tickers)


def collect_snapshot(
    store: FeatureStore, calendar: TradingCalendar, definition: SnapshotDefinition
) -> SnapshotBlock:
    """Collect a training set as one table in memory.

    Raises
    ------
    EmptySnapshotError
        No row is left; the message counts the reasons.
    """
    tables: list[pa.Table] = []
    left_out: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    for block in snapshot_blocks(store, calendar, definition):
        tables.append(block.table)
        left_out.update(block.left_out)
        missing.update(block.missing)
    whole = SnapshotBlock(pa.concat_tables(tables), dict(left_out), dict(missing))
    refuse_empty(definition, whole.table.num_rows, whole.left_out, whole.missing)
    return whole


def refuse_empty(
    definition: SnapshotDefinition,
    row_count: int,
    left_out: Mapping[str, int],
    missing: Mapping[str, int],
) -> None:
    """Raise EmptySnapshotError, with the reasons counted, unless there are rows."""
    if row_count == 0:
        worst = sorted(missing, key=lambda name: (-missing[name], name))[:FEATURES_NAMED]
        lacking = ", ".join(f"{name} in {missing[name]:,}" for name in worst)
        lacking = f", missing {lacking}" if lacking else ""
        raise EmptySnapshotError(
            f"no training row from {definition.first} to {definition.last} as known at "
            f"{definition.knowledge_time.isoformat()}: {json.dumps(dict(left_out))}"
            f"{lacking}; widen the range, backfill the features, or raise max_age_sessions_of for "
            f"one that comes rarely"
        )


def _parts(
    database: Database,
    calendar: TradingCalendar,
    sessions: Sessions,
    definition: SnapshotDefinition,
    *,
    tickers: Sequence[str] | None,
    block_rows: int,
) -> list[Sessions]:
    """Cut sessions so that the bars of the sessions before them make blocks of about one size."""
    if len(sessions) == 0:
        return [sessions]
    earlier = calendar.sessions(calendar.previous(sessions[0].item()), sessions[-1].item())[:-1]
    counts = dict(
        database.fetch_all(
            query("count_bars_by_session"),
            {
                "first": earlier[0].item(),
                "last": earlier[-1].item(),
                "knowledge_time": definition.knowledge_time,
                "tickers": tickers,
            },
        )
    )
    rows = np.array([counts.get(day.item(), 0) for day in earlier])
    block = np.cumsum(rows) // block_rows
    return np.split(sessions, np.flatnonzero(np.diff(block)) + 1)


def _collect_block(
    store: FeatureStore,
    calendar: TradingCalendar,
    definition: SnapshotDefinition,
    sessions: Sessions,
    *,
    tickers: Sequence[str] | None,
) -> SnapshotBlock:
    label, features = definition.label, definition.features
    knowledge_time = definition.knowledge_time
    first, last = (
        (sessions[0].item(), sessions[-1].item())
        if len(sessions)
        else (definition.first, definition.last)
    )
    panel = read_panel(
        store.database, calendar, first=first, last=_reach(calendar, last, label.horizon),
        as_of=knowledge_time, tickers=tickers,
    )  # fmt: skip
    decisions = decision_spine(
        store.database,
        calendar,
        sessions,
        knowledge_time=knowledge_time,
        universe=definition.universe,
        tickers=tickers,
    )
    spine = decisions.table
    session, entity, priced = _places(spine, panel)
    labels, label_known_at = forward_returns(panel, label.horizon)
    next_returns, _ = forward_returns(panel, 1)
    has_label = priced & np.isfinite(labels[session, entity])
    is_open = _label_is_open(panel, session, label.horizon, to_microseconds(knowledge_time))
    spine = spine.filter(pa.array(has_label))
    joined = features_as_known(
        store,
        calendar,
        spine,
        features,
        knowledge_time=knowledge_time,
        max_ages=definition.max_ages,
        vintage=definition.vintage,
    ).rename_columns([*KEY_COLUMNS, *features])
    lacks = {name: joined[name].null_count for name in features}
    complete = _complete(joined, features)
    left_out = {
        "label open": int((~has_label & is_open).sum()),
        "label without a price": int((~has_label & ~is_open).sum()),
        "feature missing": int((~complete).sum()),
    }
    if definition.universe is not None:
        left_out["not in the universe"] = decisions.outside_universe
    session, entity = session[has_label], entity[has_label]
    table = _with_labels(
        joined,
        labels[session, entity],
        label_known_at[session, entity],
        next_returns[session, entity],
    ).filter(pa.array(complete))
    return SnapshotBlock(table, left_out, {name: n for name, n in lacks.items() if n})


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
