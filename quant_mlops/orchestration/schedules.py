"""Schedules, all in the exchange's time: the daily run, a weekly check, a monthly retraining."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta

import dagster as dg

from quant_mlops.orchestration.jobs import REQUEST_OP, StrategyJob, StrategyJobs
from quant_mlops.strategy import Strategy

MORNING = time(6)
MORNING_AFTER = "0 6 * * *"
# After the daily run has asked for the session that may be the first of its month.
LATER_THAT_MORNING = "30 6 * * *"
SATURDAY_MORNING = "0 8 * * 6"


def scheduled_session(strategy: Strategy, moment: datetime) -> date:
    """Return the newest session that the daily schedule has asked for by a moment."""
    calendar = strategy.trading_calendar
    local = moment.astimezone(calendar.timezone)
    tick = datetime.combine(local.date(), MORNING, calendar.timezone)
    if tick > local:
        tick = datetime.combine(local.date() - timedelta(days=1), MORNING, calendar.timezone)
    return calendar.session_of(tick - strategy.evaluation_lag)


def daily_schedule(strategy: Strategy, jobs: StrategyJobs) -> dg.ScheduleDefinition:
    """Return the schedule of a strategy's daily run.

    It ticks at six every morning in the exchange's zone and asks for the session that came to be
    judged since the morning before: that of the day before, unless the evaluation lag is longer
    than the night. If there is none, it says so and asks for nothing.
    """

    def daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        session = _session_of_tick(strategy, context)
        if isinstance(session, dg.SkipReason):
            return session
        return dg.RunRequest(run_key=session.isoformat(), partition_key=session.isoformat())

    return _schedule(
        strategy, "daily", jobs.daily, MORNING_AFTER, daily,
        f"Runs the morning after each session of {strategy.trading_calendar.name}.",
    )  # fmt: skip


def retraining_schedule(strategy: Strategy, jobs: StrategyJobs) -> dg.ScheduleDefinition:
    """Return the schedule that has a retraining requested after the first session of a month."""
    calendar = strategy.trading_calendar

    def monthly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        session = _session_of_tick(strategy, context)
        if isinstance(session, dg.SkipReason):
            return session
        before = calendar.previous(session)
        if before.month == session.month:
            return dg.SkipReason(
                f"{session} was not the first session of its month, as {before} came before it"
            )
        config = {"config": {"session": session.isoformat()}}
        return dg.RunRequest(
            run_key=f"{session:%Y-%m}",
            run_config={"ops": {f"{strategy.name}__{REQUEST_OP}": config}},
        )

    return _schedule(
        strategy, "monthly_retraining", jobs.retraining_request, LATER_THAT_MORNING, monthly,
        f"Requests a retraining the morning after the first session of a month of {calendar.name}; "
        f"the promotion gate decides what becomes of it.",
    )  # fmt: skip


def verification_schedule(strategy: Strategy, jobs: StrategyJobs) -> dg.ScheduleDefinition:
    """Return the schedule that verifies the newest training sets every Saturday."""
    zone = strategy.trading_calendar.timezone

    def weekly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        day = context.scheduled_execution_time.astimezone(zone).date()
        return dg.RunRequest(run_key=day.isoformat())

    return _schedule(
        strategy, "weekly_verification", jobs.verification, SATURDAY_MORNING, weekly,
        "Verifies the newest training sets by file and from the database; one that fails is a "
        "critical alert.",
    )  # fmt: skip


def _schedule(
    strategy: Strategy,
    name: str,
    job: StrategyJob,
    cron: str,
    decide: Callable[[dg.ScheduleEvaluationContext], dg.RunRequest | dg.SkipReason],
    description: str,
) -> dg.ScheduleDefinition:
    """Return a schedule that is on from the start and ticks by the exchange's clock."""
    return dg.ScheduleDefinition(
        name=f"{strategy.name}_{name}_schedule",
        job=job,
        cron_schedule=cron,
        execution_timezone=strategy.trading_calendar.timezone.key,
        execution_fn=decide,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )


def _session_of_tick(
    strategy: Strategy, context: dg.ScheduleEvaluationContext
) -> date | dg.SkipReason:
    """Return the session that came to be judged since the tick of the day before, or why none."""
    calendar = strategy.trading_calendar
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
    return session
