"""Snapshots in the table and in their folder: found, checked and read."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import MissingFileError, SnapshotTamperedError, TrainingError
from quant_mlops.storage import LOCAL, local_copy, local_path, place, read_bytes
from quant_mlops.training.snapshot import meaning
from quant_mlops.training.snapshot_parquet import file_digest, file_fingerprint

DATA_FILE = "data.parquet"
MANIFEST_FILE = "manifest.json"
FEWEST_DIGITS = 8


@dataclass(frozen=True)
class Snapshot:
    """A row of `training_snapshots`: a training set that is stored and never changes."""

    snapshot_id: uuid.UUID
    strategy_id: str
    fingerprint: str
    knowledge_time: datetime
    first_session: date
    last_session: date
    spine_first: date | None
    spine_last: date | None
    row_count: int
    left_out: dict[str, int]
    features: dict[str, Any]
    label: dict[str, Any]
    universe: str | None
    uri: str
    file_sha256: str
    code_version: str
    created_at: datetime

    @property
    def folder(self) -> Path:
        """Folder of the Parquet file and its manifest; StorageError if it is elsewhere."""
        return local_path(self.uri)

    @property
    def data_file(self) -> Path:
        """Parquet file of its rows; StorageError if it is elsewhere."""
        return self.folder / DATA_FILE

    @property
    def data_uri(self) -> str:
        """URI of the Parquet file."""
        return f"{self.uri}/{data_name(self.uri, self.file_sha256)}"

    @property
    def manifest_uri(self) -> str:
        """URI of the manifest."""
        return f"{self.uri}/{MANIFEST_FILE}"

    @property
    def feature_versions(self) -> dict[str, int]:
        """Pinned version of each feature, in the order of the columns and of models' inputs."""
        # PostgreSQL keeps the keys of a document in an order of its own.
        entries = sorted(self.features.items(), key=lambda item: item[1]["position"])
        return {name: int(entry["version"]) for name, entry in entries}

    @property
    def max_ages(self) -> dict[str, int]:
        """Sessions that a value may be older than its lag explains, of features with a limit."""
        ages = {name: self.features[name].get("max_age_sessions") for name in self.feature_versions}
        return {name: int(age) for name, age in ages.items() if age is not None}

    @property
    def meaning(self) -> dict[str, Any]:
        """What decides the meaning of the columns, as the fingerprint takes it."""
        return meaning(
            self.feature_versions, self.label, universe=self.universe, max_ages=self.max_ages
        )

    @property
    def feature_names(self) -> list[str]:
        """Features in the order of the columns."""
        return list(self.feature_versions)


def data_name(uri: str, file_sha256: str) -> str:
    """Return the name of the Parquet file in a snapshot's folder.

    A folder on this machine comes into being as a whole. Elsewhere two writers of one content may
    meet, whose libraries write other bytes of it; neither is in the other's way under its digest.
    """
    return DATA_FILE if uri.startswith(LOCAL) else f"{file_sha256}.parquet"


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
    """Return the one snapshot whose fingerprint, or whose id, begins with some digits.

    Raises
    ------
    TrainingError
        None begins so, or those of several snapshots do; the same rows known at two
        times have one fingerprint.
    """
    snapshots = list_snapshots(database)
    found = [s for s in snapshots if s.fingerprint.startswith(digits)]
    found = found or [s for s in snapshots if s.snapshot_id.hex.startswith(digits)]
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
    SnapshotTamperedError, StorageError
        As `check_file`.
    """
    with verified_data(snapshot) as path:
        return pq.read_table(path)


def check_file(snapshot: Snapshot) -> None:
    """Check a snapshot's file: its bytes, its content and its manifest.

    Raises
    ------
    SnapshotTamperedError
        The file is gone, its bytes differ from those written, its content does not have the
        fingerprint, or the manifest beside it says something else than the table.
    StorageError
        The folder cannot be reached, which says nothing of the file.
    """
    with verified_data(snapshot):
        pass


@contextmanager
def verified_data(snapshot: Snapshot) -> Iterator[Path]:
    """Lend a snapshot's Parquet file after it was checked as `check_file` does."""
    with local_data(snapshot) as path:
        shown = place(snapshot.data_uri)
        found = file_digest(path)
        if found != snapshot.file_sha256:
            raise SnapshotTamperedError(
                f"{shown} was tampered with: it has SHA-256 {found} and was written with "
                f"{snapshot.file_sha256}; restore the file from a backup"
            )
        content = file_fingerprint(path, snapshot.meaning)
        if content != snapshot.fingerprint:
            raise SnapshotTamperedError(
                f"the content of {shown} has fingerprint {content} and snapshot "
                f"{snapshot.snapshot_id} has {snapshot.fingerprint}; restore the file from a backup"
            )
        _check_manifest(snapshot)
        yield path


@contextmanager
def local_data(snapshot: Snapshot) -> Iterator[Path]:
    """Lend a snapshot's Parquet file as it is, or a copy of it that is gone after the block.

    Raises
    ------
    SnapshotTamperedError
        The file is gone.
    StorageError
        The folder cannot be reached.
    """
    uri = snapshot.data_uri
    with ExitStack() as lent:
        try:
            path = lent.enter_context(local_copy(uri))
        except MissingFileError:
            raise SnapshotTamperedError(
                f"snapshot {snapshot.snapshot_id} should be at {place(uri)} and is not; restore "
                f"the file"
            ) from None
        yield path


def _check_manifest(snapshot: Snapshot) -> None:
    shown = place(snapshot.manifest_uri)
    expected = {
        "fingerprint": snapshot.fingerprint,
        "features": snapshot.features,
        "label": snapshot.label,
        "universe": snapshot.universe,
        "row_count": snapshot.row_count,
    }
    try:
        manifest = json.loads(read_bytes(snapshot.manifest_uri))
        found = {key: manifest[key] for key in expected}
    except (MissingFileError, ValueError, KeyError, TypeError) as error:
        raise SnapshotTamperedError(
            f"the manifest {shown} cannot be read: {type(error).__name__} {error}; restore it from "
            f"a backup"
        ) from None
    for key, value in expected.items():
        if found[key] != value:
            raise SnapshotTamperedError(
                f"the manifest {shown} has {key} {found[key]} and the table has {value}; restore "
                f"it from a backup"
            )
