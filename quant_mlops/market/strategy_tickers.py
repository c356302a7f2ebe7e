"""Which tickers a strategy trades: those that were ingested for it, of bars that all share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import TupleRow

from quant_mlops.database import Database
from quant_mlops.database.queries import query


@dataclass(frozen=True)
class TickerListing:
    """Tickers to be recorded as ingested for some strategies.

    Attributes
    ----------
    strategy_ids : sequence of str
    tickers : sequence of str
        All of the file, whichever sessions of it are loaded: in what order they are must not
        decide what is traded.
    """

    strategy_ids: Sequence[str]
    tickers: Sequence[str]


def record_listing(connection: psycopg.Connection[TupleRow], listing: TickerListing) -> None:
    """Record tickers for strategies in the caller's transaction, before the bars are stored.

    A strategy that has run before anything was ingested for it keeps all tickers there are.
    """
    connection.execute(
        query("insert_strategy_tickers"),
        {"strategies": list(listing.strategy_ids), "tickers": list(listing.tickers)},
    )


def traded_tickers(
    database: Database,
    strategy_id: str | None,
    *,
    universe: str | None = None,
    recorded_by: datetime | None = None,
) -> list[str] | None:
    """Return the tickers that a strategy trades, in code point order; None for every one.

    Parameters
    ----------
    database : Database
    strategy_id : str or None
    universe : str, optional
        Index whose members the strategy trades, whoever's bars they are.
    recorded_by : datetime, optional
        Aware; tickers that were ingested for it later do not count. All do by default.

    Returns
    -------
    list of str or None
        None for no strategy, for one with a universe, and where nothing was ingested for it.
    """
    if strategy_id is None or universe is not None:
        return None
    parameters = {"strategy_id": strategy_id, "recorded_by": recorded_by}
    rows = database.fetch_all(query("select_strategy_tickers"), parameters)
    return [ticker for (ticker,) in rows] or None
