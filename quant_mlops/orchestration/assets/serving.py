"""Serving: the tables `predictions` and `strategy_returns`."""

# Dagster reads the annotation of `context` as it stands, so it must not be postponed to a string.

import dagster as dg

from quant_mlops.orchestration.metadata import Materialized, inline_plot, shown_on_newest
from quant_mlops.orchestration.partitions import (
    partition_range,
    previous_session,
    session_partitions,
    sessions_pool,
)
from quant_mlops.orchestration.resources import Server
from quant_mlops.pipeline import make_predictions, realise_returns
from quant_mlops.strategy import Strategy

GROUP = "serving"


def serving_assets(strategy: Strategy) -> list[dg.AssetsDefinition]:
    """Return the assets of a strategy's predictions and returns."""
    owners = [strategy.owner] if strategy.owner else None
    partitions = session_partitions(strategy)
    deployments = dg.AssetKey([strategy.name, "model_deployments"])

    @dg.asset(
        key=[strategy.name, "predictions"],
        deps=[
            dg.AssetDep([strategy.name, "feature_events"], partition_mapping=previous_session()),
            deployments,
        ],
        group_name=GROUP,
        kinds={"postgres", "xgboost"},
        owners=owners,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=sessions_pool(strategy),
        code_version="1",
        description="Signals at the open of each session, by the model live then, from features "
        "known then. A stored prediction is never changed.",
    )
    def predictions(context: dg.AssetExecutionContext, server: Server) -> Materialized:
        work = server.strategy(strategy, context.run.run_id)
        first, last = partition_range(context, strategy)
        done = make_predictions(work, first, last)
        live = work.registry.live_model(strategy.name, at=work.calendar.open_time(last))
        # Matplotlib takes half a second to import, and what loads the definitions draws nothing.
        from quant_mlops.session_figures import prediction_distribution

        plot = inline_plot(prediction_distribution(work, last), f"predictions of {last}")
        shown_on_newest(context, {"predictions of the newest session": plot})
        return dg.MaterializeResult(
            metadata={
                "model": "none" if live is None else f"{live.name} v{live.version}",
                "model_id": "" if live is None else str(live.model_id),
                "made_live_by": dg.MetadataValue.asset(deployments),
                "predictions": done.offered,
                "stored": done.stored,
                "names_without_all_features": done.incomplete,
                "sessions_without_live_model": done.sessions_without_model,
            }
        )

    @dg.asset(
        key=[strategy.name, "strategy_returns"],
        deps=[
            dg.AssetDep([strategy.name, "predictions"], partition_mapping=previous_session()),
            dg.AssetKey([strategy.name, "price_bars"]),
        ],
        group_name=GROUP,
        kinds={"postgres"},
        owners=owners,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=sessions_pool(strategy),
        code_version="1",
        description="Daily return of the long-short portfolio of the predictions, after cost.",
    )
    def strategy_returns(context: dg.AssetExecutionContext, server: Server) -> Materialized:
        work = server.strategy(strategy, context.run.run_id)
        done = realise_returns(work, *partition_range(context, strategy))
        return dg.MaterializeResult(
            metadata={"sessions_with_return": done.offered, "stored": done.stored}
        )

    return [predictions, strategy_returns]
