"""Prices of many tickers with every restatement, as the panels that were known one after another.

At any time a ticker's bars are those that came in their turn, and what was changed since: bars
restated, and bars that arrived after a later session's. Between two changes of a ticker nothing
but new sessions is added, so its history is a few states, one more than it has times of change,
however many sessions it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from quant_mlops.database import Database
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.panel import FIELDS, Panel
from quant_mlops.market.price_series import PriceSeries, assemble_panel, read_price_series

Instants = npt.NDArray[np.int64]
Positions = npt.NDArray[np.intp]
ALWAYS, NEVER = np.iinfo(np.int64).min, np.iinfo(np.int64).max


@dataclass(frozen=True)
class Changes:
    """Bars that were restated or arrived out of turn, all arrays of shape (C,).

    Attributes
    ----------
    rows, columns : ndarray of int
        Session and ticker in the panel.
    times : ndarray of int64
        When the change became known, microseconds UTC.
    ranks : ndarray of int
        The how manieth time of change of its ticker that is, from 1.
    fields : mapping of str to ndarray
    """

    rows: Positions
    columns: Positions
    times: Instants
    ranks: Positions
    fields: Mapping[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class PanelState:
    """What was known of some tickers from one time of change of theirs to the next.

    Attributes
    ----------
    panel : Panel
        Shape (S, N), of the tickers that have such a state.
    columns : ndarray of int, shape (N,)
        Where these tickers stand in the history.
    begin, end : ndarray of int64, shape (N,)
        From when, and before when, microseconds UTC.
    changed : ndarray of bool, shape (S, N)
        Bars that changed at `begin`.
    """

    panel: Panel
    columns: Positions
    begin: Instants
    end: Instants
    changed: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PriceHistory:
    """Bars as they first came in their turn, and all changes since.

    Attributes
    ----------
    in_turn : Panel
        First prints known no later than that of any later session of their ticker.
    changes : Changes or None
    """

    in_turn: Panel
    changes: Changes | None = None

    def states(self) -> Iterator[PanelState]:
        """Yield the states, the first of all tickers, then the second of those that have one."""
        panel, changes = self.in_turn, self.changes
        everyone = np.arange(len(panel.tickers), dtype=np.intp)
        if changes is None:
            nothing = np.zeros(panel.shape, dtype=np.bool_)
            always = np.full(len(everyone), ALWAYS)
            yield PanelState(panel, everyone, always, np.full(len(everyone), NEVER), nothing)
            return
        fields = {name: values.copy() for name, values in panel.fields.items()}
        known_at = panel.known_at.copy()
        begin = np.full(len(everyone), ALWAYS)
        for rank in range(int(changes.ranks.max()) + 1):
            now = changes.ranks == rank
            rows, columns = changes.rows[now], changes.columns[now]
            for name, values in fields.items():
                values[rows, columns] = changes.fields[name][now]
            known_at[rows, columns] = changes.times[now]
            changed = np.zeros(panel.shape, dtype=np.bool_)
            changed[rows, columns] = True
            begin[columns] = changes.times[now]
            end = np.full(len(everyone), NEVER)
            following = changes.ranks == rank + 1
            end[changes.columns[following]] = changes.times[following]
            chosen = np.unique(columns) if rank else everyone
            yield PanelState(
                _of_columns(panel, chosen, fields, known_at),
                chosen,
                begin[chosen],
                end[chosen],
                changed[:, chosen],
            )


def _of_columns(
    panel: Panel,
    columns: Positions,
    fields: Mapping[str, npt.NDArray[np.float64]],
    known_at: Instants,
) -> Panel:
    return replace(
        panel,
        tickers=tuple(panel.tickers[column] for column in columns),
        fields=MappingProxyType({name: values[:, columns] for name, values in fields.items()}),
        known_at=known_at[:, columns],
    )


def read_price_history(
    database: Database,
    calendar: TradingCalendar,
    *,
    first: date,
    last: date,
    as_of: datetime,
    tickers: Sequence[str] | None = None,
) -> PriceHistory:
    """Read every revision of the prices of consecutive sessions that was known at one instant.

    Parameters
    ----------
    database : Database
    calendar : TradingCalendar
        Gives the rows of the panels.
    first, last : date
        Bounds of the sessions, both included.
    as_of : datetime
        Aware; what became known only later is not part of the history.
    tickers : sequence of str, optional
        All tickers with a bar in the range by default.

    Raises
    ------
    MarketDataError
        No bar of the range was known at that time, or `as_of` has no time zone.
    """
    series = read_price_series(
        database, calendar, first=first, last=last, as_of=as_of, tickers=tickers
    )
    in_turn = [_first_prints_in_turn(one.days, one.ingest) for one in series]
    panel = assemble_panel(calendar, calendar.sessions(first, last), series, in_turn)
    return PriceHistory(panel, _changes(panel, series, [~first for first in in_turn]))


def _changes(
    panel: Panel, series: Sequence[PriceSeries], chosen: Sequence[npt.NDArray[np.bool_]]
) -> Changes | None:
    rows, columns, times, ranks = [], [], [], []
    fields: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in FIELDS}
    for column, (one, taken) in enumerate(zip(series, chosen, strict=True)):
        moments = one.ingest[taken]
        rows.append(np.searchsorted(panel.sessions.astype(np.int64), one.days[taken]))
        columns.append(np.full(len(moments), column, dtype=np.intp))
        times.append(moments)
        ranks.append(np.searchsorted(np.unique(moments), moments) + 1)
        for name, values in fields.items():
            values.append(one.fields[name][taken])
    if not sum(map(len, times)):
        return None
    return Changes(
        np.concatenate(rows),
        np.concatenate(columns),
        np.concatenate(times),
        np.concatenate(ranks),
        {name: np.concatenate(values) for name, values in fields.items()},
    )


def _first_prints_in_turn(days: Instants, ingest: Instants) -> npt.NDArray[np.bool_]:
    """Say which rows, in order of day and ingest time, are first prints that came in turn."""
    first = np.append([True], days[1:] != days[:-1])[: len(days)]
    prints = ingest[first]
    earliest_from_here = np.minimum.accumulate(prints[::-1])[::-1]
    in_turn = first.copy()
    in_turn[first] = prints <= earliest_from_here
    return in_turn
