"""Checks of the prices."""

# Dagster reads the annotation of `context` as it stands, so it must not be postponed to a string.

import dagster as dg

from quant_mlops.database.queries import query
from quant_mlops.orchestration.checks.run_sessions import run_sessions
from quant_mlops.orchestration.resources import Server
from quant_mlops.strategy import Strategy

SESSIONS_SHOWN = 20


def market_checks(strategy: Strategy) -> list[dg.AssetChecksDefinition]:
    """Return the checks of a strategy's prices."""

    @dg.asset_check(
        asset=dg.AssetKey([strategy.name, "price_bars"]),
        description="Every session of the run has prices.",
    )
    def sessions_have_prices(
        context: dg.AssetCheckExecutionContext, server: Server
    ) -> dg.AssetCheckResult:
        wanted = run_sessions(context, strategy)
        tickers = server.strategy(strategy).tickers
        rows = server.access.database.fetch_all(
            query("select_sessions_without_price"), {"sessions": wanted, "tickers": tickers}
        )
        missing = [day.isoformat() for (day,) in rows]
        return dg.AssetCheckResult(
            passed=not missing,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "sessions": len(wanted),
                "without_prices": ", ".join(missing[:SESSIONS_SHOWN]) or "none",
            },
        )

    return [sessions_have_prices]
