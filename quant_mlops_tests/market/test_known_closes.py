"""Closes as they were known when each session was evaluated, against brute force."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from quant_mlops.database import Database
from quant_mlops.instants import from_microseconds, to_microseconds
from quant_mlops.market.calendar import TradingCalendar, trading_calendar
from quant_mlops.market.known_closes import closes_as_known
from quant_mlops.market.price_bars import write_bars

INSTANT = pa.timestamp("us", tz="UTC")
Bar = tuple[str, date, datetime, datetime, float]


def store(database: Database, bars: list[Bar], *, adjusted: bool = False) -> None:
    count = len(bars)
    nothing = pa.nulls(count, pa.float64())
    prices = pa.array([bar[4] for bar in bars])
    table = pa.table(
        {
            "ticker": pa.array([bar[0] for bar in bars]),
            "session": pa.array([bar[1] for bar in bars], pa.date32()),
            "event_time": pa.array([bar[2] for bar in bars], INSTANT),
            "ingest_time": pa.array([bar[3] for bar in bars], INSTANT),
            "close": pa.array([1.0] * count) if adjusted else prices,
            "adj_close": prices if adjusted else nothing,
            **dict.fromkeys(("open", "high", "low", "volume"), nothing),
            "availability_observed": pa.array([True] * count),
        }
    )
    write_bars(database, table, source="test")


@pytest.fixture
def sessions(calendar: TradingCalendar) -> np.ndarray:
    return calendar.sessions(date(2024, 2, 26), date(2024, 4, 12))[:30]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("adjusted", [False, True])
def test_closes_are_the_newest_known_at_each_evaluation(
    database: Database,
    calendar: TradingCalendar,
    sessions: np.ndarray,
    seed: int,
    adjusted: bool,
) -> None:
    random = np.random.default_rng(seed)
    tickers = ["b", "A'", "C", "zz"]
    bars: dict[tuple[str, date, datetime], Bar] = {}
    for ticker in tickers:
        for day in sessions.tolist():
            close = calendar.close_time(day)
            for _ in range(int(random.integers(0, 4))):
                known = close + timedelta(hours=float(random.choice([0, 0.25, 4, 5, 40, 170])))
                bars[ticker, day, known] = (ticker, day, close, known, float(random.uniform(5, 9)))
    store(database, list(bars.values()), adjusted=adjusted)
    judged = sessions[12:25]
    evaluated = calendar.closes(judged) + 4 * 3600 * 10**6
    found = closes_as_known(database, calendar, judged, evaluated_at=evaluated, lags=(0, 1, 5))
    assert set(found.tickers) <= set(tickers)
    assert list(found.tickers) == sorted(found.tickers)
    for lag, matrix in found.by_lag.items():
        for i in range(len(judged)):
            for n, ticker in enumerate(found.tickers):
                day = sessions[12 + i - lag].item()
                known = [
                    bar
                    for bar in bars.values()
                    if bar[:2] == (ticker, day) and to_microseconds(bar[3]) <= evaluated[i]
                ]
                # A revision that repeats what was known is not stored; the value is the same.
                newest = max(known, key=lambda bar: bar[3], default=None)
                expected = np.nan if newest is None else newest[4]
                np.testing.assert_equal(matrix[i, n], expected)
    np.testing.assert_array_equal(found.returns(5), found.by_lag[0] / found.by_lag[5] - 1.0)


def test_a_bar_of_a_day_off_is_nobodys_close(
    database: Database, calendar: TradingCalendar, sessions: np.ndarray
) -> None:
    saturday = date(2024, 3, 2)
    around_the_clock = trading_calendar("24/7")
    midnight = around_the_clock.close_time(saturday)
    friday, monday = date(2024, 3, 1), date(2024, 3, 4)
    store(
        database,
        [
            ("BTC", friday, calendar.close_time(friday), calendar.close_time(friday), 5.0),
            ("BTC", saturday, midnight, midnight, 7.0),
        ],
    )
    judged = np.array([monday], dtype="datetime64[D]")
    found = closes_as_known(
        database, calendar, judged, evaluated_at=calendar.closes(judged), lags=(0, 1)
    )
    np.testing.assert_array_equal(found.by_lag[0], [[np.nan]])
    np.testing.assert_array_equal(found.by_lag[1], [[5.0]])


def test_without_any_bar_there_are_no_tickers(
    database: Database, calendar: TradingCalendar, sessions: np.ndarray
) -> None:
    found = closes_as_known(
        database, calendar, sessions, evaluated_at=calendar.closes(sessions), lags=(0, 2)
    )
    assert found.tickers == ()
    assert found.returns(2).shape == (30, 0)


def test_one_session_reads_as_in_a_range(
    database: Database, calendar: TradingCalendar, sessions: np.ndarray
) -> None:
    bars = [
        ("A", day, calendar.close_time(day), calendar.close_time(day), float(i + 1))
        for i, day in enumerate(sessions.tolist())
    ]
    store(database, bars)
    at = calendar.closes(sessions)
    whole = closes_as_known(database, calendar, sessions[9:], evaluated_at=at[9:], lags=(0, 5))
    for i in (9, 17, 29):
        one = closes_as_known(
            database, calendar, sessions[i : i + 1], evaluated_at=at[i : i + 1], lags=(0, 5)
        )
        np.testing.assert_array_equal(one.returns(5), whole.returns(5)[i - 9 : i - 8])
    assert from_microseconds(int(at[0])) == calendar.close_time(sessions[0].item())
