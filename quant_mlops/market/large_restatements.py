"""Bars that change a stored close by as much as no session would: a slip, or a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import psycopg
from psycopg.rows import TupleRow

from quant_mlops.database.queries import query
from quant_mlops.market.price_checks import LARGE_MOVE


@dataclass(frozen=True)
class LargeRestatement:
    """How many bars of one load change a stored close much, and the largest change of them.

    Attributes
    ----------
    bars : int
    ticker : str
    session : date
    close_before, close : float
        What was stored and what is said now.
    """

    bars: int
    ticker: str
    session: date
    close_before: float
    close: float

    def describe(self) -> str:
        """Return it as a sentence with the way out."""
        count = "1 bar restates a" if self.bars == 1 else f"{self.bars:,} bars restate a"
        kept = "it is kept" if self.bars == 1 else "they are kept"
        return (
            f"{count} stored close by more than {LARGE_MOVE:.0%}, such as {self.ticker} on "
            f"{self.session} from {self.close_before} to {self.close}; {kept}, and where a close "
            f"is wrong, load the right one with a later known_at"
        )


def find_large_restatement(
    connection: psycopg.Connection[TupleRow], tickers: Sequence[str]
) -> LargeRestatement | None:
    """Return what of the staged bars of some tickers, not stored yet, changes a close much."""
    if not tickers:
        return None
    parameters = {"tickers": list(tickers), "share": LARGE_MOVE}
    row = connection.execute(query("find_large_restatement"), parameters).fetchone()
    return None if row is None else LargeRestatement(*row)
