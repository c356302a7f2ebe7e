"""Bars of earlier sessions that a file holds and a load of later ones leaves out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import date

import pyarrow as pa

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.wording import counted

# In the order of the statement.
FIELDS = ("open", "high", "low", "close", "adj_close", "volume")
Bar = tuple[float | None, ...]


def passed_over_bars(database: Database, bars: pa.Table, *, source: str) -> list[str]:
    """Say which bars are not stored, or are stored with other values, in a sentence each.

    A load of a session takes the file's bars of that session, and restatements by their
    `known_at`. A bar that came late, or was changed without one, would be lost without a word.

    Parameters
    ----------
    database : Database
    bars : pyarrow.Table
        As `read_price_file` gives them: those that a load leaves out.
    source : str
        Name of the file.
    """
    if bars.num_rows == 0:
        return []
    keys = list(zip(bars["ticker"].to_pylist(), bars["session"].to_pylist(), strict=True))
    stored = _stored(database, [ticker for ticker, _ in keys], [day for _, day in keys])
    values = zip(*(bars[name].to_pylist() for name in FIELDS), strict=True)
    new, other = set(), set()
    for key, bar in zip(keys, values, strict=True):
        if key not in stored:
            new.add(key)
        elif bar not in stored[key]:
            other.add(key)
    said = []
    if new:
        ticker, day = min(new, key=lambda key: (key[1], key[0]))
        said.append(
            f"{_bars(new)} in {source} that {'is' if len(new) == 1 else 'are'} not stored, the "
            f"first {ticker} of {day}; run that session again to have what it holds"
        )
    if other:
        ticker, day = min(other, key=lambda key: (key[1], key[0]))
        said.append(
            f"{_bars(other)} in {source} with other values than are stored, the first {ticker} of "
            f"{day}; a correction needs a known_at, the time since which it could be known, and is "
            f"loaded by `quant-mlops ingest prices`"
        )
    return said


def _bars(keys: Collection[tuple[str, date]]) -> str:
    return f"passed over {counted(len(keys), 'bar')} of earlier sessions"


def _stored(
    database: Database, tickers: Sequence[str], sessions: Sequence[date]
) -> dict[tuple[str, date], set[Bar]]:
    """Return every print of the bars of some tickers, from the first to the last session."""
    rows = database.fetch_all(
        query("select_prints_of_bars"),
        {"first": min(sessions), "last": max(sessions), "tickers": sorted(set(tickers))},
    )
    found: dict[tuple[str, date], set[Bar]] = defaultdict(set)
    for ticker, session, *bar in rows:
        found[ticker, session].add(tuple(bar))
    return found
