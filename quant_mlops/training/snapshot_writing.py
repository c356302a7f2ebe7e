"""Writing a snapshot: once, atomically, under its fingerprint."""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import MissingFileError, SnapshotTamperedError
from quant_mlops.storage import (
    LOCAL,
    folder_uri,
    local_copy,
    local_path,
    place,
    read_bytes,
    upload,
    write_bytes,
)
from quant_mlops.training.code_version import CodeVersion, library_versions
from quant_mlops.training.snapshot import SnapshotBlock, SnapshotDefinition, refuse_empty
from quant_mlops.training.snapshot_files import (
    DATA_FILE,
    MANIFEST_FILE,
    Snapshot,
    check_file,
    data_name,
    find_snapshot,
)
from quant_mlops.training.snapshot_parquet import WrittenTable, file_digest, sync, write_blocks

NAMESPACE = uuid.UUID("6f0a6f0e-6f7b-5c1e-9d0e-3a1c1c7d0b55")


def store_snapshot(
    database: Database,
    definition: SnapshotDefinition,
    blocks: Iterable[SnapshotBlock],
    *,
    strategy_id: str,
    folder: str | Path,
    logic_hashes: dict[str, str],
    code: CodeVersion,
) -> Snapshot:
    """Write a snapshot once and enter it in the table; the same content is found again.

    Parameters
    ----------
    database : Database
    definition : SnapshotDefinition
    blocks : iterable of SnapshotBlock
        What it holds, as `snapshot_blocks` collects it; one block is in memory at a time.
    strategy_id : str
    folder : str or Path
        Root of all snapshots, a path or an fsspec URI; this one gets a folder named by its
        fingerprint.
    logic_hashes : dict
        Logic hash of each feature version, kept in the manifest.
    code : CodeVersion
        Code that collected it.

    Raises
    ------
    EmptySnapshotError
        The blocks hold no row.
    SnapshotTamperedError
        The folder of this fingerprint holds something else, which is left as it is.
    StorageError
        The folder cannot be written.
    """
    root = f"{folder_uri(folder)}/{strategy_id}"
    with _workplace(root) as fresh:
        written = write_blocks(fresh / DATA_FILE, blocks, meaning=definition.meaning())
        refuse_empty(definition, written.row_count, written.left_out, written.missing)
        identity = _identity(definition, written, strategy_id, logic_hashes, code)
        snapshot_id = _snapshot_id(strategy_id, definition, written.fingerprint)
        target = f"{root}/{written.fingerprint[:16]}"
        stored = database.fetch_rows(Snapshot, query("select_training_snapshot"), [snapshot_id])
        if stored and stored[0].uri != target:
            # It was built when snapshots were kept elsewhere, and is there.
            check_file(stored[0])
            return stored[0]
        file_sha256 = _place(fresh, target, identity)
    parameters = {
        "snapshot_id": snapshot_id,
        "strategy_id": strategy_id,
        "fingerprint": written.fingerprint,
        "knowledge_time": definition.knowledge_time.astimezone(UTC),
        "first_session": written.first_session,
        "last_session": written.last_session,
        "spine_first": definition.first,
        "spine_last": definition.last,
        "row_count": written.row_count,
        "left_out": Jsonb(written.left_out),
        "features": Jsonb(identity["features"]),
        "label": Jsonb(identity["label"]),
        "universe": definition.universe,
        "uri": target,
        "file_sha256": file_sha256,
        "code_version": code.label,
    }
    database.execute(query("insert_training_snapshot"), parameters)
    snapshot = find_snapshot(database, snapshot_id)
    check_file(snapshot)
    return snapshot


def _snapshot_id(strategy_id: str, definition: SnapshotDefinition, fingerprint: str) -> uuid.UUID:
    knowledge_time = definition.knowledge_time.astimezone(UTC).isoformat()
    return uuid.uuid5(NAMESPACE, f"{strategy_id}/{knowledge_time}/{fingerprint}")


