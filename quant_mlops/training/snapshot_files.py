"""Snapshots on disk and in the table: written atomically, found again, verified."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from psycopg.types.json import Jsonb

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import SnapshotTamperedError, TrainingError
from quant_mlops.training.code_version import CodeVersion, library_versions
from quant_mlops.training.fingerprint import fingerprint
from quant_mlops.training.snapshot import SnapshotContent

DATA_FILE = "data.parquet"
MANIFEST_FILE = "manifest.json"
FEWEST_DIGITS = 8
NAMESPACE = uuid.UUID("6f0a6f0e-6f7b-5c1e-9d0e-3a1c1c7d0b55")


@dataclass(frozen=True)
class Snapshot:
    """A row of `training_snapshots`: a training set that is on disk and never changes."""

    snapshot_id: uuid.UUID
    strategy_id: str
    fingerprint: str
    knowledge_time: datetime
    first_session: date
    last_session: date
    row_count: int
    left_out: dict[str, int]
    features: dict[str, Any]
    label: dict[str, Any]
    uri: str
    file_sha256: str
    code_version: str
    created_at: datetime

    @property
    def folder(self) -> Path:
        """Folder of the Parquet file and its manifest."""
        return Path(self.uri.removeprefix("file://"))

    @property
    def feature_names(self) -> list[str]:
        """Features in the order in which models take them: that of the table's JSON keys."""
        return list(self.features)


def store_snapshot(
    database: Database,
    content: SnapshotContent,
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
    content : SnapshotContent
    strategy_id : str
    folder : Path
        Root of all snapshots; this one gets a folder named by its fingerprint.
    logic_hashes : dict
        Logic hash of each feature version, kept in the manifest.
    code : CodeVersion
        Code that collected it.

    Raises
    ------
    SnapshotTamperedError
        The folder of this fingerprint holds something else.
    """
    digest = fingerprint(content.table, content.definition())
    knowledge_time = content.knowledge_time.astimezone(UTC)
    features = {
        name: {"version": version, "logic_hash": logic_hashes.get(name, "")}
        for name, version in content.features.items()
    }
    target = folder.absolute() / strategy_id / digest[:16]
    sessions = content.table["session"]
    manifest = {
        "strategy_id": strategy_id,
        "fingerprint": digest,
        "knowledge_time": knowledge_time.isoformat(),
        "features": features,
        "label": content.label.describe(),
        "row_count": content.table.num_rows,
        "row_order": ["session", "entity_key"],
        "left_out": content.left_out,
        "schema": {field.name: str(field.type) for field in content.table.schema},
        "library_versions": library_versions(),
        "code_version": code.label,
    }
    if not target.exists():
        _write_folder(target, content.table, manifest)
    file_sha256 = _file_digest(target / DATA_FILE)
    identity = f"{strategy_id}/{knowledge_time.isoformat()}/{digest}"
    parameters = {
        "snapshot_id": uuid.uuid5(NAMESPACE, identity),
        "strategy_id": strategy_id,
        "fingerprint": digest,
        "knowledge_time": knowledge_time,
        "first_session": sessions[0].as_py(),
        "last_session": sessions[-1].as_py(),
        "row_count": content.table.num_rows,
        "left_out": Jsonb(content.left_out),
        "features": Jsonb(features),
        "label": Jsonb(content.label.describe()),
        "uri": f"file://{target}",
        "file_sha256": file_sha256,
        "code_version": code.label,
    }
    database.execute(query("insert_training_snapshot"), parameters)
    snapshot = find_snapshot(database, parameters["snapshot_id"])
    read_snapshot(snapshot)
    return snapshot


def find_snapshot(database: Database, snapshot_id: uuid.UUID) -> Snapshot:
    """Return one snapshot's row.

    Raises
    ------
    TrainingError
        There is no such snapshot.
    """
    found = database.fetch_rows(Snapshot, query("select_training_snapshot"), [snapshot_id])
    if not found:
        raise TrainingError(
            f"there is no snapshot {snapshot_id}; `quant-mlops snapshot list` shows those there are"
        )
    return found[0]


def find_snapshot_by_fingerprint(database: Database, digits: str) -> Snapshot:
    """Return the one snapshot whose fingerprint begins with some digits.

    Raises
    ------
    TrainingError
        No fingerprint begins so, or those of several snapshots do; the same rows known at two
        times have one fingerprint.
    """
    found = [s for s in list_snapshots(database) if s.fingerprint.startswith(digits)]
    if not found:
        raise TrainingError(
            f"there is no snapshot with a fingerprint {digits}...; `quant-mlops snapshot list` "
            f"shows those there are"
        )
    if len(found) > 1:
        named = ", ".join(f"{s.snapshot_id} of {s.strategy_id}" for s in found)
        raise TrainingError(
            f"the fingerprints of {len(found)} snapshots begin with {digits}: {named}; give the "
            f"UUID of one of them"
        )
    return found[0]


def list_snapshots(database: Database, strategy_id: str | None = None) -> list[Snapshot]:
    """Return snapshots, newest knowledge first."""
    return database.fetch_rows(
        Snapshot, query("select_training_snapshots"), {"strategy_id": strategy_id}
    )


def read_snapshot(snapshot: Snapshot) -> pa.Table:
    """Return a snapshot's rows after its file and content have been verified.

    Raises
    ------
    SnapshotTamperedError
        The file is gone, its bytes differ from those written, or its content does not have the
        fingerprint.
    """
    path = snapshot.folder / DATA_FILE
    if not path.is_file():
        raise SnapshotTamperedError(
            f"snapshot {snapshot.snapshot_id} should be at {path} and is not; restore the file"
        )
    found = _file_digest(path)
    if found != snapshot.file_sha256:
        raise SnapshotTamperedError(
            f"{path} has SHA-256 {found} and was written with {snapshot.file_sha256}; restore the "
            f"file from a backup"
        )
    table = pq.read_table(path)
    definition = {
        "features": {name: entry["version"] for name, entry in snapshot.features.items()},
        "label": snapshot.label,
    }
    content = fingerprint(table, definition)
    if content != snapshot.fingerprint:
        raise SnapshotTamperedError(
            f"the content of {path} has fingerprint {content} and snapshot "
            f"{snapshot.snapshot_id} has {snapshot.fingerprint}; restore the file from a backup"
        )
    return table


def _write_folder(target: Path, table: pa.Table, manifest: dict[str, Any]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".writing-", dir=target.parent))
    try:
        pq.write_table(table, fresh / DATA_FILE, compression="zstd")
        text = json.dumps(manifest, indent=2, sort_keys=True)
        (fresh / MANIFEST_FILE).write_text(text + "\n", "utf-8")
        for path in (fresh / DATA_FILE, fresh / MANIFEST_FILE, fresh):
            _sync(path)
        fresh.chmod(0o755)
        try:
            fresh.rename(target)
        except OSError:
            if not target.is_dir():
                raise
        _sync(target.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
