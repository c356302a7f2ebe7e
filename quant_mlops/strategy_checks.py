"""Whether a strategy can run: what its file names is tried before anything depends on it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import numpy as np

from quant_mlops.errors import PriceFileError, QuantMlopsError, StrategyError
from quant_mlops.market.price_files import read_price_file
from quant_mlops.strategy import Strategy
from quant_mlops.training.learners import Example, LearnerConfig, learner_named
from quant_mlops.training.splits import split_sessions
from quant_mlops.training.walk_forward import walk_forward

PROBE_ROWS = 16


def check_strategy(strategy: Strategy) -> None:
    """Try what a strategy names, short of running it: all but its file can be wrong as well.

    Raises
    ------
    StrategyError
        Its exchange, its features, a file it names, its windows or a learner cannot be used; the
        strategy and the first problem are named.
    """
    try:
        _ = strategy.first_partition
        _ = strategy.definitions
        if strategy.price_path is not None:
            _find_file("prices.file", strategy.prices.file)
        if strategy.universe is not None and strategy.universe.file is not None:
            _find_file("universe.file", strategy.universe.file)
        window = np.arange(strategy.training.window_sessions).astype("datetime64[D]")
        split_sessions(window, strategy.split_sizes, horizon=strategy.horizon)
        if strategy.folds is not None:
            walk_forward(window, strategy.folds, horizon=strategy.horizon)
        for config in strategy.learners:
            _try_learner(config)
    except QuantMlopsError as error:
        prefix = f"strategy {strategy.name}: "
        raise StrategyError(f"{prefix}{str(error).removeprefix(prefix)}") from error


def shared_tickers(strategies: Iterable[Strategy]) -> list[str]:
    """Say of which tickers several strategies take the prices from different files.

    All strategies of a home share one history of a ticker, so that files of two vendors would
    pass for restatements of each other. The files are read whole; one that cannot be read, or
    that is not there, is left out.
    """
    by_path: dict[Path, list[Strategy]] = {}
    for strategy in strategies:
        if strategy.price_path is not None:
            by_path.setdefault(strategy.price_path.resolve(), []).append(strategy)
    if len(by_path) < 2:
        return []
    tickers = {path: _tickers_of(path, named[0]) for path, named in by_path.items()}
    return [
        f"strategies {by_path[one][0].name} and {by_path[other][0].name} take the prices of "
        f"{len(both)} {'ticker' if len(both) == 1 else 'tickers'}, such as {min(both)}, from "
        f"different files, {one} and {other}, and all strategies of a home share one history of a "
        f"ticker; unless the files agree, give one of the two a home of its own "
        f"(QUANT_MLOPS_HOME) or its tickers a prefix"
        for one, other in combinations(by_path, 2)
        if (both := tickers[one] & tickers[other])
    ]


def _tickers_of(path: Path, strategy: Strategy) -> set[str]:
    try:
        return set(read_price_file(path, calendar=strategy.trading_calendar).tickers)
    except PriceFileError:
        return set()


def _find_file(key: str, name: str) -> None:
    path = Path(name).expanduser()
    if not path.is_file():
        raise StrategyError(
            f"{key} {path.absolute()} is not there; correct it or put the file there"
        )


def _try_learner(config: LearnerConfig) -> None:
    """Fit a learner to a few rows, which takes milliseconds and refuses what training would."""
    features = np.random.default_rng(config.seed).normal(size=(PROBE_ROWS, 2))
    example = Example(features, features.sum(axis=1))
    try:
        learner_named(config.name).fit(example, example, config)
    except QuantMlopsError:
        raise
    except Exception as error:
        # Parameters go to a library as they are, which refuses them each in its own way.
        raise StrategyError(
            f"learner {config.name} refused the parameters {config.params}: "
            f"{str(error).partition(chr(10))[0]}; correct training.learners"
        ) from error
