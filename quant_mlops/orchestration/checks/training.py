"""Checks of training sets, models and what is live; those of a training run stop it."""

# Dagster reads the annotation of `context` as it stands, so it must not be postponed to a string.

from collections.abc import Callable
from functools import partial

import dagster as dg

from quant_mlops.errors import QuantMlopsError
from quant_mlops.orchestration.jobs import VERIFICATION
from quant_mlops.orchestration.metadata import shown_table
from quant_mlops.orchestration.resources import Server
from quant_mlops.registry.live_verdict import live_verdict
from quant_mlops.snapshot_watch import NEWEST, verify_newest_snapshots
from quant_mlops.strategy import Strategy
from quant_mlops.training.snapshot_files import list_snapshots, read_snapshot


def training_checks(strategy: Strategy) -> list[dg.AssetChecksDefinition]:
    """Return the checks of a strategy's snapshots, models and deployments."""
    key = strategy.name

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
        asset=dg.AssetKey([key, "model_deployments"]),
        blocking=True,
        description="What is live was promoted by a verdict of the gate, was the strategy's first "
        "model, or was rolled back to. A person's own promotion, which the gate did not judge, is "
        "a warning.",
    )
    def live_model_has_a_verdict(server: Server) -> dg.AssetCheckResult:
        found = live_verdict(server.access.database, key)
        live = found.deployment
        return dg.AssetCheckResult(
            passed=found.justified,
            severity=dg.AssetCheckSeverity.WARN if found.by_hand else dg.AssetCheckSeverity.ERROR,
            metadata={
                "live": "none" if live is None else f"{live.name} v{live.version}",
                "since": "" if live is None else live.live_from.isoformat(),
                "promoted_by": "" if live is None else live.promoted_by,
                "reason": found.reason,
            },
        )

    @dg.asset_check(
        name=VERIFICATION,
        asset=dg.AssetKey([key, "training_snapshots"]),
        description=f"The newest {NEWEST} snapshots are what was written, and the database gives "
        f"each of them again. One that fails is a critical alert. It runs once a week.",
    )
    def snapshots_are_reproducible(server: Server) -> dg.AssetCheckResult:
        found = verify_newest_snapshots(server.strategy(strategy))
        rows = [
            (v.snapshot.fingerprint[:16], v.snapshot.row_count, v.verdict.file_problem or "intact",
             v.verdict.database_words)
            for v in found
        ]  # fmt: skip
        return dg.AssetCheckResult(
            passed=not any(v.problem for v in found),
            metadata={
                "snapshots": len(found),
                "verified": shown_table(("fingerprint", "rows", "file", "database"), rows),
            },
        )

    return [
        snapshot_is_intact,
        artifacts_are_intact,
        live_model_has_a_verdict,
        snapshots_are_reproducible,
    ]


def _refusal(action: Callable[[], object]) -> str:
    try:
        action()
    except QuantMlopsError as error:
        return str(error)
    return ""


def _verdict(problem: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=not problem, metadata={"problem": problem or "none"})
