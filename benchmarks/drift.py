"""Seconds of a day's PSI beside one sort of its values, and of a monitored year beside its days.

Everything is measured in one run, on a server of its own. The PSI is that of 200 features: the
profiles of 100,000 reference rows are there already, and 20,000 current rows are new. The year is
252 sessions of 500 names and 10 features, judged at once and then one session at a time; both must
store the same rows and give the same metrics.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import astuple
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from feature_store import INSTANT, Measure, entity_names, feature_names, show, timed, write_results
from predictor import STRATEGY, make_live

from quant_mlops import Database, DriftMonitor, FeatureStore, ModelRegistry
from quant_mlops.database.embedded import EmbeddedServer
from quant_mlops.database.migrations import migrate
from quant_mlops.drift.feature_drift import write_feature_drift
from quant_mlops.drift.prediction_drift import store_signal_profile
from quant_mlops.drift.profiles import store_profiles
from quant_mlops.market.calendar import TradingCalendar, trading_calendar
from quant_mlops.market.price_bars import write_bars
from quant_mlops.serving.live_models import ModelLoader
from quant_mlops.serving.predictions import predict_sessions
from quant_mlops.serving.returns import PortfolioRules, write_strategy_returns
from quant_mlops.statistics import (
    bin_counts_table,
    calculate_psi,
    population_stability_index,
    reference_counts_table,
    reference_profile,
)

FEATURES, REFERENCE_ROWS, CURRENT_ROWS = 200, 100_000, 20_000
NAMES, SESSIONS, MONITORED, WINDOW = 500, 400, 252, 60
HORIZON, LAG = 5, timedelta(hours=4)
ROUNDS = 7


def measure_psi() -> Iterator[Measure]:
    """Measure a day's PSI of many features, beside sorting their values once."""
    random = np.random.default_rng(1)
    reference = random.normal(size=(FEATURES, REFERENCE_ROWS))
    current = random.normal(0.1, 1.1, size=(CURRENT_ROWS, FEATURES))
    for side in (reference, current):
        side[random.random(side.shape) < 0.02] = np.nan
    profiles = [reference_profile(feature) for feature in reference]
    counts = reference_counts_table(profiles)
    cuts = [profile.cuts for profile in profiles]
    columns = np.ascontiguousarray(current.T)
    seconds: dict[str, list[float]] = {"psi": [], "sort": []}
    for _ in range(ROUNDS):
        spent, found = timed(
            lambda: population_stability_index(counts, bin_counts_table(cuts, current))
        )
        seconds["psi"].append(spent)
        # Each feature by itself in contiguous memory, which is how sorting is fastest.
        spent, _ = timed(lambda: np.sort(columns, axis=1))
        seconds["sort"].append(spent)
    for nth in range(FEATURES):
        expected = calculate_psi(reference[nth], columns[nth])
        if not np.isclose(found[nth], expected, rtol=1e-12, atol=1e-15):
            sys.exit(f"error: PSI of feature {nth} is {found[nth]}, by definition {expected}")
    psi, sort = (statistics.median(seconds[what]) for what in ("psi", "sort"))
    yield Measure(
        f"PSI of {FEATURES} features, {CURRENT_ROWS:,} rows", psi, "s", "one np.sort of the values",
        sort, psi / sort, "<= 2",
    )  # fmt: skip


