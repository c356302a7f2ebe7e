"""From restated prices to revised features: what a change of a bar touches is computed again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.features.computation import FeaturesWritten, write_computed_features
from quant_mlops.features.definition import FeatureDefinition
from quant_mlops.features.store import FeatureStore
from quant_mlops.market.calendar import TradingCalendar


@dataclass(frozen=True)
class ChangedBars:
    """Tickers whose bars of the same span of sessions have changed.

    Attributes
    ----------
    first, last : date
        Oldest and newest session with a change; of those between some may have none.
    tickers : tuple of str
    """

    first: date
    last: date
    tickers: tuple[str, ...]


def changed_bars(
    database: Database,
    *,
    since: datetime,
    as_of: datetime,
    tickers: Sequence[str] | None = None,
) -> list[ChangedBars]:
    """Return which bars, written since an instant, change what was known before.

    Parameters
    ----------
    database : Database
    since : datetime
        Aware; compared with `recorded_at`, the time of writing by the database's clock.
    as_of : datetime
        Aware; what becomes known only later is not known yet.
    tickers : sequence of str, optional
        All by default.
    """
    rows = database.fetch_all(
        query("find_changed_bars"),
        {
            "since": since,
            "as_of": as_of,
            "tickers": list(tickers) if tickers is not None else None,
        },
    )
    return [
        ChangedBars(first, last, tuple(sorted(ticker for ticker, _, _ in group)))
        for (first, last), group in groupby(rows, key=lambda row: (row[1], row[2]))
    ]


def write_revised_features(
    store: FeatureStore,
    calendar: TradingCalendar,
    definitions: Sequence[FeatureDefinition],
    *,
    since: datetime,
    as_of: datetime,
    tickers: Sequence[str] | None = None,
) -> Iterator[FeaturesWritten]:
    """Compute again what the bars written since an instant touch, and store what differs.

    A bar touches the sessions from its own to its definition's lookback later. Values that come
    out as they were known are not stored again; the others are revisions, known when the bar was.

    Parameters
    ----------
    store : FeatureStore
    calendar : TradingCalendar
    definitions : sequence of FeatureDefinition
    since, as_of, tickers
        As in `changed_bars`.

    Yields
    ------
    FeaturesWritten
        One for each definition and span of sessions with a change.
    """
    reach = max((definition.lookback for definition in definitions), default=0)
    newest = calendar.session_of(as_of)
    for change in changed_bars(store.database, since=since, as_of=as_of, tickers=tickers):
        left = calendar.sessions_between(change.last, newest)
        last = calendar.offset(change.last, min(reach, left)) if left > 0 else newest
        yield from write_computed_features(
            store,
            calendar,
            definitions,
            first=change.first,
            last=last,
            as_of=as_of,
            tickers=change.tickers,
        )
