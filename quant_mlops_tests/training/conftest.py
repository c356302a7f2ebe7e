"""A small market in which things become known irregularly, and look-ups by brute force."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from quant_mlops.database import Database
from quant_mlops.features.rows import SCHEMA
from quant_mlops.features.writing import write_rows
from quant_mlops.instants import from_microseconds
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.price_bars import write_bars

INSTANT = pa.timestamp("us", tz="UTC")
FIELDS = ("open", "high", "low", "adj_close", "volume")


@dataclass(frozen=True)
class Bar:
    ticker: str
    session: date
    ingest_time: datetime
    close: float


@dataclass(frozen=True)
class Event:
    entity: str
    name: str
    event_time: datetime
    ingest_time: datetime
    value: float


@dataclass(frozen=True)
class SmallMarket:
    """Bars and feature events, and what was known of them at a time."""

    calendar: TradingCalendar
    sessions: list[date]
    tickers: list[str]
    features: tuple[str, ...]
    bars: list[Bar]
    events: list[Event]

    def close_known(self, ticker: str, session: date, at: datetime) -> Bar | None:
        known = [
            bar
            for bar in self.bars
            if bar.ticker == ticker and bar.session == session and bar.ingest_time <= at
        ]
        return max(known, key=lambda bar: bar.ingest_time, default=None)

    def feature_known(
        self, ticker: str, name: str, at: datetime, *, max_age: int | None = None
    ) -> float | None:
        known = [
            event
            for event in self.events
            if event.entity == ticker
            and event.name == name
            and event.event_time <= at
            and event.ingest_time <= at
        ]
        newest = max(known, key=lambda e: (e.event_time, e.ingest_time), default=None)
        if newest is None or (max_age is not None and self.age(newest, at) > max_age):
            return None
        return newest.value

    def age(self, event: Event, at: datetime) -> int:
        """Count the sessions that have closed after an event and by a time."""
        closes = (self.calendar.close_time(session) for session in self.sessions)
        return sum(event.event_time < close <= at for close in closes)

    def load(self, database: Database, *, order: int = 0) -> None:
        """Store everything, in an order and in parts that depend on a number."""
        shuffle = np.random.default_rng(order).permutation
        for part in np.array_split(shuffle(len(self.bars)), 1 + order % 3):
            write_bars(database, self._bar_table([self.bars[i] for i in part]), source="test")
        for part in np.array_split(shuffle(len(self.events)), 1 + order % 3):
            rows = self._event_table([self.events[i] for i in part])
            write_rows(database, rows, producer="test")

    def _bar_table(self, bars: list[Bar]) -> pa.Table:
        closes = {s: self.calendar.close_time(s) for s in {bar.session for bar in bars}}
        return pa.table(
            {
                "ticker": pa.array([bar.ticker for bar in bars]),
                "session": pa.array([bar.session for bar in bars], pa.date32()),
                "event_time": pa.array([closes[bar.session] for bar in bars], INSTANT),
                "ingest_time": pa.array([bar.ingest_time for bar in bars], INSTANT),
                "close": pa.array([bar.close for bar in bars]),
                **{name: pa.nulls(len(bars), pa.float64()) for name in FIELDS},
                "availability_observed": pa.array([True] * len(bars)),
            }
        )

    @staticmethod
    def _event_table(events: list[Event]) -> pa.Table:
        return pa.Table.from_pylist(
            [
                {
                    "entity_key": event.entity,
                    "feature_name": event.name,
                    "feature_version": 1,
                    "event_time": event.event_time,
                    "ingest_time": event.ingest_time,
                    "value_double": event.value,
                    "value_json": None,
                }
                for event in events
            ],
            schema=SCHEMA,
        )


MakeMarket = Callable[..., SmallMarket]


@pytest.fixture
def make_market(calendar: TradingCalendar) -> MakeMarket:
    """Give a function that makes a market: gaps, late bars, restatements, entries and exits."""

    def make(*, seed: int = 1, count: int = 40, names: int = 7) -> SmallMarket:
        random = np.random.default_rng(seed)
        first = date(2023, 11, 1)  # Thanksgiving, a half-day and the change of clocks are ahead
        sessions = [day.item() for day in calendar.sessions(first, date(2024, 6, 28))[:count]]
        tickers = [f"{'aZ' if i % 2 else 'Z'}{i}'\"x" for i in range(names)]
        bars, events = [], []
        for i, ticker in enumerate(tickers):
            price = 100.0
            begins = count // 3 if i == 0 else 0
            ends = 2 * count // 3 if i == 1 else count
            for day in sessions[begins:ends]:
                price *= 1 + random.normal(0, 0.02)
                if random.random() < 0.05:
                    continue
                close = calendar.close_time(day)
                late = timedelta(hours=float(random.choice([0.25, 0.25, 0.25, 19, 70])))
                bars.append(Bar(ticker, day, close + late, price))
                if random.random() < 0.1:
                    restated = close + late + timedelta(days=int(random.integers(1, 9)))
                    bars.append(Bar(ticker, day, restated, price * 1.01))
                for name in ("slow", "fast"):
                    if random.random() < 0.08:
                        continue
                    value = float(random.normal())
                    events.append(Event(ticker, name, close, close + late, value))
                    if random.random() < 0.2:
                        revised = close + late + timedelta(days=int(random.integers(1, 9)))
                        events.append(Event(ticker, name, close, revised, value + 1))
        return SmallMarket(calendar, sessions, tickers, ("slow", "fast"), bars, events)

    return make


@pytest.fixture
def instant_after(calendar: TradingCalendar) -> Callable[..., datetime]:
    """Give a function that returns an instant some hours after the close of a session."""

    def after(session: date, hours: float = 4.0) -> datetime:
        close = int(calendar.closes(np.array([session], dtype="datetime64[D]"))[0])
        return from_microseconds(close) + timedelta(hours=hours)

    return after
