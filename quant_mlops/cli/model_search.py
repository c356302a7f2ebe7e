"""`quant-mlops models list|tag`: finding models, and the tags by which they are found."""

from __future__ import annotations

from typing import Any

import click

from quant_mlops.cli.named_model import ModelVersion, open_model
from quant_mlops.cli.output import COUNT, emit, json_option, print_table, say
from quant_mlops.cli.workspace import choose_strategy, open_workspace
from quant_mlops.registry import ModelRegistry

# What a column is called, and the metric it shows.
SHOWN = {
    "val IC": "ic_mean_val",
    "test IC": "ic_mean_test",
    "s.e.": "ic_mean_se_test",
    "Sharpe": "sharpe_ratio_backtest",
    "deflated": "deflated_sharpe_backtest",
}


class Tag(click.ParamType[tuple[str, str | None]]):
    """A tag and its value as TAG=VALUE, or a TAG with any value."""

    name = "tag"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str | None]:
        tag, sign, text = str(value).partition("=")
        if not tag.strip() or (sign and not text):
            self.fail(f"{value!r} is neither TAG=VALUE nor TAG", param, ctx)
        return tag, text if sign else None


@click.command("list", epilog="Example: quant-mlops models list --order-by -ic_mean_test --last 5")
@click.option("--tag", "tags", type=Tag(), multiple=True, help="TAG=VALUE, or TAG; repeatable.")
@click.option(
    "--order-by",
    help="name, version, created_at, or a metric with its data set such as ic_mean_test; with a "
    "- before it the greatest first.",
)
@click.option("--last", type=COUNT, help="At most so many, the first in that order.")
@click.option("--strategy", "strategy_name", help="Of this strategy only.")
@json_option
def list_models(
    tags: tuple[tuple[str, str | None], ...],
    order_by: str | None,
    last: int | None,
    strategy_name: str | None,
    as_json: bool,
) -> None:
    """List models; what is undefined stands last in any order."""
    with open_workspace() as (settings, access):
        only = None if strategy_name is None else choose_strategy(settings, strategy_name).name
        found = ModelRegistry(access.database).search_models(
            strategy_type=only, tags=dict(tags), order_by=order_by, limit=last
        )
    rows = [(f.model.label, *(f.metrics.get(name) for name in SHOWN.values())) for f in found]
    header = ("model", *SHOWN)
    emit(found, as_json=as_json, show=lambda: print_table(header, rows))


@click.command(epilog="Example: quant-mlops models tag NAME 2 stage=review --by ann")
@click.argument("name")
@click.argument("version", type=ModelVersion())
@click.argument("tag", type=Tag())
@click.option("--by", required=True, help="Who sets or removes it.")
@click.option("--remove", is_flag=True, help="Remove the tag; its history stays.")
@json_option
def tag(
    name: str,
    version: int,
    tag: tuple[str, str | None],
    by: str,
    remove: bool,
    as_json: bool,
) -> None:
    """Give a version the TAG=VALUE, or take a TAG from it."""
    key, value = tag
    if remove == (value is not None):
        wanted = "TAG alone" if remove else "TAG=VALUE"
        raise click.BadParameter(f"give {wanted}", param_hint="TAG")
    with open_model(name, version) as work:
        model = work.model
        if value is None:
            work.registry.remove_tag(model.model_id, key, by=by)
        else:
            work.registry.set_tag(model.model_id, key, value, by=by)
        history = work.registry.tag_history(model.model_id, key)
    change = "is gone" if value is None else f"is {value}"
    emit(history, as_json=as_json, show=lambda: say(f"{key} of {model.label} {change}"))
