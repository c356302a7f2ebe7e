"""Reading `price_bars`: every revision of each ticker's bars, and panels made of some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from quant_mlops.database import Database
from quant_mlops.database.binary_copy import stream_arrays
from quant_mlops.database.queries import query
from quant_mlops.errors import MarketDataError
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.panel import FIELDS, Panel


@dataclass(frozen=True)
class PriceSeries:
    """Every revision of the bars of one ticker, in order of session and ingest time.

    Attributes
    ----------
    ticker : str
    days : ndarray of int64, shape (B,)
        Sessions, as days since 1970-01-01.
    ingest : ndarray of int64, shape (B,)
        Microseconds UTC.
    fields : mapping of str to ndarray, each of shape (B,)
        open, high, low, close and volume; close is adjusted where the source adjusts it.
    """

    ticker: str
    days: npt.NDArray[np.int64]
    ingest: npt.NDArray[np.int64]
    fields: Mapping[str, npt.NDArray[np.float64]]


def read_price_series(
    database: Database,
    calendar: TradingCalendar,
    *,
    first: date,
    last: date,
    as_of: datetime,
    tickers: Sequence[str] | None = None,
) -> list[PriceSeries]:
    """Read every revision of each ticker's bars over a range of sessions, as known at one instant.

    Parameters
    ----------
    database : Database
    calendar : TradingCalendar
        Bars of days that are none of its sessions are left out.
    first, last : date
        Bounds of the sessions, both included.
    as_of : datetime
        Aware; what became known only later is left out.
    tickers : sequence of str, optional
        All tickers with a bar in the range by default.

    Returns
    -------
    list of PriceSeries
        By ticker, in code point order.

    Raises
    ------
    MarketDataError
        No bar of the range was known at that time, or `as_of` has no time zone.
    """
    if as_of.tzinfo is None:
        raise MarketDataError(
            f"as_of {as_of.isoformat()} has no time zone and could be any of several instants; "
            f"give an aware datetime, for example in {calendar.timezone.key}"
        )
    parameters = {
        "first": first,
        "last": last,
        "as_of": as_of,
        "tickers": list(tickers) if tickers is not None else None,
    }
    found = []
    with database.transaction() as connection:
        for ticker, day, ingest, *values in stream_arrays(
            connection, query("select_price_series"), parameters
        ):
            order = np.lexsort((ingest, day))
            order = order[calendar.are_sessions(day[order].astype("datetime64[D]"))]
            if len(order):
                fields = dict(zip(FIELDS, (column[order] for column in values), strict=True))
                found.append(PriceSeries(ticker, day[order], ingest[order], fields))
    if not found:
        raise MarketDataError(
            f"no price bar from {first} to {last} was known at {as_of.isoformat()}; load prices "
            f"with `quant-mlops ingest prices FILE`"
        )
    # The server's collation must not show in any result.
    return sorted(found, key=lambda series: series.ticker)


def assemble_panel(
    calendar: TradingCalendar,
    sessions: npt.NDArray[np.datetime64],
    series: Sequence[PriceSeries],
    chosen: Sequence[npt.NDArray[np.bool_]],
) -> Panel:
    """Return a panel of the chosen rows of each series, at most one of them a session.

    Parameters
    ----------
    calendar : TradingCalendar
    sessions : ndarray of datetime64[D], shape (S,)
        Rows of the panel.
    series : sequence of PriceSeries, length N
    chosen : sequence of ndarray of bool
        Which rows of each series.
    """
    days = sessions.astype(np.int64)
    shape = (len(sessions), len(series))
    fields = {name: np.full(shape, np.nan) for name in FIELDS}
    known_at = np.zeros(shape, dtype=np.int64)
    for column, (one, taken) in enumerate(zip(series, chosen, strict=True)):
        row = np.searchsorted(days, one.days[taken])
        for name in FIELDS:
            fields[name][row, column] = one.fields[name][taken]
        known_at[row, column] = one.ingest[taken]
    return Panel(
        sessions=sessions,
        event_times=calendar.closes(sessions),
        tickers=tuple(one.ticker for one in series),
        fields=MappingProxyType(fields),
        known_at=known_at,
    )
