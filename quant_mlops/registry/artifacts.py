"""Artifacts of models: files entered in the table and kept in the artifact store."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import TupleRow

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import ArtifactError
from quant_mlops.registry.artifact_store import ArtifactStore, read_artifact
from quant_mlops.registry.records import Artifact
from quant_mlops.registry.versions import unknown_model
from quant_mlops.storage import is_uri


def read_artifact_file(path: str | Path) -> tuple[str, bytes]:
    """Return name and bytes of a file that is to become an artifact.

    Parameters
    ----------
    path : str or Path
        Local path or URI.

    Raises
    ------
    ArtifactError
        There is no such file.
    """
    text = str(path)
    if not is_uri(text) and not Path(text).is_file():
        raise ArtifactError(f"there is no file at {text}; write it before it is logged")
    data = read_artifact(text) if is_uri(text) else Path(text).read_bytes()
    return PurePosixPath(text).name, data


def store_artifact(
    database: Database,
    store: ArtifactStore,
    model_id: UUID,
    data: bytes,
    *,
    artifact_type: str,
    name: str | None = None,
    connection: psycopg.Connection[TupleRow] | None = None,
) -> UUID:
    """File bytes under their digest and enter them for a model.

    Parameters
    ----------
    database : Database
    store : ArtifactStore
    model_id : UUID
    data : bytes
    artifact_type : str
        What it is, such as weights or config.
    name : str, optional
        File name, whose suffix says the format; `artifact_type` by default.
    connection : psycopg.Connection, optional
        Enter it in this connection's transaction. The file is there even if that is rolled back,
        and does no harm.

    Raises
    ------
    UnsafeArtifactError
        Loading it could run code.
    ModelNotFoundError
    """
    stored = store.put(data, PurePosixPath(name or artifact_type).suffix)
    artifact_id = uuid4()
    row = [artifact_id, model_id, stored.uri, artifact_type, stored.checksum, stored.size_bytes]
    try:
        with database.transaction(connection) as lent:
            lent.execute(query("insert_model_artifact"), row)
    except psycopg.errors.ForeignKeyViolation:
        raise unknown_model(model_id) from None
    return artifact_id


def load_artifact(
    database: Database, store: ArtifactStore, model_id: UUID, *, artifact_type: str
) -> bytes:
    """Return the newest artifact of a type, after its digest has been verified.

    Raises
    ------
    ArtifactError
        The model has none of that type.
    ChecksumMismatchError, UnsafeArtifactError
    """
    held = list_artifacts(database, model_id)
    for artifact in held:
        if artifact.artifact_type == artifact_type:
            return store.read(artifact.artifact_path, artifact.checksum)
    raise ArtifactError(
        f"model {model_id} has no artifact of type {artifact_type!r}; it has "
        f"{', '.join(a.artifact_type for a in held) or 'none'}"
    )


def list_artifacts(database: Database, model_id: UUID) -> list[Artifact]:
    """Return a model's artifacts, newest first."""
    return database.fetch_rows(Artifact, query("select_model_artifacts"), [model_id])
