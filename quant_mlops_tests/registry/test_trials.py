"""The deflated Sharpe ratio by the trials that the registry itself has kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import numpy as np
import psycopg
import pytest

from quant_mlops.database import Database
from quant_mlops.errors import ModelNotFoundError, RegistryError
from quant_mlops.registry import ModelRegistry
from quant_mlops.registry.trials import TrialSummary, count_trials, deflated_sharpe
from quant_mlops.statistics import (
    deflated_sharpe_ratio,
    probabilistic_sharpe_ratio,
    return_shape,
    sharpe_ratio,
)

YEAR = 252
COMPLETED = """
INSERT INTO model_training_runs (run_id, model_id, training_key, params, finished_at, status)
VALUES (%s, %s, %s, '{}', now(), 'completed')
"""
UNFINISHED = """
INSERT INTO model_training_runs (run_id, training_key, params, finished_at, status)
VALUES (gen_random_uuid(), 'a', '{}', now(), 'failed'),
       (gen_random_uuid(), 'b', '{}', NULL, 'running')
"""


def register(
    registry: ModelRegistry,
    metrics: dict[str, float],
    *,
    strategy: str = "momentum",
    connection: psycopg.Connection | None = None,
) -> UUID:
    """Register a model as training does: with its backtest and a completed run."""
    run = uuid4()
    if connection is None:
        with registry.database.transaction() as own:
            return register(registry, metrics, strategy=strategy, connection=own)
    model_id = registry.register_model(f"m{run}", strategy, connection=connection)
    registry.log_metrics(model_id, metrics, "backtest", connection=connection)
    connection.execute(COMPLETED, [run, model_id, str(run)])
    return model_id


def backtest(returns: Sequence[float] | np.ndarray) -> dict[str, float]:
    skewness, kurtosis = return_shape(returns)
    return {
        "sharpe_ratio": sharpe_ratio(returns),
        "sharpe_skewness": skewness,
        "sharpe_kurtosis": kurtosis,
        "sessions": float(len(returns)),
    }


def trials(database: Database, strategy: str = "momentum") -> TrialSummary:
    with database.transaction() as connection:
        return count_trials(connection, strategy)


def test_models_of_completed_runs_with_a_newest_sharpe_ratio_are_the_trials(
    registry: ModelRegistry, database: Database
) -> None:
    assert trials(database).trials == 0
    first = register(registry, {"sharpe_ratio": 1.0})
    one = trials(database)
    assert one.trials == 1
    assert math.isnan(one.sharpe_variance)
    register(registry, {"sharpe_ratio": 3.0})
    register(registry, {"sharpe_ratio": 5.0}, strategy="reversal")
    register(registry, {"sharpe_ratio": math.nan})
    register(registry, {"total_return": 0.1})
    by_hand = registry.register_model("by hand", "momentum")
    registry.log_metrics(by_hand, {"sharpe_ratio": 9.0}, "backtest")
    on_test = register(registry, {})
    registry.log_metrics(on_test, {"sharpe_ratio": 9.0}, "test")
    database.execute(UNFINISHED)
    assert trials(database) == TrialSummary(2, 2.0)
    registry.log_metrics(first, {"sharpe_ratio": 2.0}, "backtest")
    assert trials(database) == TrialSummary(2, 0.5)
    registry.log_metrics(first, {"sharpe_ratio": math.nan}, "backtest")
    assert trials(database).trials == 1
    with database.transaction() as connection:
        assert count_trials(connection, "momentum", including=by_hand).trials == 2


def test_the_ratio_is_that_of_the_returns_and_falls_with_each_trial(
    registry: ModelRegistry, database: Database
) -> None:
    random = np.random.default_rng(5)
    tried = [random.normal(0.001, 0.01, 250) + random.exponential(0.003, 250) for _ in range(4)]
    first, seen = None, []
    for count, returns in enumerate(tried, start=1):
        with database.transaction() as connection:
            model_id = register(registry, backtest(returns), connection=connection)
            found = deflated_sharpe(connection, model_id)
        first = first or model_id
        ratios = [sharpe_ratio(each) for each in tried[:count]]
        variance = float(np.var(ratios, ddof=1)) if count > 1 else math.nan
        expected = deflated_sharpe_ratio(returns, trials=count, trial_variance=variance)
        assert found.deflated_sharpe == pytest.approx(expected, abs=1e-12)
        assert found.trials.trials == count
        assert found.metrics() == {
            "deflated_sharpe": found.deflated_sharpe, "trials": float(count),
        }  # fmt: skip
        with database.transaction() as connection:
            seen.append(deflated_sharpe(connection, first).deflated_sharpe)
    assert seen[0] == pytest.approx(probabilistic_sharpe_ratio(tried[0]), abs=1e-12)
    assert seen[0] > seen[1]
    assert seen[-1] == pytest.approx(
        deflated_sharpe_ratio(
            tried[0], trials=4, trial_variance=np.var([sharpe_ratio(r) for r in tried], ddof=1)
        ),
        abs=1e-12,
    )


@pytest.mark.parametrize(
    ("count", "skewness", "kurtosis", "published"),
    [(100, -3.0, 10.0, 0.9004), (46, -3.0, 10.0, 0.9505), (88, 0.0, 3.0, 0.9505)],
)
def test_the_example_of_the_paper_of_2014_comes_out_of_a_registry_with_its_trials(
    registry: ModelRegistry,
    database: Database,
    count: int,
    skewness: float,
    kurtosis: float,
    published: float,
) -> None:
    # The paper's year has 250 sessions, and its ratios are 2.5 and a variance of 1 / 2 a year.
    year = YEAR / 250
    own = 2.5 * math.sqrt(year)
    offsets = np.r_[0.0, np.linspace(-1, 1, count - 1)]
    others = own + offsets * math.sqrt(0.5 * year / np.var(offsets, ddof=1))
    shape = {"sharpe_skewness": skewness, "sharpe_kurtosis": kurtosis, "sessions": 1250.0}
    with database.transaction() as connection:
        model_id, *_ = [
            register(registry, {"sharpe_ratio": ratio, **shape}, connection=connection)
            for ratio in others.tolist()
        ]
        found = deflated_sharpe(connection, model_id)
    assert found.trials.trials == count
    assert found.trials.sharpe_variance == pytest.approx(0.5 * year)
    assert found.deflated_sharpe == pytest.approx(published, abs=5.1e-5)


def test_a_model_that_no_run_has_made_is_a_trial_of_its_own(
    registry: ModelRegistry, database: Database
) -> None:
    returns = np.random.default_rng(3).normal(0.001, 0.01, 250)
    by_hand = registry.register_model("by hand", "momentum")
    registry.log_metrics(by_hand, backtest(returns), "backtest")
    register(registry, {"sharpe_ratio": 0.0})
    with database.transaction() as connection:
        found = deflated_sharpe(connection, by_hand)
    variance = float(np.var([sharpe_ratio(returns), 0.0], ddof=1))
    assert found.trials == TrialSummary(2, pytest.approx(variance))
    assert found.deflated_sharpe == pytest.approx(
        deflated_sharpe_ratio(returns, trials=2, trial_variance=variance)
    )


def test_of_two_models_registered_at_once_the_second_counts_the_first(
    registry: ModelRegistry, database: Database
) -> None:
    def train(sharpe: float) -> int:
        with database.transaction() as connection:
            model_id = register(registry, {"sharpe_ratio": sharpe}, connection=connection)
            return deflated_sharpe(connection, model_id).trials.trials

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(train, np.arange(8.0).tolist())) == list(range(1, 9))


def test_what_cannot_be_computed_is_undefined_and_what_cannot_be_counted_refused(
    registry: ModelRegistry, database: Database
) -> None:
    full = backtest(np.random.default_rng(1).normal(0.001, 0.01, 60))
    register(registry, full)
    lacking = register(registry, {"sharpe_ratio": 1.0, "sessions": 60.0})
    undefined = register(registry, {**full, "sharpe_ratio": math.nan})
    nobody = registry.register_model("nobody")
    with database.transaction() as connection:
        for model_id in (lacking, undefined):
            found = deflated_sharpe(connection, model_id)
            assert math.isnan(found.deflated_sharpe)
            assert found.trials.trials == 2
        with pytest.raises(RegistryError, match="nobody v1 has no strategy_type"):
            deflated_sharpe(connection, nobody)
        with pytest.raises(ModelNotFoundError, match="no model with id"):
            deflated_sharpe(connection, uuid4())
