"""The whole loop on a small market: run again, interrupted, and with a gap in the data."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quant_mlops import champion_challenger, pipeline, retraining
from quant_mlops.alerts import response
from quant_mlops.alerts.retraining import open_request, request_retrain
from quant_mlops.alerts.states import current_state
from quant_mlops.champion_challenger import compare_on_snapshot
from quant_mlops.database import Database
from quant_mlops.database.migrations import migrate
from quant_mlops.errors import EmptySnapshotError, MarketDataError, TrainingError
from quant_mlops.instants import MICROSECOND
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.registry.comparisons import list_comparisons
from quant_mlops.registry.training_runs import trained_until
from quant_mlops.registry.trials import deflated_sharpe
from quant_mlops.settings import Settings
from quant_mlops.statistics import expected_maximum_sharpe, probabilistic_sharpe_from_moments
from quant_mlops.strategy import read_strategy
from quant_mlops.strategy_context import StrategyContext, evaluation_time, newest_session
from quant_mlops.training.comparison import compare_models
from quant_mlops.training.matrices import training_rows
from quant_mlops.training.out_of_sample import walk_forward_metrics
from quant_mlops.training.snapshot_files import find_snapshot, read_snapshot
from quant_mlops.training.splits import split_sessions

pytestmark = pytest.mark.shared

SESSIONS, MONITORED, CHUNK = 700, 128, 32
GAP = (630, 633)
STRATEGY = """
name = "small"
horizon = 3
[prices]
file = "{prices}"
[universe]
name = "twelve"
file = "{members}"
[features]
names = ["ret_5d", "vol_20d", "reversal_1d"]
[training]
window_sessions = 120
max_feature_ic = 1.0  # these prices swing back as no market does
val_sessions = 15
test_sessions = 15
embargo_sessions = 2
[[training.learners]]
name = "ridge"
[[training.learners]]
name = "xgboost"
params = {{ rounds = 12, max_depth = 2 }}
[monitoring]
first_session = {first}
psi_window_sessions = 20
retrain_cooldown_sessions = 20
[rules]
psi_critical = 1.0
[gate]
min_sessions = 5
min_probability = 0.5
"""
# What differs between two runs that did the same: numbers given out, and clocks.
NOT_CONTENT = {
    "recorded_at", "created_at", "started_at", "finished_at", "evaluated_at", "registered_at",
    "applied_at", "believed_until", "id", "artifact_id", "run_id", "deployment_id", "state_id",
    "alert_id", "escalates", "request_id", "coalesced_into", "delivery_id", "comparison_id",
}  # fmt: skip
PATHS = {"uri", "artifact_path"}
UUID_OR_PATH = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-|" + "|".join(f'"{key}"' for key in PATHS))
Tables = dict[str, list[str]]


@pytest.fixture(scope="module")
def days(calendar: TradingCalendar) -> list[date]:
    found: list[date] = calendar.sessions(date(2020, 6, 1), date(2023, 12, 29))[:SESSIONS].tolist()
    return found


@pytest.fixture(scope="module")
def price_file(tmp_path_factory: pytest.TempPathFactory, days: list[date]) -> Path:
    """Write twelve tickers that revert, then trend, and at last trend wildly.

    One ticker begins late, one ends early, and two sessions are missing altogether.
    """
    random = np.random.default_rng(21)
    age = SESSIONS - np.arange(SESSIONS)
    deviation, memory = np.where(age > 50, 0.01, 0.08), np.where(age > MONITORED, -0.4, 0.5)
    lines = ["date,ticker,close"]
    for n in range(12):
        price = 50.0 + n
        before = 0.0
        for i, day in enumerate(days):
            before = memory[i] * before + float(random.normal(0, deviation[i]))
            price *= 1 + before
            listed = not (n == 0 and i < 300) and not (n == 1 and i > 670)
            if listed and i not in GAP:
                lines.append(f"{day},T{n:02d},{price:.6f}")
    path = tmp_path_factory.mktemp("prices") / "prices.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    members = [f"T{n:02d},{days[0]}," for n in range(12)]
    text = "\n".join(["ticker,start_date,end_date", *members])
    path.with_name("members.csv").write_text(text, "utf-8")
    return path


OpenContext = Callable[..., StrategyContext]


@pytest.fixture(scope="module")
def open_context(
    price_file: Path, days: list[date], tmp_path_factory: pytest.TempPathFactory
) -> OpenContext:
    folder = tmp_path_factory.mktemp("homes")

    def open_context(database: Database, **edits: str) -> StrategyContext:
        text = STRATEGY.format(
            prices=price_file,
            members=price_file.with_name("members.csv"),
            first=days[SESSIONS - MONITORED],
        )
        for before, after in edits.items():
            text = text.replace(before, after)
        (folder / "small.toml").write_text(text, "utf-8")
        name = database.address.rpartition("/")[2]
        strategy = read_strategy(folder / "small.toml")
        return StrategyContext(database, Settings(home=folder / name), strategy)

    return open_context


@pytest.fixture
def second_database(empty_database: Database) -> Database:
    migrate(empty_database)
    return empty_database


STEPS = ("make_predictions", "realise_returns", "measure_feature_drift", "judge_sessions")


def load(context: StrategyContext, days: list[date]) -> Iterator[str]:
    """Bring prices and features into the store, feature by feature."""
    pipeline.ingest_prices(context, days[0], days[-1])
    yield "prices"
    for written in pipeline.compute_features(context, days[0], days[-1]):
        yield written.feature


def steps(context: StrategyContext, days: list[date]) -> Iterator[str]:
    """Take the steps of the loop that follow, one by one, naming each when it is done."""
    first = evaluation_time(context, context.strategy.first_partition)
    retraining.retrain(context, as_of=first)
    yield "first model"
    for start in range(SESSIONS - MONITORED, SESSIONS, CHUNK):
        low, high = days[start], days[start + CHUNK - 1]
        for step in STEPS:
            getattr(pipeline, step)(context, low, high)
            yield f"{step} {low}"
        pipeline.raise_alerts(context, high)
        yield f"alerts {high}"
        request = open_request(context.database, context.strategy.name)
        if request is not None and request.session <= high:
            as_of = evaluation_time(context, high)
            retraining.retrain(context, as_of=as_of, request=request)
            yield f"retraining {high}"


def names_of_tables(database: Database) -> list[str]:
    rows = database.fetch_all(
        "SELECT table_name FROM information_schema.tables "
        "WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY 1"
    )
    # How far a run has looked is a note to itself, and no content.
    return [name for (name,) in rows if name != "feature_corrections"]


def contents(database: Database) -> Tables:
    """Return the rows of every table without clocks and numbers given out, sorted."""
    labels = {
        str(model_id): f"{name} v{version}"
        for model_id, name, version in database.fetch_all(
            "SELECT model_id, name, version FROM models"
        )
    }
    found = {}
    for table in names_of_tables(database):
        completed = " WHERE status = 'completed'" if table == "model_training_runs" else ""
        rows = database.fetch_all(
            f'SELECT (to_jsonb(t) - %s::text[])::text FROM "{table}" AS t{completed}',
            [sorted(NOT_CONTENT)],
        )
        found[table] = sorted(_line(text, labels) for (text,) in rows)
    return found


def _line(text: str, labels: dict[str, str]) -> str:
    # Most rows are numbers, names and times, in which there is nothing more to replace.
    if text.count("{") == 1 and not UUID_OR_PATH.search(text):
        return text
    return json.dumps(_content(json.loads(text), labels), sort_keys=True)


def _content(value: Any, labels: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            key: Path(inner).name if key in PATHS else _content(inner, labels)
            for key, inner in value.items()
            if key not in NOT_CONTENT
        }
    return labels.get(value, value) if isinstance(value, str) else value


def counts(database: Database) -> dict[str, int]:
    return {
        table: database.fetch_all(f'SELECT count(*) FROM "{table}"')[0][0]
        for table in names_of_tables(database)
    }


@pytest.fixture(scope="module")
def ran(
    module_database: Database, days: list[date], open_context: OpenContext
) -> tuple[StrategyContext, list[str]]:
    """Run the whole loop once, for reading; give its context and the names of its steps."""
    context = open_context(module_database)
    return context, [*load(context, days), *steps(context, days)]


@pytest.fixture
def started(database: Database, days: list[date], open_context: OpenContext) -> StrategyContext:
    """Give a context with everything loaded and its first model live."""
    context = open_context(database)
    for _ in load(context, days):
        pass
    next(steps(context, days))
    return context


def test_the_loop_fills_every_table_and_a_second_run_adds_nothing(
    ran: tuple[StrategyContext, list[str]], days: list[date]
) -> None:
    context, done = ran
    database = context.database
    assert sum(step.startswith("retraining") for step in done) >= 2
    first, held = counts(database), contents(database)
    never_filled = {table for table, count in first.items() if count == 0}
    assert never_filled == {
        "alert_deliveries", "drift_metrics_history", "model_deletions", "model_reproductions",
        "model_tags", "retentions", "strategy_returns_history", "value_reviews",
    }  # fmt: skip
    assert len(context.registry.deployments("small")) > 1
    again = [*load(context, days), *steps(context, days)]
    assert again == [step for step in done if not step.startswith("retraining")]
    assert counts(database) == first
    assert contents(database) == held


def test_a_gap_in_the_prices_is_reported_and_the_loop_goes_on(
    ran: tuple[StrategyContext, list[str]], days: list[date]
) -> None:
    context, _ = ran
    database = context.database
    for i in GAP:
        assert database.fetch_all(
            "SELECT no_data, (SELECT count(*) FROM strategy_returns WHERE session = date), "
            "(SELECT count(*) FROM predictions WHERE session = date) FROM drift_metrics "
            "WHERE date = %s",
            [days[i]],
        ) == [(True, 0, 12)]
        # The universe of a session is who had a bar of the one before.
        assert database.fetch_all(
            "SELECT count(*) FROM predictions WHERE session = %s", [days[i + 1]]
        ) == [(0,)]
    opened = "SELECT opened_session FROM alerts WHERE rule = 'no_data' ORDER BY 1"
    sessions = [day for (day,) in database.fetch_all(opened)]
    assert sessions[0] == days[GAP[0]]
    assert database.fetch_all("SELECT count(*) FROM drift_metrics WHERE ic IS NULL") != [(0,)]


def test_a_volatility_from_before_a_gap_serves_for_five_sessions(
    ran: tuple[StrategyContext, list[str]], days: list[date]
) -> None:
    """Twenty sessions without a hole make the next one; what is older than a week is not used."""
    before, after = GAP[0] - 1, GAP[1] + 21
    rows = ran[0].database.fetch_all("SELECT DISTINCT session FROM predictions")
    predicted = {day for (day,) in rows}
    for place in range(before, after + 6):
        bar = place - 1 not in GAP
        newest = before if place <= after else place - 1
        assert (days[place] in predicted) == (bar and place - 1 - newest <= 5), days[place]


def test_tickers_that_come_and_go_are_predicted_while_they_trade(
    ran: tuple[StrategyContext, list[str]], days: list[date]
) -> None:
    database = ran[0].database
    held = dict(
        database.fetch_all("SELECT entity_key, max(session) FROM predictions GROUP BY entity_key")
    )
    assert held["T01"] == days[671]
    assert {day for name, day in held.items() if name != "T01"} == {days[-1]}
    rows = database.fetch_all("SELECT uri FROM training_snapshots ORDER BY knowledge_time")
    assert len(rows) >= 3


# Functions inside the steps, made to fail once: before or after they have done their work, in the
# order in which the loop comes by them.
WITHIN = [
    (pipeline, "store_snapshot", True),
    (retraining, "completed_model", True),
    (retraining, "store_profiles", False),
    (retraining, "complete_run", True),
    (retraining, "code_version", True),
    (pipeline, "write_feature_drift", True),
    (response, "apply_scale", True),
    (response, "request_retrain", True),
    (retraining, "finish_request", False),
    (retraining, "finish_request", True),
]


class Interrupted(Exception):
    """What stops a step in its middle."""


def fail_once(work: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
    failures: list[bool] = []

    def failing(*arguments: Any, **options: Any) -> Any:
        done = work(*arguments, **options) if after or failures else None
        if not failures:
            failures.append(True)
            raise Interrupted
        return done

    return failing


def test_interruptions_between_and_within_steps_leave_the_same_result(
    ran: tuple[StrategyContext, list[str]],
    second_database: Database,
    days: list[date],
    open_context: OpenContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    undisturbed, done = ran
    context = open_context(second_database)
    for last in load(undisturbed, days):
        for step in load(context, days):
            if step == last:
                break
    for module, name, after in WITHIN:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, fail_once(getattr(module, name), after=after))
            with pytest.raises(Interrupted):
                list(steps(context, days))
    # A process that starts anew has nothing in memory, hence a context of its own each time. The
    # second and the fourth stretch have no step that the first and the third have not.
    starts = [days[SESSIONS - MONITORED + CHUNK * nth] for nth in (1, 3)]
    passed_over = {f"{step} {low}" for low in starts for step in STEPS}
    for last in done:
        if last in passed_over:
            continue
        for step in steps(open_context(second_database), days):
            if step == last:
                break
    list(steps(open_context(second_database), days))
    assert contents(second_database) == contents(undisturbed.database)
    failed = "SELECT count(*) >= 2 FROM model_training_runs WHERE status = 'failed'"
    assert second_database.fetch_all(failed) == [(True,)]


def test_a_decision_taken_again_comes_out_the_same(
    started: StrategyContext, days: list[date]
) -> None:
    context = started
    as_of = evaluation_time(context, days[-1])
    with context.database.transaction() as connection:
        request = request_retrain(
            connection, strategy_id="small", session=days[-1], alert_id=None,
            requested_by="O'Hara", may_promote=True,
        )  # fmt: skip
    once, again = (retraining.retrain(context, as_of=as_of, request=request) for _ in range(2))
    assert once.status in ("promoted", "rejected")
    assert (once.status, once.comparison, once.candidate.model) == (
        again.status, again.comparison, again.candidate.model,
    )  # fmt: skip
    assert not any(model.trained_now for model in again.models)
    # The first decision, after another model has followed.
    (other,) = [model for model in once.models if model.model != once.candidate.model]
    context.registry.promote(
        other.model.name, other.model.version, "small", by="ann", reason="test",
        effective_from=as_of + timedelta(days=1),
    )  # fmt: skip
    before = counts(context.database)
    as_of = evaluation_time(context, context.strategy.first_partition)
    repeated = retraining.retrain(context, as_of=as_of)
    assert (repeated.status, repeated.promoted, repeated.comparison) == ("promoted", True, None)
    assert counts(context.database) == before


def test_each_decision_is_kept_with_its_evidence_and_each_promotion_has_one(
    ran: tuple[StrategyContext, list[str]],
) -> None:
    context, done = ran
    verdicts = list_comparisons(context.database, "small")
    assert len(verdicts) == 1 + sum(step.startswith("retraining") for step in done)
    assert [(v.challenger_id, v.as_of, v.reason) for v in verdicts if v.promoted] == [
        (d.model_id, d.live_from, d.reason) for d in context.registry.deployments("small")
    ]
    first, *others = verdicts
    assert (first.champion_id, first.evidence["comparison"]) == (None, None)
    for verdict in others:
        live = context.registry.live_model("small", verdict.as_of - MICROSECOND)
        assert live is not None
        assert verdict.champion_id == live.model_id
        snapshot = find_snapshot(context.database, verdict.snapshot_id)
        again = compare_on_snapshot(
            context, snapshot, champion=live.model_id, challenger=verdict.challenger_id
        )
        assert again.to_json() == verdict.evidence["comparison"]
        assert again.returns is not None
        assert again.returns.sessions > 0
        # Sizes of splits that stay keep a champion from what it is compared on.
        assert again.sessions_champion_saw == 0
        assert again.last_session == snapshot.last_session


def test_a_model_knows_the_trials_of_the_time_when_it_was_registered(
    ran: tuple[StrategyContext, list[str]],
) -> None:
    registry, database = ran[0].registry, ran[0].database
    models = sorted(registry.list_models(strategy_type="small"), key=lambda m: m.created_at)
    ratios: list[float] = []
    for model in models:
        metrics = registry.get_metrics(model.model_id)
        if "sharpe_ratio_backtest" in metrics:
            ratios.append(metrics["sharpe_ratio_backtest"])
        assert metrics["trials_backtest"] == len(ratios)
        if "sharpe_ratio_backtest" not in metrics:
            assert "deflated_sharpe_backtest" not in metrics
            continue
        variance = float(np.var(ratios, ddof=1)) if len(ratios) > 1 else 0.0
        assert metrics["deflated_sharpe_backtest"] == pytest.approx(
            probabilistic_sharpe_from_moments(
                ratios[-1] / 252**0.5,
                benchmark=expected_maximum_sharpe(len(ratios), variance) / 252**0.5,
                observations=int(metrics["sessions_backtest"]),
                skewness=metrics["sharpe_skewness_backtest"],
                kurtosis=metrics["sharpe_kurtosis_backtest"],
            )
        )
    assert len(ratios) > 3
    first = registry.get_metrics(models[0].model_id)
    assert first["deflated_sharpe_backtest"] == pytest.approx(
        first["probabilistic_sharpe_backtest"]
    )
    with database.transaction() as connection:
        today = deflated_sharpe(connection, models[0].model_id)
    assert today.trials.trials == len(ratios)
    assert today.deflated_sharpe < first["deflated_sharpe_backtest"]


def test_a_champion_that_has_seen_what_it_is_compared_on_is_told(
    started: StrategyContext, days: list[date], open_context: OpenContext
) -> None:
    # With three sessions to test it is fitted to most of the fifteen that it is compared on.
    short = open_context(started.database, **{"test_sessions = 15": "test_sessions = 3"})
    as_of = evaluation_time(short, days[SESSIONS - MONITORED + 30])
    outcome = retraining.retrain(short, as_of=as_of)
    champion = outcome.candidate.model
    if not outcome.promoted:
        short.registry.promote(
            champion.name, champion.version, "small", by="ann", reason="t", effective_from=as_of
        )
    rows = training_rows(read_snapshot(outcome.snapshot), list(outcome.snapshot.features))
    splits = split_sessions(rows.sessions, short.strategy.split_sizes, horizon=3)
    until = short.calendar.next(splits.val[-1].item(), 3)
    assert trained_until(short.database, champion.model_id) == until
    later = evaluation_time(started, days[SESSIONS - MONITORED + 32])
    compared = retraining.retrain(started, as_of=later).comparison
    assert compared is not None
    assert compared.first_session is not None
    judged = started.calendar.sessions(compared.first_session, compared.last_session)
    assert len(judged) == 15
    assert compared.sessions_champion_saw == sum(day <= until for day in judged.tolist()) > 5
    (verdict,) = [v for v in list_comparisons(started.database, "small") if v.as_of == later]
    assert verdict.evidence["comparison"]["champion_trained_until"] == until.isoformat()


def test_walking_forward_is_logged_with_the_backtest_and_only_when_asked_for(
    started: StrategyContext, days: list[date], open_context: OpenContext
) -> None:
    ridge = '[[training.learners]]\nname = "ridge"'
    walk = f"[training.walk_forward]\nfolds = 2\ntest_sessions = 12\n{ridge}"
    walking = open_context(started.database, **{ridge: walk})
    as_of = evaluation_time(walking, walking.strategy.first_partition)
    snapshot = pipeline.build_snapshot(walking, as_of)
    plain = retraining.train_models(started, snapshot)
    assert not any(model.trained_now for model in plain)
    walked = retraining.train_models(walking, snapshot)
    for before, after, config in zip(plain, walked, walking.strategy.learners, strict=True):
        assert after.trained_now
        assert walking.strategy.folds is not None
        expected = walk_forward_metrics(
            read_snapshot(snapshot), list(snapshot.features), config=config,
            sizes=walking.strategy.folds, evaluation=walking.strategy.evaluation,
        )  # fmt: skip
        logged = {
            f"{name}_backtest": value for name, value in expected.items() if np.isfinite(value)
        }
        assert logged["walk_forward_ic_sessions_backtest"] > 0
        # Each training is a trial, also one of the same recipe.
        counted = {"trials_backtest", "deflated_sharpe_backtest"}
        assert {k: v for k, v in after.metrics.items() if k not in counted} == pytest.approx(
            {k: v for k, v in before.metrics.items() if k not in counted} | logged
        )


def test_a_champion_with_other_features_is_compared_on_its_own(
    started: StrategyContext,
    days: list[date],
    open_context: OpenContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[np.ndarray] = []

    def compare(champion: np.ndarray, challenger: np.ndarray, **options: Any) -> Any:
        compared.append(champion)
        return compare_models(champion, challenger, **options)

    monkeypatch.setattr(champion_challenger, "compare_models", compare)
    never = {"min_probability = 0.5": "min_probability = 1.0"}
    names = {'"ret_5d", "vol_20d", "reversal_1d"': '"vol_20d", "zscore_20d"'}
    as_of = evaluation_time(started, days[SESSIONS - MONITORED + 40])
    plain = retraining.retrain(open_context(started.database, **never), as_of=as_of)
    changed = open_context(started.database, **never, **names)
    for _ in load(changed, days):
        pass
    other = retraining.retrain(changed, as_of=as_of)
    assert set(other.snapshot.features) == {"vol_20d", "zscore_20d"}
    assert plain.snapshot.row_count == other.snapshot.row_count
    assert np.isfinite(compared[0]).any()
    np.testing.assert_array_equal(compared[1], compared[0])


def test_a_champion_is_compared_with_the_limits_of_age_that_it_is_served_with(
    started: StrategyContext,
    days: list[date],
    open_context: OpenContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[tuple[np.ndarray, np.ndarray]] = []

    def compare(champion: np.ndarray, challenger: np.ndarray, **options: Any) -> Any:
        compared.append((champion, challenger))
        return compare_models(champion, challenger, **options)

    monkeypatch.setattr(champion_challenger, "compare_models", compare)
    lenient = open_context(
        started.database,
        **{
            "min_probability = 0.5": "min_probability = 1.0",
            "[training]": "max_age_sessions = 30\n[training]",
        },
    )
    retraining.retrain(lenient, as_of=evaluation_time(started, days[GAP[1] + 20]))
    ((champion, challenger),) = compared
    # The test split lies after the gap, where the volatility is from before it.
    assert np.isfinite(challenger).all()
    assert np.isnan(champion).all()


def test_without_prices_or_history_the_sentence_says_what_to_do(
    database: Database, days: list[date], open_context: OpenContext
) -> None:
    context = open_context(database)
    with pytest.raises(MarketDataError, match="no prices are stored; load some with"):
        pipeline.build_snapshot(context, evaluation_time(context, days[-1]))
    with pytest.raises(TrainingError, match="lies in the future"):
        pipeline.build_snapshot(context, database.now() + timedelta(days=1))
    pipeline.ingest_prices(context, days[100], days[200])
    for i in (50, 99, 100):
        with pytest.raises(EmptySnapshotError, match=rf"first decision.*{days[101]}"):
            pipeline.build_snapshot(context, evaluation_time(context, days[i]))
    with pytest.raises(Exception, match=r"no training row|not in the store"):
        pipeline.build_snapshot(context, evaluation_time(context, days[150]))


def test_a_range_without_sessions_does_nothing(
    database: Database, open_context: OpenContext
) -> None:
    context = open_context(database)
    saturday, sunday = date(2023, 1, 7), date(2023, 1, 8)
    assert pipeline.make_predictions(context, saturday, sunday).offered == 0
    assert pipeline.realise_returns(context, saturday, sunday).offered == 0
    assert pipeline.measure_feature_drift(context, saturday, sunday).offered == 0
    assert pipeline.judge_sessions(context, saturday, sunday)[0] == []


def test_the_state_in_force_follows_the_alerts(
    ran: tuple[StrategyContext, list[str]], days: list[date]
) -> None:
    context, _ = ran
    rows = context.database.fetch_all(
        "SELECT effective_from, position_scale FROM strategy_states ORDER BY effective_from"
    )
    assert rows
    at = evaluation_time(context, days[-1])
    assert current_state(context.database, "small", at=at).position_scale == rows[-1][1]


def test_the_newest_session_is_the_last_whose_evening_is_over(
    database: Database, days: list[date], open_context: OpenContext
) -> None:
    context = open_context(database)
    evening = evaluation_time(context, days[10])
    assert newest_session(context, now=evening) == days[10]
    before = evening - timedelta(microseconds=1)
    assert newest_session(context, now=before) == days[9]
