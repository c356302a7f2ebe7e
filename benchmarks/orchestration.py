"""Seconds of the daily run and of a year's backfill, with the share that is Dagster's own.

Everything is measured in one run, in a home and on a server of its own: prices of some hundred
stocks, the ten features that come with the package, one model, and all from prices to alerts. The
last sessions are run by turns as the daily job in process and as the same steps without Dagster,
plots included; what is left of the medians' difference beside the checks is Dagster's share.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import dagster as dg
import pyarrow.compute as pc
import pyarrow.parquet as pq
from demonstration import own_server
from feature_store import Measure, show, timed, write_results

from quant_mlops.database.access import open_server
from quant_mlops.market.calendar import trading_calendar
from quant_mlops.orchestration.instance import open_instance, prepare_environment, run_job
from quant_mlops.orchestration.jobs import HISTORY, MONITORING, TRAINING
from quant_mlops.orchestration.metadata import PLOT_DOTS_PER_INCH
from quant_mlops.orchestration.resources import Server
from quant_mlops.orchestration.strategy_set import strategy_definitions
from quant_mlops.pipeline import (
    compute_features,
    ingest_prices,
    judge_sessions,
    make_predictions,
    measure_feature_drift,
    raise_alerts,
    realise_returns,
    revise_features,
)
from quant_mlops.reports.figures import png
from quant_mlops.session_figures import feature_psi, ic_trend, prediction_distribution
from quant_mlops.settings import load_settings
from quant_mlops.strategy import Strategy, read_strategy
from quant_mlops.strategy_context import StrategyContext, evaluation_time

BACKFILLED, PAIRS = 252, 3
DAILY_SECONDS, BACKFILL_SECONDS = 15.0, 90.0
CALENDAR = "XNYS"

STRATEGY = """
name = "stocks"
description = "Every stock of the price file, with all features that come with the package."
owner = "quant@example.com"
calendar = "{calendar}"
horizon = 5

[prices]
file = "{prices}"

[features]
names = [
    "ret_5d", "ret_20d", "momentum_5d", "momentum_20d", "momentum_12_1",
    "vol_20d", "rsi_14", "volume_ratio", "reversal_1d", "zscore_20d",
]

[training]
window_sessions = 504
val_sessions = 60
test_sessions = 60
embargo_sessions = 5

[[training.learners]]
name = "ridge"
params = {{ penalties = [0.1, 1.0, 10.0] }}

[monitoring]
first_session = {first}
last_session = {last}
"""


def main() -> None:
    """Measure both, print the table and write the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prices", type=Path, required=True, help="long price file in Parquet")
    prices: Path = parser.parse_args().prices.absolute()
    # Private to this user it would be closed to the user that a root's PostgreSQL runs as.
    with tempfile.TemporaryDirectory(prefix="quant-mlops-bench-") as folder:
        Path(folder).chmod(0o755)
        with desk(Path(folder), prices) as (defs, instance, work):
            measures = list(measure(defs, instance, work))
    show(measures)
    print(f"written to {write_results(measures, 'orchestration')}")
    if any(m.ratio is not None and m.ratio > 1 for m in measures):
        sys.exit("error: a budget is exceeded")


@contextmanager
def desk(
    home: Path, prices: Path
) -> Iterator[tuple[dg.Definitions, dg.DagsterInstance, StrategyContext]]:
    """Open a server, an instance and the strategy of the price file in a home."""
    for name in os.environ.keys() - own_server().keys():
        del os.environ[name]
    sessions = priced_sessions(prices)
    text = STRATEGY.format(
        calendar=CALENDAR, prices=prices, last=sessions[-1],
        first=sessions[-(BACKFILLED + 2 * PAIRS)],
    )  # fmt: skip
    file = home / "strategies" / "stocks.toml"
    file.parent.mkdir()
    file.write_text(text, "utf-8")
    strategy = read_strategy(file)
    settings = load_settings(home=home)
    with open_server(settings) as access:
        prepare_environment(settings, access)
        defs = dg.Definitions.merge(
            strategy_definitions(strategy), dg.Definitions(resources={"server": Server()})
        )
        with open_instance() as instance:
            yield defs, instance, StrategyContext(access.database, settings, strategy)


