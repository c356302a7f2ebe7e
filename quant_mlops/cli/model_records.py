"""`quant-mlops models`: what one version was made of, the training runs, and deletion."""

from __future__ import annotations

import click

from quant_mlops.cli.output import COUNT, emit, json_option, print_pairs, print_table, say
from quant_mlops.cli.workspace import open_strategy, strategy_option
from quant_mlops.errors import ModelNotFoundError
from quant_mlops.registry.lineage import Lineage
from quant_mlops.registry.records import TrainingRunRecord
from quant_mlops.registry.training_runs import RUN_STATUSES

DIGITS_SHOWN = 16


@click.command(epilog="Example: quant-mlops models show momentum_xgboost 1")
@click.argument("name")
@click.argument("version", type=int, required=False)
@strategy_option
@json_option
def show(name: str, version: int | None, strategy_name: str | None, as_json: bool) -> None:
    """Show a version of a model, the newest by default, and what it was made of."""
    with open_strategy(strategy_name) as work:
        model = work.registry.get_model(name, version)
        if model is None:
            raise ModelNotFoundError(
                f"there is no model {name if version is None else f'{name} v{version}'}; "
                f"`quant-mlops models list` shows those there are"
            )
        metrics = work.registry.get_metrics(model.model_id)
        lineage = work.registry.lineage(model.model_id)
    document = {
        "model": model,
        "metrics": metrics,
        "artifacts": lineage.artifacts,
        "training_run": lineage.training_run,
        "snapshot": lineage.snapshot,
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
        *metrics.items(),
        *_training_set(lineage),
        *_training_run(lineage.training_run),
        *((a.artifact_type, f"{a.checksum} ({a.size_bytes:,} bytes)") for a in lineage.artifacts),
        *_deployments(lineage),
        ("tags", "\n".join(f"{tag} = {value}" for tag, value in lineage.tags.items()) or None),
    ]
    emit(document, as_json=as_json, show=lambda: print_pairs(pairs))


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
    rows = [(r.started_at, r.status, _seconds(r), _label(r), r.error) for r in found]
    header = ("started", "status", "seconds", "model", "error")
    emit(found, as_json=as_json, show=lambda: print_table(header, rows))


@click.command(epilog="Example: quant-mlops models delete NAME 2 --by ann --reason 'wrong label'")
@click.argument("name")
@click.argument("version", type=int)
@click.option("--by", required=True, help="Who deletes it.")
@click.option("--reason", required=True, help="Why.")
@strategy_option
@json_option
def delete(
    name: str, version: int, by: str, reason: str, strategy_name: str | None, as_json: bool
) -> None:
    """Delete a version that was never live and that nothing refers to.

    What it was, who deleted it and why is kept, and its number is not given again.
    """
    with open_strategy(strategy_name) as work:
        work.registry.delete_model(name, version, by=by, reason=reason)
        done = work.registry.deleted_models(name=name)[-1]
    sentence = f"{name} v{version} is deleted; its record is kept"
    emit(done, as_json=as_json, show=lambda: say(sentence))


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
