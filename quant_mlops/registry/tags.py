"""Tags of models: every setting and removal is a row, and the newest one holds."""

from __future__ import annotations

from uuid import UUID

import psycopg

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import RegistryError
from quant_mlops.registry.records import TagChange
from quant_mlops.registry.versions import get_model_by_id, unknown_model


def set_tag(database: Database, model_id: UUID, tag: str, value: str, *, by: str) -> None:
    """Give a tag a value; a value that it has already is not entered again.

    Parameters
    ----------
    database : Database
    model_id : UUID
    tag, value : str
    by : str
        Who sets it.

    Raises
    ------
    RegistryError
        The tag or `by` is empty, or the value is no text.
    ModelNotFoundError
    """
    if not isinstance(value, str):
        raise RegistryError(f"tag {tag} was to be set to {value!r}, which is no text; give text")
    _enter(database, model_id, tag, value, by)


def remove_tag(database: Database, model_id: UUID, tag: str, *, by: str) -> None:
    """Remove a tag; its history stays.

    Raises
    ------
    RegistryError
        The model has no such tag, or `by` is empty.
    ModelNotFoundError
    """
    if not _enter(database, model_id, tag, None, by):
        model = get_model_by_id(database, model_id)
        held = ", ".join(get_tags(database, model_id)) or "none"
        raise RegistryError(f"{model.label} has no tag {tag!r} to be removed; its tags are {held}")


def get_tags(database: Database, model_id: UUID) -> dict[str, str]:
    """Return the tags of a model and their present values, by name."""
    return dict(database.fetch_all(query("select_model_tags"), [model_id]))


def tag_history(database: Database, model_id: UUID, tag: str | None = None) -> list[TagChange]:
    """Return every setting and removal of a tag, of all tags by default, oldest first."""
    parameters = {"model_id": model_id, "tag": tag}
    return database.fetch_rows(TagChange, query("select_model_tag_history"), parameters)


def _enter(database: Database, model_id: UUID, tag: str, value: str | None, by: str) -> bool:
    if not tag.strip() or not by.strip():
        raise RegistryError(
            f"a tag needs a name and who sets it, and got {tag!r} and {by!r}; give both"
        )
    row = {"model_id": model_id, "tag": tag, "value": value, "by": by}
    try:
        return database.execute(query("insert_model_tag"), row) == 1
    except psycopg.errors.ForeignKeyViolation:
        raise unknown_model(model_id) from None
