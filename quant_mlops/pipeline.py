"""The steps of the loop as plain functions, for Dagster's assets and for callers without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from quant_mlops.alerts.diagnostics import Diagnostics
from quant_mlops.alerts.onset import OnsetSettings
from quant_mlops.alerts.response import Response, respond
from quant_mlops.database.queries import query
from quant_mlops.drift.feature_drift import DriftWritten, write_feature_drift
from quant_mlops.drift.monitor import DriftMetrics, MetricsWritten
from quant_mlops.drift.rules import Rule
from quant_mlops.errors import EmptySnapshotError, TrainingError
from quant_mlops.features.computation import FeaturesWritten, write_computed_features
from quant_mlops.features.corrections import write_revised_features
from quant_mlops.instants import EPOCH
from quant_mlops.market.bundled import sample_prices
from quant_mlops.market.membership import MembershipsWritten, write_memberships
from quant_mlops.market.membership_files import read_membership_file
from quant_mlops.market.passed_over import passed_over_bars
from quant_mlops.market.price_bars import BarsWritten, write_bars
from quant_mlops.market.price_files import PriceBatch, read_price_file
from quant_mlops.market.quarantine import write_quarantine
from quant_mlops.market.strategy_tickers import TickerListing
from quant_mlops.registry.deployments import deployments
from quant_mlops.serving.predictions import PredictionsWritten, predict_sessions
from quant_mlops.serving.returns import ReturnsWritten, write_strategy_returns
from quant_mlops.strategy import Strategy
from quant_mlops.strategy_context import StrategyContext, evaluation_time, history_start
from quant_mlops.training.code_version import code_version
from quant_mlops.training.snapshot import SnapshotDefinition, snapshot_blocks
from quant_mlops.training.snapshot_files import Snapshot
from quant_mlops.training.snapshot_writing import store_snapshot

Sessions = npt.NDArray[np.datetime64]
BULK_ROWS = 100_000
# Sessions before those being loaded, a month, of which a vendor may still send bars.
LOOKED_BACK = 20
# A row is stamped when it is written and seen when its transaction ends, which may be later.
STILL_UNCOMMITTED = timedelta(hours=1)


@dataclass(frozen=True)
class PricesIngested:
    """What one load of a strategy's files did.

    Attributes
    ----------
    memberships : MembershipsWritten or None
        None where the strategy names no file.
    passed_over : tuple of str
        What the file holds of the sessions just before and was not taken, a sentence each.
    """

    batch: PriceBatch
    written: BarsWritten
    quarantine: Path | None
    memberships: MembershipsWritten | None
    passed_over: tuple[str, ...] = ()


def ingest_prices(context: StrategyContext, first: date, last: date) -> PricesIngested:
    """Store the bars of a range of sessions from the strategy's price file.

    Restatements of earlier sessions that became known since the session before the range are
    part of it. The whole file is read and checked each time, and all its tickers are traded by
    the strategy; what is rejected or flagged goes to a file in the reports folder. The
    membership file of the strategy's universe, if it names one, is loaded whole.
    """
    strategy = context.strategy
    memberships = _ingest_memberships(context)
    with price_file(strategy) as path:
        batch = read_price_file(
            path, calendar=context.calendar, availability_lag=strategy.availability_lag
        )
    wanted = _bars_of(batch.bars, context, first, last)
    written = write_bars(
        context.database,
        batch.bars.filter(wanted),
        source=batch.source,
        listing=TickerListing([strategy.name], batch.tickers),
    )
    if written.stored >= BULK_ROWS:
        context.database.execute("ANALYZE price_bars")
    quarantine = write_quarantine(batch, context.settings.reports_folder)
    left_out = batch.bars.filter(pc.and_not(_just_before(batch.bars, context, first), wanted))
    passed_over = passed_over_bars(context.database, left_out, source=batch.source)
    return PricesIngested(batch, written, quarantine, memberships, tuple(passed_over))


def _ingest_memberships(context: StrategyContext) -> MembershipsWritten | None:
    universe = context.strategy.universe
    if universe is None or universe.file is None:
        return None
    found = read_membership_file(Path(universe.file).expanduser(), calendar=context.calendar)
    return write_memberships(
        context.database, found.rows, universe=universe.name, source=found.source
    )


def _bars_of(bars: pa.Table, context: StrategyContext, first: date, last: date) -> pa.Array:
    """Say which bars a load of some sessions takes: theirs, and news of the sessions before."""
    calendar, sessions = context.calendar, bars["session"]
    wanted = pc.and_(
        pc.greater_equal(sessions, pa.scalar(first, pa.date32())),
        pc.less_equal(sessions, pa.scalar(last, pa.date32())),
    )
    if len(calendar.sessions(calendar.first_day, first)) < 2:
        return wanted
    before = calendar.close_time(calendar.previous(first)) + context.strategy.availability_lag
    restated = pc.and_(
        pc.less(sessions, pa.scalar(first, pa.date32())),
        pc.greater(bars["ingest_time"], pa.scalar(before, bars.schema.field("ingest_time").type)),
    )
    return pc.or_(wanted, restated)


def _just_before(bars: pa.Table, context: StrategyContext, first: date) -> pa.Array:
    """Say which bars are of the sessions before a load in which one may still have come."""
    until_first = context.calendar.sessions(context.calendar.first_day, first)
    begins = until_first[-1 - LOOKED_BACK :][0].item() if len(until_first) else first
    return pc.and_(
        pc.greater_equal(bars["session"], pa.scalar(begins, pa.date32())),
        pc.less(bars["session"], pa.scalar(first, pa.date32())),
    )


@contextmanager
def price_file(strategy: Strategy) -> Iterator[Path]:
    """Give the path of a strategy's price file."""
    if strategy.price_path is None:
        with sample_prices() as path:
            yield path
    else:
        yield strategy.price_path


