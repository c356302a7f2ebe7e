"""Partitions: one for each session of a strategy's exchange."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import numpy as np

from quant_mlops.errors import NoPartitionError, NotASessionError
from quant_mlops.strategy import Strategy

# Dagster cron counts Sunday as 0; NumPy's 1970-01-01 was a Thursday.
CRON_OF_WEEKDAY = (1, 2, 3, 4, 5, 6, 0)


def session_partitions(strategy: Strategy) -> dg.DailyPartitionsDefinition:
    """Return the partitions of a strategy: its sessions, holidays and closed weekdays excluded.

    The first partition is the session before monitoring begins and stands for all history up to
    it; a strategy with a last session ends there, any other grows by a partition a session. A day
    ends at midnight of the exchange's zone: by UTC, that of Tokyo would begin its next session
    before its last one became a partition.
    """
    calendar = strategy.trading_calendar
    first, last = strategy.first_partition, strategy.monitoring.last_session
    until = last or calendar.last_day
    days = np.arange(np.datetime64(first), np.datetime64(until) + 1)
    open_days = calendar.are_sessions(days)
    weekday = np.array([day.item().weekday() for day in days])
    closed_weekdays = [w for w in range(7) if not open_days[weekday == w].any()]
    holidays = days[~open_days & ~np.isin(weekday, closed_weekdays)]
    exclusions: list[str | datetime] = [f"0 0 * * {CRON_OF_WEEKDAY[w]}" for w in closed_weekdays]
    exclusions += [_midnight(day.item(), calendar.timezone) for day in holidays]
    return dg.DailyPartitionsDefinition(
        start_date=_midnight(first, calendar.timezone),
        end_date=None if last is None else _midnight(last + timedelta(days=1), calendar.timezone),
        timezone=calendar.timezone.key,
        exclusions=exclusions,
    )


def sessions_pool(strategy: Strategy) -> str:
    """Return the pool of what computes sessions of a strategy.

    Its one slot is held by a run: no session is computed twice at once, and none before the
    sessions that it needs.
    """
    return f"{strategy.name}_sessions"


def previous_session() -> dg.TimeWindowPartitionMapping:
    """Return the mapping by which a session depends on the session before it."""
    return dg.TimeWindowPartitionMapping(
        start_offset=-1, end_offset=-1, allow_nonexistent_upstream_partitions=True
    )


def partition_range(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, strategy: Strategy
) -> tuple[date, date]:
    """Return the first and last session of a run.

    Dagster lets a run be started for any day, and for none.

    Raises
    ------
    NoPartitionError
        The run names no session, or a day that is no partition of the strategy.
    """
    calendar = strategy.trading_calendar
    newest = newest_partition(strategy, datetime.now(calendar.timezone))
    span = f"the sessions of {strategy.name} are those of {calendar.name} from "
    span += f"{strategy.first_partition} to {newest}"
    if not (context.has_partition_key or context.has_partition_key_range):
        raise NoPartitionError(
            f"the run was started without a partition, and works on sessions; {span}, so start it "
            f"for one or a range of them"
        )
    keys = context.partition_key_range
    first, last = date.fromisoformat(keys.start), date.fromisoformat(keys.end)
    try:
        calendar.positions([first, last])
    except NotASessionError as error:
        raise NoPartitionError(str(error)) from None
    if not strategy.first_partition <= first <= last <= newest:
        asked = f"{first}" if first == last else f"{first} to {last}"
        raise NoPartitionError(
            f"the run was started for {asked}, and {span}; start it for one or a range of them"
        )
    return first, last


def newest_partition(strategy: Strategy, moment: datetime) -> date:
    """Return the newest session whose day is over at a moment, in the exchange's zone."""
    calendar, last = strategy.trading_calendar, strategy.monitoring.last_session
    over = calendar.previous(moment.astimezone(calendar.timezone).date())
    return over if last is None else min(over, last)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), tzinfo=zone)
