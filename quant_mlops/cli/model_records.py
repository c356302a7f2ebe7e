"""`quant-mlops models`: what one version was made of, the training runs, and deletion."""

from __future__ import annotations

from typing import Any

import click

from quant_mlops.cli.named_model import ModelVersion, NamedModel, open_model
from quant_mlops.cli.output import (
    COUNT,
    emit,
    json_option,
    print_pairs,
    print_table,
    say,
)
from quant_mlops.cli.workspace import open_strategy, open_workspace, strategy_option
from quant_mlops.errors import QuantMlopsError
from quant_mlops.registry import ModelRegistry
from quant_mlops.registry.lineage import Lineage
from quant_mlops.registry.metrics import DATASET_TYPES
from quant_mlops.registry.records import TrainingRunRecord
from quant_mlops.registry.training_runs import RUN_STATUSES
from quant_mlops.training.lost_training_sets import what_was_dropped
from quant_mlops.training.snapshot_files import check_file, find_snapshot
from quant_mlops.training.snapshot_verification import revisions_since
from quant_mlops.wording import short_time

DIGITS_SHOWN = 16


@click.command(epilog="Example: quant-mlops models show momentum_xgboost 1")
@click.argument("name")
@click.argument("version", type=ModelVersion(), required=False)
@click.option(
    "--revisions/--no-revisions",
    default=True,
    show_default=True,
    help="Count the cells of its training set that would differ with today's knowledge.",
)
@json_option
def show(name: str, version: int | None, revisions: bool, as_json: bool) -> None:
    """Show a version of a model, the newest by default, and what it was made of.

    NAME may be the model's id, which needs no VERSION.

    How much of its training set would differ with today's knowledge is found by collecting it
    again, which takes seconds.
    """
    with open_model(name, version) as work:
        model = work.model
        metrics = work.registry.get_metrics(model.model_id)
        lineage = work.registry.lineage(model.model_id)
        revised, words = _revised(work) if revisions else (None, "not counted")
    document = {
        "model": model,
        "metrics": metrics,
        "artifacts": lineage.artifacts,
        "training_run": lineage.training_run,
        "snapshot": lineage.snapshot,
        "revised": revised,
        "deployments": lineage.deployments,
        "tags": lineage.tags,
    }
    pairs = [
        ("model", model.label),
        ("id", model.model_id),
        ("strategy", model.strategy_type),
        ("description", model.description),
        ("params", model.params),
        ("created", model.created_at),
        *_training_set(lineage),
        ("known today", words),
        *_training_run(lineage.training_run),
        *((a.artifact_type, f"{a.checksum} ({a.size_bytes:,} bytes)") for a in lineage.artifacts),
        *_deployments(lineage),
        ("tags", "\n".join(f"{tag} = {value}" for tag, value in lineage.tags.items()) or None),
    ]

    def show_model() -> None:
        print_pairs(pairs)
        if metrics:
            print_table(("metric", *DATASET_TYPES), _by_dataset(metrics))

    emit(document, as_json=as_json, show=show_model)


@click.command(epilog="Example: quant-mlops models runs --status failed")
@click.option("--status", type=click.Choice(RUN_STATUSES), help="Of this status only.")
@click.option("--last", type=COUNT, default=20, show_default=True, help="Newest runs to show.")
@strategy_option
@json_option
def runs(status: str | None, last: int, strategy_name: str | None, as_json: bool) -> None:
    """List the newest training runs; one whose process is gone has failed."""
    with open_strategy(strategy_name) as work:
        found = work.registry.training_runs(
            strategy_id=work.strategy.name, status=status, limit=last
        )
    rows = [(short_time(r.started_at), r.status, _seconds(r), _label(r) or r.error) for r in found]
    header = ("started", "status", "seconds", "model, or why there is none")
    emit(found, as_json=as_json, show=lambda: print_table(header, rows))


