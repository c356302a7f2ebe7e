"""Versions of models: entered under the next number, found by name and number or by id."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import ModelNotFoundError, RegistryError, VersionTakenError
from quant_mlops.registry.records import ModelInfo


def register_model(
    database: Database,
    name: str,
    *,
    strategy_type: str | None = None,
    params: Mapping[str, Any] | None = None,
    description: str | None = None,
    version: int | None = None,
    snapshot_id: UUID | None = None,
    connection: psycopg.Connection[TupleRow] | None = None,
) -> UUID:
    """Enter a new version of a model and return its id.

    Parameters
    ----------
    database : Database
    name : str
    strategy_type : str, optional
        Kind of strategy, among which `get_best_model` searches.
    params : mapping, optional
        Hyperparameters, as JSON values.
    description : str, optional
    version : int, optional
        The next free number by default; versions of a name are dense, and the number of a
        version that was deleted is not given again.
    snapshot_id : UUID, optional
        What it was trained on.
    connection : psycopg.Connection, optional
        Enter it in this connection's transaction; other registrars of the name wait for its end.

    Raises
    ------
    VersionTakenError
        The version asked for was given already, or would leave a gap.
    RegistryError
        The name is empty, a parameter has no form in JSON, such as NaN, or there is no such
        snapshot.
    """
    if not name.strip():
        raise RegistryError("a model was to be registered without a name; give one")
    document = as_json(params, what=f"the parameters of {name}")
    model_id = uuid4()
    with database.transaction(connection) as lent:
        row = lent.execute(query("count_model_version"), {"name": name}).fetchone()
        assert row is not None
        following = int(row[0])
        if version is not None and version != following:
            raise _taken(lent, name, version, following)
        try:
            lent.execute(
                query("insert_model"),
                [model_id, name, following, strategy_type, document, description, snapshot_id],
            )
        except psycopg.errors.ForeignKeyViolation:
            raise RegistryError(
                f"{name} was to be registered with snapshot {snapshot_id}, which is not in the "
                f"database; build it first, or leave snapshot_id out"
            ) from None
    return model_id


def get_model(database: Database, name: str, version: int | None = None) -> ModelInfo | None:
    """Return a version of a model, the newest by default; None if there is none."""
    parameters = {"name": name, "version": version}
    found = database.fetch_rows(ModelInfo, query("select_model"), parameters)
    return found[0] if found else None


def existing_model(database: Database, name: str, version: int) -> ModelInfo:
    """Return a version of a model.

    Raises
    ------
    ModelNotFoundError
        There is none; the message names the versions there are.
    """
    model = get_model(database, name, version)
    if model is None:
        known = [m.version for m in list_models(database) if m.name == name]
        raise ModelNotFoundError(
            f"there is no {name} v{version}; versions of that name are "
            f"{', '.join(map(str, known)) or 'none'}"
        )
    return model


def get_model_by_id(database: Database, model_id: UUID) -> ModelInfo:
    """Return a model.

    Raises
    ------
    ModelNotFoundError
    """
    found = database.fetch_rows(ModelInfo, query("select_model_by_id"), [model_id])
    if not found:
        raise unknown_model(model_id)
    return found[0]


def list_models(database: Database, *, strategy_type: str | None = None) -> list[ModelInfo]:
    """Return models by name and version."""
    return database.fetch_rows(ModelInfo, query("select_models"), {"strategy_type": strategy_type})


def unknown_model(model_id: UUID) -> ModelNotFoundError:
    """Return the error about an id that no model has."""
    return ModelNotFoundError(f"there is no model with id {model_id}")


def as_json(document: Mapping[str, Any] | None, *, what: str) -> Jsonb:
    """Return a mapping as a JSON document of the database.

    Raises
    ------
    RegistryError
        Something in it has no form in JSON; `what` names it in the message.
    """
    plain = dict(document or {})
    try:
        json.dumps(plain, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RegistryError(
            f"{what} have no form in JSON: {error}; give finite numbers, text, lists and objects"
        ) from None
    return Jsonb(plain)


def _taken(
    connection: psycopg.Connection[TupleRow], name: str, version: int, following: int
) -> VersionTakenError:
    held = connection.execute(
        "SELECT 1 FROM models WHERE name = %s AND version = %s", [name, version]
    ).fetchone()
    if held:
        problem = "exists already"
    elif 0 < version < following:
        problem = "was given to a model that is deleted"
    else:
        problem = "would leave a gap"
    return VersionTakenError(
        f"{name} v{version} {problem}; the next version is {following}, leave version out to get it"
    )
