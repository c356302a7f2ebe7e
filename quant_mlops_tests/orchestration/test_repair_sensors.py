"""Missing sessions are run and restated bars carried on, neither twice at once nor for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from quant_mlops.database import Database
from quant_mlops.orchestration.instance import run_job
from quant_mlops.orchestration.jobs import STRATEGY_TAG
from quant_mlops.orchestration.repair_sensors import (
    CORRECTIONS_TAG,
    MISSING_TAG,
    MOST_SESSIONS,
)
from quant_mlops.orchestration.resources import Server
from quant_mlops.orchestration.session_tags import session_tags, sessions_of_run
from quant_mlops.orchestration.strategy_set import strategy_definitions
from quant_mlops.pending import first_due_session, incomplete_sessions
from quant_mlops.pipeline import judge_sessions
from quant_mlops.settings import load_settings
from quant_mlops.strategy import Strategy
from quant_mlops.strategy_context import StrategyContext

pytestmark = pytest.mark.shared

MISSING = "small_missing_sessions_sensor"
CORRECTIONS = "small_corrections_sensor"
# As many sessions as the strategy monitors.
MONITORED = 60


@pytest.fixture
def ran_database(ran_desk: Any) -> Iterator[Database]:
    with Database(ran_desk.conninfo) as database:
        yield database


@dataclass
class Ticks:
    """Ticks of a sensor, one after another: each begins with the cursor that the last one left."""

    desk: Any
    defs: dg.Definitions
    sensor: str
    cursor: str | None = None

    def __call__(self) -> dg.RunRequest | str:
        repository = self.defs.get_repository_def()
        with dg.build_sensor_context(
            instance=self.desk.instance,
            repository_def=repository,
            resources={"server": Server()},
            cursor=self.cursor,
        ) as context:
            data = repository.get_sensor_def(self.sensor).evaluate_tick(context)
        self.cursor = data.cursor
        if not data.run_requests:
            assert data.skip_message
            return data.skip_message
        (request,) = data.run_requests
        return request


def tick(desk: Any, defs: dg.Definitions, sensor: str) -> dg.RunRequest | str:
    return Ticks(desk, defs, sensor)()


def asked_for(found: dg.RunRequest | str) -> list[str]:
    assert isinstance(found, dg.RunRequest), found
    span = sessions_of_run(dg.DagsterRun("small_daily", tags=found.tags))
    assert span is not None
    return list(dict.fromkeys(map(str, span)))


def add_run(
    desk: Any, defs: dg.Definitions, job: str, status: dg.DagsterRunStatus, tags: dict[str, str]
) -> str:
    run = desk.instance.create_run_for_job(
        defs.resolve_job_def(f"small_{job}"), tags={STRATEGY_TAG: "small"} | tags, status=status
    )
    return str(run.run_id)


def lose(database: Database, sessions: list[date]) -> None:
    database.execute("DELETE FROM drift_metrics WHERE date = ANY (%s)", [sessions])


def nothing_is_missing(sessions: list[date]) -> str:
    return f"no session from {sessions[-MONITORED]} to {sessions[-1]} is missing"


def test_a_strategy_that_misses_nothing_asks_for_nothing_and_one_never_judged_for_its_first(
    ran_desk: Any, ran_database: Database, defs: dg.Definitions, sessions: list[date], forge: Any
) -> None:
    assert tick(ran_desk, defs, MISSING) == nothing_is_missing(sessions)
    lose(ran_database, sessions)
    first = len(sessions) - MONITORED
    assert asked_for(tick(ran_desk, defs, MISSING)) == [
        str(sessions[first]), str(sessions[first + MOST_SESSIONS - 1]),
    ]  # fmt: skip

    # A model that is made live during a session serves from the next one on.
    promoted = "UPDATE model_deployments SET live_range = tstzrange(%s, NULL)"
    for hour, served in ((12, -30), (15, -29)):
        moment = datetime.combine(sessions[-30], time(hour), UTC)
        forge(ran_database, promoted, [moment])
        assert asked_for(tick(ran_desk, defs, MISSING))[0] == str(sessions[served])
    forge(ran_database, promoted, [datetime(2023, 1, 3, 12, tzinfo=UTC)])
    assert tick(ran_desk, defs, MISSING) == (
        f"the first session that can be judged is 2023-01-03, and sessions are due up to "
        f"{sessions[-1]}"
    )


def test_a_strategy_that_cannot_be_judged_yet_says_what_it_lacks(
    desk: Any, defs: dg.Definitions
) -> None:
    assert tick(desk, defs, MISSING) == (
        "no session was judged yet: no prices are stored; load some with `quant-mlops ingest "
        "prices FILE`"
    )
    with Database(desk.conninfo) as database:
        store_bar(database, lag="15 minutes")
    assert tick(desk, defs, MISSING) == (
        "no session was judged yet: no model of small was ever live; train one with the job "
        "small_training, or with `quant-mlops models train`"
    )


def test_missing_sessions_are_run_with_those_that_were_judged_without_them(
    ran_desk: Any, ran_database: Database, defs: dg.Definitions, sessions: list[date]
) -> None:
    before = ran_database.fetch_all("SELECT date, ic, psi FROM drift_metrics ORDER BY date")
    lose(ran_database, [*sessions[-22:-19], sessions[-1]])

    first = tick(ran_desk, defs, MISSING)

    assert asked_for(first) == [str(sessions[-22]), str(sessions[-3])]
    assert isinstance(first, dg.RunRequest)
    assert first.tags[MISSING_TAG] == "small"
    run_job(
        defs, ran_desk.instance, "small_daily", sessions=(sessions[-22], sessions[-3]),
        tags=dict(first.tags),
    )  # fmt: skip
    second = tick(ran_desk, defs, MISSING)
    assert asked_for(second) == [str(sessions[-1])]
    run_job(defs, ran_desk.instance, "small_daily", sessions=(sessions[-1], sessions[-1]))
    assert tick(ran_desk, defs, MISSING) == nothing_is_missing(sessions)
    after = ran_database.fetch_all("SELECT date, ic, psi FROM drift_metrics ORDER BY date")
    assert after == before


def test_a_session_without_a_price_is_missing_though_it_was_judged(
    ran_desk: Any, ran_database: Database, defs: dg.Definitions, sessions: list[date], forge: Any
) -> None:
    forge(ran_database, "DELETE FROM price_bars WHERE session = %s", [sessions[-3]])
    assert asked_for(tick(ran_desk, defs, MISSING)) == [str(sessions[-3]), str(sessions[-1])]


def test_a_tick_asks_for_so_many_sessions_at_most(
    ran_desk: Any, ran_database: Database, defs: dg.Definitions, sessions: list[date]
) -> None:
    lose(ran_database, sessions[-40:])
    start = len(sessions) - 40
    assert asked_for(tick(ran_desk, defs, MISSING)) == [
        str(sessions[start]), str(sessions[start + MOST_SESSIONS - 1]),
    ]  # fmt: skip


@pytest.mark.parametrize("job", ["daily", "history"])
def test_while_a_run_works_on_sessions_no_other_is_asked_for(
    ran_desk: Any, ran_database: Database, defs: dg.Definitions, sessions: list[date], job: str
) -> None:
    lose(ran_database, [sessions[-5]])
    tags = session_tags(sessions[-1], sessions[-1])
    run_id = add_run(ran_desk, defs, job, dg.DagsterRunStatus.NOT_STARTED, tags)
    assert tick(ran_desk, defs, MISSING) == f"1 sessions are missing; run {run_id} is at work"


def test_a_training_at_work_or_another_strategys_run_is_in_nobodys_way(
    ran_desk: Any, ran_database: Database, defs: dg.Definitions, sessions: list[date]
) -> None:
    lose(ran_database, [sessions[-5]])
    add_run(ran_desk, defs, "training", dg.DagsterRunStatus.STARTED, {})
    tags = {STRATEGY_TAG: "other"} | session_tags(sessions[-5], sessions[-5])
    add_run(ran_desk, defs, "daily", dg.DagsterRunStatus.STARTED, tags)
    assert asked_for(tick(ran_desk, defs, MISSING)) == [str(sessions[-5]), str(sessions[-1])]


@dataclass
class OwnFile:
    """A copy of the price file, to be rewritten, and the strategy that reads it."""

    path: Path
    rows: list[str]
    defs: dg.Definitions

    def write(self, *, without: list[date]) -> None:
        left_out = {str(day) for day in without}
        rows = [row for row in self.rows if row.split(",")[0].strip('"') not in left_out]
        self.path.write_text("\n".join(rows) + "\n")


@pytest.fixture
def own_file(strategy: Strategy, price_file: Path, tmp_path: Path) -> OwnFile:
    path = tmp_path / "own.csv"
    prices = strategy.prices.model_copy(update={"file": str(path)})
    own = strategy.model_copy(update={"prices": prices})
    defs = dg.Definitions.merge(
        strategy_definitions(own), dg.Definitions(resources={"server": Server()})
    )
    return OwnFile(path, price_file.read_text().splitlines(), defs)


@pytest.fixture
def unprice(ran_database: Database, forge: Any) -> Callable[[list[date]], None]:
    """Give the function that takes the stored prices of sessions away, and their verdicts."""

    def unprice(sessions: list[date]) -> None:
        forge(ran_database, "DELETE FROM price_bars WHERE session = ANY (%s)", [sessions])
        lose(ran_database, sessions)

    return unprice


def ask_three_times(ticks: Ticks, first: date, last: date) -> set[str | None]:
    """Have a range asked for as often as it is tried, and return the keys of its runs."""
    found = [ticks() for _ in range(3)]
    assert [asked_for(each) for each in found] == [list(dict.fromkeys([str(first), str(last)]))] * 3
    keys = {each.run_key for each in found if isinstance(each, dg.RunRequest)}
    # Dagster drops a request whose key it has seen, whatever became of the run.
    assert len(keys) == 3
    return keys


def test_a_session_is_tried_three_times_and_does_not_keep_others_from_their_turn(
    ran_desk: Any, ran_database: Database, defs: dg.Definitions, sessions: list[date]
) -> None:
    lose(ran_database, sessions[-5:-3] + sessions[-2:-1])
    ticks = Ticks(ran_desk, defs, MISSING)
    ask_three_times(ticks, sessions[-5], sessions[-1])
    ask_three_times(ticks, sessions[-2], sessions[-1])
    assert str(ticks()).startswith(
        f"given up after 3 tries each: 3 sessions from {sessions[-5]} on"
    )
    lose(ran_database, [sessions[-1]])
    assert asked_for(ticks()) == [str(sessions[-1])]


def test_tries_are_remembered_however_many_sessions_are_missing(
    ran_desk: Any, ran_database: Database, defs: dg.Definitions, sessions: list[date]
) -> None:
    lost = sessions[-59:-19:2]
    lose(ran_database, lost)
    ticks = Ticks(ran_desk, defs, MISSING)
    asked = [asked_for(ticks())[0] for _ in range(3 * len(lost))]
    assert asked == [str(day) for day in lost for _ in range(3)]
    assert str(ticks()).endswith(
        f"given up after 3 tries each: {len(lost)} sessions from {lost[0]} on; prices that the "
        f"file lacked have them tried again, else run them by hand when the cause is mended"
    )


def test_sessions_after_the_last_price_are_not_asked_for_except_the_newest(
    ran_desk: Any, own_file: OwnFile, unprice: Callable[[list[date]], None], sessions: list[date],
    ran_database: Database,
) -> None:  # fmt: skip
    own_file.write(without=sessions[-8:])
    unprice(sessions[-8:])
    lose(ran_database, sessions[-10:-8])
    ticks = Ticks(ran_desk, own_file.defs, MISSING)
    ask_three_times(ticks, sessions[-10], sessions[-9])
    ask_three_times(ticks, sessions[-1], sessions[-1])
    ended = f"prices end at {sessions[-9]}; without any: 8 sessions up to {sessions[-1]}"
    given_up = f"given up after 3 tries each: 2 sessions from {sessions[-10]} on"
    assert str(ticks()).startswith(f"{ended}; {given_up}")

    # Those that were delivered since are run; what was tried with its prices is not.
    own_file.write(without=sessions[-3:])
    assert asked_for(ticks()) == [str(sessions[-8]), str(sessions[-4])]
    own_file.write(without=[])
    assert asked_for(ticks()) == [str(sessions[-8]), str(sessions[-1])]


def test_a_gap_of_the_price_file_costs_nothing_until_the_file_has_prices_of_it(
    ran_desk: Any, own_file: OwnFile, unprice: Callable[[list[date]], None], sessions: list[date]
) -> None:
    gap = sessions[-30:-28]
    own_file.write(without=[*gap, sessions[-1]])
    unprice([*gap, sessions[-1]])
    ticks = Ticks(ran_desk, own_file.defs, MISSING)
    keys = ask_three_times(ticks, gap[0], sessions[-11])
    ask_three_times(ticks, sessions[-1], sessions[-1])
    assert f"given up after 3 tries each: 2 sessions from {gap[0]} on" in str(ticks())

    # Rewritten with another session, the file still has nothing of the gap.
    own_file.write(without=gap)
    assert asked_for(ticks()) == [str(sessions[-1])]
    own_file.write(without=[])
    again = ticks()
    assert asked_for(again) == [str(gap[0]), str(sessions[-11])]
    assert isinstance(again, dg.RunRequest)
    assert again.run_key not in keys


def test_a_price_file_that_cannot_be_read_leaves_what_is_stored(
    ran_desk: Any, ran_database: Database, own_file: OwnFile,
    unprice: Callable[[list[date]], None], sessions: list[date],
) -> None:  # fmt: skip
    unprice(sessions[-2:])
    lose(ran_database, [sessions[-4]])
    ticks = Ticks(ran_desk, own_file.defs, MISSING)
    assert asked_for(ticks()) == [str(sessions[-4]), str(sessions[-3])]


def test_a_session_judged_before_the_one_it_depends_on_is_judged_again(
    ran_desk: Any, ran_database: Database, defs: dg.Definitions, strategy: Strategy,
    sessions: list[date], forge: Any,
) -> None:  # fmt: skip
    verdicts = "SELECT date, missing, ic, psi, sharpe_20d FROM drift_metrics ORDER BY date"
    complete = ran_database.fetch_all(verdicts)
    late = sessions[-3]
    for statement in (
        "DELETE FROM predictions WHERE session = %s",
        "DELETE FROM strategy_returns WHERE session > %s",
        "DELETE FROM drift_metrics WHERE date >= %s",
    ):
        forge(ran_database, statement, [late])
    work = StrategyContext(ran_database, load_settings(home=ran_desk.home), strategy)
    judge_sessions(work, sessions[-2], sessions[-1])
    lacking = ran_database.fetch_all(verdicts)[-2:]
    assert ["the return" in row[1] for row in lacking] == [True, True]
    assert ["the IC" in row[1] for row in lacking] == [False, True]
    # They lack nothing that running them again would mend before the session they depend on is.
    assert incomplete_sessions(work, sessions[-MONITORED], sessions[-1]) == [late]

    run_job(defs, ran_desk.instance, "small_daily", sessions=(late, late))
    ticks = Ticks(ran_desk, defs, MISSING)
    ask_three_times(ticks, sessions[-2], sessions[-1])
    # Were the verdicts to stay as they are, they would not be asked for for ever.
    assert f"given up after 3 tries each: 2 sessions from {sessions[-2]} on" in str(ticks())

    run_job(defs, ran_desk.instance, "small_daily", sessions=(sessions[-2], sessions[-1]))
    assert ticks() == nothing_is_missing(sessions)
    assert ran_database.fetch_all(verdicts) == complete


def test_what_is_not_due_yet_is_not_missing(
    ran_desk: Any, ran_database: Database, strategy: Strategy, sessions: list[date]
) -> None:
    lose(ran_database, sessions[-5:])
    work = StrategyContext(ran_database, load_settings(home=ran_desk.home), strategy)
    first = first_due_session(work)
    assert first == sessions[-MONITORED]
    assert incomplete_sessions(work, first, sessions[-6]) == []
    assert incomplete_sessions(work, first, sessions[-4]) == sessions[-5:-3]


def store_bar(database: Database, *, lag: str) -> None:
    database.execute(
        "INSERT INTO price_bars (ticker, event_time, ingest_time, session, close, "
        "availability_observed, source) VALUES ('A', '2021-11-23 21:00Z', "
        "timestamptz '2021-11-23 21:00Z' + %s::interval, '2021-11-23', 10, true, 'x')",
        [lag],
    )


def restate(database: Database, session: date) -> None:
    """Store a later print of one bar."""
    database.execute(
        "INSERT INTO price_bars (ticker, event_time, ingest_time, session, close, "
        "availability_observed, source) "
        "SELECT ticker, event_time, ingest_time + interval '2 days', session, close * 1.5, "
        "true, 'restated' FROM price_bars WHERE ticker = 'T07' AND session = %s",
        [session],
    )


def test_restated_bars_lead_to_one_run_that_revises_what_they_touch(
    ran_desk: Any, ran_database: Database, defs: dg.Definitions, sessions: list[date]
) -> None:
    nothing = "no bar was restated since features were revised"
    assert tick(ran_desk, defs, CORRECTIONS) == nothing
    restate(ran_database, sessions[-30])

    found = tick(ran_desk, defs, CORRECTIONS)

    assert isinstance(found, dg.RunRequest)
    count = "SELECT count(*) FROM feature_events WHERE entity_key = %s"
    before = {t: ran_database.fetch_all(count, [t]) for t in ("T06", "T07")}
    result = run_job(defs, ran_desk.instance, "small_revision", tags=dict(found.tags))
    assert result.success
    after = {t: ran_database.fetch_all(count, [t]) for t in ("T06", "T07")}
    assert after["T06"] == before["T06"]
    revised = after["T07"][0][0] - before["T07"][0][0]
    # A return over five sessions, one over one, and a deviation over twenty.
    assert revised >= 2 + 2 + 20
    observed = result.filter_events(lambda e: e.event_type_value == "ASSET_OBSERVATION")
    (event,) = [e.asset_observation_data.asset_observation for e in observed]
    assert event.metadata["revisions"].value == revised
    assert event.asset_key.path == ["small", "feature_events"]
    assert tick(ran_desk, defs, CORRECTIONS) == nothing


def test_a_revision_waits_for_runs_at_work_and_is_tried_three_times(
    ran_desk: Any, ran_database: Database, defs: dg.Definitions, sessions: list[date]
) -> None:
    restate(ran_database, sessions[-30])
    tags = session_tags(sessions[-1], sessions[-1])
    run_id = add_run(ran_desk, defs, "daily", dg.DagsterRunStatus.STARTED, tags)
    assert f"wait for run {run_id}" in str(tick(ran_desk, defs, CORRECTIONS))
    ran_desk.instance.report_run_failed(ran_desk.instance.get_run_by_id(run_id))
    keys = set()
    for _ in range(3):
        found = tick(ran_desk, defs, CORRECTIONS)
        assert isinstance(found, dg.RunRequest)
        keys.add(found.run_key)
        state = {CORRECTIONS_TAG: found.tags[CORRECTIONS_TAG]}
        add_run(ran_desk, defs, "revision", dg.DagsterRunStatus.FAILURE, state)
    assert len(keys) == 3
    given_up = str(tick(ran_desk, defs, CORRECTIONS))
    assert given_up.startswith("restated bars of 1 tickers could not be carried on in 3 runs")


def test_before_features_were_computed_there_is_nothing_to_revise(
    desk: Any, defs: dg.Definitions
) -> None:
    with Database(desk.conninfo) as database:
        for lag in ("15 minutes", "2 days"):
            store_bar(database, lag=lag)
    assert tick(desk, defs, CORRECTIONS) == "no bar was restated since features were revised"