@click.command(epilog="Example: quant-mlops models delete NAME 2 --by ann --reason 'wrong label'")
@click.argument("name")
@click.argument("version", type=ModelVersion())
@click.option("--by", required=True, help="Who deletes it.")
@click.option("--reason", required=True, help="Why.")
@json_option
def delete(name: str, version: int, by: str, reason: str, as_json: bool) -> None:
    """Delete a version that was never live and that nothing refers to.

    What it was, who deleted it and why is kept, and its number is not given again.
    """
    with open_workspace() as (_, access):
        registry = ModelRegistry(access.database)
        registry.delete_model(name, version, by=by, reason=reason)
        done = registry.deleted_models(name=name)[-1]
    sentence = f"{name} v{version} is deleted; its record is kept"
    emit(done, as_json=as_json, show=lambda: say(sentence))


def _revised(work: NamedModel) -> tuple[dict[str, Any] | None, str]:
    """Return what of the training set today's knowledge changes, as a document and in words."""
    if work.model.snapshot_id is None:
        return None, "no training set"
    snapshot = find_snapshot(work.database, work.model.snapshot_id)
    try:
        check_file(snapshot)
        found = revisions_since(work.store, snapshot, now=work.database.now(), cells=0)
    except QuantMlopsError as error:
        return None, f"cannot be counted: {error}"
    document = {
        "cells_changed": found.cells_changed,
        "cells_compared": found.cells_compared,
        "rows_gone": found.rows_gone,
        "rows_new": found.rows_new,
        "columns": found.columns,
    }
    dropped = what_was_dropped(work.database, snapshot)
    return document, "; ".join(filter(None, [found.sentence(), dropped]))


def _by_dataset(metrics: dict[str, float]) -> list[tuple[object, ...]]:
    """Arrange metrics as a row each, with a column for each data set."""
    found: dict[str, dict[str, float]] = {}
    for key, value in metrics.items():
        name, _, dataset = key.rpartition("_")
        found.setdefault(name, {})[dataset] = value
    return [(name, *(values.get(d) for d in DATASET_TYPES)) for name, values in found.items()]


def _training_set(lineage: Lineage) -> list[tuple[str, object]]:
    snapshot = lineage.snapshot
    if snapshot is None:
        return [("snapshot", None)]
    features = (
        f"{f.name}@{f.version} {f.logic_hash[:DIGITS_SHOWN]}" for f in snapshot.features_used
    )
    return [
        ("snapshot", f"{snapshot.fingerprint[:DIGITS_SHOWN]}, {snapshot.row_count:,} rows"),
        ("known by", snapshot.knowledge_time),
        ("sessions", f"{snapshot.first_session} to {snapshot.last_session}"),
        ("features", "\n".join(features) or None),
    ]


def _training_run(run: TrainingRunRecord | None) -> list[tuple[str, object]]:
    if run is None:
        return [("trained", None)]
    libraries = ", ".join(f"{name} {v}" for name, v in (run.library_versions or {}).items())
    changed = ", with changes since" if run.code_dirty else ""
    return [
        ("trained", f"{run.started_at.isoformat(timespec='seconds')}, {_seconds(run):.3g} s"),
        ("seed", run.seed),
        ("code", f"{run.code_version or 'unknown'}{changed}"),
        ("libraries", libraries or None),
    ]


def _deployments(lineage: Lineage) -> list[tuple[str, object]]:
    spans = [
        f"{d.strategy_id} from {d.live_from.isoformat(timespec='seconds')} "
        + ("on" if d.live_until is None else f"to {d.live_until.isoformat(timespec='seconds')}")
        for d in lineage.deployments
    ]
    return [("live", "\n".join(spans) or None)]


def _seconds(run: TrainingRunRecord) -> float:
    """Return how long a run took; of one that has not ended it is undefined."""
    if run.finished_at is None:
        return float("nan")
    return (run.finished_at - run.started_at).total_seconds()


def _label(run: TrainingRunRecord) -> str | None:
    return None if run.name is None else f"{run.name} v{run.version}"
