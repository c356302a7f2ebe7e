"""Checks of the monitoring."""

# Dagster reads the annotation of `context` as it stands, so it must not be postponed to a string.

import dagster as dg

from quant_mlops.database.queries import query
from quant_mlops.orchestration.checks.run_sessions import run_sessions
from quant_mlops.orchestration.resources import Server
from quant_mlops.strategy import Strategy


def monitoring_checks(strategy: Strategy) -> list[dg.AssetChecksDefinition]:
    """Return the checks of a strategy's drift metrics."""

    @dg.asset_check(
        asset=dg.AssetKey([strategy.name, "drift_metrics"]),
        description="The newest session of the run is within the thresholds of the rules.",
    )
    def within_thresholds(
        context: dg.AssetCheckExecutionContext, server: Server
    ) -> dg.AssetCheckResult:
        row = server.access.database.fetch_one(
            query("select_threshold_levels"), [strategy.name, max(run_sessions(context, strategy))]
        )
        names = ("ic", "psi", "sharpe_5d")
        levels = dict(zip(names, row, strict=True)) if row else dict.fromkeys(names)
        beyond = {name: level for name, level in levels.items() if level}
        words = ", ".join(f"{name} {level}" for name, level in beyond.items())
        return dg.AssetCheckResult(
            passed=row is not None and not beyond,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"beyond": words or ("none" if row else "the session was not judged")},
        )

    return [within_thresholds]
