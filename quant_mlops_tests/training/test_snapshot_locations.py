"""Training sets kept at URIs: written once under their digest, verified, never overwritten."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from quant_mlops.database import Database
from quant_mlops.errors import SnapshotTamperedError, StorageError
from quant_mlops.storage import read_bytes, write_bytes
from quant_mlops.training import snapshot_writing
from quant_mlops.training.code_version import CodeVersion
from quant_mlops.training.label import LabelDefinition
from quant_mlops.training.snapshot import SnapshotBlock, SnapshotDefinition
from quant_mlops.training.snapshot_files import (
    Snapshot,
    check_file,
    find_snapshot,
    list_snapshots,
    read_snapshot,
)
from quant_mlops.training.snapshot_writing import store_snapshot

TABLE = pa.table(
    {
        "session": pa.array([date(2024, 1, 2), date(2024, 1, 3)], pa.date32()),
        "entity_key": pa.array(["AAPL", "MSFT"]),
        "rsi_14": pa.array([62.5, 41.0]),
        "label": pa.array([0.01, -0.02]),
    }
)
DEFINITION = SnapshotDefinition(
    features={"rsi_14": 3},
    label=LabelDefinition(5),
    first=date(2024, 1, 2),
    last=date(2024, 1, 9),
    knowledge_time=datetime(2024, 2, 1, 1, 0, tzinfo=UTC),
)
LATER = replace(DEFINITION, knowledge_time=datetime(2024, 3, 1, tzinfo=UTC))
Store = Callable[..., Snapshot]


@pytest.fixture
def root() -> str:
    return f"memory://{uuid4().hex}/snap shots"


@pytest.fixture
def store(database: Database, root: str) -> Store:
    def store(definition: SnapshotDefinition = DEFINITION, **changes: Any) -> Snapshot:
        values = {
            "blocks": [SnapshotBlock(TABLE)],
            "strategy_id": "momentum",
            "folder": root,
            "logic_hashes": {"rsi_14": "abc"},
            "code": CodeVersion("git 1234", dirty=False),
        }
        return store_snapshot(database, definition, **(values | changes))

    return store


def stored_files(root: str) -> list[str]:
    return sorted(MemoryFileSystem().find(root))


def test_a_snapshot_is_read_back_from_where_it_was_put(
    database: Database, store: Store, root: str
) -> None:
    snapshot = store()
    assert snapshot.uri == f"{root}/momentum/{snapshot.fingerprint[:16]}"
    assert read_snapshot(snapshot).equals(TABLE)
    assert find_snapshot(database, snapshot.snapshot_id) == snapshot
    assert snapshot.data_uri == f"{snapshot.uri}/{snapshot.file_sha256}.parquet"
    manifest = json.loads(read_bytes(snapshot.manifest_uri))
    assert manifest["file_sha256"] == snapshot.file_sha256
    assert len(stored_files(root)) == 2
    with pytest.raises(StorageError, match="is not on this machine"):
        _ = snapshot.data_file


def test_its_fingerprint_is_that_of_the_same_snapshot_on_a_disk(
    store: Store, tmp_path: Path, forge: Any, database: Database
) -> None:
    there = store()
    forge(database, "DELETE FROM training_snapshots")
    here = store(folder=f"file://{tmp_path}/x")
    assert here.data_file == tmp_path / "x" / "momentum" / here.fingerprint[:16] / "data.parquet"
    assert (here.fingerprint, here.snapshot_id) == (there.fingerprint, there.snapshot_id)


def test_it_is_written_once_whatever_it_is_known_as(
    store: Store, root: str, database: Database, forge: Any
) -> None:
    first = store()
    stamps = [MemoryFileSystem().created(name) for name in stored_files(root)]
    # Cut into other blocks the same rows make other bytes.
    other = store(LATER, blocks=[SnapshotBlock(TABLE.slice(n, 1)) for n in range(2)])
    assert (other.uri, other.file_sha256) == (first.uri, first.file_sha256)
    forge(database, "DELETE FROM training_snapshots")
    assert replace(store(), created_at=first.created_at) == first
    assert [MemoryFileSystem().created(name) for name in stored_files(root)] == stamps


def test_one_that_was_built_elsewhere_stays_there(store: Store, root: str, tmp_path: Path) -> None:
    before = store(folder=tmp_path)
    assert store() == before
    assert stored_files(root) == []
    assert before.uri.startswith("file://")


def test_two_writers_whose_libraries_write_other_bytes_are_not_in_each_others_way(
    store: Store, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each looks before the other has written.
    monkeypatch.setattr(snapshot_writing, "_recorded_digest", lambda *_: None)
    one = store()
    other = store(LATER, blocks=[SnapshotBlock(TABLE.slice(n, 1)) for n in range(2)])
    assert one.uri == other.uri
    assert one.file_sha256 != other.file_sha256
    assert len(stored_files(root)) == 3
    for snapshot in (one, other):
        assert read_snapshot(snapshot).equals(TABLE)


def test_a_changed_byte_is_refused_and_not_written_over(store: Store) -> None:
    snapshot = store()
    data = bytearray(read_bytes(snapshot.data_uri))
    data[len(data) // 2] ^= 1
    write_bytes(snapshot.data_uri, bytes(data))
    for attempt in (lambda: read_snapshot(snapshot), store, lambda: store(LATER)):
        with pytest.raises(SnapshotTamperedError, match=rf"memory://.*{snapshot.file_sha256}"):
            attempt()
    assert read_bytes(snapshot.data_uri) == bytes(data)


def test_what_lies_under_the_digest_and_is_something_else_is_left(
    store: Store, database: Database, forge: Any
) -> None:
    snapshot = store()
    forge(database, "DELETE FROM training_snapshots")
    MemoryFileSystem().rm(snapshot.manifest_uri)
    write_bytes(snapshot.data_uri, b"a part of it")
    with pytest.raises(SnapshotTamperedError, match=r"reads back with .* it is not overwritten"):
        store()
    assert read_bytes(snapshot.data_uri) == b"a part of it"
    assert list_snapshots(database) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "cannot be read: JSONDecodeError"),
        (b"[]", "cannot be read: TypeError"),
        (b'{"fingerprint": "0", "file_sha256": "0"}', "is of a snapshot with fingerprint 0"),
    ],
)
def test_a_folder_with_another_manifest_is_left(
    store: Store, database: Database, forge: Any, text: bytes, message: str
) -> None:
    snapshot = store()
    forge(database, "DELETE FROM training_snapshots")
    write_bytes(snapshot.manifest_uri, text)
    with pytest.raises(SnapshotTamperedError, match=message):
        store()
    assert read_bytes(snapshot.manifest_uri) == text


def test_a_file_that_is_gone_is_told_from_a_storage_that_does_not_answer(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: Any, **__: Any) -> None:
        raise ConnectionError("no answer")

    snapshot = store()
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "open", silent)
        patch.setattr(MemoryFileSystem, "cat_file", silent)
        patch.setattr(MemoryFileSystem, "get_file", silent)
        with pytest.raises(StorageError, match=r"cannot be read: no answer; check"):
            check_file(snapshot)
    MemoryFileSystem().rm(snapshot.data_uri)
    with pytest.raises(SnapshotTamperedError, match=r"should be at memory://.* and is not"):
        check_file(snapshot)


def test_an_interrupted_write_is_taken_up_again(
    store: Store, root: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(uri: str, data: bytes) -> None:
        raise StorageError("connection lost")

    with monkeypatch.context() as patch:
        patch.setattr(snapshot_writing, "write_bytes", interrupted)
        with pytest.raises(StorageError, match="connection lost"):
            store()
    assert list_snapshots(database) == []
    assert len(stored_files(root)) == 1
    assert read_snapshot(store()).equals(TABLE)
    assert len(stored_files(root)) == 2
