"""What Dagster loads: one set of definitions for each strategy, and what they share."""

from __future__ import annotations

import dagster as dg

from quant_mlops.orchestration.resources import Server
from quant_mlops.orchestration.sensors import alert_sensor
from quant_mlops.orchestration.strategy_set import strategy_definitions
from quant_mlops.settings import load_settings
from quant_mlops.strategy import load_strategies

settings = load_settings()
defs = dg.Definitions.merge(
    *(
        strategy_definitions(strategy, executor=settings.executor)
        for strategy in load_strategies(settings).values()
    ),
    dg.Definitions(sensors=[alert_sensor()], resources={"server": Server()}),
)
