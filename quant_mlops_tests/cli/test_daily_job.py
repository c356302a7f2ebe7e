"""The daily job on a home whose strategy was run: health, model, metrics, alerts and decision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from quant_mlops import daily_mlops_job
from quant_mlops.alerts.states import pause
from quant_mlops.daily_report import DailyReport
from quant_mlops.database import Database
from quant_mlops.drift.monitor import DriftMonitor
from quant_mlops.errors import MonitoringError, NotASessionError
from quant_mlops.features.health import FeatureHealth, feature_health
from quant_mlops.features.store import FeatureStore
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.pipeline import compute_features, ingest_prices, make_predictions, realise_returns
from quant_mlops.registry import ModelRegistry
from quant_mlops.settings import Settings
from quant_mlops.strategy_context import StrategyContext, evaluation_time
from quant_mlops.strategy_files import load_strategies


@pytest.fixture
def work(clone: Any, stock: Any) -> Iterator[StrategyContext]:
    settings = Settings(home=stock.home)
    (strategy,) = load_strategies(settings).values()
    with clone(stock.database) as conninfo, Database(conninfo) as database:
        yield StrategyContext(database, settings, strategy)


def job(work: StrategyContext, day: date | None, **options: Any) -> DailyReport:
    return daily_mlops_job(
        work.store, work.registry, work.monitor, work.strategy.name, day, **options
    )


def counted(database: Database) -> list[Any]:
    tables = ("feature_drift", "prediction_drift", "drift_metrics", "alerts", "strategy_states")
    return [database.fetch_one(f"SELECT count(*) FROM {name}") for name in tables]


def test_a_session_that_was_run_is_reported_and_a_second_run_says_the_same(
    work: StrategyContext, sessions: list[date]
) -> None:
    day = sessions[-2]
    before = counted(work.database)
    report = job(work, day)
    again = job(work, day)
    assert counted(work.database) == before
    assert repr(astuple(again)) == repr(astuple(report))
    stored = work.database.fetch_one(
        "SELECT ic, psi, prediction_psi FROM drift_metrics WHERE date = %s", [day]
    )
    assert (report.metrics.ic, report.metrics.psi, report.metrics.prediction_psi) == stored
    assert [f.feature_name for f in report.features] == list(work.strategy.features.names)
    assert {(f.sessions_old, f.entities, f.missing_rate) for f in report.features} == {(0, 12, 0.0)}
    assert report.model is not None
    live = work.registry.live_model("small", at=report.evaluation_time)
    assert live is not None
    assert (report.model.model_id, report.model.live_since) == (live.model_id, live.live_from)
    assert report.model.trained_until is not None
    assert report.model.trained_until < day
    assert report.model.reproduced is None
    keys = work.database.fetch_all(
        "SELECT alert_id, opened_session, last_session FROM alerts WHERE opened_session <= %(d)s "
        "AND coalesce(closed_session, 'infinity') > %(d)s",
        {"d": day},
    )
    assert {a.alert_id for a in report.new_alerts} == {k for k, opened, _ in keys if opened == day}
    assert {a.alert_id for a in report.open_alerts} == {k for k, opened, _ in keys if opened < day}
    assert {a.alert_id for a in report.rules_met} == {k for k, _, last in keys if last >= day}
    assert report.problems == ()


def test_an_alert_that_has_ended_since_was_open_on_the_evenings_before(
    work: StrategyContext,
) -> None:
    ended = work.database.fetch_one(
        "SELECT alert_id, opened_session, closed_session FROM alerts "
        "WHERE closed_session IS NOT NULL ORDER BY alert_id LIMIT 1"
    )
    assert ended is not None
    alert_id, opened, closed = ended
    assert alert_id in {alert.alert_id for alert in job(work, opened).new_alerts}
    last_open = work.calendar.previous(closed)
    assert alert_id in {alert.alert_id for alert in job(work, last_open).open_alerts}
    assert alert_id not in {alert.alert_id for alert in job(work, closed).open_alerts}


def test_what_no_step_has_stored_is_measured_by_the_job(
    work: StrategyContext, sessions: list[date]
) -> None:
    day = sessions[-1]
    ingest_prices(work, day, day)
    for _ in compute_features(work, day, day):
        pass
    make_predictions(work, day, day)
    realise_returns(work, day, day)
    report = job(work, day)
    rows = work.database.fetch_all(
        "SELECT window_sessions FROM feature_drift WHERE session = %s", [day]
    )
    assert rows == [(work.strategy.monitoring.psi_window_sessions,)] * 3
    assert report.metrics.psi > 0
    assert report.metrics.prediction_psi > 0
    assert report.metrics.no_data is False


def test_a_session_without_data_is_to_be_checked(
    work: StrategyContext, sessions: list[date]
) -> None:
    report = job(work, sessions[-1])
    assert {f.sessions_old for f in report.features} == {1}
    assert report.metrics.no_data
    if report.state.status != "paused":
        assert report.decision == "check data"
        assert report.problems[0] in report.sentence
    assert len(report.problems) == 1 + len(report.features)
    tolerant = job(work, sessions[-1], max_feature_age=1)
    assert len(tolerant.problems) == 1


def test_the_decision_follows_the_state_and_the_problems(
    work: StrategyContext, forget_alerts: Any, sessions: list[date]
) -> None:
    day = sessions[-2]
    work.database.execute("TRUNCATE drift_metrics, drift_metrics_history")
    forget_alerts(work.database)
    never = replace(
        work.monitor.config,
        ic_warning=-2.0, ic_critical=-2.0, ic_wrong=-2.0, psi_warning=99.0, psi_critical=99.0,
        sharpe_warning=-1e9, sharpe_critical=-1e9,
    )  # fmt: skip
    work.monitor.config = never
    report = job(work, day)
    assert (report.decision, report.sentence) == ("trade", "Trade; nothing is out of order.")
    assert (report.rules_met, report.new_alerts, report.open_alerts) == ((), (), ())

    # As if it had been in force from the start: rules that change leave past sessions alone.
    forget_alerts(work.database)
    work.monitor.config = replace(never, ic_critical=2.0)
    report = job(work, day)
    assert report.decision == "trade reduced"
    assert report.sentence.startswith("Trade at 50% of the position: IC < 2, ")
    assert [alert.rule for alert in report.new_alerts] == ["ic_severe"]
    assert report.rules_met == report.new_alerts

    at = evaluation_time(work, day)
    with work.database.transaction() as connection:
        pause(
            connection, strategy_id="small", alert_id=None, effective_from=at,
            reason="limits breached", by="ann",
        )  # fmt: skip
    report = job(work, day)
    assert report.decision == "paused"
    assert "limits breached" in report.sentence
    # The evening before knew nothing of it.
    work.monitor.config = never
    assert job(work, sessions[-3]).decision == "trade"


def test_a_person_reads_it_in_eighty_columns(work: StrategyContext, sessions: list[date]) -> None:
    for day in (sessions[-2], sessions[-1]):
        report = job(work, day)
        lines = report.render().splitlines()
        assert max(map(len, lines)) <= 80
        assert lines[0].startswith(f"small, session {day}, judged at ")
        assert f"DECISION: {report.decision.upper()}" in lines
        text = " ".join(report.render().split())
        for part in (report.sentence, "ret_5d", "IC over 1", "PSI of signals", "Sharpe, 60"):
            assert part in text
        for alert in (*report.new_alerts, *report.open_alerts):
            assert alert.message in text


def test_a_new_alert_comes_with_what_was_found_when_it_opened(work: StrategyContext) -> None:
    opened = dict(
        work.database.fetch_all("SELECT rule, max(opened_session) FROM alerts GROUP BY rule")
    )
    wanted = {
        "ic_severe": ("served values of 3 features are what the prices known then give",
                      "no feature is older than its", "moved most, by PSI: "),
        "sharpe_negative": ("market: of late ", "; in training "),
    }  # fmt: skip
    for rule, parts in wanted.items():
        report = job(work, opened[rule])
        (alert,) = [alert for alert in report.new_alerts if alert.rule == rule]
        text = " ".join(report.render().split())
        text = text[text.index("New alerts") : text.index("Open alerts from before")]
        for part in (alert.message, *parts):
            assert part in text
        assert max(map(len, report.render().splitlines())) <= 80


def test_a_strategy_without_file_model_or_data_is_reported_too(
    database: Database, tmp_path: Path, calendar: TradingCalendar
) -> None:
    store = FeatureStore(database)
    registry = ModelRegistry(database, artifacts=tmp_path)
    monitor = DriftMonitor(database, "mine")
    newest = calendar.session_of(database.now() - timedelta(hours=4))
    report = daily_mlops_job(store, registry, monitor, "mine")
    assert (report.date, report.model, report.features) == (newest, None, ())
    assert report.decision == "check data"
    assert report.sentence == "Check the data before trading: no model is live; promote one."
    assert "none is live" in report.render()
    # Live, but registered without a training set: what can be said is said.
    registry.register_model("by_hand", "mine")
    live_from = calendar.open_time(newest) - timedelta(hours=1)
    registry.promote("by_hand", 1, "mine", by="ann", reason="test", effective_from=live_from)
    store.write_features(
        "AAPL", calendar.close_time(newest), {"f": 1.0}, availability_lag=timedelta(0)
    )
    report = daily_mlops_job(store, registry, monitor, "mine")
    assert report.model is not None
    assert report.model.label == "by_hand v1"
    assert [(f.feature_name, f.sessions_old) for f in report.features] == [("f", 0)]
    assert report.problems[0].startswith(
        "feature drift was not measured: by_hand v1 was registered"
    )


def test_what_makes_no_sense_is_refused(
    work: StrategyContext, sessions: list[date], calendar: TradingCalendar
) -> None:
    with pytest.raises(MonitoringError, match="the job is about 'other' and the monitor about"):
        daily_mlops_job(work.store, work.registry, work.monitor, "other", sessions[-2])
    ahead = calendar.next(calendar.session_of(work.database.now()), 2)
    with pytest.raises(MonitoringError, match=f"{ahead} can be judged from"):
        job(work, ahead)
    with pytest.raises(NotASessionError):
        job(work, date(2021, 7, 5))


def test_a_feature_that_comes_rarely_is_neither_stale_nor_missing_in_between(
    database: Database, calendar: TradingCalendar
) -> None:
    store = FeatureStore(database)
    session = date(2024, 6, 28)
    last = {"A": 61, "B": 40, "C": 30}  # sessions before, each entity's newest report

    def write(entity: str, before: int, **values: float) -> None:
        close = calendar.close_time(calendar.offset(session, -before))
        store.write_features(entity, close, values, availability_lag=timedelta(minutes=15))

    for entity, before in last.items():
        write(entity, before, book=1.0)

    def health(max_ages: dict[str, int] | None = None, **paces: int) -> FeatureHealth:
        (found,) = feature_health(
            database, calendar, {"book": 1}, session=session,
            as_of=calendar.close_time(session) + timedelta(hours=4), paces=paces,
            max_ages=max_ages,
        )  # fmt: skip
        return found

    assert (health().is_stale(), health().entities) == (True, 0)
    assert (health(book=29).is_stale(), health(book=30).is_stale()) == (True, False)
    found = health(book=63)
    assert (found.sessions_old, found.expected_age, found.entities) == (30, 63, 3)
    assert found.missing_rate == 0.0
    # Missing is who has no value as young as that, whatever the others have; A, without any value
    # for long, has left.
    assert (health(book=45).entities, health(book=45).missing_rate) == (3, 1 / 3)
    assert (health(book=30).entities, health(book=30).missing_rate) == (2, 0.5)
    assert (health(book=29).entities, health(book=29).missing_rate) == (2, 1.0)
    # What a model was trained to take counts for it, however often the values should come now.
    tightened = health(max_ages={"book": 63}, book=45)
    assert (tightened.expected_age, tightened.missing_rate) == (45, 0.0)
    loosened = health(max_ages={"book": 35}, book=63)
    assert (loosened.expected_age, loosened.missing_rate) == (63, 2 / 3)
    write("A", 0, price=1.0)
    write("B", 0, price=1.0)
    both = feature_health(
        database, calendar, {"book": 1, "price": 1}, session=session,
        as_of=calendar.close_time(session) + timedelta(hours=4), paces={"book": 20},
    )  # fmt: skip
    # C has no price any more and is not missed.
    assert [(f.entities, f.missing_rate, f.is_stale()) for f in both] == [
        (2, 1.0, True), (2, 0.0, False),
    ]  # fmt: skip
    write("A", 1, book=2.0)
    store.write_features(
        "B", calendar.close_time(session), {"book": {"eps": 2.0}},
        availability_lag=timedelta(minutes=15),
    )  # fmt: skip
    for numbers_only, missing in ((False, 0.0), (True, 0.5)):
        (found, _) = feature_health(
            database, calendar, {"book": 1, "price": 1}, session=session,
            as_of=calendar.close_time(session) + timedelta(hours=4), paces={"book": 20},
            numbers_only=numbers_only,
        )  # fmt: skip
        assert found.missing_rate == missing


def test_the_pace_of_a_rare_feature_reaches_decision_and_evidence(
    work: StrategyContext, sessions: list[date]
) -> None:
    names = tuple(work.strategy.feature_versions)
    paced = job(work, sessions[-1], max_feature_age={names[0]: 1})
    assert [f.expected_age for f in paced.features] == [1, 0, 0]
    assert [names[0] in problem for problem in paced.problems] == [False] * len(paced.problems)
    assert len(paced.problems) == 3


def test_freshness_counts_sessions_and_missing_counts_entities(
    database: Database, calendar: TradingCalendar
) -> None:
    store = FeatureStore(database)
    friday, monday = date(2024, 1, 12), date(2024, 1, 16)  # a holiday lies between them

    def write(entity: str, day: date, lag: timedelta = timedelta(minutes=15), **v: float) -> None:
        store.write_features(entity, calendar.close_time(day), v, availability_lag=lag)

    for entity in ("A", "B", "C", "D"):
        write(entity, date(2024, 1, 10), slow=1.0)
    for entity in ("A", "B", "C"):
        write(entity, friday, fast=1.0)
    write("D", friday, timedelta(days=9), fast=1.0)
    write("gone", date(2023, 6, 1), fast=1.0)

    def health(session: date, hours: float, **paces: int) -> dict[str, FeatureHealth]:
        as_of = calendar.close_time(session) + timedelta(hours=hours)
        found = feature_health(
            database,
            calendar,
            {"slow": 1, "fast": 1, "never": 1},
            session=session,
            as_of=as_of,
            paces=paces,
        )
        return {f.feature_name: f for f in found}

    # Known to be missing is missing.
    database.execute(
        "INSERT INTO feature_events (entity_key, feature_name, event_time, ingest_time, producer) "
        "VALUES ('A', 'slow', %(at)s, %(at)s, 'test')",
        {"at": calendar.close_time(date(2024, 1, 10)) + timedelta(hours=1)},
    )
    # The morning after the holiday, Friday's close is the newest there can be.
    morning = health(friday, 88)
    ages = {name: f.sessions_old for name, f in morning.items()}
    assert ages == {"slow": 2, "fast": 0, "never": None}
    assert {n: f.missing_rate for n, f in morning.items()} == {
        "slow": 0.25, "fast": 0.25, "never": 1.0,
    }  # fmt: skip
    assert {f.entities for f in morning.values()} == {4}
    assert [f.is_stale() for f in morning.values()] == [True, False, True]
    assert [f.is_stale() for f in health(friday, 88, slow=2).values()] == [False, False, True]
    assert health(monday, 4)["fast"].sessions_old == 1
