"""All of Dagster's definitions for one strategy."""

from __future__ import annotations

import dagster as dg

from quant_mlops.orchestration.assets.features import feature_events_asset
from quant_mlops.orchestration.assets.market import price_bars_asset
from quant_mlops.orchestration.assets.monitoring import monitoring_assets
from quant_mlops.orchestration.assets.serving import serving_assets
from quant_mlops.orchestration.assets.training import training_assets
from quant_mlops.orchestration.checks.features import feature_checks
from quant_mlops.orchestration.checks.market import market_checks
from quant_mlops.orchestration.checks.monitoring import monitoring_checks
from quant_mlops.orchestration.checks.training import training_checks
from quant_mlops.orchestration.jobs import strategy_jobs
from quant_mlops.orchestration.repair_sensors import (
    corrections_sensor,
    missing_sessions_sensor,
)
from quant_mlops.orchestration.schedules import (
    daily_schedule,
    retraining_schedule,
    verification_schedule,
)
from quant_mlops.orchestration.sensors import retraining_sensor
from quant_mlops.strategy import Strategy


def strategy_definitions(strategy: Strategy, *, executor: str = "in_process") -> dg.Definitions:
    """Return assets, checks, jobs, schedules and sensors of a strategy; see `strategy_jobs`."""
    jobs = strategy_jobs(strategy, executor=executor)
    return dg.Definitions(
        assets=[
            price_bars_asset(strategy),
            feature_events_asset(strategy),
            *training_assets(strategy),
            *serving_assets(strategy),
            *monitoring_assets(strategy),
        ],
        asset_checks=[
            *market_checks(strategy),
            *feature_checks(strategy),
            *training_checks(strategy),
            *monitoring_checks(strategy),
        ],
        jobs=jobs.all(),
        schedules=[
            daily_schedule(strategy, jobs),
            retraining_schedule(strategy, jobs),
            verification_schedule(strategy, jobs),
        ],
        sensors=[
            retraining_sensor(strategy, jobs),
            missing_sessions_sensor(strategy, jobs),
            corrections_sensor(strategy, jobs),
        ],
    )