def priced_sessions(prices: Path) -> list[date]:
    """Return the sessions of a price file."""
    days = pc.unique(pq.read_table(prices, columns=["date"])["date"].cast("date32"))
    found: list[date] = (
        trading_calendar(CALENDAR).sessions(pc.min(days).as_py(), pc.max(days).as_py()).tolist()
    )
    return found


def measure(
    defs: dg.Definitions, instance: dg.DagsterInstance, work: StrategyContext
) -> Iterator[Measure]:
    """Measure the backfill, then the daily run with and without Dagster."""
    strategy = work.strategy
    monitoring = strategy.monitoring
    assert monitoring.last_session is not None
    days: list[date] = work.sessions(monitoring.first_session, monitoring.last_session).tolist()
    start = strategy.first_partition

    def run(job: str, first: date, last: date) -> float:
        spent, _ = timed(
            lambda: run_job(defs, instance, f"{strategy.name}_{job}", sessions=(first, last))
        )
        print(f"{job} {first} to {last}: {spent:.1f} s", file=sys.stderr)
        return spent

    history = run("history", start, start)
    as_of = {"config": {"as_of": evaluation_time(work, start).isoformat()}}
    run_job(
        defs, instance, f"{strategy.name}_training",
        config={"ops": {f"{strategy.name}__{table}": as_of for table in TRAINING}},
    )  # fmt: skip
    yield Measure("all history before it, prices and features", history, "s")
    backfill = run("daily", days[0], days[BACKFILLED - 1])
    yield promised(f"{BACKFILLED} sessions as one run", backfill, BACKFILL_SECONDS)
    with_dagster, checks, without = [], [], []
    for first, second in zip(days[BACKFILLED::2], days[BACKFILLED + 1 :: 2], strict=True):
        with_dagster.append(run("daily", first, first))
        checks.append(seconds_of_checks(instance, strategy))
        without.append(timed(lambda day=second: run_steps(work, day))[0])  # type: ignore[misc]
        print(f"steps {second}: {without[-1]:.1f} s", file=sys.stderr)
    daily, checked, steps = map(statistics.median, (with_dagster, checks, without))
    yield promised("the daily run of a session", daily, DAILY_SECONDS)
    yield Measure("the same steps and plots without Dagster", steps, "s")
    yield Measure("the checks of the run", checked, "s")
    yield Measure("Dagster's share", 100 * (daily - steps - checked) / daily, "%")


def seconds_of_checks(instance: dg.DagsterInstance, strategy: Strategy) -> float:
    """Return the seconds that the checks of the newest run took."""
    assets = {f"{strategy.name}__{table}" for table in (*HISTORY, *MONITORING)}
    run = instance.get_runs(limit=1)[0]
    return sum(
        stats.end_time - stats.start_time
        for stats in instance.get_run_step_stats(run.run_id)
        if stats.step_key not in assets and stats.end_time and stats.start_time
    )


def promised(what: str, seconds: float, budget: float) -> Measure:
    """Return a measure beside its budget."""
    return Measure(what, seconds, "s", "budget", budget, seconds / budget, "<= 1")


def run_steps(work: StrategyContext, day: date) -> None:
    """Do what the daily job does, without Dagster."""
    ingest_prices(work, day, day)
    list(compute_features(work, day, day))
    revise_features(work)
    make_predictions(work, day, day)
    realise_returns(work, day, day)
    png(prediction_distribution(work, day), dots_per_inch=PLOT_DOTS_PER_INCH)
    measure_feature_drift(work, day, day)
    png(feature_psi(work, day), dots_per_inch=PLOT_DOTS_PER_INCH)
    judge_sessions(work, day, day)
    png(ic_trend(work, day), dots_per_inch=PLOT_DOTS_PER_INCH)
    raise_alerts(work, day)


if __name__ == "__main__":
    main()
