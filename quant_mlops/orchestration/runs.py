"""What Dagster's runs say of themselves: their strategy, and whether they work on its sessions."""

from __future__ import annotations

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from quant_mlops.orchestration.jobs import STRATEGY_TAG
from quant_mlops.orchestration.session_tags import sessions_of_run
from quant_mlops.strategy import Strategy


def strategy_of_run(run: dg.DagsterRun) -> str | None:
    """Return the strategy a run works for, by its tag or, of assets started by hand, their keys."""
    tagged = run.tags.get(STRATEGY_TAG)
    if tagged is not None:
        return tagged
    keys = sorted(key.path[0] for key in run.asset_selection or ())
    return keys[0] if keys else None


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
