"""Asset checks: blocking ones stop the run, the others warn.

They are unpartitioned and read the sessions of their run, since Dagster stores the result of a
partitioned check in a range run without its partition.
"""

# Dagster reads the annotation of `context` as it stands, so it must not be postponed to a string.

from collections.abc import Callable
from datetime import date
from functools import partial

import dagster as dg

from quant_mlops.database.queries import query
from quant_mlops.errors import QuantMlopsError
from quant_mlops.orchestration.partitions import session_partitions
from quant_mlops.orchestration.resources import Server
from quant_mlops.pipeline import history_start
from quant_mlops.strategy import Strategy
from quant_mlops.training.snapshot_files import list_snapshots, read_snapshot


def strategy_checks(strategy: Strategy) -> list[dg.AssetChecksDefinition]:
    """Return the checks of a strategy's assets."""
    key = strategy.name

    @dg.asset_check(
        asset=dg.AssetKey([key, "price_bars"]),
        description="Every session of the run has prices.",
    )
    def sessions_have_prices(
        context: dg.AssetCheckExecutionContext, server: Server
    ) -> dg.AssetCheckResult:
        wanted = _sessions(context, strategy)
        rows = server.access.database.fetch_all(query("select_sessions_without_price"), [wanted])
        missing = [day.isoformat() for (day,) in rows]
        return dg.AssetCheckResult(
            passed=not missing,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"sessions": len(wanted), "without_prices": ", ".join(missing[:20]) or "none"},
        )

    @dg.asset_check(
        asset=dg.AssetKey([key, "feature_events"]),
        blocking=True,
        description="No feature of the run's sessions was known before the session closed.",
    )
    def nothing_looks_ahead(
        context: dg.AssetCheckExecutionContext, server: Server
    ) -> dg.AssetCheckResult:
        calendar, sessions = strategy.trading_calendar, _sessions(context, strategy)
        # The first partition stands for all history up to it.
        starts = min(sessions) == strategy.first_partition
        first = history_start(server.strategy(strategy)) if starts else min(sessions)
        row = server.access.database.fetch_one(
            query("count_early_features"),
            {
                "names": list(strategy.feature_versions),
                "versions": list(strategy.feature_versions.values()),
                "first": calendar.close_time(first),
                "last": calendar.close_time(max(sessions)),
            },
        )
        early = int(row[0]) if row else 0
        return dg.AssetCheckResult(passed=early == 0, metadata={"events_known_too_early": early})

    @dg.asset_check(
        asset=dg.AssetKey([key, "training_snapshots"]),
        blocking=True,
        description="The newest snapshot has the bytes and the fingerprint it was written with.",
    )
    def snapshot_is_intact(server: Server) -> dg.AssetCheckResult:
        newest = list_snapshots(server.access.database, key)[:1]
        return _verdict("no snapshot" if not newest else _refusal(lambda: read_snapshot(newest[0])))

    @dg.asset_check(
        asset=dg.AssetKey([key, "models"]),
        blocking=True,
        description="Every artifact of the strategy's newest models has its registered digest.",
    )
    def artifacts_are_intact(server: Server) -> dg.AssetCheckResult:
        registry = server.strategy(strategy).registry
        problems = []
        for learner in strategy.learners:
            model = registry.get_model(strategy.model_name(learner.name))
            if model is None:
                problems.append(f"no model of learner {learner.name}")
                continue
            for artifact in registry.list_artifacts(model.model_id):
                path, checksum = artifact.artifact_path, artifact.checksum
                problem = _refusal(partial(registry.artifacts.read, path, checksum))
                problems += [problem] if problem else []
        return _verdict("; ".join(problems))

    @dg.asset_check(
        asset=dg.AssetKey([key, "drift_metrics"]),
        description="The newest session of the run is within the thresholds of the rules.",
    )
    def within_thresholds(
        context: dg.AssetCheckExecutionContext, server: Server
    ) -> dg.AssetCheckResult:
        row = server.access.database.fetch_one(
            query("select_threshold_levels"), [key, max(_sessions(context, strategy))]
        )
        names = ("ic", "psi", "sharpe_5d")
        levels = dict(zip(names, row, strict=True)) if row else dict.fromkeys(names)
        beyond = {name: level for name, level in levels.items() if level}
        return dg.AssetCheckResult(
            passed=row is not None and not beyond,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"beyond": str(beyond or ("none" if row else "the session was not judged"))},
        )

    return [
        sessions_have_prices,
        nothing_looks_ahead,
        snapshot_is_intact,
        artifacts_are_intact,
        within_thresholds,
    ]


def _sessions(context: dg.AssetCheckExecutionContext, strategy: Strategy) -> list[date]:
    """Return the sessions of a run; of one without, as of a check by itself, all there are."""
    if context.has_partition_key or context.has_partition_key_range:
        keys = context.partition_keys
    else:
        keys = session_partitions(strategy).get_partition_keys()
    return [date.fromisoformat(key) for key in keys]


def _refusal(action: Callable[[], object]) -> str:
    try:
        action()
    except QuantMlopsError as error:
        return str(error)
    return ""


def _verdict(problem: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=not problem, metadata={"problem": problem or "none"})
