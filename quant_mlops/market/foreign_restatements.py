"""Bars that say something else than another source did: two vendors' prices of one ticker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import psycopg
from psycopg.rows import TupleRow

from quant_mlops.database.queries import query


@dataclass(frozen=True)
class ForeignRestatement:
    """How many bars of one load restate bars of another source, and the newest as an example.

    Attributes
    ----------
    bars : int
    ticker : str
    session : date
    close_before, close : float
        What was stored and what is said now; they may be equal where another field differs.
    source_before, source : str
        Where the two are from.
    """

    bars: int
    ticker: str
    session: date
    close_before: float
    source_before: str
    close: float
    source: str

    def describe(self) -> str:
        """Return it as a sentence with the way out."""
        count = "1 bar restates one" if self.bars == 1 else f"{self.bars:,} bars restate those"
        return (
            f"{count} of another source, such as {self.ticker} on {self.session} with a close of "
            f"{self.close_before} in {self.source_before} and {self.close} in {self.source}, and "
            f"all strategies of a home share one history of a ticker; unless it is a correction, "
            f"load the file into a home of its own (QUANT_MLOPS_HOME) or give its tickers a prefix"
        )


def find_foreign_restatement(
    connection: psycopg.Connection[TupleRow], tickers: Sequence[str]
) -> ForeignRestatement | None:
    """Return what of the staged bars of some tickers, not stored yet, restates another source's."""
    if not tickers:
        return None
    parameters = {"tickers": list(tickers)}
    row = connection.execute(query("find_foreign_restatement"), parameters).fetchone()
    return None if row is None else ForeignRestatement(*row)
