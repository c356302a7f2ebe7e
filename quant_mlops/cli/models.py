"""`quant-mlops models`: the registry and deployments."""

from __future__ import annotations

from datetime import datetime

import click

from quant_mlops.cli.output import emit, json_option, print_pairs, print_table, say
from quant_mlops.cli.verdicts import verdicts
from quant_mlops.cli.workspace import Instant, open_strategy, strategy_option
from quant_mlops.errors import ModelNotFoundError
from quant_mlops.registry.records import Deployment
from quant_mlops.retraining import retrain

METRICS_SHOWN = ("ic_mean_val", "ic_mean_test", "ic_mean_se_test", "sharpe_ratio_backtest")


@click.group(epilog="Example: quant-mlops models list")
def models() -> None:
    """Look at models, and say which one is live."""


models.add_command(verdicts)


@models.command("list", epilog="Example: quant-mlops models list --json")
@strategy_option
@json_option
def list_models(strategy_name: str | None, as_json: bool) -> None:
    """List the models of a strategy."""
    with open_strategy(strategy_name) as work:
        found = work.registry.list_models(strategy_type=work.strategy.name)
        metrics = {m.model_id: work.registry.get_metrics(m.model_id) for m in found}
    rows = [
        (m.label, m.created_at, *(metrics[m.model_id].get(name) for name in METRICS_SHOWN))
        for m in found
    ]
    document = [{"model": m, "metrics": metrics[m.model_id]} for m in found]
    header = ("model", "created", *METRICS_SHOWN)
    emit(document, as_json=as_json, show=lambda: print_table(header, rows))


@models.command(epilog="Example: quant-mlops models train --as-of 2022-06-30T20:00-04:00")
@click.option("--as-of", type=Instant(), help="Train on what was known then; now by default.")
@strategy_option
@json_option
def train(as_of: datetime | None, strategy_name: str | None, as_json: bool) -> None:
    """Train the strategy's learners, and let the best face the model that is live.

    Without a live model it is promoted. A promotion holds from the time that was trained as of.
    """
    with open_strategy(strategy_name) as work:
        outcome = retrain(work, as_of=as_of or work.database.now())
    best = outcome.candidate
    document = {
        "snapshot": outcome.snapshot.fingerprint,
        "rows": outcome.snapshot.row_count,
        "models": [{"model": m.model, "metrics": m.metrics} for m in outcome.models],
        "candidate": best.model.label,
        "promoted": outcome.promoted,
        "reason": outcome.reason,
    }
    pairs = [
        ("snapshot", f"{outcome.snapshot.fingerprint[:16]}, {outcome.snapshot.row_count:,} rows"),
        ("trained", ", ".join(m.model.label for m in outcome.models)),
        ("candidate", best.model.label),
        *((name, best.metrics.get(name)) for name in METRICS_SHOWN),
        ("verdict", "promoted" if outcome.promoted else "rejected"),
        ("reason", outcome.reason),
    ]
    emit(document, as_json=as_json, show=lambda: print_pairs(pairs))


@models.command(epilog="Example: quant-mlops models show momentum_xgboost 1")
@click.argument("name")
@click.argument("version", type=int, required=False)
@strategy_option
@json_option
def show(name: str, version: int | None, strategy_name: str | None, as_json: bool) -> None:
    """Show a version of a model, the newest by default."""
    with open_strategy(strategy_name) as work:
        model = work.registry.get_model(name, version)
        if model is None:
            raise ModelNotFoundError(
                f"there is no model {name if version is None else f'{name} v{version}'}; "
                f"`quant-mlops models list` shows those there are"
            )
        metrics = work.registry.get_metrics(model.model_id)
        artifacts = work.registry.list_artifacts(model.model_id)
    document = {"model": model, "metrics": metrics, "artifacts": artifacts}
    pairs: list[tuple[str, object]] = [
        ("model", model.label),
        ("id", model.model_id),
        ("strategy", model.strategy_type),
        ("description", model.description),
        ("params", model.params),
        ("snapshot", model.snapshot_id),
        ("created", model.created_at),
        *metrics.items(),
        *((a.artifact_type, f"{a.checksum} ({a.size_bytes:,} bytes)") for a in artifacts),
    ]
    emit(document, as_json=as_json, show=lambda: print_pairs(pairs))


@models.command(epilog="Example: quant-mlops models best ic_mean --dataset test")
@click.argument("metric")
@click.option(
    "--dataset", default="test", show_default=True,
    type=click.Choice(["train", "val", "test", "backtest", "live"]),
)  # fmt: skip
@click.option("--lowest", is_flag=True, help="The lowest value wins.")
@strategy_option
@json_option
def best(metric: str, dataset: str, lowest: bool, strategy_name: str | None, as_json: bool) -> None:
    """Show the model whose newest evaluation of METRIC is best."""
    with open_strategy(strategy_name) as work:
        found = work.registry.get_best_model(
            work.strategy.name, metric, dataset, higher_is_better=not lowest
        )
        if found is None:
            raise ModelNotFoundError(
                f"no model of {work.strategy.name} has a value of {metric} on {dataset}; "
                f"`quant-mlops models list --json` shows the metrics there are"
            )
    pairs = [("model", found.model.label), *found.metrics.items()]
    emit(found, as_json=as_json, show=lambda: print_pairs(pairs))


@models.command(epilog="Example: quant-mlops models live --at 2022-06-30T13:30+00:00")
@click.option(
    "--at",
    type=Instant(),
    help="Live at this time (wall time in New York unless it has a zone); all of time by default.",
)
@strategy_option
@json_option
def live(at: datetime | None, strategy_name: str | None, as_json: bool) -> None:
    """Show which version is live, or was at a time."""
    with open_strategy(strategy_name) as work:
        if at is None:
            found = work.registry.deployments(work.strategy.name)
        else:
            one = work.registry.live_model(work.strategy.name, at=at)
            found = [one] if one else []
    rows = [
        (f"{d.name} v{d.version}", d.live_from, d.live_until, d.promoted_by, d.reason)
        for d in found
    ]
    header = ("model", "live from", "live until", "promoted by", "reason")
    emit(found, as_json=as_json, show=lambda: print_table(header, rows))


@models.command(epilog="Example: quant-mlops models promote NAME 2 --by ann --reason 'review'")
@click.argument("name")
@click.argument("version", type=int)
@click.option("--by", required=True, help="Who promotes.")
@click.option("--reason", required=True, help="Why.")
@strategy_option
@json_option
def promote(
    name: str, version: int, by: str, reason: str, strategy_name: str | None, as_json: bool
) -> None:
    """Make a version live from now on."""
    with open_strategy(strategy_name) as work:
        done = work.registry.promote(name, version, work.strategy.name, by=by, reason=reason)
    _emit_deployment(done, as_json=as_json)


@models.command(epilog="Example: quant-mlops models rollback --by ann --reason 'bad fills'")
@click.option("--by", required=True, help="Who rolls back.")
@click.option("--reason", required=True, help="Why.")
@strategy_option
@json_option
def rollback(by: str, reason: str, strategy_name: str | None, as_json: bool) -> None:
    """Make the version live again that was live before."""
    with open_strategy(strategy_name) as work:
        done = work.registry.rollback(work.strategy.name, by=by, reason=reason)
    _emit_deployment(done, as_json=as_json)


def _emit_deployment(done: Deployment, *, as_json: bool) -> None:
    sentence = f"{done.name} v{done.version} is live since {done.live_from.isoformat()}"
    emit(done, as_json=as_json, show=lambda: say(sentence))
