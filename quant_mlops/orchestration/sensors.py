"""Sensors: retraining from requests, and the delivery of alerts."""

from __future__ import annotations

from datetime import date

import dagster as dg

from quant_mlops.alerts.dispatch import NEWS_DAYS, dispatch_alerts
from quant_mlops.alerts.retraining import finish_request, open_request
from quant_mlops.orchestration.jobs import TRAINING, StrategyJobs
from quant_mlops.orchestration.resources import Server
from quant_mlops.strategy import Strategy
from quant_mlops.strategy_context import evaluation_time, newest_judged_session

REQUEST_TAG = "quant_mlops/retrain_request"
MOST_ATTEMPTS = 3


def retraining_sensor(strategy: Strategy, jobs: StrategyJobs) -> dg.SensorDefinition:
    """Return the sensor that turns an open retraining request into one training run."""

    @dg.sensor(
        name=f"{strategy.name}_retraining_sensor",
        job=jobs.training,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts the training run of an open request, one at a time, and tries a "
        f"failed one again at most {MOST_ATTEMPTS} times in all.",
    )
    def retraining(
        context: dg.SensorEvaluationContext, server: Server
    ) -> dg.RunRequest | dg.SkipReason:
        work = server.strategy(strategy)
        request = open_request(work.database, strategy.name)
        if request is None:
            return dg.SkipReason("no retraining is requested")
        tag = {REQUEST_TAG: f"{strategy.name}/{request.request_id}"}
        runs = context.instance.get_runs(dg.RunsFilter(tags=tag))
        if any(not run.is_finished for run in runs):
            return dg.SkipReason(f"request {request.request_id} is being worked on")
        if len(runs) >= MOST_ATTEMPTS:
            reason = f"{len(runs)} training runs failed"
            with work.database.transaction() as connection:
                finish_request(
                    connection, request.request_id,
                    status="failed", model_id=None, verdict={"reason": reason},
                )  # fmt: skip
            return dg.SkipReason(f"request {request.request_id} is given up: {reason}")
        as_of = evaluation_time(work, max(newest_judged_session(work) or date.min, request.session))
        config = {"as_of": as_of.isoformat(), "request_id": request.request_id}
        return dg.RunRequest(
            run_key=f"{strategy.name}-{request.request_id}-{len(runs) + 1}",
            tags=tag,
            run_config={
                "ops": {f"{strategy.name}__{table}": {"config": config} for table in TRAINING}
            },
        )

    return retraining


def alert_sensor() -> dg.SensorDefinition:
    """Return the sensor that delivers what waits in the alert outbox."""

    @dg.sensor(
        name="alert_delivery_sensor",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Delivers alerts to the configured channels, and reminds of those that nobody "
        f"acknowledges. Alerts of sessions more than "
        f"{NEWS_DAYS} days ago, as a backfill makes them, go to the log only.",
    )
    def alert_delivery(server: Server) -> dg.SkipReason:
        report = dispatch_alerts(server.access.database, server.settings)
        return dg.SkipReason(
            f"{report.delivered} delivered, {report.failed} failed, {report.waiting} waiting"
            + (f", {report.undeliverable} undeliverable" if report.undeliverable else "")
        )

    return alert_delivery
