"""From prices to stored feature values: the one way, for backfill and daily run alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quant_mlops.features.admission import admit_definitions
from quant_mlops.features.catalog import refuse_changed_logic
from quant_mlops.features.definition import FeatureDefinition
from quant_mlops.features.instants import INSTANT
from quant_mlops.features.rolling import trailing_maximum
from quant_mlops.features.rows import SCHEMA, WriteResult
from quant_mlops.features.store import FeatureStore
from quant_mlops.features.writing import write_rows
from quant_mlops.instants import MICROSECOND
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.panel import Panel
from quant_mlops.market.price_history import PanelState, PriceHistory, read_price_history


@dataclass(frozen=True)
class FeaturesWritten:
    """What was computed and stored of one feature."""

    feature: str
    result: WriteResult


def compute_feature(
    prices: Panel | PriceHistory, definition: FeatureDefinition, *, first: np.datetime64
) -> pa.Table:
    """Compute one feature over the sessions of a panel, or of every panel there was, from `first`.

    Parameters
    ----------
    prices : Panel or PriceHistory
        Must begin `definition.lookback` sessions before `first`; a shorter panel gives missing
        values, or other ones, at its start. A history gives, besides the value of each session
        as it was first known, a revision for each later change within the window.
    definition : FeatureDefinition
        A ticker's values must depend on its own bars alone.
    first : numpy.datetime64
        Earlier sessions serve as history only.

    Returns
    -------
    pyarrow.Table
        Rows in the schema of `features.rows`, by series and time within each state of the
        prices; none where undefined, or null where the definition allows missing values and the
        session has a bar.
        The ingest time is when the newest bar in the window became known, or the close of the
        session if that is later, plus the definition's lag. A revision may say what was known.
    """
    history = PriceHistory(prices) if isinstance(prices, Panel) else prices
    window = definition.lookback + 1
    in_turn = history.in_turn
    # A value that skips the newest bars is about a session without one, and not known before it.
    earliest = np.maximum(trailing_maximum(in_turn.known_at, window), in_turn.event_times[:, None])
    return pa.concat_tables(
        _rows_of_state(state, earliest[:, state.columns], definition, first=first)
        for state in history.states()
    )


def _rows_of_state(
    state: PanelState,
    earliest: npt.NDArray[np.int64],
    definition: FeatureDefinition,
    *,
    first: np.datetime64,
) -> pa.Table:
    panel = state.panel
    values = definition.function(panel)
    changed = trailing_maximum(state.changed.astype(np.int64), definition.lookback + 1) > 0
    said = (earliest >= state.begin) & (earliest < state.end)
    revised = changed & (earliest < state.begin)
    defined = np.isfinite(values)
    if definition.allows_missing:
        defined |= panel.known_at > 0
    known = np.where(revised, state.begin, earliest)
    rows = panel.tail(first)
    entities, sessions = np.nonzero((defined & (said | revised))[rows].T)
    sessions = sessions + rows.start
    lag = definition.availability_lag // MICROSECOND
    count = len(sessions)
    found = values[sessions, entities]
    tickers = pa.array(panel.tickers, pa.string())
    return pa.table(
        {
            "entity_key": pa.DictionaryArray.from_arrays(entities.astype(np.int32), tickers).cast(
                pa.string()
            ),
            "feature_name": pa.repeat(definition.name, count),
            "feature_version": pa.array(np.full(count, definition.version, dtype=np.int32)),
            "event_time": pa.array(panel.event_times[sessions]).cast(INSTANT),
            "ingest_time": pa.array(known[sessions, entities] + lag).cast(INSTANT),
            "value_double": pa.array(found, mask=~np.isfinite(found)),
            "value_json": pa.nulls(count, pa.string()),
        },
        schema=SCHEMA,
    )


def write_computed_features(
    store: FeatureStore,
    calendar: TradingCalendar,
    definitions: Sequence[FeatureDefinition],
    *,
    first: date,
    last: date,
    as_of: datetime,
    tickers: Sequence[str] | None = None,
) -> Iterator[FeaturesWritten]:
    """Compute features over a range of sessions and store what is new, feature by feature.

    Parameters
    ----------
    store : FeatureStore
    calendar : TradingCalendar
    definitions : sequence of FeatureDefinition
        Changed logic under a stored version is refused before anything is written, and so is a
        new definition that looks ahead or reads further back than its lookback.
    first, last : date
        Sessions to compute, both included; history before `first` is read as far back as the
        longest lookback needs.
    as_of : datetime
        Prices as known then, every revision of them. A price that was written after the values
        that should have been made of it leads to revisions known from then on.
    tickers : sequence of str, optional
        All by default.

    Yields
    ------
    FeaturesWritten
        One for each definition, as it is stored in a transaction of its own.
    """
    if not definitions:
        return
    refuse_changed_logic(store.database, definitions)
    longest = max(definition.lookback for definition in definitions)
    history = read_price_history(
        store.database,
        calendar,
        first=_history_start(calendar, first, longest),
        last=last,
        as_of=as_of,
        tickers=tickers,
    )
    chosen = list(_computable(history.in_turn, definitions))
    # A history may have ended long before the range does.
    priced = np.isfinite(history.in_turn.close).any(axis=1)
    newest = history.in_turn.sessions[priced][-1].item()
    admit_definitions(
        store.database, calendar, chosen, last=newest, as_of=as_of, tickers=history.in_turn.tickers
    )
    for definition in chosen:
        rows = compute_feature(history, definition, first=np.datetime64(first))
        result = write_rows(
            store.database,
            rows,
            producer=store.producer,
            producer_version=store.producer_version,
            run_id=store.run_id,
            belated=as_of,
        )
        yield FeaturesWritten(definition.key, result)


def _history_start(calendar: TradingCalendar, first: date, sessions: int) -> date:
    available = len(calendar.sessions(calendar.first_day, first)) - calendar.is_session(first)
    reach = min(sessions, available)
    return calendar.previous(first, reach) if reach else first


def _computable(
    panel: Panel, definitions: Iterable[FeatureDefinition]
) -> Iterator[FeatureDefinition]:
    """Yield the definitions whose fields the source has at all."""
    for definition in definitions:
        if all(np.isfinite(panel.fields[name]).any() for name in definition.fields):
            yield definition
