"""Writing a snapshot: once, atomically, under its fingerprint."""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from collections.abc import Iterable
from datetime import UTC
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.training.code_version import CodeVersion, library_versions
from quant_mlops.training.snapshot import SnapshotBlock, SnapshotDefinition, refuse_empty
from quant_mlops.training.snapshot_files import (
    DATA_FILE,
    MANIFEST_FILE,
    Snapshot,
    check_file,
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
    folder: Path,
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
    folder : Path
        Root of all snapshots; this one gets a folder named by its fingerprint.
    logic_hashes : dict
        Logic hash of each feature version, kept in the manifest.
    code : CodeVersion
        Code that collected it.

    Raises
    ------
    EmptySnapshotError
        The blocks hold no row.
    SnapshotTamperedError
        The folder of this fingerprint holds something else.
    """
    root = folder.absolute() / strategy_id
    root.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".writing-", dir=root))
    try:
        written = write_blocks(fresh / DATA_FILE, blocks, meaning=definition.meaning())
        refuse_empty(definition, written.row_count, written.left_out)
        identity = _identity(definition, written, strategy_id, logic_hashes, code)
        target = root / written.fingerprint[:16]
        if not target.exists():
            _move_into_place(fresh, target, identity)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    knowledge_time = definition.knowledge_time.astimezone(UTC)
    name = f"{strategy_id}/{knowledge_time.isoformat()}/{written.fingerprint}"
    snapshot_id = uuid.uuid5(NAMESPACE, name)
    parameters = {
        "snapshot_id": snapshot_id,
        "strategy_id": strategy_id,
        "fingerprint": written.fingerprint,
        "knowledge_time": knowledge_time,
        "first_session": written.first_session,
        "last_session": written.last_session,
        "spine_first": definition.first,
        "spine_last": definition.last,
        "row_count": written.row_count,
        "left_out": Jsonb(written.left_out),
        "features": Jsonb(identity["features"]),
        "label": Jsonb(identity["label"]),
        "universe": definition.universe,
        "uri": f"file://{target}",
        "file_sha256": file_digest(target / DATA_FILE),
        "code_version": code.label,
    }
    database.execute(query("insert_training_snapshot"), parameters)
    snapshot = find_snapshot(database, snapshot_id)
    check_file(snapshot)
    return snapshot


def _identity(
    definition: SnapshotDefinition,
    written: WrittenTable,
    strategy_id: str,
    logic_hashes: dict[str, str],
    code: CodeVersion,
) -> dict[str, Any]:
    """Return the manifest: what the file is, so that it explains itself without the database."""
    return {
        "strategy_id": strategy_id,
        "fingerprint": written.fingerprint,
        "knowledge_time": definition.knowledge_time.astimezone(UTC).isoformat(),
        "spine_sessions": [definition.first.isoformat(), definition.last.isoformat()],
        "features": {
            name: {"version": version, "logic_hash": logic_hashes.get(name, ""), "position": i}
            for i, (name, version) in enumerate(definition.features.items())
        },
        "label": definition.label.describe(),
        "universe": definition.universe,
        "row_count": written.row_count,
        "row_order": ["session", "entity_key"],
        "left_out": written.left_out,
        "schema": written.schema,
        "library_versions": library_versions(),
        "code_version": code.label,
    }


def _move_into_place(fresh: Path, target: Path, manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest, indent=2, sort_keys=True)
    (fresh / MANIFEST_FILE).write_text(text + "\n", "utf-8")
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
