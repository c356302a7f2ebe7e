"""Sessions run in any order end in the same tables and the same state."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quant_mlops import pipeline, retraining
from quant_mlops.alerts.states import current_state
from quant_mlops.database import Database
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.session_run import run_session
from quant_mlops.strategy_context import StrategyContext, evaluation_time

pytestmark = pytest.mark.shared

SESSIONS, MONITORED = 150, 16
SAID = {
    "predictions": "SELECT session, entity_key, signal FROM predictions ORDER BY 1, 2",
    "returns": "SELECT session, names, gross_return, net_return FROM strategy_returns ORDER BY 1",
    "drift": "SELECT session, feature_name, day_counts, n_current, psi FROM feature_drift "
    "ORDER BY 1, 2",
    "metrics": "SELECT date, missing, ic, ic_5d_avg, ic_20d_mean, psi, prediction_psi, sharpe_5d, "
    "sharpe_20d FROM drift_metrics ORDER BY 1",
    "episodes": "SELECT rule, last_session, closed_session FROM alerts "
    "WHERE closed_reason IS NULL AND rule <> 'no_data' ORDER BY 1, 2",
}


@pytest.fixture(scope="module")
def days(calendar: TradingCalendar) -> list[date]:
    found: list[date] = calendar.sessions(date(2021, 1, 4), date(2022, 12, 30))[:SESSIONS].tolist()
    return found


def run(
    database: Database, folder: Path, opened: Any, *, days: list[date], order: Sequence[int]
) -> tuple[StrategyContext, list[Any]]:
    """Train a strategy and run its monitored sessions in an order; say what each run did."""
    priced = {f"T{n}": range(SESSIONS) for n in range(7)}
    context = opened(database, folder, "small", days=days, priced=priced, monitored=MONITORED)
    before = days[-MONITORED - 1]
    pipeline.ingest_prices(context, days[0], before)
    for _ in pipeline.compute_features(context, days[0], before):
        pass
    retraining.retrain(context, as_of=evaluation_time(context, before))
    monitored = days[-MONITORED:]
    return context, [run_session(context, monitored[i]) for i in order]


@pytest.fixture(scope="module")
def ordered(
    module_database: Database, tmp_path_factory: pytest.TempPathFactory, days: list[date],
    open_small_strategy: Any,
) -> tuple[StrategyContext, list[Any]]:  # fmt: skip
    """Run the sessions in their order once; what a test runs again on it must store nothing."""
    folder, inorder = tmp_path_factory.mktemp("ordered"), range(MONITORED)
    return run(module_database, folder, open_small_strategy, days=days, order=inorder)


@pytest.mark.parametrize(
    "order",
    [range(MONITORED)[::-1], np.random.default_rng(4).permutation(MONITORED).tolist()],
    ids=["newest first", "shuffled"],
)
def test_the_order_in_which_sessions_are_run_decides_nothing(
    ordered: tuple[StrategyContext, list[Any]], database: Database, tmp_path: Path,
    days: list[date], open_small_strategy: Any, order: Sequence[int],
) -> None:  # fmt: skip
    other, runs = run(database, tmp_path, open_small_strategy, days=days, order=order)
    newest = days[-1]
    run_session(other, newest)
    contexts = ordered[0], other
    for what, statement in SAID.items():
        found = [context.database.fetch_all(statement) for context in contexts]
        assert found[0] == found[1], what
        assert found[0], what
    scales = [
        current_state(context.database, "small", at=evaluation_time(context, newest)).position_scale
        for context in contexts
    ]
    assert scales[0] == scales[1]
    again = [each for each in runs if each.judged_again is not None]
    assert all(each.judged_again[0] > each.metrics.date for each in again)
    assert all(each.alerts_until == each.judged_again[1] for each in again)
    assert len(again) >= MONITORED // 2


def test_a_run_that_stores_nothing_new_leaves_later_sessions_alone(
    ordered: tuple[StrategyContext, list[Any]], days: list[date]
) -> None:
    context, runs = ordered
    held = {what: context.database.fetch_all(statement) for what, statement in SAID.items()}
    assert [each.judged_again for each in runs] == [None] * MONITORED
    again = run_session(context, days[-5])
    assert (again.judged_again, again.alerts_until) == (None, days[-5])
    assert again.response.alerts == ()
    now = {what: context.database.fetch_all(statement) for what, statement in SAID.items()}
    assert now == held
