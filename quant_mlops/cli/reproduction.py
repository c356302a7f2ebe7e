"""`quant-mlops models verify|reproduce`: what a model is made of, proven or made again."""

from __future__ import annotations

import click

from quant_mlops.cli.named_model import ModelVersion, open_model
from quant_mlops.cli.output import emit, json_option, print_pairs, print_table
from quant_mlops.registry.checklist import FAILED, reproducibility_checklist
from quant_mlops.registry.reproduction import Reproduction, last_reproduction, reproduce

WORDS = {True: "identical", False: "DIFFERENT", None: "not tried"}


@click.command("verify", epilog="Example: quant-mlops models verify momentum_xgboost 1")
@click.argument("name")
@click.argument("version", type=ModelVersion(), required=False)
@json_option
def verify_model(name: str, version: int | None, as_json: bool) -> None:
    """Print the reproducibility checklist of a version, the newest by default.

    NAME may be the model's id, which needs no VERSION.

    Code version, feature versions, training data, parameters, weights and evaluation metrics,
    each with a verdict and its proof. Ends with status 1 if a proof speaks against one.
    """
    with open_model(name, version) as work:
        model = work.model
        items = reproducibility_checklist(
            work.registry, work.store, model, definitions=work.definitions()
        )
        last = last_reproduction(work.registry, model)
    failed = any(each.verdict == FAILED for each in items)
    document = {
        "model": model, "passed": not failed, "items": items, "reproduction": _document(last)
    }  # fmt: skip

    def show() -> None:
        rows = [(each.item, each.verdict, each.proof) for each in items]
        print_table(("item", "verdict", "proof"), rows, title=model.label)
        if last is None:
            click.echo(
                f"never reproduced; `quant-mlops models reproduce {model.name} {model.version}`"
            )
        else:
            click.echo(
                f"reproduced {last.recorded_at.isoformat(timespec='seconds')}: "
                f"{WORDS[last.identical]}"
            )

    emit(document, as_json=as_json, show=show)
    if failed:
        raise click.exceptions.Exit(1)


@click.command("reproduce", epilog="Example: quant-mlops models reproduce momentum_xgboost 1")
@click.argument("name")
@click.argument("version", type=ModelVersion(), required=False)
@json_option
def reproduce_model(name: str, version: int | None, as_json: bool) -> None:
    """Make a version again: its training set from the database, its weights in a new process.

    It is the newest by default; NAME may be the model's id, which needs no VERSION.

    Says of data, weights, predictions and metrics whether they are identical, or where they
    differ first. The verdict is stored. Ends with status 1 if anything differs.
    """
    with open_model(name, version) as work:
        verdict = reproduce(work.registry, work.store, work.model)

    def show() -> None:
        rows = [(part.part, WORDS[part.identical], part.detail) for part in verdict.parts]
        print_table(("part", "verdict", "detail"), rows, title=verdict.model.label)
        changed = "with changes that are not committed" if verdict.code_dirty else "as committed"
        print_pairs([("code", f"{verdict.code_version}, {changed}")])

    emit(_document(verdict), as_json=as_json, show=show)
    if not verdict.identical:
        raise click.exceptions.Exit(1)


def _document(verdict: Reproduction | None) -> dict[str, object] | None:
    if verdict is None:
        return None
    return {
        "model": verdict.model.label,
        "identical": verdict.identical,
        "parts": verdict.parts,
        "code_version": verdict.code_version,
        "code_dirty": verdict.code_dirty,
        "library_versions": verdict.library_versions,
        "recorded_at": verdict.recorded_at,
    }