def compute_features(
    context: StrategyContext, first: date, last: date
) -> Iterator[FeaturesWritten]:
    """Compute the strategy's features over a range of sessions and store what is new."""
    stored, started = 0, context.database.now()
    for written in write_computed_features(
        context.store,
        context.calendar,
        context.strategy.definitions,
        first=first,
        last=last,
        as_of=datetime.now(UTC),
        tickers=context.tickers,
    ):
        stored += written.result.stored
        yield written
    if stored >= BULK_ROWS:
        # The planner should not wait for the server to notice that the table has grown.
        context.database.execute("ANALYZE feature_events")
    if first <= history_start(context):
        _corrections_applied(context, started)


def revise_features(context: StrategyContext) -> int:
    """Store the revisions that changes of price bars lead to, and return how many.

    Looked at is what was written since the last time, so that a run that failed or was left out
    is made good by the next one.
    """
    until = context.database.now()
    row = context.database.fetch_one(
        "SELECT applied_until FROM feature_corrections WHERE strategy_id = %s",
        [context.strategy.name],
    )
    since = EPOCH if row is None else row[0] - STILL_UNCOMMITTED
    written = write_revised_features(
        context.store,
        context.calendar,
        context.strategy.definitions,
        since=since,
        as_of=until,
        tickers=context.tickers,
    )
    stored = sum(done.result.stored for done in written)
    _corrections_applied(context, until)
    return stored


def _corrections_applied(context: StrategyContext, until: datetime) -> None:
    context.database.execute(query("note_feature_corrections"), [context.strategy.name, until])


