"""Two strategies in one home, each with a price file of its own: neither sees the other's names."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from quant_mlops import audits, pending, pipeline, retraining
from quant_mlops.alerts.diagnostics import Diagnostics, Opening, diagnose
from quant_mlops.alerts.market_conditions import MarketReader
from quant_mlops.daily import report_session
from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.features.integrity import feature_integrity
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.strategy_tickers import traded_tickers
from quant_mlops.reporting import summarise
from quant_mlops.strategy_context import (
    StrategyContext,
    evaluation_time,
    history_start,
    newest_priced_session,
)
from quant_mlops.training.snapshot_files import list_snapshots
from quant_mlops.training.snapshot_verification import verify_snapshot

pytestmark = pytest.mark.shared

SESSIONS, MONITORED = 160, 30
LISTED = range(20, SESSIONS - 5)
FIRST_NAMES = [f"A{n}" for n in range(6)]
# One ticker is in both files, with the same prices, which begin later and end earlier.
SECOND_NAMES = ["A0", *(f"B{n}" for n in range(7))]


@pytest.fixture(scope="module")
def days(calendar: TradingCalendar) -> list[date]:
    found: list[date] = calendar.sessions(date(2021, 1, 4), date(2022, 12, 30))[:SESSIONS].tolist()
    return found


OpenStrategy = Callable[[str, list[str]], StrategyContext]


@pytest.fixture(scope="module")
def open_strategy(
    module_database: Database,
    days: list[date],
    open_small_strategy: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> OpenStrategy:
    folder = tmp_path_factory.mktemp("home")

    def open_strategy(name: str, names: list[str]) -> StrategyContext:
        priced = {each: LISTED if each in FIRST_NAMES else range(SESSIONS) for each in names}
        found: StrategyContext = open_small_strategy(
            module_database, folder, name, days=days, priced=priced, monitored=MONITORED
        )
        return found

    return open_strategy


def run(context: StrategyContext, days: list[date]) -> None:
    """Take every step of the loop over the sessions that the strategy has prices of."""
    last = newest_priced_session(context)
    for _ in pipeline.compute_features(context, days[0], last):
        pass
    if not context.registry.deployments(context.strategy.name):
        retraining.retrain(context, as_of=evaluation_time(context, days[SESSIONS - MONITORED - 1]))
    first = days[SESSIONS - MONITORED]
    pipeline.make_predictions(context, first, last)
    pipeline.realise_returns(context, first, last)
    pipeline.measure_feature_drift(context, first, last)
    pipeline.judge_sessions(context, first, last)


def said_of(context: StrategyContext, session: date) -> dict[str, Any]:
    """Return what the tables, the report and the audits say of a strategy."""
    database, name = context.database, context.strategy.name
    metrics = context.monitor.calculate_metrics(session)
    summary = summarise(context)
    snapshots = list_snapshots(database, name)
    unlisted = context.sessions(session, context.calendar.next(session, 3)).tolist()[1:]
    return {
        "predicted": database.fetch_all(
            "SELECT session, entity_key, signal FROM predictions "
            "WHERE strategy_id = %s ORDER BY 1, 2",
            [name],
        ),
        "earned": database.fetch_all(
            "SELECT session, names, net_return, market_return FROM strategy_returns "
            "WHERE strategy_id = %s ORDER BY 1",
            [name],
        ),
        "drift": database.fetch_all(
            "SELECT session, feature_name, day_counts FROM feature_drift "
            "WHERE strategy_id = %s ORDER BY 1, 2",
            [name],
        ),
        "ic": metrics.ic,
        "report": (summary.prices, summary.tickers, summary.events),
        "health": report_session(context.registry, context.monitor, metrics).features,
        "priced": (history_start(context), newest_priced_session(context)),
        "pending": pending.pending_corrections(context),
        "parity": [(p.compared, p.agrees) for p in audits.parity_check(
            context, context.sessions(context.calendar.previous(session, 3), session)
        )],
        "checked": diagnosed(context, session),
        "market": MarketReader(database, context.calendar, context.tickers).conditions(
            session, None, as_of=evaluation_time(context, session)
        ),
        "unpriced": database.fetch_all(
            query("select_sessions_without_price"),
            {"sessions": unlisted, "tickers": context.tickers},
        ),
        "integrity": feature_integrity(
            database, context.calendar, context.strategy.definitions,
            first=session, last=session, tickers=context.tickers,
        ),
        "arrival": [(a.key, a.rows) for a in audits.feature_arrivals(context)],
        "reproducible": [verify_snapshot(context.store, s).reproducible for s in snapshots],
        "rows": [snapshot.row_count for snapshot in snapshots],
    }  # fmt: skip


def diagnosed(context: StrategyContext, session: date) -> list[dict[str, Any]]:
    strategy = context.strategy
    settings = Diagnostics(
        strategy.feature_versions, strategy.definitions, strategy.horizon, context.tickers
    )
    opening = Opening("pause_strategy", context.calendar.previous(session, 3), session)
    return diagnose(
        context.database, context.calendar, settings, [opening],
        evaluation_lag=strategy.evaluation_lag,
    )  # fmt: skip


@pytest.fixture(scope="module")
def both(
    open_strategy: OpenStrategy, days: list[date]
) -> tuple[StrategyContext, StrategyContext, dict[str, Any]]:
    """Run one strategy, then load and run another; give both and what was said of the first."""
    first = open_strategy("first", FIRST_NAMES)
    pipeline.ingest_prices(first, days[0], days[-1])
    run(first, days)
    before = said_of(first, days[LISTED[-1]])
    second = open_strategy("second", SECOND_NAMES)
    pipeline.ingest_prices(second, days[0], days[-1])
    run(second, days)
    return first, second, before


def test_each_strategy_predicts_the_names_of_its_own_file(
    both: tuple[StrategyContext, StrategyContext, dict[str, Any]], days: list[date]
) -> None:
    first, second, _ = both
    assert traded_tickers(first.database, "first") == FIRST_NAMES
    for context, names in ((first, FIRST_NAMES), (second, SECOND_NAMES)):
        rows = context.database.fetch_all(
            "SELECT DISTINCT entity_key FROM predictions WHERE strategy_id = %s ORDER BY 1",
            [context.strategy.name],
        )
        assert [name for (name,) in rows] == names
    assert newest_priced_session(second) == days[-1]


def test_another_strategy_of_the_home_changes_nothing_of_what_is_said(
    both: tuple[StrategyContext, StrategyContext, dict[str, Any]], days: list[date]
) -> None:
    first, _, before = both
    assert before["reproducible"] == [True]
    assert before["report"][:2] == (len(LISTED) * len(FIRST_NAMES), len(FIRST_NAMES))
    assert before["priced"] == (days[LISTED[0]], days[LISTED[-1]])
    assert len(before["unpriced"]) == 3
    assert before["market"]["recent_daily_volatility"] > 0
    assert said_of(first, days[LISTED[-1]]) == before


def test_steps_taken_again_store_nothing_more(
    both: tuple[StrategyContext, StrategyContext, dict[str, Any]], days: list[date]
) -> None:
    first, _, _ = both
    monitored = (days[SESSIONS - MONITORED], days[LISTED[-1]])
    assert sum(done.result.stored for done in pipeline.compute_features(first, *monitored)) == 0
    assert pipeline.revise_features(first) == 0
    assert pipeline.make_predictions(first, *monitored).stored == 0
    assert pipeline.realise_returns(first, *monitored).stored == 0


def test_a_session_that_only_the_other_strategy_has_prices_of_is_missing(
    both: tuple[StrategyContext, StrategyContext, dict[str, Any]], days: list[date]
) -> None:
    first, second, _ = both
    missing = days[LISTED.stop :]
    pipeline.judge_sessions(first, missing[0], missing[-1])
    for context, expected in ((first, missing), (second, [])):
        begins = pending.first_due_session(context)
        assert pending.incomplete_sessions(context, begins, days[-1]) == expected
