"""The daily run: after each session of the exchange, and on no other day."""

from __future__ import annotations

from datetime import datetime, timedelta

import dagster as dg

from quant_mlops.orchestration.jobs import StrategyJobs
from quant_mlops.strategy import Strategy

MORNING_AFTER = "0 6 * * *"


def daily_schedule(strategy: Strategy, jobs: StrategyJobs) -> dg.ScheduleDefinition:
    """Return the schedule of a strategy's daily run.

    It ticks at six every morning in the exchange's zone and asks for the session that came to be
    judged since the morning before: that of the day before, unless the evaluation lag is longer
    than the night. If there is none, it says so and asks for nothing.
    """
    calendar = strategy.trading_calendar

    @dg.schedule(
        name=f"{strategy.name}_daily_schedule",
        job=jobs.daily,
        cron_schedule=MORNING_AFTER,
        execution_timezone=calendar.timezone.key,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Runs the morning after each session of {calendar.name}.",
    )
    def daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        tick = context.scheduled_execution_time.astimezone(calendar.timezone)
        yesterday = tick.date() - timedelta(days=1)
        last_tick = datetime.combine(yesterday, tick.time(), calendar.timezone)
        session = calendar.session_of(tick - strategy.evaluation_lag)
        last = strategy.monitoring.last_session
        if calendar.close_time(session) + strategy.evaluation_lag <= last_tick:
            return dg.SkipReason(
                f"{yesterday} was not a session of {calendar.name}"
                if not calendar.is_session(yesterday)
                else f"{yesterday} cannot be judged yet: it closed less than "
                f"{strategy.evaluation_lag} ago"
            )
        if last is not None and session > last:
            return dg.SkipReason(f"{session} is after the strategy's last session, {last}")
        if session < strategy.first_partition:
            return dg.SkipReason(
                f"{session} is before the strategy's first session, {strategy.first_partition}"
            )
        return dg.RunRequest(run_key=session.isoformat(), partition_key=session.isoformat())

    return daily
