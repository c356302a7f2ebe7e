"""Who could be traded in a session, by what was known before it opened."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from quant_mlops.database import Database
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.price_bars import write_bars
from quant_mlops.market.universe import decision_spine

INSTANT = pa.timestamp("us", tz="UTC")


@pytest.fixture
def sessions(calendar: TradingCalendar) -> list[date]:
    found: list[date] = calendar.sessions(date(2023, 11, 13), date(2024, 1, 31))[:25].tolist()
    return found


def store(
    database: Database, calendar: TradingCalendar, bars: dict[tuple[str, date], list[datetime]]
) -> None:
    rows = [(*key, known) for key, times in bars.items() for known in times]
    count = len(rows)
    nothing = pa.nulls(count, pa.float64())
    table = pa.table(
        {
            "ticker": pa.array([row[0] for row in rows]),
            "session": pa.array([row[1] for row in rows], pa.date32()),
            "event_time": pa.array([calendar.close_time(row[1]) for row in rows], INSTANT),
            "ingest_time": pa.array([row[2] for row in rows], INSTANT),
            "close": pa.array([float(i + 1) for i in range(count)]),
            **dict.fromkeys(("open", "high", "low", "adj_close", "volume"), nothing),
            "availability_observed": pa.array([True] * count),
        }
    )
    write_bars(database, table, source="test")


@pytest.fixture
def bars(
    database: Database, calendar: TradingCalendar, sessions: list[date]
) -> dict[tuple[str, date], list[datetime]]:
    random = np.random.default_rng(9)
    made: dict[tuple[str, date], list[datetime]] = {}
    for ticker in ("b", "A'\"", "Ä", "C", "later"):
        for i, day in enumerate(sessions):
            if random.random() < 0.15 or (ticker == "later" and i < 12):
                continue
            close = calendar.close_time(day)
            hours = random.choice([0.25, 16, 18, 70], size=int(random.integers(1, 3)))
            made[ticker, day] = sorted({close + timedelta(hours=float(h)) for h in hours})
    store(database, calendar, made)
    return made


@pytest.mark.parametrize("known_by", [10, 17, 24])
@pytest.mark.parametrize("step", [1, 3])
def test_the_universe_is_who_had_a_bar_of_the_session_before(
    database: Database,
    calendar: TradingCalendar,
    sessions: list[date],
    bars: dict[tuple[str, date], list[datetime]],
    known_by: int,
    step: int,
) -> None:
    asked = sessions[2::step]
    knowledge_time = calendar.close_time(sessions[known_by])
    expected = [
        (day, ticker, calendar.open_time(day))
        for day in asked
        for ticker in sorted({ticker for ticker, _ in bars})
        if any(
            known <= min(calendar.open_time(day), knowledge_time)
            for known in bars.get((ticker, calendar.previous(day)), [])
        )
    ]
    spine = decision_spine(
        database,
        calendar,
        np.array(asked, dtype="datetime64[D]"),
        knowledge_time=knowledge_time,
    ).table
    assert [tuple(row.values()) for row in spine.to_pylist()] == expected
    assert spine.schema.names == ["session", "entity_key", "time"]


def test_a_bar_known_at_the_open_counts_and_one_known_a_microsecond_later_does_not(
    database: Database, calendar: TradingCalendar, sessions: list[date]
) -> None:
    opens = calendar.open_time(sessions[1])
    late = opens + timedelta(microseconds=1)
    store(database, calendar, {("in", sessions[0]): [opens], ("out", sessions[0]): [late]})
    spine = decision_spine(
        database,
        calendar,
        np.array(sessions[1:2], dtype="datetime64[D]"),
        knowledge_time=late + timedelta(days=9),
    ).table
    assert spine["entity_key"].to_pylist() == ["in"]


@pytest.mark.parametrize("count", [0, 3])
def test_without_bars_or_sessions_the_spine_is_empty(
    database: Database, calendar: TradingCalendar, sessions: list[date], count: int
) -> None:
    spine = decision_spine(
        database,
        calendar,
        np.array(sessions[:count], dtype="datetime64[D]"),
        knowledge_time=calendar.close_time(sessions[-1]),
    ).table
    assert spine.num_rows == 0
    assert spine.schema == pa.schema(
        [("session", pa.date32()), ("entity_key", pa.string()), ("time", INSTANT)]
    )
