"""Dagster's instance on PostgreSQL: its home folder, its URL, and runs in this process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from quant_mlops.database.access import ServerAccess, require_dagster_url
from quant_mlops.errors import QuantMlopsError
from quant_mlops.settings import Settings
from quant_mlops.strategy import strategies_folder

IN_PROCESS_TAG = "quant_mlops/in_process"
EVENT_BATCH_SIZE = 1000
STATEMENT_TIMEOUT_MS = 600_000
POOL_RECYCLE_SECONDS = 3600
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def prepare_environment(settings: Settings, access: ServerAccess) -> None:
    """Point Dagster, and every process it starts, to the home and the server of the settings."""
    folder = settings.dagster_folder
    folder.mkdir(parents=True, exist_ok=True)
    if "DAGSTER_HOME" not in os.environ:
        shutil.copyfile(dagster_yaml(), folder / "dagster.yaml")
        os.environ["DAGSTER_HOME"] = str(folder)
    os.environ["DAGSTER_PG_URL"] = require_dagster_url(access)
    os.environ["QUANT_MLOPS_HOME"] = str(settings.home)
    os.environ["QUANT_MLOPS_STRATEGIES"] = str(strategies_folder(settings))
    # Dagster writes an event for each partition of a range run, one statement each by default.
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", str(EVENT_BATCH_SIZE))


def dagster_yaml() -> Path:
    """Return the instance's configuration, from the package or the checkout."""
    installed = Path(str(files("quant_mlops"))) / "dagster.yaml"
    return installed if installed.is_file() else Path(__file__).parents[2] / "dagster.yaml"


@contextmanager
def open_instance() -> Iterator[dg.DagsterInstance]:
    """Open the instance of the environment, with pooled connections.

    By default dagster-postgres opens a connection for every statement, which is most of what a
    range run would spend.
    """
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(
            statement_timeout=STATEMENT_TIMEOUT_MS,
            pool_recycle=POOL_RECYCLE_SECONDS,
            max_overflow=4,
        )
        yield instance


def fail_abandoned_runs(instance: dg.DagsterInstance) -> int:
    """Mark runs of in-process commands that never ended as failed; the caller holds their lock."""
    unfinished = instance.get_runs(
        dg.RunsFilter(
            tags={IN_PROCESS_TAG: "true"},
            statuses=[
                dg.DagsterRunStatus.STARTED,
                dg.DagsterRunStatus.STARTING,
                dg.DagsterRunStatus.NOT_STARTED,
            ],
        )
    )
    for run in unfinished:
        instance.report_run_failed(run, "the process that ran it ended without a word")
    return len(unfinished)


def run_job(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    name: str,
    *,
    sessions: tuple[date, date] | None = None,
    assets: Sequence[dg.AssetKey] | None = None,
    config: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
) -> dg.ExecuteInProcessResult:
    """Run a job in this process.

    Parameters
    ----------
    defs : Definitions
    instance : DagsterInstance
    name : str
    sessions : (date, date), optional
        First and last partition, both included.
    assets : sequence of AssetKey, optional
        Part of the job to run.
    config : dict, optional
        Run configuration.
    tags : dict, optional

    Raises
    ------
    QuantMlopsError
        A step failed on purpose; any other exception of a step is raised as it is.
    """
    all_tags = {IN_PROCESS_TAG: "true", **(tags or {})}
    partition_key = None
    if sessions is not None and sessions[0] == sessions[1]:
        partition_key = sessions[0].isoformat()
    elif sessions is not None:
        all_tags[ASSET_PARTITION_RANGE_START_TAG] = sessions[0].isoformat()
        all_tags[ASSET_PARTITION_RANGE_END_TAG] = sessions[1].isoformat()
    result = defs.resolve_job_def(name).execute_in_process(
        instance=instance,
        partition_key=partition_key,
        tags=all_tags,
        run_config={**QUIET, **(config or {})},
        asset_selection=assets,
        raise_on_error=True,
    )
    failed = [check for check in result.get_asset_check_evaluations() if _blocks(check)]
    if failed:
        names = ", ".join(f"{c.asset_key.to_user_string()}:{c.check_name}" for c in failed)
        raise QuantMlopsError(f"run {result.run_id} failed the blocking check {names}")
    return result


def _blocks(check: dg.AssetCheckEvaluation) -> bool:
    return bool(check.blocking) and not check.passed
