"""Sentences about a price file as a whole: what no single row shows."""

from __future__ import annotations

import numpy as np

from quant_mlops.market.price_checks import LARGE_MOVE
from quant_mlops.market.price_predicates import newest_revisions, session_moves
from quant_mlops.market.price_rows import PriceRows

NAMED = 10


def interior_gaps(rows: PriceRows) -> dict[str, int]:
    """Count, for each ticker that has any, the sessions between its first and last without a bar.

    Rows must be sorted by ticker, session and time known.
    """
    newest = newest_revisions(rows)
    ticker, position = rows.ticker[newest], rows.position[newest]
    first = np.flatnonzero(np.diff(ticker, prepend=-1) != 0)
    last = np.append(first[1:], len(ticker)) - 1
    missing = position[last] - position[first] - (last - first)
    return {rows.tickers[ticker[first[i]]]: int(missing[i]) for i in np.flatnonzero(missing > 0)}


def batch_notes(rows: PriceRows, *, gaps: dict[str, int], omitted: int) -> tuple[str, ...]:
    """Say what is noteworthy about the kept rows together.

    Parameters
    ----------
    rows : PriceRows
        The kept rows, sorted.
    gaps : dict of str to int
        What `interior_gaps` found.
    omitted : int
        Restatements that changed nothing.

    """
    notes = []
    if gaps:
        shown = sorted(gaps.items(), key=lambda item: (-item[1], item[0]))[:NAMED]
        named = ", ".join(f"{ticker} {count:,}" for ticker, count in shown)
        more = f" and {len(gaps) - NAMED:,} more" if len(gaps) > NAMED else ""
        notes.append(
            f"Sessions without a bar between the first and last of a ticker: "
            f"{sum(gaps.values()):,} ({named}{more})."
        )
    moves = int((np.abs(session_moves(rows)) > LARGE_MOVE).sum())
    if moves:
        notes.append(
            f"Moves of more than {LARGE_MOVE:.0%} in one session, which may be splits that were "
            f"not adjusted for: {moves:,}."
        )
    revised = len(rows) - len(newest_revisions(rows))
    if revised or omitted:
        notes.append(
            f"Later prints of a bar: {revised:,} changed it and are kept as revisions, "
            f"{omitted:,} repeated it and were left out."
        )
    assumed = int(np.isnat(rows.known_at).sum())
    if assumed:
        notes.append(
            f"Rows whose availability is assumed from the close, not observed: {assumed:,}."
        )
    folded: dict[str, list[str]] = {}
    for ticker in rows.tickers:
        folded.setdefault(ticker.upper(), []).append(ticker)
    alike = [" and ".join(group) for group in folded.values() if len(group) > 1]
    if alike:
        notes.append(f"Tickers that differ only in case, kept apart: {', '.join(alike[:NAMED])}.")
    return tuple(notes)
