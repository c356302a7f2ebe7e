"""The lines of a membership file, and which of them cannot be true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_mlops.errors import MembershipFileError
from quant_mlops.market.price_cells import Mask
from quant_mlops.market.price_source import SourceTable

DAY = np.timedelta64(1, "D")

Days = NDArray[np.datetime64]
Moments = NDArray[np.datetime64]


@dataclass(frozen=True)
class MembershipLines:
    """The lines of a file in its order; every array has one entry per line.

    Attributes
    ----------
    tickers : tuple of str
        Sorted.
    ticker : int32 array
        Position in `tickers`.
    start, end : datetime64[D] array
        First and last day of the spell; `end` is NaT where there is none.
    known_at : datetime64[us] array or None
        UTC; None where the file does not say when its lines were observed.
    """

    tickers: tuple[str, ...]
    ticker: NDArray[np.int32]
    start: Days
    end: Days
    known_at: Moments | None

    def name(self, line: int) -> str:
        """Return what to call the spell of a line."""
        return f"the spell of {self.tickers[self.ticker[line]]} from {self.start[line]}"


def refuse_contradictions(source: SourceTable, lines: MembershipLines) -> NDArray[np.intp]:
    """Refuse lines that cannot all be true; return the newest line of each spell, in order.

    Raises
    ------
    MembershipFileError
        A spell ends before it begins, is there twice, or overlaps another one of its ticker by
        what the file knows last of both.
    """
    observed = lines.known_at is not None
    known_at = np.zeros(len(lines.start)) if lines.known_at is None else lines.known_at
    at_once = " as known at one time" if observed else ""
    shortest = lines.start - DAY if observed else lines.start
    refuse_lines(
        source,
        lines.end < shortest,
        lambda line: f"{lines.name(line)} ends on {lines.end[line]}, before it begins",
        "correct one of the days"
        if observed
        else "correct one of the days; to withdraw a spell, give its line a known_at",
    )
    order = np.lexsort((known_at, lines.start, lines.ticker))
    before, after = order[:-1], order[1:]
    same_ticker = lines.ticker[before] == lines.ticker[after]
    same_spell = same_ticker & (lines.start[before] == lines.start[after])
    twice = same_spell & (known_at[before] == known_at[after])
    refuse_lines(
        source,
        _marked(after[twice], len(order)),
        lambda line: f"{lines.name(line)} is there twice{at_once}",
        "drop one of the lines, or give each the known_at at which it was observed",
    )
    newest: NDArray[np.intp] = order[np.append(~same_spell, [True])]
    member = newest[np.isnat(lines.end[newest]) | (lines.end[newest] >= lines.start[newest])]
    before, after = member[:-1], member[1:]
    overlap = (lines.ticker[before] == lines.ticker[after]) & (
        np.isnat(lines.end[before]) | (lines.end[before] >= lines.start[after])
    )
    earlier = dict(zip(after[overlap].tolist(), before[overlap].tolist(), strict=True))
    refuse_lines(
        source,
        _marked(after[overlap], len(order)),
        lambda line: (
            f"{lines.name(line)} begins within that from {lines.start[earlier[line]]}, which row "
            f"{source.row_number[earlier[line]]:,} gives {_end(lines, earlier[line])}"
        ),
        "correct their days so that they do not overlap",
    )
    return newest


def refuse_lines(
    source: SourceTable, wrong: Mask, reason: Callable[[int], str], way_out: str
) -> None:
    """Refuse a file for the first of its wrong lines, saying how many are like it.

    Raises
    ------
    MembershipFileError
        Any line is marked as wrong.
    """
    places = np.flatnonzero(wrong)
    if len(places) == 0:
        return
    more = f" (and so for {len(places) - 1:,} further rows)" if len(places) > 1 else ""
    raise MembershipFileError(
        f"{source.name} row {source.row_number[places[0]]:,}: {reason(int(places[0]))}{more}; "
        f"nothing was read; {way_out}"
    )


def _marked(which: NDArray[np.intp], count: int) -> Mask:
    mask = np.zeros(count, dtype=np.bool_)
    mask[which] = True
    return mask


def _end(lines: MembershipLines, line: int) -> str:
    return "no end" if np.isnat(lines.end[line]) else f"the end {lines.end[line]}"
