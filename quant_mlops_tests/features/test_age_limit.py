"""The oldest event that still counts, against counting closes one by one."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from quant_mlops.errors import InvalidValueError
from quant_mlops.features.age_limit import EARLIEST, AgeLimit, oldest_events
from quant_mlops.instants import MICROSECOND, to_microseconds
from quant_mlops.market.calendar import trading_calendar

HOUR = timedelta(hours=1) // MICROSECOND


def oldest(times: np.ndarray, max_age: object) -> np.ndarray:
    return oldest_events(times, max_age, calendar="XNYS")  # type: ignore[arg-type]


@pytest.mark.parametrize("lag", [timedelta(0), timedelta(minutes=15), timedelta(days=40)])
@pytest.mark.parametrize("sessions", [0, 1, 5, 70])
def test_no_more_sessions_have_closed_since_than_the_limit(sessions: int, lag: timedelta) -> None:
    """Thanksgiving, half-days, New Year and both changes of the clocks are among the times."""
    calendar = trading_calendar("XNYS")
    first, last = date(2023, 10, 20), date(2024, 3, 20)
    closes = calendar.closes(calendar.sessions(date(2023, 1, 3), last))
    near = calendar.closes(calendar.sessions(first, last))
    times = np.concatenate([near - 1, near, near + 1, near + 7 * HOUR])
    found = oldest(times, AgeLimit(sessions, lag))
    for time, event in zip(times, found, strict=True):
        known = time - lag // MICROSECOND
        closed_since = np.sum((closes > event) & (closes <= known))
        closed_since_an_older_one = np.sum((closes > event - 1) & (closes <= known))
        assert (closed_since, closed_since_an_older_one) == (sessions, sessions + 1)


def test_a_limit_without_lag_is_a_number_of_sessions() -> None:
    times = np.array([to_microseconds(datetime(2024, 1, day, 12, tzinfo=UTC)) for day in (2, 8)])
    assert oldest(times, AgeLimit(3)).tolist() == oldest(times, 3).tolist()
    # On a Monday noon the close of Friday is 0 sessions old.
    friday = trading_calendar("XNYS").close_time(date(2024, 1, 5))
    assert oldest(times, AgeLimit(0))[1] == to_microseconds(friday)


@pytest.mark.parametrize("sessions", [20_000, 10**9, 10**30])
def test_a_limit_beyond_the_calendar_bounds_nothing(sessions: int) -> None:
    now = np.array([to_microseconds(datetime(2024, 1, 2, tzinfo=UTC))])
    assert oldest(now, sessions).tolist() == [EARLIEST]
    assert oldest(now, AgeLimit(sessions)).tolist() == [EARLIEST]
    assert oldest(now, None).tolist() == [EARLIEST]


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "5", timedelta(microseconds=-1), AgeLimit(-1)])
def test_what_is_no_age_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidValueError, match="0 or more"):
        oldest(np.empty(0, dtype=np.int64), wrong)
