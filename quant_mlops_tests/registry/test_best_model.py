"""The best model by the newest value of one metric."""

from __future__ import annotations

import math
from collections.abc import Callable
from uuid import UUID

import numpy as np
import pytest

from quant_mlops.errors import RegistryError
from quant_mlops.registry import ModelRegistry

Versions = Callable[[int], list[UUID]]


def best(registry: ModelRegistry, metric: str = "ic", **changes: object) -> int | None:
    found = registry.get_best_model("momentum", metric, **changes)
    return None if found is None else found.model.version


def test_the_highest_or_the_lowest_value_wins(registry: ModelRegistry, versions: Versions) -> None:
    for model_id, value in zip(versions(3), (0.1, 0.3, -0.2), strict=True):
        registry.log_metrics(model_id, {"ic": value}, "test")
    assert best(registry) == 2
    assert best(registry, higher_is_better=False) == 3
    found = registry.get_best_model("momentum", "ic")
    assert found is not None
    assert found.metrics == {"ic_test": 0.3}


def test_only_the_newest_evaluation_counts(registry: ModelRegistry, versions: Versions) -> None:
    one, two = versions(2)
    registry.log_metrics(one, {"ic": 9.0}, "test")
    registry.log_metrics(two, {"ic": 0.2}, "test")
    registry.log_metrics(one, {"ic": 0.1}, "test")
    assert best(registry) == 2
    registry.log_metrics(two, {"ic": math.nan}, "test")
    assert best(registry) == 1
    assert registry.get_metrics(two) == {}


@pytest.mark.parametrize("higher", [True, False])
def test_what_is_undefined_never_wins(
    registry: ModelRegistry, versions: Versions, higher: bool
) -> None:
    undefined, defined, never_evaluated = versions(3)
    registry.log_metrics(undefined, {"ic": math.nan}, "test")
    assert best(registry, higher_is_better=higher) is None
    registry.log_metrics(defined, {"ic": -5.0}, "test")
    assert best(registry, higher_is_better=higher) == 2
    # What came into the table by another way than the registry's does not win either.
    for value in ("NaN", "Infinity", "-Infinity"):
        registry.database.execute(
            "INSERT INTO model_metrics (model_id, metric_name, value, dataset_type) "
            "VALUES (%s, 'ic', %s, 'test')",
            [never_evaluated, value],
        )
        assert best(registry, higher_is_better=higher) == 2
        assert registry.get_metrics(never_evaluated) == {}


@pytest.mark.parametrize("higher", [True, False])
def test_of_equal_values_the_newer_model_wins(
    registry: ModelRegistry, versions: Versions, higher: bool
) -> None:
    for model_id in reversed(versions(3)):
        registry.log_metrics(model_id, {"ic": 0.25}, "test")
    assert best(registry, higher_is_better=higher) == 3


def test_of_equal_values_the_newer_wins_whatever_its_name_and_number(
    registry: ModelRegistry, versions: Versions
) -> None:
    registry.log_metrics(versions(3)[2], {"ic": 0.25}, "test")
    newer = registry.register_model("a", "momentum")
    registry.log_metrics(newer, {"ic": 0.25}, "test")
    found = registry.get_best_model("momentum", "ic")
    assert found is not None
    assert found.model.label == "a v1"


def test_values_that_differ_in_the_last_digit_are_told_apart(
    registry: ModelRegistry, versions: Versions
) -> None:
    one, two = versions(2)
    registry.log_metrics(one, {"ic": math.nextafter(0.1, 1)}, "test")
    registry.log_metrics(two, {"ic": 0.1}, "test")
    assert best(registry) == 1
    assert best(registry, higher_is_better=False) == 2


def test_data_sets_and_strategy_types_are_kept_apart(
    registry: ModelRegistry, versions: Versions
) -> None:
    one, two = versions(2)
    other = registry.register_model("other", "reversal")
    registry.log_metrics(one, {"ic": 0.1}, "test")
    registry.log_metrics(two, {"ic": 0.9}, "train")
    registry.log_metrics(other, {"ic": 0.8}, "test")
    assert best(registry) == 1
    assert best(registry, dataset_type="train") == 2
    assert best(registry, "sharpe") is None
    assert registry.get_best_model("value", "ic") is None


def test_an_evaluation_that_makes_no_sense_is_refused_whole(
    registry: ModelRegistry, versions: Versions
) -> None:
    (model_id,) = versions(1)
    with pytest.raises(RegistryError, match=r"'prod' is none of train, val, test"):
        registry.log_metrics(model_id, {"ic": 0.1}, "prod")
    for value in (math.inf, -math.inf, np.float32("inf"), 10**400, None, "0.5", "nan", [1.0]):
        with pytest.raises(RegistryError, match=r"metric sharpe is .*; give a finite number"):
            registry.log_metrics(model_id, {"ic": 0.1, "sharpe": value}, "test")
    with pytest.raises(RegistryError, match="has no name"):
        registry.log_metrics(model_id, {"": 0.1}, "test")
    with pytest.raises(RegistryError, match=r"'prod' is none of train, val, test"):
        registry.get_best_model("momentum", "ic", "prod")
    assert registry.get_metrics(model_id) == {}
    registry.log_metrics(model_id, {"ic": np.float64(0.5), "n": 3}, "live")
    assert registry.get_metrics(model_id) == {"ic_live": 0.5, "n_live": 3.0}