def build_snapshot(context: StrategyContext, as_of: datetime) -> Snapshot:
    """Build, or find again, the training snapshot of what was known at an instant.

    It holds the last `training.window_sessions` sessions before `as_of` whose labels were known.

    Raises
    ------
    EmptySnapshotError
        No session before `as_of` has a price history.
    TrainingError
        It lies in the future.
    """
    strategy, calendar = context.strategy, context.calendar
    if as_of > context.database.now():
        raise TrainingError(
            f"a training set as of {as_of.isoformat()} was asked for, which lies in the future: "
            f"what will be known then is not known yet; give a time that has passed"
        )
    last = calendar.session_of(as_of)
    earliest = calendar.next(history_start(context))
    available = calendar.sessions_between(earliest, last)
    if available < 1:
        raise EmptySnapshotError(
            f"strategy {strategy.name} was to learn from what was known at {as_of.isoformat()}, "
            f"and the first decision that prices allow is that of {earliest}; load earlier prices, "
            f"or give a later monitoring.first_session"
        )
    span = min(strategy.training.window_sessions, available)
    first = calendar.offset(last, -span)
    definition = SnapshotDefinition(
        features=strategy.feature_versions,
        label=strategy.label,
        first=first,
        last=last,
        knowledge_time=as_of,
        universe=strategy.universe_name,
        strategy_id=strategy.name,
        max_ages=strategy.max_ages,
    )
    return store_snapshot(
        context.database,
        definition,
        snapshot_blocks(context.store, calendar, definition),
        strategy_id=strategy.name,
        folder=context.settings.snapshots_folder,
        logic_hashes={d.name: d.logic_hash for d in strategy.definitions},
        code=code_version(),
    )


def make_predictions(context: StrategyContext, first: date, last: date) -> PredictionsWritten:
    """Predict for each monitored session of a range with the model live at its open."""
    sessions = context.monitored_sessions(first, last)
    if len(sessions) == 0:
        return PredictionsWritten(0, 0, 0, 0)
    return predict_sessions(
        context.store,
        context.registry,
        context.calendar,
        strategy_id=context.strategy.name,
        sessions=sessions,
        knowledge_time=evaluation_time(context, sessions[-1].item()),
        universe=context.strategy.universe_name,
    )


def realise_returns(context: StrategyContext, first: date, last: date) -> ReturnsWritten:
    """Store what the strategy earned on each monitored session of a range."""
    return write_strategy_returns(
        context.database,
        context.calendar,
        strategy_id=context.strategy.name,
        sessions=context.monitored_sessions(first, last),
        rules=context.strategy.portfolio_rules,
        evaluation_lag=context.strategy.evaluation_lag,
        universe=context.strategy.universe_name,
    )


def measure_feature_drift(context: StrategyContext, first: date, last: date) -> DriftWritten:
    """Store the PSI of each feature on each monitored session of a range."""
    return write_feature_drift(
        context.store,
        context.registry,
        context.calendar,
        strategy_id=context.strategy.name,
        sessions=context.monitored_sessions(first, last),
        window=context.strategy.monitoring.psi_window_sessions,
        evaluation_lag=context.strategy.evaluation_lag,
        universe=context.strategy.universe_name,
    )


def judge_sessions(
    context: StrategyContext, first: date, last: date
) -> tuple[list[DriftMetrics], MetricsWritten]:
    """Calculate and store the drift metrics of each monitored session of a range."""
    sessions = context.monitored_sessions(first, last)
    if len(sessions) == 0:
        return [], MetricsWritten(0, 0)
    metrics = context.monitor.calculate_range(sessions[0].item(), sessions[-1].item())
    return metrics, context.monitor.save_range(metrics)


def raise_alerts(context: StrategyContext, last: date) -> Response:
    """Apply the rules up to a session and act on the alerts that are new."""
    strategy = context.strategy
    return respond(
        context.database,
        context.calendar,
        strategy_id=strategy.name,
        config=strategy.alert_config,
        last=last,
        evaluation_lag=strategy.evaluation_lag,
        cooldown_sessions=strategy.monitoring.retrain_cooldown_sessions,
        onset=OnsetSettings(strategy.horizon, strategy.monitoring.psi_window_sessions),
        rules=_rules_in_force(context),
        diagnostics=Diagnostics(
            strategy.feature_versions,
            strategy.definitions,
            strategy.horizon,
            context.tickers,
            strategy.rare_features,
        ),
    )


def _rules_in_force(context: StrategyContext) -> tuple[Rule, ...]:
    config = context.strategy.alert_config
    # Before the first model is live there is nothing to calibrate on, and nothing to judge.
    if config.mode == "calibrated" and deployments(context.database, context.strategy.name):
        return context.calibrated_rules
    return config.rules()
