"""Holding the rows of a price file to the rules, and saying of each row what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from quant_mlops.market.price_cells import Mask, is_text
from quant_mlops.market.price_checks import FLAG_RULES, REPEAT_RULES, ROW_RULES
from quant_mlops.market.price_predicates import Rule, session_moves
from quant_mlops.market.price_rows import PriceRows

REPORT_SCHEMA = pa.schema(
    [
        ("row_number", pa.int64()),
        ("ticker", pa.string()),
        ("date", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
QUOTED_LENGTH = 40


@dataclass(frozen=True)
class Judgement:
    """What became of every row: kept and sorted, rejected, or omitted; kept ones may be flagged."""

    kept: PriceRows
    rejected: pa.Table
    flagged: pa.Table
    omitted: int


def judge(rows: PriceRows, broken: Sequence[tuple[int, str]] = ()) -> Judgement:
    """Hold rows to all rules.

    Parameters
    ----------
    rows : PriceRows
        In any order; those kept come back sorted by ticker, session and time known.
    broken : sequence of (int, str)
        Numbers and texts of lines that could not be divided into cells.

    Returns
    -------
    Judgement
        Kept, rejected and omitted rows add up to the rows and broken lines given.

    """
    rejected = [_broken_lines(broken)]
    alive = np.ones(len(rows), dtype=np.bool_)
    for rule in ROW_RULES:
        hit = rule.breaks(rows) & alive
        rejected.append(_report(rows, hit, rule))
        alive &= ~hit
    kept = rows.take(_sorted(rows, alive))
    omitted = 0
    for rule in REPEAT_RULES:
        hit = rule.breaks(kept)
        if rule.severity == "omit":
            omitted += int(hit.sum())
        else:
            rejected.append(_report(kept, hit, rule))
        if hit.any():
            kept = kept.take(~hit)
    flagged = [_report(kept, rule.breaks(kept), rule) for rule in FLAG_RULES]
    return Judgement(kept, _ordered(rejected), _ordered(flagged), omitted)


def _sorted(rows: PriceRows, alive: Mask) -> NDArray[np.int64]:
    places = np.flatnonzero(alive).astype(np.int64)
    keys = (rows.row_number, rows.ingest_time, rows.position, rows.ticker)
    return places[np.lexsort(tuple(key[places] for key in keys))]


def _report(rows: PriceRows, hit: Mask, rule: Rule) -> pa.Table:
    if not hit.any():
        return REPORT_SCHEMA.empty_table()
    pieces: list[Any] = []
    moves = session_moves(rows)[hit] if "{move}" in rule.detail else None
    found = rows.take(hit)
    for literal, field, _, _ in Formatter().parse(rule.detail):
        if literal:
            pieces.append(pa.scalar(literal))
        if field == "move" and moves is not None:
            percent = pa.array(np.round(moves * 100, 1))
            sign = pc.if_else(pc.greater(percent, 0), "+", "")
            pieces += [sign, pc.cast(percent, pa.string()), pa.scalar("%")]
        elif field:
            pieces.append(_quote(found, field))
    detail = pc.binary_join_element_wise(*pieces, pa.repeat("", len(found)), "")
    names = pa.array(rows.tickers, pa.string())
    ticker = names.take(pa.array(found.ticker, mask=found.ticker < 0))
    return pa.table(
        [
            pa.array(found.row_number),
            ticker,
            _dates(found),
            pa.repeat(rule.code, len(found)),
            detail,
        ],
        schema=REPORT_SCHEMA,
    )


def _quote(rows: PriceRows, field: str) -> pa.Array:
    if field == "session":
        return pc.cast(pa.array(rows.session), pa.string())
    if field in ("event_time", "known_time"):
        times = rows.event_time if field == "event_time" else rows.known_at
        whole = pc.cast(pa.array(times), pa.timestamp("s"), safe=False)
        return pc.binary_join_element_wise(pc.cast(whole, pa.string()), "UTC", " ")
    text = pc.utf8_trim_whitespace(_cells(rows, field))
    text = pc.utf8_slice_codeunits(text, 0, QUOTED_LENGTH)
    return pc.if_else(pc.equal(text, ""), "(empty)", text)


def _dates(rows: PriceRows) -> pa.Array:
    """Return dates as written: a cell of a time type has no writing and is given as its day."""
    if is_text(rows.raw["date"].type):
        return _cells(rows, "date")
    return pc.coalesce(pc.cast(pa.array(rows.session), pa.string()), _cells(rows, "date"))


def _cells(rows: PriceRows, field: str) -> pa.Array:
    cells = pc.cast(rows.raw[field].take(pa.array(rows.source)), pa.string())
    return pc.fill_null(cells, "")


def _broken_lines(broken: Sequence[tuple[int, str]]) -> pa.Table:
    rule = ROW_RULES[0]
    numbers = [number for number, _ in broken]
    details = [f"{rule.detail}: {text[:QUOTED_LENGTH]}" for _, text in broken]
    nothing = pa.nulls(len(numbers), pa.string())
    return pa.table(
        [pa.array(numbers), nothing, nothing, pa.repeat(rule.code, len(numbers)), details],
        schema=REPORT_SCHEMA,
    )


def _ordered(tables: list[pa.Table]) -> pa.Table:
    order = [(name, "ascending") for name in ("row_number", "ticker", "reason", "detail")]
    return pa.concat_tables(tables).combine_chunks().sort_by(order)
