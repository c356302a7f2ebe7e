"""`quant-mlops models`: the registry and deployments."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from quant_mlops.cli.model_records import delete, runs, show
from quant_mlops.cli.model_search import SHOWN, list_models, tag
from quant_mlops.cli.named_model import ModelVersion, NamedModel, open_model
from quant_mlops.cli.output import emit, json_option, print_pairs, print_table, say
from quant_mlops.cli.reproduction import reproduce_model, verify_model
from quant_mlops.cli.verdicts import verdicts
from quant_mlops.cli.workspace import Instant, choose_strategy, open_strategy, strategy_option
from quant_mlops.errors import ModelNotFoundError, RegistryError
from quant_mlops.registry.deployments import UNSET
from quant_mlops.registry.records import Deployment, ModelInfo
from quant_mlops.retraining import retrain
from quant_mlops.strategy_context import newest_knowledge
from quant_mlops.strategy_files import read_strategies
from quant_mlops.wording import short_time

NO_MODEL = "none"


class ExpectedModel(click.ParamType[tuple[str, int] | str]):
    """A version as NAME:VERSION, or `none`."""

    name = "model"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, int] | str:
        if value == NO_MODEL:
            return NO_MODEL
        name, _, version = str(value).rpartition(":")
        if not name or not version.isdecimal():
            self.fail(f"{value!r} is neither NAME:VERSION, such as ridge:3, nor none", param, ctx)
        return name, int(version)


@click.group(epilog="Example: quant-mlops models list")
def models() -> None:
    """Look at models, and say which one is live."""


for command in (
    list_models, tag, show, runs, delete, verdicts, verify_model, reproduce_model,
):  # fmt: skip
    models.add_command(command)


@models.command(epilog="Example: quant-mlops models train --as-of 2022-06-30T20:00-04:00")
@click.option(
    "--as-of",
    type=Instant(),
    help="Train on what was known then; with the newest price, or now, by default.",
)
@strategy_option
@json_option
def train(as_of: datetime | None, strategy_name: str | None, as_json: bool) -> None:
    """Train the strategy's learners, and let the best face the model that is live.

    Without a live model it is promoted. A promotion holds from the time that was trained as of.
    """
    with open_strategy(strategy_name) as work:
        outcome = retrain(work, as_of=as_of or newest_knowledge(work))
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
        *((name, best.metrics.get(metric)) for name, metric in SHOWN.items()),
        ("verdict", "promoted" if outcome.promoted else "rejected"),
        ("reason", outcome.reason),
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
        (
            f"{d.name} v{d.version}",
            f"{short_time(d.live_from)}\nto {short_time(d.live_until) or 'now'}",
            f"by {d.promoted_by}: {d.reason}",
        )
        for d in found
    ]
    header = ("model", "live", "promoted")
    emit(found, as_json=as_json, show=lambda: print_table(header, rows))


@models.command(epilog="Example: quant-mlops models promote NAME 2 --by ann --reason 'review'")
@click.argument("name")
@click.argument("version", type=ModelVersion())
@click.option("--by", required=True, help="Who promotes.")
@click.option("--reason", required=True, help="Why.")
@click.option(
    "--expected-current",
    type=ExpectedModel(),
    metavar="NAME:VERSION|none",
    help="Promote only if this version is live, or none at all.",
)
@click.option(
    "--from",
    "effective_from",
    type=Instant(),
    help="Live from then (wall time in New York unless it has a zone); from now on by default.",
)
@strategy_option
@json_option
def promote(
    name: str,
    version: int,
    by: str,
    reason: str,
    expected_current: tuple[str, int] | str | None,
    effective_from: datetime | None,
    strategy_name: str | None,
    as_json: bool,
) -> None:
    """Make a version live for its strategy, from now on unless a time is given."""
    expected: object = UNSET if expected_current is None else expected_current
    with open_model(name, version) as work:
        strategy_id = _strategy_of(work, strategy_name)
        _refuse_foreign(work.model, strategy_id)
        done = work.registry.promote(
            name, version, strategy_id, by=by, reason=reason,
            expected_current=None if expected == NO_MODEL else expected,
            effective_from=effective_from,
        )  # fmt: skip
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


def _strategy_of(work: NamedModel, asked: str | None) -> str:
    """Return the strategy that was asked for, or that of the model if it has a file."""
    own = work.model.strategy_type
    if asked is None and own in read_strategies(work.settings).strategies:
        asked = own
    return choose_strategy(work.settings, asked).name


def _refuse_foreign(model: ModelInfo, strategy_id: str) -> None:
    """Refuse to promote by command what cannot be served for a strategy."""
    if model.strategy_type != strategy_id:
        raise RegistryError(
            f"{model.label} is a model of {model.strategy_type or 'no strategy'} and not of "
            f"{strategy_id}; give --strategy, or one of `quant-mlops models list`"
        )
    if model.snapshot_id is None:
        raise RegistryError(
            f"{model.label} was registered without a training snapshot and could not be served; "
            f"promote a version that was trained, see `quant-mlops models list`"
        )


def _emit_deployment(done: Deployment, *, as_json: bool) -> None:
    since = done.live_from.isoformat()
    sentence = f"{done.name} v{done.version} is live for {done.strategy_id} since {since}"
    emit(done, as_json=as_json, show=lambda: say(sentence))
