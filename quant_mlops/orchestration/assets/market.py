"""Prices, and the members of the universe: `price_bars` and `universe_memberships`."""

# Dagster reads the annotation of `context` as it stands, so it must not be postponed to a string.

import dagster as dg

from quant_mlops.market.price_checks import describe_defects
from quant_mlops.orchestration.metadata import Materialized, shown_table
from quant_mlops.orchestration.partitions import (
    partition_range,
    session_partitions,
    sessions_pool,
)
from quant_mlops.orchestration.resources import Server
from quant_mlops.pipeline import ingest_prices
from quant_mlops.strategy import Strategy

GROUP = "market"
# Metadata that the demonstration reads back.
DEFECTS, FILE_SHA256, NOTES, QUARANTINE = "defects", "file_sha256", "notes", "quarantine"


def price_bars_asset(strategy: Strategy) -> dg.AssetsDefinition:
    """Return the asset of a strategy's prices."""
    start = strategy.trading_calendar.first_day

    @dg.asset(
        key=[strategy.name, "price_bars"],
        group_name=GROUP,
        kinds={"postgres", "parquet"},
        owners=[strategy.owner] if strategy.owner else None,
        partitions_def=session_partitions(strategy),
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=sessions_pool(strategy),
        code_version="1",
        description="Daily bars with the time each became known, from the strategy's price file. "
        "The first partition holds all history up to it. Defective rows are rejected or flagged "
        "by stated rules and kept in the quarantine file.",
    )
    def price_bars(context: dg.AssetExecutionContext, server: Server) -> Materialized:
        first, last = partition_range(context, strategy)
        first = start if first == strategy.first_partition else first
        done = ingest_prices(server.strategy(strategy, context.run.run_id), first, last)
        defects = describe_defects(done.batch.summary)
        warnings = [*done.written.warnings, *done.passed_over]
        for warning in warnings:
            context.log.warning(warning)
        return dg.MaterializeResult(
            metadata={
                "source": done.batch.source,
                FILE_SHA256: done.batch.sha256,
                "rows_in_file": done.batch.rows_read,
                "bars_offered": done.written.offered,
                "bars_stored": done.written.stored,
                "memberships_stored": done.memberships.stored if done.memberships else 0,
                DEFECTS: shown_table(
                    ("reason", "rows", "outcome", "rule"),
                    [(d.reason, d.rows, d.outcome, d.rule) for d in defects],
                ),
                NOTES: dg.MetadataValue.json([*done.batch.notes, *warnings]),
                QUARANTINE: str(done.quarantine or ""),
            }
        )

    return price_bars
