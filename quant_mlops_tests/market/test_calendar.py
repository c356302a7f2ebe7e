"""Sessions, opens and closes, against dates that are known from the exchanges themselves."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_mlops.errors import MarketDataError, NotASessionError
from quant_mlops.market.calendar import TradingCalendar, trading_calendar

XNYS = trading_calendar("XNYS")
DAYS = st.dates(date(1990, 2, 1), date(2026, 11, 30))


def test_a_calendar_is_built_once_and_reaches_a_year_ahead() -> None:
    assert trading_calendar("XNYS") is XNYS
    assert XNYS.first_day == date(1990, 1, 1)
    assert XNYS.last_day >= datetime.now(UTC).date() + timedelta(days=364)
    assert XNYS.timezone == ZoneInfo("America/New_York")


def test_an_alias_gives_the_name_of_the_exchange() -> None:
    assert TradingCalendar("NYSE").name == "XNYS"


def test_an_unknown_name_is_an_error_that_says_what_is_allowed() -> None:
    with pytest.raises(MarketDataError, match=r"no trading calendar named 'WALL'.*XNYS"):
        trading_calendar("WALL")


def test_a_calendar_with_a_later_beginning_says_so() -> None:
    tokyo = trading_calendar("XTKS")
    assert tokyo.first_day == date(1997, 1, 1)
    with pytest.raises(MarketDataError, match=r"1995-06-01 is not covered.*1997-01-01"):
        tokyo.is_session(date(1995, 6, 1))


@pytest.mark.parametrize(
    "holiday",
    [
        date(2020, 7, 3),  # Independence Day observed
        date(2020, 11, 26),  # Thanksgiving
        date(2001, 9, 11),
        date(2012, 10, 29),  # hurricane Sandy
        date(2025, 1, 9),  # day of mourning
        date(2021, 1, 2),  # a Saturday
    ],
)
def test_days_on_which_the_exchange_was_closed_are_no_sessions(holiday: date) -> None:
    assert not XNYS.is_session(holiday)
    with pytest.raises(NotASessionError):
        XNYS.close_time(holiday)


def test_sessions_include_both_ends_and_skip_the_holiday_between() -> None:
    found = XNYS.sessions(date(2020, 11, 25), date(2020, 11, 27))
    assert found.dtype == np.dtype("datetime64[D]")
    assert found.tolist() == [date(2020, 11, 25), date(2020, 11, 27)]
    assert len(XNYS.sessions(date(2020, 1, 1), date(2020, 12, 31))) == 253
    assert len(XNYS.sessions(date(2020, 7, 4), date(2020, 7, 5))) == 0


def test_half_days_close_early() -> None:
    assert XNYS.close_time(date(2020, 11, 27)) == datetime(2020, 11, 27, 18, tzinfo=UTC)
    assert XNYS.close_time(date(2020, 11, 25)) == datetime(2020, 11, 25, 21, tzinfo=UTC)
    assert XNYS.close_time(date(2019, 7, 3)) == datetime(2019, 7, 3, 17, tzinfo=UTC)


def test_opens_and_closes_move_with_daylight_saving_time() -> None:
    days = [date(2020, 3, 6), date(2020, 3, 9), date(2020, 10, 30), date(2020, 11, 2)]
    opens = XNYS.opens(days).astype("datetime64[us]").astype(str).tolist()
    assert opens == [
        "2020-03-06T14:30:00.000000",
        "2020-03-09T13:30:00.000000",
        "2020-10-30T13:30:00.000000",
        "2020-11-02T14:30:00.000000",
    ]
    assert (XNYS.closes(days) - XNYS.opens(days) == 6.5 * 3600 * 1_000_000).all()
    assert XNYS.open_time(days[1]) == datetime(2020, 3, 9, 13, 30, tzinfo=UTC)


def test_london_is_in_its_own_zone() -> None:
    london = trading_calendar("XLON")
    assert london.close_time(date(2020, 7, 1)) == datetime(2020, 7, 1, 15, 30, tzinfo=UTC)
    assert london.close_time(date(2020, 1, 2)) == datetime(2020, 1, 2, 16, 30, tzinfo=UTC)


def test_a_market_that_never_closes_has_a_session_on_every_utc_day() -> None:
    always = trading_calendar("24/7")
    assert always.timezone.key == "UTC"
    assert always.sessions_between(date(2020, 1, 1), date(2021, 1, 1)) == 366
    assert always.close_time(date(2020, 12, 25)) == datetime(2020, 12, 26, tzinfo=UTC)


def test_times_are_int64_microseconds_and_none_for_no_sessions() -> None:
    closes = XNYS.closes(np.array([], dtype="datetime64[D]"))
    assert closes.dtype == np.int64
    assert closes.shape == (0,)


def test_an_array_with_one_holiday_names_it_and_its_neighbours() -> None:
    days = np.array(["2020-07-02", "2020-07-03", "2020-07-06"], dtype="datetime64[D]")
    expected = "2020-07-03, a Friday, is not a session of XNYS; nearest: 2020-07-02 and 2020-07-06"
    with pytest.raises(NotASessionError, match=expected):
        XNYS.opens(days)
    assert XNYS.are_sessions(days).tolist() == [True, False, True]


def test_membership_of_many_days_is_false_for_empty_and_uncovered_ones() -> None:
    days = np.array(["NaT", "1900-01-02", "2020-01-02", "2200-01-02"], dtype="datetime64[D]")
    assert XNYS.are_sessions(days).tolist() == [False, False, True, False]


def test_previous_and_next_are_strict_and_take_any_day() -> None:
    assert XNYS.previous(date(2020, 7, 6)) == date(2020, 7, 2)
    assert XNYS.previous(date(2020, 7, 4)) == date(2020, 7, 2)
    assert XNYS.previous(date(2020, 7, 6), 2) == date(2020, 7, 1)
    assert XNYS.next(date(2020, 7, 2)) == date(2020, 7, 6)
    assert XNYS.next(date(2020, 7, 4)) == date(2020, 7, 6)
    assert XNYS.next(date(2020, 7, 4), 2) == date(2020, 7, 7)
    with pytest.raises(MarketDataError, match="1 or more, not 0"):
        XNYS.next(date(2020, 7, 4), 0)


def test_offset_wants_a_session_and_stays_inside_the_calendar() -> None:
    assert XNYS.offset(date(2020, 7, 2), 0) == date(2020, 7, 2)
    assert XNYS.offset(date(2020, 7, 6), -1) == date(2020, 7, 2)
    with pytest.raises(NotASessionError):
        XNYS.offset(date(2020, 7, 4), 1)
    with pytest.raises(MarketDataError, match="lies outside XNYS as covered"):
        XNYS.offset(date(1990, 1, 2), -1)


@given(DAYS, DAYS)
def test_counting_sessions_and_stepping_over_them_agree(a: date, b: date) -> None:
    counted = XNYS.sessions_between(a, b)
    assert counted == -XNYS.sessions_between(b, a)
    start, end = XNYS.previous(a + timedelta(days=1)), XNYS.previous(b + timedelta(days=1))
    assert XNYS.offset(start, counted) == end
    if a <= b:
        assert counted == len(XNYS.sessions(a, b)) - XNYS.is_session(a)


@given(DAYS, st.times())
def test_the_session_of_an_instant_is_over_and_the_one_after_is_not(day: date, at: time) -> None:
    instant = datetime.combine(day, at, tzinfo=UTC)
    session = XNYS.session_of(instant)
    assert XNYS.close_time(session) <= instant < XNYS.close_time(XNYS.next(session))


def test_a_session_is_over_at_its_close_and_not_a_microsecond_before() -> None:
    close = XNYS.close_time(date(2020, 11, 27))
    assert XNYS.session_of(close) == date(2020, 11, 27)
    assert XNYS.session_of(close - timedelta(microseconds=1)) == date(2020, 11, 25)
    assert XNYS.session_of(close.astimezone(ZoneInfo("Asia/Tokyo"))) == date(2020, 11, 27)


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(MarketDataError, match="no time zone"):
        XNYS.session_of(datetime(2020, 11, 27, 18))  # noqa: DTZ001


def test_an_instant_beyond_the_calendar_is_an_error_and_not_the_last_session() -> None:
    with pytest.raises(MarketDataError, match="not covered"):
        XNYS.session_of(datetime(2100, 1, 1, tzinfo=UTC))


def test_an_instant_where_a_date_is_asked_for_is_refused_unless_it_is_midnight() -> None:
    assert XNYS.is_session(datetime(2020, 7, 2))  # noqa: DTZ001
    with pytest.raises(MarketDataError, match="`session_of` finds"):
        XNYS.is_session(datetime(2020, 7, 2, 12, tzinfo=UTC))
