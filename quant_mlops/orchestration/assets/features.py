"""Features: the table `feature_events`."""

# Dagster reads the annotation of `context` as it stands, so it must not be postponed to a string.

import dagster as dg

from quant_mlops.orchestration.metadata import Materialized, shown_table
from quant_mlops.orchestration.partitions import (
    partition_range,
    session_partitions,
    sessions_pool,
)
from quant_mlops.orchestration.resources import Server
from quant_mlops.pipeline import compute_features, revise_features
from quant_mlops.strategy import Strategy
from quant_mlops.strategy_context import history_start

GROUP = "features"


def feature_events_asset(strategy: Strategy) -> dg.AssetsDefinition:
    """Return the asset of a strategy's features."""
    logic = "-".join(d.logic_hash[:8] for d in strategy.definitions)

    @dg.asset(
        key=[strategy.name, "feature_events"],
        deps=[dg.AssetKey([strategy.name, "price_bars"])],
        group_name=GROUP,
        kinds={"postgres", "numpy"},
        owners=[strategy.owner] if strategy.owner else None,
        partitions_def=session_partitions(strategy),
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=sessions_pool(strategy),
        code_version=logic,
        description="Feature values with event and ingest time, computed from the prices of each "
        "session and the lookback before it; prices restated in the same run lead to revisions of "
        "what they touch. New logic under a stored version is refused.",
    )
    def feature_events(context: dg.AssetExecutionContext, server: Server) -> Materialized:
        work = server.strategy(strategy, context.run.run_id)
        first, last = partition_range(context, strategy)
        first = history_start(work) if first == strategy.first_partition else first
        rows = []
        for written in compute_features(work, first, last):
            context.log.info("%s: %d stored", written.feature, written.result.stored)
            result = written.result
            rows.append((written.feature, result.offered, result.stored, result.revised))
        revised = revise_features(work)
        return dg.MaterializeResult(
            metadata={
                "events_offered": sum(row[1] for row in rows),
                "events_stored": sum(row[2] for row in rows),
                "revisions": sum(row[3] for row in rows) + revised,
                "by_feature": shown_table(("feature", "offered", "stored", "revised"), rows),
            }
        )

    return feature_events
