"""The tags by which a run names its sessions: those of Dagster's partitions."""

from __future__ import annotations

from datetime import date

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)


def session_tags(first: date, last: date) -> dict[str, str]:
    """Return the tags of a run that works on the sessions from one to another, both included."""
    if first == last:
        return {PARTITION_NAME_TAG: first.isoformat()}
    return {
        ASSET_PARTITION_RANGE_START_TAG: first.isoformat(),
        ASSET_PARTITION_RANGE_END_TAG: last.isoformat(),
    }


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
