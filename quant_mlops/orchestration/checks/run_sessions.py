"""Which sessions a check is about.

Checks are unpartitioned and read the sessions of their run, since Dagster stores the result of a
partitioned check in a range run without its partition.
"""

from __future__ import annotations

from datetime import date

import dagster as dg

from quant_mlops.orchestration.partitions import partition_range, session_partitions
from quant_mlops.orchestration.resources import Server
from quant_mlops.strategy import Strategy
from quant_mlops.strategy_context import history_start


def run_sessions(context: dg.AssetCheckExecutionContext, strategy: Strategy) -> list[date]:
    """Return the sessions of a run; of one without, as of a check by itself, all there are."""
    if context.has_partition_key or context.has_partition_key_range:
        partition_range(context, strategy)
        keys = context.partition_keys
    else:
        keys = session_partitions(strategy).get_partition_keys()
    return [date.fromisoformat(key) for key in keys]


def computed_range(
    context: dg.AssetCheckExecutionContext, server: Server, strategy: Strategy
) -> tuple[date, date]:
    """Return the first and last session whose features a run computed.

    The first partition stands for all history up to it.
    """
    sessions = run_sessions(context, strategy)
    first, last = min(sessions), max(sessions)
    return history_start(
        server.strategy(strategy)
    ) if first == strategy.first_partition else first, last
