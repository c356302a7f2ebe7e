"""Deletion of versions that nothing refers to; what was deleted stays known."""

from __future__ import annotations

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import ModelInUseError, RegistryError
from quant_mlops.registry.records import Deletion, ModelInfo
from quant_mlops.registry.versions import existing_model, unknown_model


def delete_model(
    database: Database,
    name: str,
    version: int,
    *,
    by: str | None = None,
    reason: str | None = None,
) -> None:
    """Delete a version that nothing refers to, with its metrics, tags and artifact rows.

    What was deleted is kept with who did it and why. Its number is not given again, and its files
    stay in the artifact store, where another model may have the same.

    Parameters
    ----------
    database : Database
    name : str
    version : int
    by, reason : str, optional
        Who deletes it, and why. The database's user is kept in any case.

    Raises
    ------
    ModelNotFoundError
    ModelInUseError
        It is or was live, a retraining or a promotion was decided on it, or predictions or the
        monitoring name it.
    RegistryError
        `by` or `reason` is given and empty.
    """
    for given, what in ((by, "who deletes it"), (reason, "why")):
        if given is not None and not given.strip():
            raise RegistryError(
                f"{name} v{version} was to be deleted and the text on {what} is empty; give one"
            )
    model = existing_model(database, name, version)
    with database.transaction() as connection:
        # The row is locked first, so that a promotion at the same time waits and then fails.
        held = connection.execute(
            "SELECT 1 FROM models WHERE model_id = %s FOR UPDATE", [model.model_id]
        )
        if held.fetchone() is None:
            raise unknown_model(model.model_id)
        uses = connection.execute(
            query("select_model_uses"), {"model_id": model.model_id, "label": model.label}
        ).fetchone()
        assert uses is not None
        refuse_used(model, *uses)
        connection.execute(
            query("delete_model"), {"model_id": model.model_id, "by": by, "reason": reason}
        )


def refuse_used(
    model: ModelInfo,
    live: list[str],
    judged: list[str],
    predicted: list[str],
    monitored: list[str],
) -> None:
    """Raise ModelInUseError for a model that strategies refer to, given by kind of use."""
    reasons = [
        f"{what} {', '.join(strategies)}"
        for what, strategies in (
            ("it is or was live for", live),
            ("a retraining or a promotion was decided on it for", judged),
            ("signals were predicted with it for", predicted),
            ("drift was measured with it for", monitored),
        )
        if strategies
    ]
    if reasons:
        raise ModelInUseError(
            f"{model.label} cannot be deleted: {'; '.join(reasons)}; it stays as a part of the "
            f"record, promote another version if it is to be live no longer"
        )


def deleted_models(database: Database, *, name: str | None = None) -> list[Deletion]:
    """Return what was deleted, of all names by default, oldest deletion first."""
    return database.fetch_rows(Deletion, query("select_model_deletions"), {"name": name})
