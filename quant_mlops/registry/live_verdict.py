"""Whether what is live got there by a verdict of the gate."""

from __future__ import annotations

from dataclasses import dataclass

from quant_mlops.database import Database
from quant_mlops.registry.comparisons import ModelComparison, list_comparisons
from quant_mlops.registry.deployments import deployments
from quant_mlops.registry.records import Deployment

# What a promotion by the gate carries, be it without a champion to compare with.
GATE_EVIDENCE = "comparison"


@dataclass(frozen=True)
class LiveVerdict:
    """What made a strategy's model live.

    Attributes
    ----------
    deployment : Deployment or None
        That of the live model; None if no model is live.
    justified : bool
        Whether a verdict stands behind it; true where nothing is live.
    by_hand : bool
        Whether a person made it live, and no gate was asked.
    reason : str
        Which verdict, or what is missing.
    """

    deployment: Deployment | None
    justified: bool
    reason: str
    by_hand: bool = False


def live_verdict(database: Database, strategy_id: str) -> LiveVerdict:
    """Hold the newest deployment of a strategy against the stored verdicts.

    The first model of a strategy needs none. A rollback leads back to a model that must have had
    its own. A promotion by hand has none: who made it and why is on record, but nobody compared
    the model with the champion.
    """
    history = deployments(database, strategy_id)
    if not history or history[-1].live_until is not None:
        return LiveVerdict(None, True, "no model is live")
    verdicts = [c for c in list_comparisons(database, strategy_id) if c.promoted]
    live = history[-1]
    origin = live
    for earlier in reversed(history):
        if origin.evidence.get("rollback") and earlier.model_id == live.model_id:
            origin = earlier
    reason = _justification(origin, history, verdicts)
    if reason is None:
        return LiveVerdict(
            live,
            False,
            f"{live.name} v{live.version} was made live by {origin.promoted_by} "
            f"({origin.reason}) and no verdict of the gate says so; train a challenger, or roll "
            f"back to a model that has one",
            by_hand=GATE_EVIDENCE not in origin.evidence,
        )
    back = "" if origin is live else f"rolled back to by {live.promoted_by}: "
    return LiveVerdict(live, True, f"{back}{reason}")


def _justification(
    deployment: Deployment, history: list[Deployment], verdicts: list[ModelComparison]
) -> str | None:
    if deployment.deployment_id == history[0].deployment_id:
        return "first model of the strategy"
    for verdict in verdicts:
        if (verdict.challenger_id, verdict.as_of) == (deployment.model_id, deployment.live_from):
            return verdict.reason
    return None
