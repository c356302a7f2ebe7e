"""Sensors on runs: one that fails is an alert, and the same work done later ends it."""

# Dagster reads the annotation of `context` as it stands, so it must not be postponed to a string.

from collections.abc import Mapping
from datetime import date

import dagster as dg

from quant_mlops.alerts.run_failures import FinishedRun, close_run_failures, record_run_failure
from quant_mlops.orchestration.resources import Server
from quant_mlops.orchestration.runs import strategy_of_run
from quant_mlops.orchestration.session_tags import sessions_of_run
from quant_mlops.strategy import Strategy


def run_sensors(strategies: Mapping[str, Strategy]) -> list[dg.SensorDefinition]:
    """Return the sensors that put failed runs of any strategy into the outbox, and end them."""

    @dg.run_failure_sensor(
        name="run_failure_sensor",
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Puts an alert into the outbox for each run that fails, once, with job, "
        "sessions, steps and kinds of error; the text of an error stays in the run's log.",
    )
    def run_failed(context: dg.RunFailureSensorContext, server: Server) -> dg.SkipReason | None:
        run = context.dagster_run
        strategy = strategies.get(strategy_of_run(run) or "")
        if strategy is None:
            return dg.SkipReason(f"run {run.run_id} belongs to no strategy")
        failures = context.get_step_failure_events()
        data = [event.step_failure_data for event in failures]
        finished = _described(
            run,
            steps=tuple(event.step_key for event in failures if event.step_key),
            errors=tuple(
                dict.fromkeys(
                    (each.error.cause or each.error).cls_name or "" for each in data if each.error
                )
            ),
        )
        record_run_failure(server.access.database, finished, session=_newest(strategy, server))
        return None

    @dg.run_status_sensor(
        name="run_success_sensor",
        run_status=dg.DagsterRunStatus.SUCCESS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ends the alerts of earlier failures of what a run has done now.",
    )
    def run_succeeded(context: dg.RunStatusSensorContext, server: Server) -> dg.SkipReason | None:
        run = context.dagster_run
        strategy = strategies.get(strategy_of_run(run) or "")
        if strategy is None:
            return dg.SkipReason(f"run {run.run_id} belongs to no strategy")
        close_run_failures(
            server.access.database, _described(run), session=_newest(strategy, server)
        )
        return None

    return [run_failed, run_succeeded]


def _described(
    run: dg.DagsterRun, *, steps: tuple[str, ...] = (), errors: tuple[str, ...] = ()
) -> FinishedRun:
    span = sessions_of_run(run)
    sessions = "" if span is None else " to ".join(dict.fromkeys(map(str, span)))
    return FinishedRun(
        strategy_id=strategy_of_run(run) or "", run_id=run.run_id, job=run.job_name,
        sessions=sessions, steps=steps, errors=errors,
    )  # fmt: skip


def _newest(strategy: Strategy, server: Server) -> date:
    return strategy.trading_calendar.session_of(server.access.database.now())
