"""Partitions: one for each session of a strategy's exchange."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import numpy as np

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


def partition_range(context: dg.AssetExecutionContext) -> tuple[date, date]:
    """Return the first and last session of a run."""
    keys = context.partition_keys
    return date.fromisoformat(keys[0]), date.fromisoformat(keys[-1])


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), tzinfo=zone)
