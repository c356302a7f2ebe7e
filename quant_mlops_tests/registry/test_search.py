"""Search for models, held against a search of plain lists."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import TupleRow

from quant_mlops.database import Database
from quant_mlops.errors import RegistryError
from quant_mlops.registry import MetricBound, ModelRegistry

START = datetime(2024, 1, 2, tzinfo=UTC)
NAMES = ["momentum_ridge", "momentum_xgboost", "reversal_ridge"]
VALUES = [-0.2, 0.0, 0.1, 0.1, 0.3, math.nan]
COUNT, SEARCHES = 40, 150


@dataclass
class Known:
    """What a test knows of a model that it stored."""

    model_id: UUID
    name: str
    version: int
    strategy_type: str
    params: dict[str, Any]
    snapshot_id: UUID | None
    created_at: datetime
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class CountingDatabase(Database):
    """A database that counts how often a connection was lent."""

    lent = 0

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[TupleRow]]:
        self.lent += 1
        with super().connection() as connection:
            yield connection


@pytest.fixture(scope="module")
def shared(module_database: Database) -> ModelRegistry:
    return ModelRegistry(CountingDatabase(module_database.conninfo))


@pytest.fixture(scope="module")
def snapshots(shared: ModelRegistry) -> list[UUID]:
    found = [uuid4(), uuid4()]
    for snapshot_id in found:
        shared.database.execute(
            "INSERT INTO training_snapshots VALUES (%s, 's', %s, now(), '2024-01-02', "
            "'2024-01-03', 1, '{}', '{}', '{}', 'file:///x', 'x', 'x')",
            [snapshot_id, str(snapshot_id)],
        )
    return found


@pytest.fixture(scope="module")
def known(shared: ModelRegistry, snapshots: list[UUID], forge: Any) -> Iterator[list[Known]]:
    """Store models of all kinds; some have equal values, undefined ones, or none."""
    chance, found = random.Random(7), []
    for number in range(COUNT):
        name = chance.choice(NAMES)
        params: dict[str, Any] = {"seed": number % 3}
        if chance.random() < 0.7:
            params["tree"] = {"depth": chance.choice([2, 3]), "eta": 0.1}
        snapshot_id = chance.choice([*snapshots, None])
        kind = name.partition("_")[0]
        model_id = shared.register_model(name, kind, params, snapshot_id=snapshot_id)
        # Some are of the same instant.
        created = START + timedelta(days=number // 2)
        forge(
            shared.database,
            "UPDATE models SET created_at = %s WHERE model_id = %s",
            [created, model_id],
        )
        model = shared.get_model_by_id(model_id)
        one = Known(model_id, name, model.version, kind, params, snapshot_id, created)
        for metric, dataset in (("ic", "test"), ("ic", "val"), ("ic_mean", "test")):
            for _ in range(chance.choice([0, 1, 2])):
                value = chance.choice(VALUES)
                shared.log_metrics(model_id, {metric: value}, dataset)
                one.metrics[f"{metric}_{dataset}"] = value
        for tag in ("stage", "owner"):
            for _ in range(chance.choice([0, 1, 2])):
                one.tags[tag] = chance.choice(["draft", "final"])
                shared.set_tag(model_id, tag, one.tags[tag], by="ann")
            if tag in one.tags and chance.random() < 0.2:
                shared.remove_tag(model_id, tag, by="ann")
                del one.tags[tag]
        found.append(one)
    yield found
    shared.database.close()


def contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and contains(whole[key], value) for key, value in part.items()
        )
    return bool(whole == part)


def fits(one: Known, asked: dict[str, Any]) -> bool:
    def within(bound: MetricBound) -> bool:
        value = one.metrics.get(f"{bound.name}_{bound.dataset}", math.nan)
        low = -math.inf if bound.at_least is None else bound.at_least
        high = math.inf if bound.at_most is None else bound.at_most
        return low <= value <= high

    checks = {
        "name": lambda wanted: one.name == wanted,
        "strategy_type": lambda wanted: one.strategy_type == wanted,
        "snapshot_id": lambda wanted: one.snapshot_id == wanted,
        "params": lambda wanted: contains(one.params, wanted),
        "created_after": lambda wanted: one.created_at >= wanted,
        "created_before": lambda wanted: one.created_at < wanted,
        "metric": within,
        "tags": lambda wanted: all(
            tag in one.tags and value in (None, one.tags[tag]) for tag, value in wanted.items()
        ),
    }
    return all(check(asked[key]) for key, check in checks.items() if key in asked)


def in_order(found: list[Known], order_by: str) -> list[Known]:
    key, sign = order_by.removeprefix("-"), -1 if order_by.startswith("-") else 1
    if key == "name":
        found = sorted(found, key=lambda one: one.version)
        return sorted(found, key=lambda one: one.name, reverse=sign < 0)
    newest_first = sorted(found, key=lambda one: one.version, reverse=True)
    newest_first.sort(key=lambda one: one.name)
    newest_first.sort(key=lambda one: one.created_at, reverse=True)
    if key == "version":
        return sorted(newest_first, key=lambda one: sign * one.version)
    if key == "created_at":
        return sorted(newest_first, key=lambda one: sign * one.created_at.timestamp())
    values = [one.metrics.get(key, math.nan) for one in newest_first]
    ranks = [(math.isnan(value), 0.0 if math.isnan(value) else sign * value) for value in values]
    return [one for _, one in sorted(zip(ranks, newest_first, strict=True), key=lambda p: p[0])]


def draw(chance: random.Random, snapshots: list[UUID]) -> dict[str, Any]:
    choices: dict[str, list[Any]] = {
        "name": [*NAMES, "momentum"],
        "strategy_type": ["momentum", "reversal", "value"],
        "snapshot_id": [*snapshots, uuid4()],
        "params": [{}, {"seed": 1}, {"tree": {"depth": 3}}, {"tree": {}}, {"tree": 3}, {"x": 1}],
        "created_after": [START + timedelta(days=d) for d in (-1, 4, 9)],
        "created_before": [START + timedelta(days=d) for d in (9, 14, 99)],
        "metric": [
            MetricBound("ic"),
            MetricBound("ic", at_least=0.1),
            MetricBound("ic", "val", at_most=0.1),
            MetricBound("ic_mean", at_least=0.0, at_most=0.1),
            MetricBound("nothing"),
        ],
        "tags": [{}, {"stage": "final"}, {"stage": None}, {"stage": "draft", "owner": None}],
        "order_by": ["name", "version", "created_at", "ic_test", "ic_mean_test", "ic_val"],
    }
    asked = {key: chance.choice(given) for key, given in choices.items() if chance.random() < 0.25}
    if "order_by" in asked and chance.random() < 0.5:
        asked["order_by"] = f"-{asked['order_by']}"
    return asked


def test_search_answers_as_a_search_of_lists_does(
    shared: ModelRegistry, known: list[Known], snapshots: list[UUID]
) -> None:
    chance, sizes = random.Random(11), set()
    for _ in range(SEARCHES):
        asked = draw(chance, snapshots)
        expected = in_order([k for k in known if fits(k, asked)], asked.get("order_by", "name"))
        limit = chance.choice([None, 1, 5])
        found = shared.search_models(**asked, limit=limit)
        assert [f.model.model_id for f in found] == [k.model_id for k in expected[:limit]], asked
        for one, wanted in zip(found, expected, strict=False):
            defined = {key: v for key, v in wanted.metrics.items() if not math.isnan(v)}
            assert one.metrics == defined
        sizes.add(len(expected))
    assert {0, COUNT} <= sizes
    assert len(sizes) > 15


@pytest.mark.parametrize("order_by", ["ic_mean_tset_test", "-sharpe_backtest"])
def test_an_order_by_what_nobody_has_is_answered_with_what_there_is(
    shared: ModelRegistry, known: list[Known], order_by: str
) -> None:
    with pytest.raises(RegistryError, match=r"no model has a value; near in name: .*ic_"):
        shared.search_models(order_by=order_by)


@pytest.mark.parametrize("order_by", ["ic_test", "-ic_test"])
def test_what_is_undefined_comes_last_in_either_direction(
    shared: ModelRegistry, known: list[Known], order_by: str
) -> None:
    found = shared.search_models(order_by=order_by)
    defined = ["ic_test" in one.metrics for one in found]
    assert defined == sorted(defined, reverse=True)
    assert {True, False} == set(defined)


def test_a_nan_in_the_table_is_undefined(database: Database) -> None:
    registry = ModelRegistry(database)
    for value in ("NaN", 0.1):
        registry.database.execute(
            "INSERT INTO model_metrics (model_id, metric_name, value, dataset_type) "
            "VALUES (%s, 'ic', %s, 'test')",
            [registry.register_model("m"), value],
        )
    registry.register_model("m")
    for order_by in ("ic_test", "-ic_test"):
        found = registry.search_models(order_by=order_by)
        assert [one.model.version for one in found] == [2, 3, 1]
    for bound in (MetricBound("ic"), MetricBound("ic", at_least=0.0), MetricBound("ic", at_most=1)):
        found = registry.search_models(metric=bound)
        assert [one.model.version for one in found] == [2]


def test_a_search_is_two_statements_however_much_it_finds(
    shared: ModelRegistry, known: list[Known]
) -> None:
    database = shared.database
    assert isinstance(database, CountingDatabase)
    before = database.lent
    assert len(shared.search_models()) == COUNT
    assert database.lent - before == 2


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"order_by": "sharpe"}, "cannot be ordered by 'sharpe'"),
        ({"order_by": "-_test"}, "cannot be ordered by"),
        ({"order_by": "name; DROP TABLE models"}, "cannot be ordered by"),
        ({"limit": 0}, "give a limit of 1 or more"),
        ({"created_after": datetime(2024, 1, 2)}, "no time zone"),  # noqa: DTZ001
        ({"created_before": datetime(2024, 1, 2)}, "no time zone"),  # noqa: DTZ001
        ({"metric": MetricBound("ic", "prod")}, "'prod' is none of train"),
        ({"metric": MetricBound("ic", at_most=math.nan)}, "a bound of ic is NaN"),
        ({"params": {"eta": math.nan}}, "to search for have no form in JSON"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(
    shared: ModelRegistry, asked: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(RegistryError, match=sentence):
        shared.search_models(**asked)


def test_json_is_compared_as_json(shared: ModelRegistry, known: list[Known]) -> None:
    assert shared.search_models(params={"tree": None}) == []
    assert shared.search_models(params={"seed": "1"}) == []
    assert len(shared.search_models(params={"seed": 1.0})) == len(
        [one for one in known if one.params["seed"] == 1]
    )