def load(database: Database, registry: ModelRegistry, calendar: TradingCalendar) -> list[date]:
    """Store prices, features, predictions and returns of the year and what comes before it."""
    days = calendar.sessions(date(2022, 1, 3), date(2024, 12, 31))[:SESSIONS]
    closes = pa.array(np.tile(calendar.closes(days), NAMES)).cast(INSTANT)
    random = np.random.default_rng(3)
    rows, keys = NAMES * SESSIONS, np.repeat(entity_names(NAMES), SESSIONS)
    prices = 100 * np.exp(np.cumsum(random.normal(0, 0.02, (NAMES, SESSIONS)), axis=1))
    lag = pa.scalar(timedelta(minutes=15), pa.duration("us"))
    nothing = pa.nulls(rows, pa.float64())
    bars = {
        "ticker": pa.array(keys),
        "session": pa.array(np.tile(days, NAMES)).cast(pa.date32()),
        "event_time": closes,
        "ingest_time": pa.compute.add(closes, lag),
        "close": pa.array(prices.ravel()),
        **dict.fromkeys(("open", "high", "low", "adj_close", "volume"), nothing),
        "availability_observed": pa.array([True] * rows),
    }
    write_bars(database, pa.table(bars), source="benchmark")
    values = {name: random.normal(size=rows) for name in feature_names()}
    store = FeatureStore(database, "benchmark")
    frame = pa.table({"entity_key": keys, "event_time": closes, **values})
    store.write_frame(frame, availability_lag=timedelta(minutes=15))
    make_live(database, registry, live_from=calendar.close_time(days[0].item()))
    live = registry.live_model(STRATEGY)
    assert live is not None
    model = ModelLoader(registry).load(live.model_id)
    reference = random.normal(size=(REFERENCE_ROWS, len(model.features)))
    profiles = {name: reference_profile(reference[:, i]) for i, name in enumerate(model.features)}
    with database.transaction() as connection:
        store_profiles(connection, live.model_id, profiles, versions=model.features)
        store_signal_profile(connection, live.model_id, reference_profile(model.predict(reference)))
    for table in ("price_bars", "feature_events"):
        database.execute(f"VACUUM ANALYZE {table}")
    sessions = days[1:]
    predict_sessions(
        store, registry, calendar, strategy_id=STRATEGY, sessions=sessions,
        knowledge_time=calendar.close_time(days[-1].item()) + LAG,
    )  # fmt: skip
    write_strategy_returns(
        database, calendar, strategy_id=STRATEGY, sessions=sessions[1:],
        rules=PortfolioRules(5, 0.0005), evaluation_lag=LAG,
    )  # fmt: skip
    database.execute("VACUUM ANALYZE predictions")
    found: list[date] = days[-MONITORED:].tolist()
    return found


def measure_year(database: Database, folder: Path) -> Iterator[Measure]:
    """Measure a year at once, beside the same year one session at a time."""
    calendar, registry = trading_calendar("XNYS"), ModelRegistry(database, artifacts=folder)
    days = load(database, registry, calendar)
    store = FeatureStore(database, "benchmark")
    monitor = DriftMonitor(database, STRATEGY, horizon=HORIZON, evaluation_lag=LAG)

    def judge(first: int, last: int) -> list[Any]:
        write_feature_drift(
            store, registry, calendar, strategy_id=STRATEGY, window=WINDOW, evaluation_lag=LAG,
            sessions=np.array(days[first:last], dtype="datetime64[D]"),
        )  # fmt: skip
        return monitor.calculate_range(days[first], days[last - 1])

    judge(0, 1)  # What is imported and compiled once is no part of either.
    forget(database)
    at_once, whole = timed(lambda: judge(0, MONITORED))
    stored = drift_rows(database)
    forget(database)
    one_by_one, parts = timed(
        lambda: [metrics for nth in range(MONITORED) for metrics in judge(nth, nth + 1)]
    )
    # NaN is written alike on both sides, and every other number to its last bit.
    if repr(list(map(astuple, parts))) != repr(list(map(astuple, whole))):
        sys.exit("error: the metrics of the year differ from those of its sessions")
    if len(stored) != MONITORED * (len(feature_names()) + 1):
        sys.exit(f"error: {len(stored)} rows of drift were stored for the year")
    if not all(np.isfinite([m.ic, m.psi, m.prediction_psi]).all() for m in whole):
        sys.exit("error: a session of the year has no IC or no PSI")
    if drift_rows(database) != stored:
        sys.exit("error: the drift stored for the year differs from that of its sessions")
    yield Measure(
        f"{MONITORED} sessions of {NAMES} names, at once", at_once, "s", "one session at a time",
        one_by_one, one_by_one / at_once, ">= 30",
    )  # fmt: skip


def drift_rows(database: Database) -> list[tuple[Any, ...]]:
    """Return what is stored of drift, but for when it was."""
    return database.fetch_all(
        "SELECT session, feature_name, day_counts, n_current, psi, psi_no_drift_95, missing_rate "
        "FROM feature_drift "
        "UNION ALL "
        "SELECT session, NULL, day_counts, n_current, psi, psi_no_drift_95, NULL "
        "FROM prediction_drift ORDER BY 1, 2"
    )


def forget(database: Database) -> None:
    """Drop the drift that was stored."""
    database.execute("TRUNCATE feature_drift, prediction_drift")


def main() -> None:
    """Measure both, print the table and write the document."""
    measures = list(measure_psi())
    # Private to this user it would be closed to the user that a root's PostgreSQL runs as.
    with tempfile.TemporaryDirectory(prefix="quant-mlops-bench-") as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedServer(Path(folder) / "postgres")
        server.start()
        try:
            with Database(server.url()) as database:
                migrate(database)
                measures += measure_year(database, Path(folder) / "artifacts")
        finally:
            server.stop()
    show(measures)
    print(f"written to {write_results(measures, 'drift')}")


if __name__ == "__main__":
    main()
