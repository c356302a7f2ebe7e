"""The code location: the sets of all strategies, and a mark for each file that gives none."""

from __future__ import annotations

import logging

import dagster as dg

from quant_mlops.errors import QuantMlopsError
from quant_mlops.orchestration.resources import Server
from quant_mlops.orchestration.run_sensors import run_sensors
from quant_mlops.orchestration.sensors import alert_sensor
from quant_mlops.orchestration.strategy_set import strategy_definitions
from quant_mlops.settings import Settings
from quant_mlops.strategy_files import StrategyProblem, read_strategies

PROBLEMS = "strategy_files_with_errors"
logger = logging.getLogger(__name__)


def code_location(settings: Settings) -> dg.Definitions:
    """Return the definitions of every strategy of the folder that can be defined.

    A file that is wrong, or names an exchange, features or an owner that do not exist, is
    logged as a warning and shown as an asset that nothing can run, with the error as its
    description; the other strategies do not notice.

    Raises
    ------
    StrategyError
        There is no strategy file at all.
    """
    found = read_strategies(settings)
    problems, sets = list(found.problems), []
    for name, strategy in found.strategies.items():
        try:
            sets.append(strategy_definitions(strategy, executor=settings.executor))
        except (QuantMlopsError, dg.DagsterError) as error:
            file = found.files[name]
            problems.append(StrategyProblem(file, f"strategy file {file}: {error}"))
    for problem in problems:
        logger.warning("%s", problem.message)
    shared = dg.Definitions(
        assets=[problem_asset(problem) for problem in problems],
        sensors=[alert_sensor(), *run_sensors(found.strategies)],
        resources={"server": Server()},
    )
    return dg.Definitions.merge(*sets, shared)


def problem_asset(problem: StrategyProblem) -> dg.AssetSpec:
    """Return the mark of a file that gives no strategy; it cannot be materialised."""
    return dg.AssetSpec(
        key=[PROBLEMS, problem.file.name],
        group_name=PROBLEMS,
        kinds={"toml"},
        description=f"{problem.message}\n\nReload the code location when the file is corrected; "
        f"`quant-mlops doctor` tries it before.",
        metadata={"file": dg.MetadataValue.path(str(problem.file))},
    )
