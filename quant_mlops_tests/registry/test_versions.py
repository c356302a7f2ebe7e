"""Versions of a name are dense and unique, whoever registers them and however many do."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest

from quant_mlops.database import Database
from quant_mlops.database.migrations import migrate
from quant_mlops.database.queries import sql_folder
from quant_mlops.errors import (
    ModelInUseError,
    ModelNotFoundError,
    RegistryError,
    VersionTakenError,
)
from quant_mlops.registry import ModelRegistry

# Forked after the imports, which are what takes long; all begin when the last one is there.
REGISTER_MANY = """
import os, sys
from quant_mlops.registry import ModelRegistry
gate, key = os.pipe()
for _ in range(8):
    if os.fork() == 0:
        os.close(key)
        os.read(gate, 1)
        registry = ModelRegistry(sys.argv[1])
        for _ in range(50):
            registry.register_model("shared", str(os.getpid()))
        registry.database.close()
        os._exit(0)
os.close(key)
sys.exit(any([os.wait()[1] for _ in range(8)]))
"""
EARLIER = (
    "INSERT INTO models (model_id, name, version) "
    "SELECT gen_random_uuid(), %s, n FROM generate_series(1, %s) AS n"
)


def test_versions_stay_dense_under_eight_processes(
    database: Database, start_python: Callable[..., Any]
) -> None:
    process = start_python(REGISTER_MANY, database.conninfo)
    _, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (0, "")
    rows = database.fetch_all("SELECT version FROM models WHERE name = 'shared' ORDER BY version")
    assert [version for (version,) in rows] == list(range(1, 401))
    registrars = "SELECT count(*) FROM models GROUP BY strategy_type"
    assert database.fetch_all(registrars) == [(50,)] * 8


def test_names_count_separately_and_may_be_any_text(registry: ModelRegistry) -> None:
    names = ["momentum", "O'Reilly; DROP TABLE models --", 'say "so"', "%s %(x)s", "动量"]
    for name in names:
        registry.register_model(name)
        model_id = registry.register_model(name, "kind", {"eta": 0.1, "x": [1, None]}, "why")
        found = registry.get_model(name)
        assert found is not None
        assert (found.model_id, found.version, found.params) == (
            model_id, 2, {"eta": 0.1, "x": [1, None]},
        )  # fmt: skip
        assert found.label == f"{name} v2"
        assert registry.get_model_by_id(model_id) == found
    assert {m.name for m in registry.list_models()} == set(names)
    assert len(registry.list_models(strategy_type="kind")) == len(names)


def test_an_explicit_version_must_be_the_next_one(registry: ModelRegistry) -> None:
    registry.register_model("m", version=1)
    with pytest.raises(VersionTakenError, match=r"m v1 exists already; the next version is 2"):
        registry.register_model("m", version=1)
    with pytest.raises(VersionTakenError, match=r"m v3 would leave a gap; the next version is 2"):
        registry.register_model("m", version=3)
    for impossible in (0, -1):
        with pytest.raises(VersionTakenError, match="would leave a gap"):
            registry.register_model("m", version=impossible)
    registry.register_model("m", version=2)
    assert [m.version for m in registry.list_models()] == [1, 2]
    assert registry.get_model("m", 3) is None


@pytest.mark.parametrize(
    "params", [{"eta": math.nan}, {"x": [1, {"y": math.inf}]}, {"x": object()}, {"n": np.int64(3)}]
)
def test_parameters_without_a_form_in_json_are_refused(
    registry: ModelRegistry, params: dict[str, Any]
) -> None:
    with pytest.raises(RegistryError, match=r"parameters of m have no form in JSON"):
        registry.register_model("m", params=params)
    assert registry.list_models() == []


def test_a_model_needs_a_name(registry: ModelRegistry) -> None:
    with pytest.raises(RegistryError, match="without a name"):
        registry.register_model(" ")


def test_a_transaction_that_is_rolled_back_uses_up_no_version(registry: ModelRegistry) -> None:
    with registry.database.transaction() as connection, connection.transaction(force_rollback=True):
        registry.register_model("m", connection=connection)
    registry.register_model("m")
    assert [m.version for m in registry.list_models()] == [1]


def test_a_registrar_that_waits_gets_the_number_that_another_one_gave_back(
    registry: ModelRegistry, database: Database
) -> None:
    waiting = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as own, own.transaction(force_rollback=True):
            registry.register_model("m", connection=own)
            second = pool.submit(registry.register_model, "m")
            while database.fetch_one(waiting) == (0,):
                assert not second.done()
        second.result(timeout=30)
    assert [m.version for m in registry.list_models()] == [1]


def test_a_refusal_within_a_callers_transaction_leaves_it_usable_and_no_gap(
    registry: ModelRegistry,
) -> None:
    with registry.database.transaction() as connection:
        registry.register_model("m", connection=connection)
        with pytest.raises(VersionTakenError, match="would leave a gap"):
            registry.register_model("m", version=5, connection=connection)
        with pytest.raises(RegistryError, match=r"snapshot [0-9a-f-]+, which is not in the"):
            registry.register_model("m", snapshot_id=uuid4(), connection=connection)
        registry.register_model("m", connection=connection)
    assert [m.version for m in registry.list_models()] == [1, 2]


def test_the_number_of_a_deleted_version_is_not_given_again(
    registry: ModelRegistry, versions: Callable[[int], list[UUID]]
) -> None:
    versions(3)
    registry.delete_model("m", 3)
    with pytest.raises(
        VersionTakenError, match=r"m v3 was given to a model that is deleted; the next version is 4"
    ):
        registry.register_model("m", version=3)
    registry.delete_model("m", 2)
    registry.delete_model("m", 1)
    registry.register_model("m")
    assert [m.version for m in registry.list_models()] == [4]


def test_models_that_came_before_the_count_or_around_it_are_counted(
    empty_database: Database, tmp_path: Path
) -> None:
    for path in (sql_folder() / "migrations").glob("*.sql"):
        if path.name < "008":
            shutil.copy(path, tmp_path)
    migrate(empty_database, folder=tmp_path)
    empty_database.execute(EARLIER, ["m", 4])
    migrate(empty_database)
    assert empty_database.fetch_all("SELECT name, last_version FROM model_name_counters") == [
        ("m", 4)
    ]
    registry = ModelRegistry(empty_database)
    registry.register_model("m", version=5)
    empty_database.execute(EARLIER, ["other", 3])
    registry.register_model("other", version=4)
    empty_database.execute(
        "INSERT INTO models (model_id, name, version) VALUES (gen_random_uuid(), 'other', 5)"
    )
    registry.register_model("other", version=6)


def test_a_version_that_was_never_live_may_be_deleted(
    registry: ModelRegistry, versions: Callable[[int], list[UUID]]
) -> None:
    ids = versions(2)
    registry.log_metrics(ids[0], {"ic": 0.1}, "test")
    registry.delete_model("m", 1)
    assert [m.version for m in registry.list_models()] == [2]
    with pytest.raises(ModelNotFoundError, match=r"no m v1; versions of that name are 2"):
        registry.delete_model("m", 1)


def test_a_version_that_is_or_was_live_stays(
    registry: ModelRegistry, versions: Callable[[int], list[UUID]]
) -> None:
    versions(2)
    for version in (1, 2):
        registry.promote("m", version, "momentum", by="ann", reason="test")
    for version in (1, 2):
        with pytest.raises(ModelInUseError, match=r"is or was live"):
            registry.delete_model("m", version)
    assert len(registry.list_models()) == 2


def test_unknown_models_are_errors(registry: ModelRegistry) -> None:
    for call in (
        lambda: registry.get_model_by_id(uuid4()),
        lambda: registry.log_metrics(uuid4(), {"ic": 0.1}, "test"),
        lambda: registry.store_artifact(uuid4(), b"{}", "config.json"),
        lambda: registry.promote("m", 1, "momentum", by="ann", reason="test"),
    ):
        with pytest.raises(ModelNotFoundError):
            call()