def _identity(
    definition: SnapshotDefinition,
    written: WrittenTable,
    strategy_id: str,
    logic_hashes: dict[str, str],
    code: CodeVersion,
) -> dict[str, Any]:
    """Return the manifest: what the file is, so that it explains itself without the database."""
    ages = definition.max_ages
    return {
        "strategy_id": strategy_id,
        "fingerprint": written.fingerprint,
        "knowledge_time": definition.knowledge_time.astimezone(UTC).isoformat(),
        "spine_sessions": [definition.first.isoformat(), definition.last.isoformat()],
        "features": {
            name: {"version": version, "logic_hash": logic_hashes.get(name, ""), "position": i}
            | ({"max_age_sessions": ages[name]} if name in ages else {})
            for i, (name, version) in enumerate(definition.features.items())
        },
        "label": definition.label.describe(),
        "universe": definition.universe,
        "file_sha256": written.file_sha256,
        "row_count": written.row_count,
        "row_order": ["session", "entity_key"],
        "left_out": written.left_out,
        "schema": written.schema,
        "library_versions": library_versions(),
        "code_version": code.label,
    }


@contextmanager
def _workplace(root: str) -> Iterator[Path]:
    """Lend a folder to write in, from which files can be renamed into a root on this machine."""
    if not root.startswith(LOCAL):
        with tempfile.TemporaryDirectory(prefix="quant-mlops-") as name:
            yield Path(name)
        return
    beside = local_path(root)
    beside.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".writing-", dir=beside))
    try:
        yield fresh
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _place(fresh: Path, target: str, manifest: dict[str, Any]) -> str:
    """Put what was written into its folder unless it is there; return the digest of the file."""
    text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    (fresh / MANIFEST_FILE).write_text(text, "utf-8")
    if not target.startswith(LOCAL):
        return _upload(fresh, target, manifest)
    folder = local_path(target)
    if not folder.exists():
        _move_into_place(fresh, folder)
    if not (folder / DATA_FILE).is_file():
        raise SnapshotTamperedError(
            f"{folder} is there without its {DATA_FILE}; restore the file, or remove the folder"
        )
    return file_digest(folder / DATA_FILE)


def _move_into_place(fresh: Path, target: Path) -> None:
    for path in (fresh / DATA_FILE, fresh / MANIFEST_FILE, fresh):
        sync(path)
    fresh.chmod(0o755)
    try:
        fresh.rename(target)
    except OSError:
        # Another writer of the same content was first.
        if not target.is_dir():
            raise
    sync(target.parent)


def _upload(fresh: Path, target: str, manifest: dict[str, Any]) -> str:
    """Store the file under its digest, and last the manifest, which says that it is there."""
    recorded = _recorded_digest(target, manifest["fingerprint"])
    if recorded is not None:
        return recorded
    digest = str(manifest["file_sha256"])
    uri = f"{target}/{data_name(target, digest)}"
    if _stored_digest(uri) is None:
        upload(fresh / DATA_FILE, uri)
    found = _stored_digest(uri)
    if found != digest:
        raise SnapshotTamperedError(
            f"{place(uri)} should have SHA-256 {digest} and reads back with {found}; it is not "
            f"overwritten: check the storage and remove it, then build the snapshot again"
        )
    write_bytes(f"{target}/{MANIFEST_FILE}", (fresh / MANIFEST_FILE).read_bytes())
    return digest


def _recorded_digest(target: str, fingerprint: str) -> str | None:
    """Return the digest of the file that a folder's manifest names; None without a manifest."""
    uri = f"{target}/{MANIFEST_FILE}"
    try:
        manifest = json.loads(read_bytes(uri))
        found, digest = manifest["fingerprint"], str(manifest["file_sha256"])
    except MissingFileError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise SnapshotTamperedError(
            f"the manifest {place(uri)} cannot be read: {type(error).__name__} {error}; restore it "
            f"from a backup"
        ) from None
    if found != fingerprint:
        raise SnapshotTamperedError(
            f"the manifest {place(uri)} is of a snapshot with fingerprint {found}, and one with "
            f"{fingerprint} was to be stored there; it is not overwritten"
        )
    return digest


def _stored_digest(uri: str) -> str | None:
    try:
        with local_copy(uri) as path:
            return file_digest(path)
    except MissingFileError:
        return None
