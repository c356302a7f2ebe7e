"""From signals to a daily long-short portfolio and what it earns, for backtest and live alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PortfolioReturns:
    """What a portfolio earned by session; all shape (S,), as fractions of capital.

    Attributes
    ----------
    gross, cost, net : ndarray
        Net is gross minus cost; gross and net are NaN where nothing was held, or where no name
        held has a return.
    turnover : ndarray
        Sum of absolute changes of weight when the position was taken.
    market : ndarray
        Mean return of the names held, equally weighted.
    names : ndarray of int64
        Positions held.
    """

    gross: Floats
    turnover: Floats
    cost: Floats
    net: Floats
    market: Floats
    names: npt.NDArray[np.int64]


def long_short_weights(signals: Floats, *, min_names: int) -> Floats:
    """Return weights from signals: centred ranks, half the capital long and half short.

    Parameters
    ----------
    signals : ndarray of float64, shape (S, N)
        NaN where there is no prediction; such a name gets no weight.
    min_names : int
        A session with fewer predictions holds nothing.

    Returns
    -------
    ndarray of float64, shape (S, N)
        Rows sum to 0 and their absolute values to 1, or all are 0. Ties share their ranks.
    """
    present = np.isfinite(signals)
    # What is missing ranks behind everything present and disturbs no other rank.
    ranks = average_ranks(np.where(present, signals, np.inf))
    count = present.sum(axis=1, keepdims=True)
    centred = np.where(present, ranks - (count + 1) / 2.0, 0.0)
    size = np.abs(centred).sum(axis=1, keepdims=True)
    usable = (count >= min_names) & (size > 0)
    return np.where(usable, centred / np.where(size > 0, size, 1.0), 0.0)


def portfolio_returns(
    weights: Floats, returns: Floats, *, cost_per_turnover: float, before: Floats | None = None
) -> PortfolioReturns:
    """Return what positions earn over the session after they are taken.

    Parameters
    ----------
    weights : ndarray of float64, shape (S, N)
        Taken at the close of each session.
    returns : ndarray of float64, shape (S, N)
        Of the session after; a missing one (no price, trading halted) earns nothing. A session
        on which every name held misses its return has none either: that is a gap in the data.
    cost_per_turnover : float
        Fraction of capital per unit of turnover, such as 0.0005 for 5 basis points.
    before : ndarray of float64, shape (N,), optional
        Weights held before the first session; nothing by default, so that its cost is that of
        building the position.
    """
    held = weights != 0.0
    names = held.sum(axis=1)
    earned = np.where(np.isfinite(returns), returns, 0.0)
    first = np.zeros(weights.shape[1]) if before is None else before
    previous = np.vstack([first[None, :], weights[:-1]])
    turnover = np.abs(weights - previous).sum(axis=1)
    cost = turnover * cost_per_turnover
    empty = ~(held & np.isfinite(returns)).any(axis=1)
    gross = np.where(empty, np.nan, (weights * earned).sum(axis=1))
    market = np.where(empty, np.nan, (held * earned).sum(axis=1) / np.maximum(names, 1))
    return PortfolioReturns(gross, turnover, cost, gross - cost, market, names)


def universe_returns(returns: Floats) -> Floats:
    """Return the mean return of every name with one, held or not, by session.

    It is what an investor without an opinion would have earned on the same names: those of the
    session's universe, equally weighted. A name without a return (no price, trading halted) does
    not count, where in a portfolio that holds it, it earns nothing.

    Parameters
    ----------
    returns : ndarray of float64, shape (S, N)
        NaN where a name is not in the universe or has no return.

    Returns
    -------
    ndarray of float64, shape (S,)
        NaN for a session without any return.
    """
    known = np.isfinite(returns)
    count = known.sum(axis=1)
    total = np.where(known, returns, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def average_ranks(values: Floats) -> Floats:
    """Return ranks from 1 within each row; equal values share the mean of their ranks."""
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    position = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    differs = ordered[:, 1:] != ordered[:, :-1]
    edge = np.ones((len(values), min(1, values.shape[1])), dtype=np.bool_)
    starts, ends = np.hstack([edge, differs]), np.hstack([differs, edge])
    first = np.maximum.accumulate(np.where(starts, position, 0), axis=1)
    backwards = np.where(ends, position, values.shape[1])[:, ::-1]
    last = np.minimum.accumulate(backwards, axis=1)[:, ::-1]
    ranks = np.empty_like(values)
    np.put_along_axis(ranks, order, (first + last) / 2.0 + 1.0, axis=1)
    return ranks
