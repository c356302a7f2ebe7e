"""Snapshots are written once, found again, and refused when their files have changed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quant_mlops.database import Database
from quant_mlops.errors import SnapshotTamperedError, TrainingError
from quant_mlops.training import snapshot_writing
from quant_mlops.training.code_version import CodeVersion
from quant_mlops.training.label import LabelDefinition
from quant_mlops.training.snapshot import SnapshotBlock, SnapshotDefinition
from quant_mlops.training.snapshot_files import (
    Snapshot,
    find_snapshot,
    list_snapshots,
    read_snapshot,
)
from quant_mlops.training.snapshot_writing import store_snapshot

KNOWN_AT = datetime(2024, 2, 1, 1, 0, tzinfo=UTC)
TABLE = pa.table(
    {
        "session": pa.array([date(2024, 1, 2), date(2024, 1, 3)], pa.date32()),
        "entity_key": pa.array(["AAPL", 'O\'Reilly "x"']),
        "rsi_14": pa.array([62.5, 41.0]),
        "label": pa.array([0.01, -0.02]),
    }
)
DEFINITION = SnapshotDefinition(
    features={"rsi_14": 3},
    label=LabelDefinition(5),
    first=date(2024, 1, 2),
    last=date(2024, 1, 9),
    knowledge_time=KNOWN_AT,
)
BLOCKS = (
    SnapshotBlock(TABLE.slice(0, 1), {"label open": 5}),
    SnapshotBlock(TABLE.slice(1), {"label open": 2}),
)
Store = Callable[..., Snapshot]


@pytest.fixture
def store(database: Database, tmp_path: Path) -> Store:
    def store(definition: SnapshotDefinition = DEFINITION, **changes: object) -> Snapshot:
        values = {
            "blocks": BLOCKS,
            "strategy_id": "momentum",
            "folder": tmp_path / "snap shots",
            "logic_hashes": {"rsi_14": "abc"},
            "code": CodeVersion("git 1234", dirty=False),
        }
        return store_snapshot(database, definition, **(values | changes))

    return store


def test_a_snapshot_is_read_back_as_it_was(database: Database, store: Store) -> None:
    snapshot = store()
    assert read_snapshot(snapshot).equals(TABLE)
    assert find_snapshot(database, snapshot.snapshot_id) == snapshot
    assert (snapshot.row_count, snapshot.left_out) == (2, {"label open": 7})
    assert (snapshot.first_session, snapshot.last_session) == (date(2024, 1, 2), date(2024, 1, 3))
    assert snapshot.features == {"rsi_14": {"version": 3, "logic_hash": "abc", "position": 0}}
    manifest = json.loads((snapshot.folder / "manifest.json").read_text("utf-8"))
    assert manifest["fingerprint"] == snapshot.fingerprint
    assert manifest["row_order"] == ["session", "entity_key"]
    assert manifest["schema"]["session"] == "date32[day]"


def test_storing_it_again_finds_it(database: Database, store: Store) -> None:
    first = store()
    stamp = (first.folder / "data.parquet").stat().st_mtime_ns
    assert store() == first
    assert (first.folder / "data.parquet").stat().st_mtime_ns == stamp
    assert list_snapshots(database) == [first]


def test_the_zone_in_which_the_knowledge_time_is_written_does_not_count(store: Store) -> None:
    elsewhere = replace(DEFINITION, knowledge_time=KNOWN_AT.astimezone(ZoneInfo("Asia/Tokyo")))
    assert store(elsewhere) == store()


def test_without_its_row_the_folder_is_found_again(
    database: Database, store: Store, forge: Any
) -> None:
    first = store()
    stamp = (first.folder / "data.parquet").stat().st_mtime_ns
    forge(database, "DELETE FROM training_snapshots")
    second = store()
    assert replace(second, created_at=first.created_at) == first
    assert (second.folder / "data.parquet").stat().st_mtime_ns == stamp


def test_the_same_rows_known_at_another_time_share_the_file(
    database: Database, store: Store
) -> None:
    later = replace(DEFINITION, knowledge_time=datetime(2024, 3, 1, tzinfo=UTC))
    one, other = store(), store(later)
    assert one.folder == other.folder
    assert one.snapshot_id != other.snapshot_id
    assert list_snapshots(database, "momentum") == [other, one]
    assert list_snapshots(database, "reversal") == []


def test_a_changed_byte_is_refused_with_both_digests(store: Store) -> None:
    snapshot = store()
    path = snapshot.folder / "data.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(SnapshotTamperedError) as caught:
        read_snapshot(snapshot)
    digests = re.findall(r"[0-9a-f]{64}", str(caught.value))
    assert len(set(digests)) == 2
    assert snapshot.file_sha256 in digests


def test_a_file_with_other_content_is_refused_even_under_its_own_digest(
    database: Database, store: Store, forge: Any
) -> None:
    snapshot = store()
    changed = TABLE.set_column(3, "label", pa.array([0.01, -0.020000001]))
    pq.write_table(changed, snapshot.folder / "data.parquet")
    # As if the row had been written, or rewritten, after the file was.
    forge(database, "DELETE FROM training_snapshots")
    with pytest.raises(SnapshotTamperedError, match=rf"fingerprint.*{snapshot.fingerprint}"):
        store()


def test_a_file_that_is_gone_is_named(store: Store) -> None:
    snapshot = store()
    (snapshot.folder / "data.parquet").unlink()
    with pytest.raises(SnapshotTamperedError, match=r"data\.parquet and is not; restore"):
        read_snapshot(snapshot)


def test_a_write_that_fails_leaves_nothing_behind(
    database: Database, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(snapshot_writing, "sync", fail)
        with pytest.raises(OSError, match="disk full"):
            store()
    assert [p for p in (tmp_path / "snap shots").rglob("*") if p.is_file()] == []
    assert list_snapshots(database) == []
    assert read_snapshot(store()).equals(TABLE)


def test_two_writers_of_the_same_snapshot_agree(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = snapshot_writing._move_into_place

    def beaten(fresh: Path, target: Path) -> None:
        other = fresh.with_name(".writing-other")
        shutil.copytree(fresh, other)
        move(other, target)
        move(fresh, target)

    monkeypatch.setattr(snapshot_writing, "_move_into_place", beaten)
    snapshot = store()
    assert {path.name for path in snapshot.folder.parent.iterdir()} == {snapshot.folder.name}
    assert read_snapshot(snapshot).equals(TABLE)


def test_an_unknown_snapshot_is_an_error(database: Database) -> None:
    with pytest.raises(TrainingError, match="there is no snapshot"):
        find_snapshot(database, uuid4())
