"""Training runs: a run is completed with its model, failed, or still held by a live process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import RegistryError
from quant_mlops.registry.records import TrainingRunRecord

RUN_STATUSES = ("running", "completed", "failed")


@dataclass(frozen=True)
class TrainingRun:
    """What is known of a run before it has a model."""

    training_key: str
    params: dict[str, Any]
    snapshot_id: UUID
    dataset_start: date
    dataset_end: date
    seed: int
    code_version: str
    code_dirty: bool
    library_versions: dict[str, str]


@contextmanager
def training_run(database: Database, run: TrainingRun) -> Iterator[UUID]:
    """Enter a run as running, and as failed if the block raises.

    The connection held meanwhile carries an advisory lock of the run's key, which the server
    gives up when the process dies: a run whose lock is free and that still says running is the
    trace of a crash, and is marked failed by the next training or listing of whatever runs.

    If another process completed the key while this one waited for it, no run is entered: look
    with `completed_model` inside the block before training.

    Yields
    ------
    UUID
        The run's id, to be completed with `complete_run` inside the block; a run that is not is
        marked failed.
    """
    run_id = uuid4()
    with database.connection() as connection:
        connection.execute(query("lock_training_key"), [run.training_key])
        try:
            mark_abandoned_runs(connection)
            connection.execute(query("insert_training_run"), _parameters(run_id, run))
            outcome = "the block ended without a model"
            try:
                yield run_id
            except BaseException as error:
                outcome = f"{type(error).__name__}: {error}"[:500].replace("\0", "")
                raise
            finally:
                connection.execute(query("fail_training_run"), [outcome, run_id])
        finally:
            connection.execute(query("unlock_training_key"), [run.training_key])


def complete_run(
    connection: psycopg.Connection[TupleRow],
    run_id: UUID,
    *,
    model_id: UUID,
    trained_until: date | None = None,
) -> None:
    """Mark a run as completed, in the transaction that registers its model.

    Parameters
    ----------
    trained_until : date, optional
        Last session whose close decided anything about the weights. Left out, it cannot be told
        later whether the model is compared on what it has learnt.
    """
    parameters = {"model_id": model_id, "run_id": run_id, "trained_until": trained_until}
    connection.execute(query("complete_training_run"), parameters)


def trained_until(database: Database, model_id: UUID) -> date | None:
    """Return the last session whose close a model's fit knew, None if that was not recorded."""
    row = database.fetch_one(query("select_trained_until"), [model_id])
    return None if row is None else row[0]


def completed_model(database: Database, training_key: str) -> UUID | None:
    """Return the model that was made of exactly this data, learner and seed, if there is one."""
    row = database.fetch_one(query("select_completed_training_run"), [training_key])
    return None if row is None else row[0]


def mark_abandoned_runs(connection: psycopg.Connection[TupleRow]) -> int:
    """Mark as failed every run whose process is gone, and return how many there were.

    A run whose process lives is never marked, since that process holds the lock of its key.
    """
    with connection.transaction():
        connection.execute(query("lock_abandoned_training_runs"))
        return connection.execute(query("fail_abandoned_training_runs")).rowcount


def list_training_runs(
    database: Database,
    *,
    strategy_id: str | None = None,
    name: str | None = None,
    model_id: UUID | None = None,
    status: str | None = None,
    limit: int | None = None,
) -> list[TrainingRunRecord]:
    """Return training runs, newest first, after those whose process is gone were marked failed.

    Parameters
    ----------
    database : Database
    strategy_id : str, optional
        Of training sets of this strategy.
    name : str, optional
        Of models of this name; only a completed run has a model.
    model_id : UUID, optional
        The run that made this model.
    status : str, optional
        `running`, `completed` or `failed`.
    limit : int, optional
        At most so many.

    Raises
    ------
    RegistryError
        There is no such status, or the limit is below 1.
    """
    if status is not None and status not in RUN_STATUSES:
        raise RegistryError(f"status {status!r} is none of {', '.join(RUN_STATUSES)}; use one")
    if limit is not None and limit < 1:
        raise RegistryError(f"at most {limit} runs were asked for; give a limit of 1 or more")
    # Whoever may only read sees an abandoned run as it was left.
    refused = psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction
    with database.connection() as connection, suppress(*refused):
        mark_abandoned_runs(connection)
    parameters = {
        "strategy_id": strategy_id,
        "name": name,
        "model_id": model_id,
        "status": status,
        "limit": limit,
    }
    return database.fetch_rows(TrainingRunRecord, query("select_training_runs"), parameters)


def _parameters(run_id: UUID, run: TrainingRun) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "training_key": run.training_key,
        "params": Jsonb(run.params),
        "snapshot_id": run.snapshot_id,
        "dataset_start": run.dataset_start,
        "dataset_end": run.dataset_end,
        "seed": run.seed,
        "code_version": run.code_version,
        "code_dirty": run.code_dirty,
        "library_versions": Jsonb(run.library_versions),
    }
