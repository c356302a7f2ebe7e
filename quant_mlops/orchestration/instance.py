"""Dagster's instance on PostgreSQL: its home folder, its URL, and runs in this process."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterAssetCheckFailedError, DagsterExecutionInterruptedError
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import OperationalError

from quant_mlops.database import Database
from quant_mlops.database.access import ServerAccess, require_dagster_url
from quant_mlops.errors import (
    DatabaseError,
    QuantMlopsError,
    ServerUnavailableError,
    SettingsError,
)
from quant_mlops.orchestration.session_tags import session_tags
from quant_mlops.settings import Settings, load_settings
from quant_mlops.strategy_files import strategies_folder

IN_PROCESS_TAG = "quant_mlops/in_process"
EVENT_BATCH_SIZE = 1000
PLANNED_AS_ONE = "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS"
STATEMENT_TIMEOUT_MS = 600_000
POOL_RECYCLE_SECONDS = 3600
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def prepare_environment(settings: Settings, access: ServerAccess) -> None:
    """Point Dagster, and every process it starts, to the home and the server of the settings.

    A DAGSTER_HOME that is set already is the user's own, and its dagster.yaml decides.

    Raises
    ------
    SettingsError
        DAGSTER_HOME is set and no absolute path of a folder, or DAGSTER_PG_URL is needed and
        missing.
    ServerUnavailableError
        Dagster's storage cannot be reached; the message does not show the password.
    """
    given = os.environ.get("DAGSTER_HOME")
    if given:
        if not (Path(given).is_absolute() and Path(given).is_dir()):
            raise SettingsError(
                f"DAGSTER_HOME is set to {given!r}, which is no absolute path of a folder; "
                f"correct it, or unset it to use {settings.dagster_folder}"
            )
    else:
        _write_configuration(settings.dagster_folder)
        os.environ["DAGSTER_HOME"] = str(settings.dagster_folder)
    os.environ["DAGSTER_PG_URL"] = _reachable(require_dagster_url(access))
    os.environ["QUANT_MLOPS_HOME"] = str(settings.home)
    os.environ["QUANT_MLOPS_STRATEGIES"] = str(strategies_folder(settings))
    # Dagster writes an event for each partition of a range run, one statement each by default.
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", str(EVENT_BATCH_SIZE))


def _write_configuration(folder: Path) -> None:
    """Put the instance's configuration into a folder, which another process may be reading."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"dagster.yaml.{os.getpid()}"
    shutil.copyfile(dagster_yaml(), temporary)
    temporary.replace(folder / "dagster.yaml")


def _reachable(dagster_url: str) -> str:
    """Return the URL once it answers: Dagster itself would try for long and say little."""
    scheme, separator, rest = dagster_url.partition("://")
    try:
        with Database(f"{scheme.partition('+')[0]}{separator}{rest}") as storage:
            storage.fetch_one("SELECT 1")
    except DatabaseError as error:
        reason = str(error).replace("QUANT_MLOPS_DATABASE_URL", "DAGSTER_PG_URL")
        raise ServerUnavailableError(f"Dagster's storage: {reason}") from None
    return dagster_url


def dagster_yaml() -> Path:
    """Return the instance's configuration, from the package or the checkout."""
    return _shipped("dagster.yaml")


def workspace_yaml() -> Path:
    """Return the workspace file, from the package or the checkout."""
    return _shipped("workspace.yaml")


def _shipped(name: str) -> Path:
    installed = Path(str(files("quant_mlops"))) / name
    return installed if installed.is_file() else Path(__file__).parents[2] / name


@contextmanager
def open_instance() -> Iterator[dg.DagsterInstance]:
    """Open the instance of the environment, with pooled connections.

    By default dagster-postgres opens a connection for every statement, which is most of what a
    range run would spend.

    Raises
    ------
    ServerUnavailableError
        The storage stopped answering in the meantime.
    """
    # It prints the traceback of what is raised as well.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    try:
        with dg.DagsterInstance.get() as instance:
            instance.optimize_for_webserver(
                statement_timeout=STATEMENT_TIMEOUT_MS,
                pool_recycle=POOL_RECYCLE_SECONDS,
                max_overflow=4,
            )
            yield instance
    except (OperationalError, DagsterPostgresException) as error:
        reason = str(getattr(error, "orig", error)).strip().partition("\n")[0]
        raise ServerUnavailableError(
            f"Dagster's storage stopped answering: {reason}; run the same command again to go on"
        ) from error


def fail_abandoned_runs(instance: dg.DagsterInstance) -> int:
    """Mark runs of in-process commands that never ended as failed; the caller holds their lock.

    Only runs of the same home count: others may be alive in a storage that is shared.
    """
    unfinished = instance.get_runs(
        dg.RunsFilter(
            tags={IN_PROCESS_TAG: _home()},
            statuses=[
                dg.DagsterRunStatus.STARTED,
                dg.DagsterRunStatus.STARTING,
                dg.DagsterRunStatus.NOT_STARTED,
                dg.DagsterRunStatus.CANCELING,
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
    KeyboardInterrupt
        A step was interrupted; the run is marked as failed.
    """
    of_sessions = session_tags(*sessions) if sessions is not None else {}
    try:
        with _ranges_planned_as_one():
            return defs.resolve_job_def(name).execute_in_process(
                instance=instance,
                tags={IN_PROCESS_TAG: _home(), **(tags or {}), **of_sessions},
                run_config={**QUIET, **(config or {})},
                asset_selection=assets,
                raise_on_error=True,
            )
    except DagsterExecutionInterruptedError:
        raise KeyboardInterrupt from None
    except DagsterAssetCheckFailedError as error:
        _, *checks = str(error).splitlines()
        raise QuantMlopsError(
            f"the job {name} was stopped by a failed check, {'; '.join(checks)}; `quant-mlops dev` "
            f"shows its evidence"
        ) from error


@contextmanager
def _ranges_planned_as_one() -> Iterator[None]:
    """Let Dagster store what a run is going to materialise as one event an asset.

    By default it stores one for each asset and partition, each by three statements, which is more
    than the work on a session costs. It does so to show the partitions of a run that failed as
    failed; a failure in this process is seen where the command runs.
    """
    before = os.environ.get(PLANNED_AS_ONE)
    os.environ[PLANNED_AS_ONE] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[PLANNED_AS_ONE]
        else:
            os.environ[PLANNED_AS_ONE] = before


def _home() -> str:
    return str(load_settings().home)
