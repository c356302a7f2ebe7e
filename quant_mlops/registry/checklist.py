"""The reproducibility checklist of a model: six questions, each with a verdict and its proof."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from quant_mlops.errors import QuantMlopsError
from quant_mlops.features.catalog import registered_features
from quant_mlops.features.definition import FeatureDefinition
from quant_mlops.features.store import FeatureStore
from quant_mlops.registry.kept_models import fitted_model, recipe_of
from quant_mlops.registry.lineage import Lineage
from quant_mlops.registry.metrics import first_metric_difference
from quant_mlops.registry.records import ModelInfo
from quant_mlops.registry.registry import ModelRegistry
from quant_mlops.training.code_version import code_version, has_commit
from quant_mlops.training.fitting import judge_model
from quant_mlops.training.learners import source_digest
from quant_mlops.training.recipe import CONFIG, Recipe
from quant_mlops.training.snapshot_files import Snapshot, find_snapshot, read_snapshot
from quant_mlops.training.snapshot_verification import verify_snapshot

PROVEN, FAILED, UNPROVEN = "proven", "failed", "unproven"


@dataclass(frozen=True)
class CheckedItem:
    """One question of the checklist.

    Attributes
    ----------
    verdict : str
        `proven`; `failed`, where the proof speaks against it; `unproven`, where there is none.
    """

    item: str
    verdict: str
    proof: str


def reproducibility_checklist(
    registry: ModelRegistry,
    store: FeatureStore,
    model: ModelInfo,
    *,
    definitions: Iterable[FeatureDefinition] = (),
) -> list[CheckedItem]:
    """Ask whether a model could be made again, without making it.

    Parameters
    ----------
    registry : ModelRegistry
    store : FeatureStore
    model : ModelInfo
    definitions : iterable of FeatureDefinition
        The code of features as it is now; without one of a feature's name and version, the
        logic hash on record is all there is to go by.

    Returns
    -------
    list of CheckedItem
        Code version, feature versions, training data, parameters, weights, evaluation metrics.
    """
    lineage = registry.lineage(model.model_id)
    snapshot = (
        None if model.snapshot_id is None else find_snapshot(registry.database, model.snapshot_id)
    )
    try:
        recipe, problem = recipe_of(registry, model.model_id), ""
    except QuantMlopsError as error:
        recipe, problem = None, str(error)
    return [
        _code(lineage, recipe),
        _features(store, snapshot, {(d.name, d.version): d.logic_hash for d in definitions}),
        _training_data(store, snapshot),
        _parameters(lineage, recipe, problem),
        _weights(registry, lineage),
        _metrics(registry, model, snapshot, recipe),
    ]


def _code(lineage: Lineage, recipe: Recipe | None) -> CheckedItem:
    item = "code version"
    run = lineage.training_run
    if recipe is not None and recipe.learner_digest is not None:
        try:
            found = source_digest(recipe.learner.name)
        except QuantMlopsError as error:
            return CheckedItem(item, UNPROVEN, f"the learner is not ours, and {error}")
        if not recipe.learner_digest or found != recipe.learner_digest:
            was, now_is = (digest or "unknown" for digest in (recipe.learner_digest, found))
            return CheckedItem(
                item,
                FAILED if recipe.learner_digest else UNPROVEN,
                f"the module of {recipe.learner.name} had SHA-256 {was[:12]} and has {now_is[:12]}",
            )
    if run is None or run.code_version is None:
        return CheckedItem(item, UNPROVEN, "no training run says what code it was trained with")
    if run.code_dirty:
        proof = f"{run.code_version} with changes that were not committed: nobody has them"
        return CheckedItem(item, UNPROVEN, proof)
    now = code_version()
    same = now.label == run.code_version and not now.dirty
    running = "which is running now" if same else f"running now is {now.describe()}"
    kind, _, commit = run.code_version.partition(" ")
    if kind == "git" and not has_commit(commit):
        return CheckedItem(item, UNPROVEN, f"{run.code_version} is not in this checkout; {running}")
    return CheckedItem(item, PROVEN, f"{run.code_version}, {running}")


def _features(
    store: FeatureStore, snapshot: Snapshot | None, code: dict[tuple[str, int], str]
) -> CheckedItem:
    item = "feature versions"
    if snapshot is None:
        return CheckedItem(item, UNPROVEN, "the model has no training snapshot")
    stored = {
        (f.feature_name, f.feature_version): f.logic_hash
        for f in registered_features(store.database)
    }
    unproven, changed, in_code = [], [], 0
    for name, version in snapshot.feature_versions.items():
        recorded = snapshot.features[name]["logic_hash"]
        found = [h for h in (stored.get((name, version)), code.get((name, version))) if h]
        in_code += (name, version) in code
        if not recorded:
            unproven.append(f"{name}@{version}")
        elif not found or any(each != recorded for each in found):
            other = ", ".join(each[:12] for each in found) or "none"
            changed.append(f"{name}@{version} was {recorded[:12]} and is {other}")
    if changed:
        return CheckedItem(item, FAILED, "; ".join(changed))
    if unproven:
        return CheckedItem(item, UNPROVEN, f"no logic hash on record of {', '.join(unproven)}")
    count = len(snapshot.features)
    return CheckedItem(
        item,
        PROVEN,
        f"{count} of {count} logic hashes in the store, {in_code} in the code as it is",
    )


def _training_data(store: FeatureStore, snapshot: Snapshot | None) -> CheckedItem:
    item = "training data"
    if snapshot is None:
        return CheckedItem(item, UNPROVEN, "the model has no training snapshot")
    verdict = verify_snapshot(store, snapshot)
    if verdict.file_problem is not None:
        return CheckedItem(item, FAILED, verdict.file_problem)
    if verdict.database_problem is not None:
        return CheckedItem(item, FAILED, verdict.database_words)
    if verdict.dropped is not None:
        return CheckedItem(item, UNPROVEN, f"the file is as written, but {verdict.dropped}")
    return CheckedItem(
        item,
        PROVEN,
        f"{snapshot.row_count:,} rows, fingerprint {snapshot.fingerprint[:16]} of the file and of "
        f"the database as known at {snapshot.knowledge_time.isoformat()}",
    )


def _parameters(lineage: Lineage, recipe: Recipe | None, problem: str) -> CheckedItem:
    item = "parameters"
    if recipe is None:
        return CheckedItem(item, UNPROVEN, problem)
    expected = {**recipe.learner.params, "seed": recipe.learner.seed}
    found = dict(lineage.model.params)
    words = json.dumps(expected, sort_keys=True)
    if found != expected:
        other = json.dumps(found, sort_keys=True)
        return CheckedItem(item, FAILED, f"{CONFIG} says {words} and the registry {other}")
    run = lineage.training_run
    if run is None:
        return CheckedItem(item, UNPROVEN, "no training run says what it was trained with")
    if run.params != recipe.learner.params or run.seed != recipe.learner.seed:
        other = json.dumps({**run.params, "seed": run.seed}, sort_keys=True)
        return CheckedItem(item, FAILED, f"{CONFIG} says {words} and the training run {other}")
    return CheckedItem(item, PROVEN, f"{CONFIG}, registry and training run agree on {words}")


def _weights(registry: ModelRegistry, lineage: Lineage) -> CheckedItem:
    item = "weights"
    if not lineage.artifacts:
        return CheckedItem(item, UNPROVEN, "the model has no artifacts")
    for artifact in lineage.artifacts:
        try:
            registry.load_artifact(lineage.model.model_id, artifact.artifact_type)
        except QuantMlopsError as error:
            return CheckedItem(item, FAILED, str(error))
    digests = ", ".join(f"{a.artifact_type} {a.checksum[:12]}" for a in lineage.artifacts)
    return CheckedItem(item, PROVEN, f"SHA-256 as registered: {digests}")


def _metrics(
    registry: ModelRegistry, model: ModelInfo, snapshot: Snapshot | None, recipe: Recipe | None
) -> CheckedItem:
    item = "evaluation metrics"
    if snapshot is None or recipe is None:
        return CheckedItem(item, UNPROVEN, "neither data nor recipe to evaluate it with")
    try:
        table: pa.Table = read_snapshot(snapshot)
        judged = judge_model(table, recipe, fitted_model(registry, model.model_id, recipe))
    except QuantMlopsError as error:
        return CheckedItem(item, FAILED, str(error))
    difference = first_metric_difference(registry.get_metrics(model.model_id), judged)
    if difference is not None:
        name, before, value = difference
        return CheckedItem(item, FAILED, f"{name} was registered as {before!r} and is {value!r}")
    compared = sum(map(len, judged.values()))
    return CheckedItem(item, PROVEN, f"{compared} metrics computed again, each the same number")
