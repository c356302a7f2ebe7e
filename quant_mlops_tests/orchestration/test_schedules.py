"""The daily schedule asks for each session once, the morning after, and says why when not."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from quant_mlops.market.calendar import trading_calendar
from quant_mlops.orchestration.resources import Server
from quant_mlops.orchestration.schedules import scheduled_session
from quant_mlops.orchestration.strategy_set import strategy_definitions
from quant_mlops.strategy import Strategy

SCHEDULE = "small_daily_schedule"
MONTHLY = "small_monthly_retraining_schedule"
WEEKLY = "small_weekly_verification_schedule"


def definitions(
    strategy: Strategy,
    *,
    calendar: str = "XNYS",
    first: date = date(2021, 1, 5),
    last: date | None = None,
    lag_hours: float = 4.0,
) -> dg.RepositoryDefinition:
    monitoring = strategy.monitoring.model_copy(
        update={"first_session": first, "last_session": last, "evaluation_lag_hours": lag_hours}
    )
    made = strategy.model_copy(update={"calendar": calendar, "monitoring": monitoring})
    return dg.Definitions.merge(
        strategy_definitions(made), dg.Definitions(resources={"server": Server()})
    ).get_repository_def()


def tick(
    repository: dg.RepositoryDefinition, morning: date, name: str = SCHEDULE
) -> dg.RunRequest | str:
    """Return the run that the tick of a morning asks for, or why it asks for none."""
    schedule = repository.get_schedule_def(name)
    zone = ZoneInfo(str(schedule.execution_timezone))
    minute, hour, *_ = str(schedule.cron_schedule).split()
    at = datetime(morning.year, morning.month, morning.day, int(hour), int(minute), tzinfo=zone)
    with dg.build_schedule_context(
        scheduled_execution_time=at, repository_def=repository
    ) as context:
        data = schedule.evaluate_tick(context)
    if not data.run_requests:
        assert data.skip_message
        return data.skip_message
    (request,) = data.run_requests
    return request


def asked_for(repository: dg.RepositoryDefinition, first: date, last: date) -> list[str | None]:
    mornings = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    found = [tick(repository, morning) for morning in mornings]
    return [request.partition_key for request in found if isinstance(request, dg.RunRequest)]


@pytest.fixture(scope="module")
def xnys(strategy: Strategy) -> dg.RepositoryDefinition:
    return definitions(strategy)


def test_it_runs_by_default_at_six_in_the_zone_of_the_exchange(
    xnys: dg.RepositoryDefinition,
) -> None:
    schedule = xnys.get_schedule_def(SCHEDULE)
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert (schedule.cron_schedule, schedule.execution_timezone) == (
        "0 6 * * *",
        "America/New_York",
    )


def test_a_request_names_the_session_as_partition_and_as_key(
    xnys: dg.RepositoryDefinition,
) -> None:
    request = tick(xnys, date(2022, 11, 24))
    assert isinstance(request, dg.RunRequest)
    assert (request.partition_key, request.run_key) == ("2022-11-23", "2022-11-23")


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (date(2022, 11, 19), date(2022, 11, 29)),  # Thanksgiving, half-day after it
        (date(2022, 4, 9), date(2022, 4, 19)),  # Good Friday
        (date(2022, 3, 10), date(2022, 3, 17)),  # clocks go forward
        (date(2022, 11, 3), date(2022, 11, 10)),  # and back
        (date(2021, 12, 23), date(2022, 1, 5)),  # observed holidays, New Year on a Saturday
    ],
)
@pytest.mark.parametrize("exchange", ["XNYS", "XLON", "XTKS", "XHKG", "XASX", "24/7"])
def test_over_a_week_it_asks_for_each_session_once_in_order(
    strategy: Strategy, exchange: str, first: date, last: date
) -> None:
    found = asked_for(definitions(strategy, calendar=exchange), first, last)
    day = timedelta(days=1)
    expected = trading_calendar(exchange).sessions(first - day, last - day)
    assert found == [str(session) for session in expected]


@pytest.mark.parametrize(
    ("morning", "closed"),
    [
        (date(2022, 11, 25), "2022-11-24"),
        (date(2022, 4, 16), "2022-04-15"),
        (date(2022, 3, 13), "2022-03-12"),
        (date(2022, 3, 14), "2022-03-13"),
    ],
)
def test_after_a_closed_day_it_says_that_it_was_no_session(
    xnys: dg.RepositoryDefinition, morning: date, closed: str
) -> None:
    assert tick(xnys, morning) == f"{closed} was not a session of XNYS"


def test_after_the_last_session_it_says_so(strategy: Strategy) -> None:
    ended = definitions(strategy, last=date(2022, 11, 22))
    assert isinstance(tick(ended, date(2022, 11, 23)), dg.RunRequest)
    assert tick(ended, date(2022, 11, 24)) == (
        "2022-11-23 is after the strategy's last session, 2022-11-22"
    )


def test_before_the_first_session_it_says_so(strategy: Strategy) -> None:
    later = definitions(strategy, first=date(2022, 11, 23))
    assert isinstance(tick(later, date(2022, 11, 23)), dg.RunRequest)
    assert tick(later, date(2022, 11, 22)) == (
        "2022-11-21 is before the strategy's first session, 2022-11-22"
    )


@pytest.mark.parametrize("lag_hours", [13.9, 24.0, 40.0, 60.0])
@pytest.mark.parametrize("exchange", ["XNYS", "24/7"])
def test_no_session_is_asked_for_before_it_can_be_judged_and_none_is_left_out(
    strategy: Strategy, exchange: str, lag_hours: float
) -> None:
    repository = definitions(strategy, calendar=exchange, lag_hours=lag_hours)
    sessions = trading_calendar(exchange)
    mornings = [date(2022, 11, 1) + timedelta(days=n) for n in range(40)]
    found = []
    for morning in mornings:
        request = tick(repository, morning)
        if isinstance(request, dg.RunRequest):
            session = date.fromisoformat(str(request.partition_key))
            at = datetime(morning.year, morning.month, morning.day, 6, tzinfo=sessions.timezone)
            assert sessions.close_time(session) + timedelta(hours=lag_hours) <= at
            found.append(session)
    expected = [day.item() for day in sessions.sessions(found[0], found[-1])]
    assert found == expected


def test_a_session_that_cannot_be_judged_yet_is_named(strategy: Strategy) -> None:
    slow = definitions(strategy, lag_hours=24)
    request = tick(slow, date(2022, 11, 23))
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "2022-11-21"
    assert tick(slow, date(2022, 11, 29)) == (
        "2022-11-28 cannot be judged yet: it closed less than 1 day, 0:00:00 ago"
    )


@pytest.mark.parametrize(
    ("exchange", "month", "session"),
    [
        ("XNYS", "2022-01", "2022-01-03"),
        ("XNYS", "2022-05", "2022-05-02"),
        ("XTKS", "2022-01", "2022-01-04"),
        ("XHKG", "2022-07", "2022-07-04"),
        ("XLON", "2022-01", "2022-01-04"),
        ("24/7", "2022-05", "2022-05-01"),
    ],
)
def test_a_retraining_is_requested_after_the_first_session_of_a_month_alone(
    strategy: Strategy, exchange: str, month: str, session: str
) -> None:
    repository = definitions(strategy, calendar=exchange)
    year, number = (int(part) for part in month.split("-"))
    mornings = [date(year, number, 1) + timedelta(days=n) for n in range(28)]
    ticks = [tick(repository, morning, MONTHLY) for morning in mornings]
    asked = [each for each in ticks if isinstance(each, dg.RunRequest)]
    found = [each.run_config["ops"]["small__request_retraining"]["config"] for each in asked]
    assert [(each.run_key, config) for each, config in zip(asked, found, strict=True)] == [
        (month, {"session": session})
    ]
    job = repository.get_job("small_retraining_request")
    assert dg.validate_run_config(job, asked[0].run_config)


def test_it_says_why_it_does_not_request_a_retraining(xnys: dg.RepositoryDefinition) -> None:
    assert tick(xnys, date(2022, 5, 4), MONTHLY) == (
        "2022-05-03 was not the first session of its month, as 2022-05-02 came before it"
    )
    assert tick(xnys, date(2022, 5, 1), MONTHLY) == "2022-04-30 was not a session of XNYS"


def test_snapshots_are_verified_every_saturday_once(xnys: dg.RepositoryDefinition) -> None:
    schedule = xnys.get_schedule_def(WEEKLY)
    assert (schedule.cron_schedule, schedule.execution_timezone) == (
        "0 8 * * 6",
        "America/New_York",
    )
    request = tick(xnys, date(2022, 11, 26), WEEKLY)
    assert isinstance(request, dg.RunRequest)
    assert (request.run_key, request.partition_key) == ("2022-11-26", None)


@pytest.mark.parametrize(
    ("moment", "session"),
    [
        ("2022-11-24T05:59:59", "2022-11-22"),
        ("2022-11-26T05:59:59", "2022-11-23"),
        ("2022-11-26T06:00:00", "2022-11-25"),
        ("2022-11-28T23:00:00", "2022-11-25"),
        ("2022-03-14T06:00:00", "2022-03-11"),
    ],
)
def test_the_newest_session_that_was_scheduled_is_known_at_any_moment(
    strategy: Strategy, moment: str, session: str
) -> None:
    at = datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo("America/New_York"))
    assert str(scheduled_session(strategy, at)) == session
