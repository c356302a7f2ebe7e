"""What Dagster's runs say of themselves: their strategy, their sessions, whether they work."""

from __future__ import annotations

from datetime import date

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from quant_mlops.orchestration.jobs import STRATEGY_TAG
from quant_mlops.strategy import Strategy


def strategy_of_run(run: dg.DagsterRun) -> str | None:
    """Return the strategy a run works for, by its tag or, of assets started by hand, their keys."""
    tagged = run.tags.get(STRATEGY_TAG)
    if tagged is not None:
        return tagged
    keys = sorted(key.path[0] for key in run.asset_selection or ())
    return keys[0] if keys else None


def sessions_of_run(run: dg.DagsterRun) -> tuple[date, date] | None:
    """Return the first and last day that a run was started for, None if for none.

    They need not be sessions; a run may have been given any tag.
    """
    only = run.tags.get(PARTITION_NAME_TAG)
    first = run.tags.get(ASSET_PARTITION_RANGE_START_TAG, only)
    last = run.tags.get(ASSET_PARTITION_RANGE_END_TAG, only)
    if not first or not last:
        return None
    try:
        return date.fromisoformat(first), date.fromisoformat(last)
    except ValueError:
        return None


def runs_at_work(instance: dg.DagsterInstance, strategy: Strategy) -> list[str]:
    """Return the ids of unfinished runs that compute a strategy's sessions or revise them."""
    unfinished = instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
    revision = f"{strategy.name}_revision"
    return [
        run.run_id
        for run in unfinished
        if strategy_of_run(run) == strategy.name
        and (run.job_name == revision or sessions_of_run(run) is not None)
    ]
