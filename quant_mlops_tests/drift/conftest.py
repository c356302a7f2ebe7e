"""A monitored strategy: bars, predictions, returns and a live model, written straight to tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest

from quant_mlops.database import Database
from quant_mlops.drift.monitor import DriftMonitor
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.price_bars import write_bars
from quant_mlops.registry import ModelRegistry

INSTANT = pa.timestamp("us", tz="UTC")
HORIZON = 3
TICKERS = ("A'1", "B2", "C3", "D4", "E5", "F6", "G7")


@dataclass
class Desk:
    """Writes what the monitor reads, and remembers it."""

    database: Database
    calendar: TradingCalendar
    sessions: list[date]
    model_id: UUID
    closes: np.ndarray
    signals: np.ndarray
    net: np.ndarray
    psi: np.ndarray
    monitor: DriftMonitor = field(repr=False)

    def store_prices(
        self, first: int, last: int, *, factor: float = 1.0, lag: timedelta = timedelta(minutes=15)
    ) -> None:
        rows = [
            (ticker, i, float(self.closes[i, n]) * factor)
            for n, ticker in enumerate(TICKERS)
            for i in range(first, last)
            if np.isfinite(self.closes[i, n])
        ]
        events = [self.calendar.close_time(self.sessions[i]) for _, i, _ in rows]
        nothing = pa.nulls(len(rows), pa.float64())
        table = pa.table(
            {
                "ticker": pa.array([ticker for ticker, _, _ in rows]),
                "session": pa.array([self.sessions[i] for _, i, _ in rows], pa.date32()),
                "event_time": pa.array(events, INSTANT),
                "ingest_time": pa.array([event + lag for event in events], INSTANT),
                "close": pa.array([price for _, _, price in rows]),
                **dict.fromkeys(("open", "high", "low", "adj_close", "volume"), nothing),
                "availability_observed": pa.array([True] * len(rows)),
            }
        )
        write_bars(self.database, table, source=f"test {factor} {lag}")

    def store_predictions(self, first: int, last: int) -> None:
        rows = [
            (ticker, self.calendar.open_time(day), day, self.model_id, float(self.signals[i, n]))
            for i, day in list(enumerate(self.sessions))[first:last]
            for n, ticker in enumerate(TICKERS)
            if np.isfinite(self.signals[i, n])
        ]
        self._many(
            "INSERT INTO predictions (strategy_id, entity_key, event_time, session, model_id, "
            "signal, feature_digest) VALUES ('momentum', %s, %s, %s, %s, %s, 'x')",
            rows,
        )

    def store_returns(self, first: int, last: int) -> None:
        rows = [
            (day, self.calendar.close_time(day), self.model_id, float(self.net[i]))
            for i, day in list(enumerate(self.sessions))[first:last]
            if np.isfinite(self.net[i])
        ]
        self._many(
            "INSERT INTO strategy_returns (strategy_id, session, event_time, model_id, names, "
            "gross_return, turnover, cost, net_return, market_return) "
            "VALUES ('momentum', %s, %s, %s, 7, 0, 0, 0, %s, 0)",
            rows,
        )

    def store_drift(self, first: int, last: int) -> None:
        rows = [
            (name, self.calendar.close_time(day), day, self.model_id, None if np.isnan(v) else v)
            for i, day in list(enumerate(self.sessions))[first:last]
            for name, v in zip(("alpha", "beta"), self.psi[i].tolist(), strict=True)
        ]
        self._many(
            "INSERT INTO feature_drift (strategy_id, feature_name, event_time, session, model_id, "
            "feature_version, day_counts, window_sessions, n_reference, n_current, psi) "
            "VALUES ('momentum', %s, %s, %s, %s, 1, '{1}', 60, 1, 1, %s)",
            rows,
        )

    def store_all(self, first: int, last: int) -> None:
        self.store_prices(first, last)
        self.store_predictions(first, last)
        self.store_returns(first, last)
        self.store_drift(first, last)

    def _many(self, statement: str, rows: list[tuple[object, ...]]) -> None:
        with self.database.transaction() as connection, connection.cursor() as cursor:
            cursor.executemany(statement, rows)


@pytest.fixture
def registry(database: Database, tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(database, artifacts=tmp_path / "artifacts")


@pytest.fixture
def make_desk(
    database: Database, calendar: TradingCalendar, registry: ModelRegistry
) -> Callable[..., Desk]:
    """Give a function that makes a desk whose model is live from the close of session 0."""

    def make(*, count: int = 90, live: bool = True, **changes: np.ndarray) -> Desk:
        random = np.random.default_rng(12)
        days = calendar.sessions(date(2023, 8, 1), date(2024, 6, 28))[:count].tolist()
        shape = (count, len(TICKERS))
        walk = 100 * np.cumprod(1 + random.normal(0, 0.02, shape), axis=0)
        arrays: Mapping[str, np.ndarray] = {
            "closes": walk,
            "signals": np.round(random.normal(size=shape), 1),
            "net": np.where(np.arange(count) < 2, np.nan, random.normal(0, 0.01, count)),
            "psi": random.uniform(0, 0.4, (count, 2)),
        }
        model_id = registry.register_model("m", "momentum")
        if live:
            registry.promote(
                "m", 1, "momentum", by="ann", reason="test",
                effective_from=calendar.close_time(days[0]),
            )  # fmt: skip
        return Desk(
            database=database,
            calendar=calendar,
            sessions=days,
            model_id=model_id,
            monitor=DriftMonitor(database, "momentum", horizon=HORIZON, min_names=4),
            **{**arrays, **changes},
        )

    return make
