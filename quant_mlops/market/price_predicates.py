"""The form of a rule on prices, and the questions that rules ask of all rows at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from quant_mlops.market.price_cells import Mask
from quant_mlops.market.price_rows import PriceRows

Predicate = Callable[[PriceRows], Mask]
Severity = Literal["reject", "omit", "flag"]


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong with a price.

    Attributes
    ----------
    code : str
        The reason under which rows are reported and counted.
    severity : {"reject", "omit", "flag"}
        Rejected rows go to quarantine, omitted ones are only counted, flagged ones are kept.
    sentence : str
        The rule as it is printed.
    breaks : callable
        Marks the rows that break the rule.
    detail : str
        What to say of one row; `{close}` quotes the cell of the file, `{session}`,
        `{event_time}`, `{known_at}` and `{move}` what was made of it.

    """

    code: str
    severity: Severity
    sentence: str
    breaks: Predicate
    detail: str


def nowhere(rows: PriceRows) -> Mask:
    """Mark no row."""
    return np.zeros(len(rows), dtype=np.bool_)


def missing(field: str) -> Predicate:
    """Ask where a column that the file has holds nothing."""

    def ask(rows: PriceRows) -> Mask:
        if field not in rows.given:
            return nowhere(rows)
        return np.isnan(rows.given[field]) & ~rows.unreadable[field]

    return ask


def unreadable(field: str) -> Predicate:
    """Ask where a cell holds something that is no number."""
    return lambda rows: rows.unreadable[field] if field in rows.given else nowhere(rows)


def not_positive(field: str) -> Predicate:
    """Ask where a number is zero or less."""
    return lambda rows: rows.given[field] <= 0 if field in rows.given else nowhere(rows)


def either(*predicates: Predicate) -> Predicate:
    """Ask where any of several questions is answered with yes."""
    return lambda rows: np.logical_or.reduce([ask(rows) for ask in predicates])


def infinite(rows: PriceRows) -> Mask:
    """Mark rows with an infinite number in any field."""
    found: Mask = np.logical_or.reduce([np.isinf(values) for values in rows.given.values()])
    return found


def outside_range(field: str, tolerance: float) -> Predicate:
    """Ask where a price lies outside [low, high] by more than a share of the bound."""

    def ask(rows: PriceRows) -> Mask:
        price = rows.column(field)
        below = price < rows.column("low") * (1 - tolerance)
        return below | (price > rows.column("high") * (1 + tolerance))

    return ask


def same_bar(rows: PriceRows) -> Mask:
    """Mark rows of the ticker and session of the row before; rows must be sorted."""
    return _as_before(rows.ticker) & _as_before(rows.position)


def same_content(rows: PriceRows) -> Mask:
    """Mark rows whose usable numbers all equal those of the row before; null equals null."""
    same = np.ones(len(rows), dtype=np.bool_)
    for values in rows.numbers.values():
        empty = np.isnan(values)
        same &= _as_before(values) | (empty & _as_before(empty))
    return same


def conflict(rows: PriceRows) -> Mask:
    """Mark all rows of a (ticker, session, ingest time) that occurs with different contents."""
    repeats = _same_print(rows)
    group = np.cumsum(~repeats) - 1
    differs = np.bincount(group, weights=repeats & ~same_content(rows)) > 0
    found: Mask = differs[group] if len(rows) else nowhere(rows)
    return found


def exact_duplicate(rows: PriceRows) -> Mask:
    """Mark all but the first of rows that agree in ticker, session, ingest time and content."""
    return _same_print(rows) & ~conflict(rows)


def unchanged(rows: PriceRows) -> Mask:
    """Mark later prints of a bar that say what the print before them said."""
    return same_bar(rows) & same_content(rows)


def newest_revisions(rows: PriceRows) -> NDArray[np.int64]:
    """Return the place of the last known row of each (ticker, session); rows must be sorted."""
    followed = np.zeros(len(rows), dtype=np.bool_)
    followed[:-1] = same_bar(rows)[1:]
    return np.flatnonzero(~followed).astype(np.int64)


def session_moves(rows: PriceRows) -> NDArray[np.float64]:
    """Return each price's relative change since the session before, NaN where there is none.

    Rows must be sorted by ticker, session and ingest time. Of a bar with revisions the newest
    counts; adjusted closes are compared where the file has them, since features use them.
    """
    newest = newest_revisions(rows)
    price = rows.numbers.get("adj_close", rows.numbers["close"])[newest]
    next_door = (np.diff(rows.ticker[newest]) == 0) & (np.diff(rows.position[newest]) == 1)
    moves = np.full(len(rows), np.nan)
    moves[newest[1:]] = np.where(next_door, price[1:] / price[:-1] - 1, np.nan)
    return moves


def _same_print(rows: PriceRows) -> Mask:
    return same_bar(rows) & _as_before(rows.ingest_time)


def _as_before(values: NDArray[np.generic]) -> Mask:
    same = np.zeros(len(values), dtype=np.bool_)
    same[1:] = values[1:] == values[:-1]
    return same
