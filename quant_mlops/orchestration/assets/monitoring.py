"""Monitoring: the tables `feature_drift`, `drift_metrics` and `alerts`, and the report."""

# Dagster reads the annotation of `context` as it stands, so it must not be postponed to a string.

import dagster as dg
import numpy as np

from quant_mlops.alerts.outbox import count_by_severity
from quant_mlops.orchestration.metadata import (
    Materialized,
    inline_plot,
    shown_number,
    shown_on_newest,
    shown_table,
)
from quant_mlops.orchestration.partitions import (
    partition_range,
    session_partitions,
    sessions_pool,
)
from quant_mlops.orchestration.resources import Server
from quant_mlops.pipeline import judge_sessions, measure_feature_drift, raise_alerts
from quant_mlops.strategy import Strategy

GROUP = "monitoring"
ROWS_SHOWN = 10


def monitoring_assets(strategy: Strategy) -> list[dg.AssetsDefinition]:
    """Return the assets from feature drift to the report of a strategy."""
    owners = [strategy.owner] if strategy.owner else None
    partitions = session_partitions(strategy)
    key = strategy.name

    @dg.asset(
        key=[key, "feature_drift"],
        deps=[
            dg.AssetKey([key, "feature_events"]),
            dg.AssetKey([key, "model_deployments"]),
        ],
        group_name=GROUP,
        kinds={"postgres"},
        owners=owners,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=sessions_pool(strategy),
        code_version="1",
        description="PSI of each feature over the newest window of sessions, against the profile "
        "of the rows that the live model was trained on.",
    )
    def feature_drift(context: dg.AssetExecutionContext, server: Server) -> Materialized:
        work = server.strategy(strategy, context.run.run_id)
        first, last = partition_range(context, strategy)
        done = measure_feature_drift(work, first, last)
        # Matplotlib takes half a second to import, and what loads the definitions draws nothing.
        from quant_mlops.session_figures import feature_psi

        plot = inline_plot(feature_psi(work, last), "PSI by feature")
        shown_on_newest(context, {"PSI by feature": plot})
        return dg.MaterializeResult(metadata={"rows": done.offered, "stored": done.stored})

    @dg.asset(
        key=[key, "drift_metrics"],
        deps=[
            dg.AssetKey([key, "predictions"]),
            dg.AssetKey([key, "price_bars"]),
            dg.AssetKey([key, "strategy_returns"]),
            dg.AssetKey([key, "feature_drift"]),
        ],
        group_name=GROUP,
        kinds={"postgres"},
        owners=owners,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=sessions_pool(strategy),
        code_version="1",
        description="IC, PSI and rolling Sharpe of each session as known when it was judged; what "
        "cannot be computed is NULL.",
    )
    def drift_metrics(context: dg.AssetExecutionContext, server: Server) -> Materialized:
        work = server.strategy(strategy, context.run.run_id)
        first, last = partition_range(context, strategy)
        metrics, done = judge_sessions(work, first, last)
        rows = [
            (m.date, m.ic, m.ic_5d_avg, m.psi, m.sharpe_5d, m.sharpe_20d)
            for m in metrics[: -ROWS_SHOWN - 1 : -1]
        ]
        header = ("session", "IC", "IC 5d", "PSI", "Sharpe 5d", "Sharpe 20d")
        from quant_mlops.session_figures import ic_trend

        plot = inline_plot(ic_trend(work, last), "information coefficient")
        shown_on_newest(
            context, {"information coefficient": plot, "newest sessions": shown_table(header, rows)}
        )
        return dg.MaterializeResult(
            metadata={
                "sessions": done.offered,
                "stored": done.stored,
                "mean_ic": shown_number(_mean([m.ic for m in metrics])),
            }
        )

    @dg.asset(
        key=[key, "alerts"],
        deps=[dg.AssetKey([key, "drift_metrics"])],
        group_name=GROUP,
        kinds={"postgres"},
        owners=owners,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=sessions_pool(strategy),
        code_version="1",
        description="The rules of the response matrix, applied to all sessions judged so far. New "
        "alerts act on the strategy's state and may request a retraining.",
    )
    def alerts(context: dg.AssetExecutionContext, server: Server) -> Materialized:
        work = server.strategy(strategy, context.run.run_id)
        done = raise_alerts(work, partition_range(context, strategy)[1])
        rows = [
            (a.opened_session, a.severity, a.rule, a.action.replace("_", " "), a.message)
            for a in done.alerts[: -ROWS_SHOWN - 1 : -1]
        ]
        header = ("opened", "severity", "rule", "action", "message")
        shown_on_newest(context, {"newest alerts": shown_table(header, rows)})
        return dg.MaterializeResult(
            metadata={
                "new_alerts": len(done.alerts),
                "retraining_requests": done.open_requests,
            }
        )

    @dg.asset(
        key=[key, "monitoring_report"],
        deps=[dg.AssetKey([key, "alerts"]), dg.AssetKey([key, "drift_metrics"])],
        group_name=GROUP,
        kinds={"html"},
        owners=owners,
        code_version="1",
        description="The HTML report, with the same plots in this view: IC, PSI by feature, "
        "cumulative return with model versions, alerts in time.",
    )
    def monitoring_report(context: dg.AssetExecutionContext, server: Server) -> Materialized:
        # Matplotlib takes half a second to import, and what loads the definitions draws nothing.
        from quant_mlops.reporting import monitoring_figures, write_strategy_report

        work = server.strategy(strategy, context.run.run_id)
        path = write_strategy_report(work)
        plots = {
            name: inline_plot(figure, name) for name, figure in monitoring_figures(work).items()
        }
        counts = count_by_severity(work.database, strategy.name)
        return dg.MaterializeResult(
            metadata={
                "report": dg.MetadataValue.path(str(path)),
                "alerts by severity": shown_table(("severity", "alerts"), list(counts.items())),
                **plots,
            }
        )

    return [feature_drift, drift_metrics, alerts, monitoring_report]


def _mean(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")
