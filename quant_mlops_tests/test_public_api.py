"""What `import quant_mlops` gives, and what it costs."""

from __future__ import annotations

import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import quant_mlops

REPOSITORY = Path(__file__).resolve().parents[1]
NAMES = (
    "AlertConfig", "Database", "DriftMonitor", "FeatureStore", "ModelRegistry", "Predictor",
    "daily_mlops_job", "feature",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_public_names_can_be_imported_from_the_package(name: str) -> None:
    assert name in quant_mlops.__all__
    assert callable(getattr(quant_mlops, name))
    assert inspect.getdoc(getattr(quant_mlops, name))


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = quant_mlops.nothing


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert quant_mlops.__version__ == project["version"]


def test_signatures_are_those_that_users_rely_on() -> None:
    def parameters(function: object) -> list[str]:
        return list(inspect.signature(function).parameters)  # type: ignore[arg-type]

    store, registry = quant_mlops.FeatureStore, quant_mlops.ModelRegistry
    monitor = quant_mlops.DriftMonitor
    assert parameters(store.write_features)[:3] == ["self", "entity_key", "timestamp"]
    assert parameters(store.get_latest)[:3] == ["self", "entity_key", "feature_names"]
    assert parameters(store.get_point_in_time)[:3] == ["self", "entity_times", "feature_names"]
    assert parameters(registry.register_model)[:6] == [
        "self", "name", "strategy_type", "params", "description", "version",
    ]  # fmt: skip
    assert parameters(registry.log_metrics)[:4] == ["self", "model_id", "metrics", "dataset_type"]
    assert parameters(registry.log_artifact)[:4] == ["self", "model_id", "path", "artifact_type"]
    assert parameters(registry.get_best_model)[:5] == [
        "self", "strategy_type", "metric_name", "dataset_type", "higher_is_better",
    ]  # fmt: skip
    predictor = quant_mlops.Predictor
    assert parameters(predictor) == ["strategy_id", "store", "registry", "max_age"]
    assert parameters(predictor.predict) == ["self", "entities", "as_of", "store"]
    assert parameters(monitor)[1:3] == ["strategy_id", "config"]
    assert parameters(monitor.run_daily) == ["self", "date"]
    assert parameters(quant_mlops.daily_mlops_job)[:5] == [
        "feature_store", "model_registry", "drift_monitor", "strategy_id", "date",
    ]  # fmt: skip


def test_importing_the_package_loads_neither_dagster_nor_pandas() -> None:
    code = "import quant_mlops, sys; print({'dagster', 'pandas', 'psycopg'} & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "set()"
