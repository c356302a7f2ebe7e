"""A strategy with what its steps use, and the times that its sessions have."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property

import numpy as np
import numpy.typing as npt

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.drift.calibration import calibrate_rules
from quant_mlops.drift.monitor import DriftMonitor
from quant_mlops.drift.rules import Rule
from quant_mlops.errors import MarketDataError
from quant_mlops.features.store import FeatureStore
from quant_mlops.healthy_history import read_healthy_history
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.strategy_tickers import traded_tickers
from quant_mlops.registry import ModelRegistry
from quant_mlops.settings import Settings
from quant_mlops.strategy import Strategy
from quant_mlops.training.code_version import code_version

Sessions = npt.NDArray[np.datetime64]


@dataclass(frozen=True)
class StrategyContext:
    """A strategy with the database and the folders that its steps use."""

    database: Database
    settings: Settings
    strategy: Strategy
    run_id: str | None = None

    @property
    def tickers(self) -> list[str] | None:
        """What the strategy trades now, see `traded_tickers`; None for every ticker."""
        strategy = self.strategy
        return traded_tickers(self.database, strategy.name, universe=strategy.universe_name)

    @cached_property
    def store(self) -> FeatureStore:
        """Feature store that writes in the strategy's name."""
        calendar = self.strategy.trading_calendar
        return FeatureStore(
            self.database,
            self.strategy.name,
            producer_version=code_version().label,
            timezone=calendar.timezone.key,
            calendar=self.strategy.calendar,
            run_id=self.run_id,
        )

    @cached_property
    def registry(self) -> ModelRegistry:
        """Model registry with the home's artifacts."""
        return ModelRegistry(self.database, artifacts=self.settings.artifacts_folder)

    @cached_property
    def monitor(self) -> DriftMonitor:
        """Drift monitor with the strategy's thresholds."""
        strategy = self.strategy
        return DriftMonitor(
            self.database,
            strategy.name,
            strategy.alert_config,
            calendar=strategy.calendar,
            horizon=strategy.horizon,
            min_names=strategy.portfolio.min_names,
            evaluation_lag=strategy.evaluation_lag,
            ic_horizons=strategy.monitoring.ic_horizons,
            psi_window=strategy.monitoring.psi_window_sessions,
            universe=strategy.universe_name,
        )

    @cached_property
    def calibrated_rules(self) -> tuple[Rule, ...]:
        """Rules with limits from the first live model's test split, which never change.

        Raises
        ------
        MonitoringError
            No model was ever live, or its history cannot be read or is too short.
        """
        strategy = self.strategy
        return calibrate_rules(
            strategy.alert_config.rules("as_written"),
            read_healthy_history(self.registry, strategy),
            false_alarms_a_year=strategy.rules.false_alarms_a_year,
            seed=strategy.training.seed,
        )

    @property
    def calendar(self) -> TradingCalendar:
        """Sessions of the strategy's exchange."""
        return self.strategy.trading_calendar

    def sessions(self, first: date, last: date) -> Sessions:
        """Return the sessions of a range, both ends included."""
        return self.calendar.sessions(first, last)

    def monitored_sessions(self, first: date, last: date) -> Sessions:
        """Return the sessions of a range on which the strategy is monitored."""
        return self.sessions(max(first, self.strategy.monitoring.first_session), last)


def history_start(context: StrategyContext) -> date:
    """Return the first session with a stored price of what the strategy trades.

    Raises
    ------
    MarketDataError
        No price is stored.
    """
    return _priced_range(context)[0]


def _priced_range(context: StrategyContext) -> tuple[date, date]:
    row = context.database.fetch_one(query("select_priced_range"), {"tickers": context.tickers})
    if row is None or row[0] is None:
        raise MarketDataError(
            "no prices are stored; load some with `quant-mlops ingest prices FILE`"
        )
    first, last = row
    return first, last


def evaluation_time(context: StrategyContext, session: date) -> datetime:
    """Return the instant at which a session is judged."""
    return context.calendar.close_time(session) + context.strategy.evaluation_lag


def newest_knowledge(context: StrategyContext) -> datetime:
    """Return when the newest session with a price was judged, or now if that is still ahead.

    A history that has ended is trained on and audited as of its end.
    """
    last = context.strategy.monitoring.last_session
    priced = newest_priced_session(context)
    end = evaluation_time(context, priced if last is None else min(last, priced))
    return min(end, context.database.now())


def newest_priced_session(context: StrategyContext) -> date:
    """Return the last session with a stored price of what the strategy trades.

    Raises
    ------
    MarketDataError
        No price is stored.
    """
    return _priced_range(context)[1]


def end_of_prices(context: StrategyContext, in_file: Collection[date]) -> date | None:
    """Return the newest session of which any price is in the file or stored, None without any."""
    try:
        return max([newest_priced_session(context), *in_file])
    except MarketDataError:
        return max(in_file, default=None)


def newest_judged_session(context: StrategyContext) -> date | None:
    """Return the newest session with drift metrics, None where none was judged."""
    row = context.database.fetch_one(
        "SELECT max(date) FROM drift_metrics WHERE strategy_id = %s", [context.strategy.name]
    )
    return row[0] if row else None


def newest_session(context: StrategyContext, *, now: datetime | None = None) -> date:
    """Return the newest session that can be judged."""
    moment = now or datetime.now(UTC)
    return context.calendar.session_of(moment - context.strategy.evaluation_lag)
