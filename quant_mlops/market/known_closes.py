"""Closing prices as they were known at the time each session was evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from quant_mlops.database import Database
from quant_mlops.database.binary_copy import stream_arrays
from quant_mlops.database.queries import query
from quant_mlops.instants import from_microseconds
from quant_mlops.market.calendar import TradingCalendar

Floats = npt.NDArray[np.float64]
Instants = npt.NDArray[np.int64]


@dataclass(frozen=True)
class KnownCloses:
    """Closes of a session and of earlier ones, all as known at one instant a session.

    Attributes
    ----------
    tickers : tuple of str, length N
    by_lag : dict of int to ndarray, shape (S, N)
        Close of the session that many sessions earlier; NaN where it was not known.
    """

    tickers: tuple[str, ...]
    by_lag: dict[int, Floats]

    def returns(self, lag: int) -> Floats:
        """Return close over the close `lag` sessions earlier, minus 1, shape (S, N)."""
        return self.by_lag[0] / self.by_lag[lag] - 1.0


def closes_as_known(
    database: Database,
    calendar: TradingCalendar,
    sessions: npt.NDArray[np.datetime64],
    *,
    evaluated_at: Instants,
    lags: Sequence[int],
    chosen: Sequence[str] | None = None,
) -> KnownCloses:
    """Read closes as known when each session was evaluated.

    Parameters
    ----------
    database : Database
    calendar : TradingCalendar
    sessions : ndarray of datetime64[D], shape (S,)
        Consecutive, ascending.
    evaluated_at : ndarray of int64, shape (S,)
        Microseconds UTC; a restatement that became known later does not count.
    lags : sequence of int
        Sessions back, 0 among them.
    chosen : sequence of str, optional
        Tickers to read; all by default.
    """
    deepest = max(lags)
    first = calendar.previous(sessions[0].item(), deepest) if deepest else sessions[0].item()
    days = calendar.sessions(first, sessions[-1].item()).astype(np.int64)
    tickers, bars = _read_bars(
        database, days, last_known=from_microseconds(int(evaluated_at.max())), chosen=chosen
    )
    # One sortable number for (ticker, session, ingest time): the ingest times become ranks first.
    moments = np.unique(np.concatenate([bars.ingest, evaluated_at]))
    ranks = len(moments) + 1
    key = (bars.ticker * len(days) + bars.place) * ranks + np.searchsorted(moments, bars.ingest)
    order = np.argsort(key, kind="stable")
    series = np.arange(len(tickers))[None, :] * len(days)
    instants = np.searchsorted(moments, evaluated_at)[:, None]
    by_lag = {}
    for lag in lags:
        wanted = series + (np.arange(len(sessions)) + deepest - lag)[:, None]
        found = np.searchsorted(key[order], wanted * ranks + instants, side="right") - 1
        row = order[np.maximum(found, 0)] if len(order) else np.zeros(wanted.shape, dtype=np.int64)
        known = found >= 0
        known[known] = key[row[known]] // ranks == wanted[known]
        closes = np.full(wanted.shape, np.nan)
        closes[known] = bars.close[row[known]]
        by_lag[lag] = closes
    return KnownCloses(tickers, by_lag)


@dataclass(frozen=True)
class _Bars:
    """Every revision of every bar; all shape (B,), ticker and place counted from 0."""

    ticker: Instants
    place: Instants
    ingest: Instants
    close: Floats


def _read_bars(
    database: Database, days: Instants, *, last_known: datetime, chosen: Sequence[str] | None
) -> tuple[tuple[str, ...], _Bars]:
    """Read the bars of consecutive sessions, tickers in code point order."""
    parameters = {
        "first": days[0].astype("datetime64[D]").item(),
        "last": days[-1].astype("datetime64[D]").item(),
        "as_of": last_known,
        "tickers": None if chosen is None else list(chosen),
    }
    with database.transaction() as connection:
        rows = list(stream_arrays(connection, query("select_close_series"), parameters))
    # The server's collation must not show in any result.
    rows.sort(key=lambda row: row[0])
    counts = [len(day) for _, day, _, _ in rows]
    day = np.concatenate([np.empty(0, np.int64), *(row[1] for row in rows)])
    ingest = np.concatenate([np.empty(0, np.int64), *(row[2] for row in rows)])
    close = np.concatenate([np.empty(0), *(row[3] for row in rows)])
    ticker = np.repeat(np.arange(len(rows)), counts)
    place = np.minimum(np.searchsorted(days, day), len(days) - 1)
    # A bar of a day on which this exchange is closed belongs to none of its sessions.
    kept = days[place] == day
    return (
        tuple(row[0] for row in rows),
        _Bars(ticker[kept], place[kept], ingest[kept], close[kept]),
    )
