"""Tags have a present value and a history that nothing takes away."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from quant_mlops.database import Database
from quant_mlops.errors import ModelNotFoundError, RegistryError
from quant_mlops.registry import ModelRegistry


@pytest.fixture(scope="module")
def shared(module_database: Database) -> ModelRegistry:
    return ModelRegistry(module_database)


@pytest.fixture
def model_id(shared: ModelRegistry) -> UUID:
    return shared.register_model("m")


def test_the_newest_value_of_a_tag_holds(shared: ModelRegistry, model_id: UUID) -> None:
    other = shared.register_model("m")
    assert shared.get_tags(model_id) == {}
    for tag, value, by in (
        ("stage", "draft", "ann"), ("owner", "O'Hara", "ann"), ("stage", "final", "bob"),
        ("%s", "", "bob"),
    ):  # fmt: skip
        shared.set_tag(model_id, tag, value, by=by)
    shared.set_tag(other, "stage", "other", by="ann")
    assert shared.get_tags(model_id) == {"stage": "final", "owner": "O'Hara", "%s": ""}
    assert shared.get_tags(other) == {"stage": "other"}


def test_every_change_is_kept_with_who_made_it(shared: ModelRegistry, model_id: UUID) -> None:
    before = shared.database.now()
    shared.set_tag(model_id, "stage", "draft", by="ann")
    shared.set_tag(model_id, "stage", "final", by="bob")
    shared.remove_tag(model_id, "stage", by="cyd")
    assert shared.get_tags(model_id) == {}
    shared.set_tag(model_id, "stage", "final", by="ann")
    shared.set_tag(model_id, "owner", "ann", by="ann")
    history = shared.tag_history(model_id, "stage")
    assert [(c.value, c.set_by) for c in history] == [
        ("draft", "ann"), ("final", "bob"), (None, "cyd"), ("final", "ann"),
    ]  # fmt: skip
    times = [before, *(change.set_at for change in history), shared.database.now()]
    assert times == sorted(times)
    assert {change.model_id for change in history} == {model_id}
    assert [c.tag for c in shared.tag_history(model_id)] == ["stage"] * 4 + ["owner"]


def test_the_value_that_holds_already_is_not_entered_again(
    shared: ModelRegistry, model_id: UUID
) -> None:
    shared.set_tag(model_id, "stage", "final", by="ann")
    shared.set_tag(model_id, "stage", "final", by="bob")
    (change,) = shared.tag_history(model_id)
    assert change.set_by == "ann"


def test_only_a_tag_that_is_there_can_be_removed(shared: ModelRegistry, model_id: UUID) -> None:
    shared.set_tag(model_id, "stage", "final", by="ann")
    with pytest.raises(RegistryError, match=r"no tag 'stag' to be removed; its tags are stage"):
        shared.remove_tag(model_id, "stag", by="ann")
    shared.remove_tag(model_id, "stage", by="ann")
    with pytest.raises(RegistryError, match=r"no tag 'stage' to be removed; its tags are none"):
        shared.remove_tag(model_id, "stage", by="ann")
    assert len(shared.tag_history(model_id)) == 2


@pytest.mark.parametrize(
    ("tag", "value", "by"), [("", "x", "ann"), ("stage", "x", " "), ("stage", 3, "ann")]
)
def test_a_tag_without_name_text_or_author_is_refused(
    shared: ModelRegistry, model_id: UUID, tag: str, value: Any, by: str
) -> None:
    with pytest.raises(RegistryError, match=r"give (both|text)"):
        shared.set_tag(model_id, tag, value, by=by)
    assert shared.tag_history(model_id) == []


def test_a_tag_needs_a_model(shared: ModelRegistry) -> None:
    with pytest.raises(ModelNotFoundError):
        shared.set_tag(uuid4(), "stage", "final", by="ann")
    with pytest.raises(ModelNotFoundError):
        shared.remove_tag(uuid4(), "stage", by="ann")


@pytest.mark.parametrize(
    "statement",
    ["UPDATE model_tags SET value = 'x'", "DELETE FROM model_tags", "TRUNCATE model_tags"],
)
def test_the_history_cannot_be_changed(
    shared: ModelRegistry, model_id: UUID, statement: str
) -> None:
    shared.set_tag(model_id, "stage", "final", by="ann")
    with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
        shared.database.execute(statement)  # type: ignore[arg-type]
    assert shared.get_tags(model_id) == {"stage": "final"}


def test_tags_set_at_once_are_all_kept(shared: ModelRegistry, model_id: UUID) -> None:
    def set_one(number: int) -> None:
        shared.set_tag(model_id, "number", str(number), by=f"worker {number}")

    run: Callable[[int], None] = set_one
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(20)))
    history = shared.tag_history(model_id, "number")
    assert sorted(int(change.value or -1) for change in history) == list(range(20))
    assert shared.get_tags(model_id) == {"number": history[-1].value}
