"""Artifacts are filed under their digest and verified whenever they are read."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from quant_mlops.database import Database
from quant_mlops.errors import ArtifactError, ChecksumMismatchError, UnsafeArtifactError
from quant_mlops.registry import ModelRegistry, artifact_store
from quant_mlops.registry.artifact_store import ArtifactStore

Versions = Callable[[int], list[UUID]]

MEMORY = "memory://artifacts"


def damage(uri: str, data: bytes) -> None:
    """Write other bytes under a digest."""
    if uri.startswith("file://"):
        Path(uri.removeprefix("file://")).chmod(0o644)
    with fsspec.open(uri, "wb") as file:
        file.write(data)


def created(uri: str) -> object:
    """Return what changes when a file is written again."""
    if uri.startswith("file://"):
        return Path(uri.removeprefix("file://")).stat().st_ino
    return MemoryFileSystem().created(uri)


@pytest.fixture
def model_id(versions: Versions) -> UUID:
    return versions(1)[0]


def test_a_file_is_copied_under_its_digest(
    registry: ModelRegistry, model_id: UUID, tmp_path: Path
) -> None:
    path = tmp_path / "o'weights:v1 #2.json"
    path.write_bytes(b'{"w": 1}')
    registry.log_artifact(model_id, path, "weights")
    path.unlink()
    assert registry.load_artifact(model_id, "weights") == b'{"w": 1}'
    (artifact,) = registry.list_artifacts(model_id)
    digest = hashlib.sha256(b'{"w": 1}').hexdigest()
    assert artifact.checksum == digest
    assert artifact.size_bytes == 8
    assert artifact.artifact_path.startswith("file:///")
    assert artifact.artifact_path.endswith(f"/{digest[:2]}/{digest}.json")
    assert Path(artifact.artifact_path.removeprefix("file://")).read_bytes() == b'{"w": 1}'


def test_the_type_is_the_file_name_unless_it_is_given(
    registry: ModelRegistry, model_id: UUID, tmp_path: Path
) -> None:
    (tmp_path / "scaler.csv").write_bytes(b"x,y\n1,2\n")
    registry.log_artifact(model_id, tmp_path / "scaler.csv")
    assert registry.load_artifact(model_id, "scaler.csv") == b"x,y\n1,2\n"
    with pytest.raises(ArtifactError, match=r"no artifact of type 'onnx'; it has scaler\.csv"):
        registry.load_artifact(model_id, "onnx")


def test_the_newest_of_a_type_is_loaded(registry: ModelRegistry, model_id: UUID) -> None:
    for data in (b"1", b"2", b"1"):
        registry.store_artifact(model_id, data, "config.json")
    assert registry.load_artifact(model_id, "config.json") == b"1"
    assert len({a.artifact_path for a in registry.list_artifacts(model_id)}) == 2


def test_a_flipped_byte_is_refused_with_both_digests(
    registry: ModelRegistry, model_id: UUID
) -> None:
    registry.store_artifact(model_id, b'{"w": 1}', "weights.json")
    (artifact,) = registry.list_artifacts(model_id)
    path = Path(artifact.artifact_path.removeprefix("file://"))
    path.chmod(0o644)
    path.write_bytes(b'{"w": 2}')
    with pytest.raises(ChecksumMismatchError) as caught:
        registry.load_artifact(model_id, "weights.json")
    assert set(re.findall(r"[0-9a-f]{64}", str(caught.value))) >= {
        hashlib.sha256(b'{"w": 2}').hexdigest(),
        artifact.checksum,
    }
    # Storing the right bytes once more repairs the file.
    registry.store_artifact(model_id, b'{"w": 1}', "weights.json")
    assert registry.load_artifact(model_id, "weights.json") == b'{"w": 1}'


@pytest.mark.parametrize("kind", ["folder", "file", "memory"])
def test_a_damaged_file_is_refused_with_both_digests_and_repaired_by_storing_it_again(
    tmp_path: Path, kind: str
) -> None:
    root = {"folder": str(tmp_path), "file": f"file://{tmp_path}", "memory": MEMORY}[kind]
    store = ArtifactStore(f"{root}/{uuid4().hex}")
    stored = store.put(b'{"w": 1}', ".json")
    damage(stored.uri, b'{"w": 2}')
    with pytest.raises(ChecksumMismatchError) as caught:
        store.read(stored.uri, stored.checksum)
    for data in (b'{"w": 1}', b'{"w": 2}'):
        assert hashlib.sha256(data).hexdigest() in str(caught.value)
    assert store.put(b'{"w": 1}', ".json") == stored
    assert store.read(stored.uri, stored.checksum) == b'{"w": 1}'
    # A part of it, as a full disk may leave one.
    damage(stored.uri, b'{"w"')
    assert store.put(b'{"w": 1}', ".json") == stored
    assert store.read(stored.uri, stored.checksum) == b'{"w": 1}'


def test_what_is_stored_already_is_not_written_again(tmp_path: Path) -> None:
    for root in (str(tmp_path), f"{MEMORY}/{uuid4().hex}"):
        store = ArtifactStore(root)
        stored = store.put(b"1", ".json")
        before = created(stored.uri)
        assert store.put(b"1", ".json") == stored
        assert created(stored.uri) == before


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_what_reads_back_as_something_else_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    store = ArtifactStore(str(tmp_path) if kind == "folder" else f"{MEMORY}/{uuid4().hex}")
    write = artifact_store.write_bytes
    monkeypatch.setattr(artifact_store, "write_bytes", lambda uri, data: write(uri, data[:-1]))
    with pytest.raises(ChecksumMismatchError) as caught:
        store.put(b"12", ".json")
    for data in (b"12", b"1"):
        assert hashlib.sha256(data).hexdigest() in str(caught.value)


@pytest.mark.parametrize(
    "name", ["m.pkl", "m.pickle", "m.joblib", "m.pt", "m.tar.gz", "m", "m.PKL"]
)
def test_formats_that_run_code_are_refused(
    registry: ModelRegistry, model_id: UUID, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(pickle.dumps({"w": 1}))
    with pytest.raises(UnsafeArtifactError, match=r"refused, since loading it could run code"):
        registry.log_artifact(model_id, tmp_path / name, "weights.json")
    assert registry.list_artifacts(model_id) == []


def test_a_pickle_is_loaded_only_where_its_digest_is_allowed(
    database: Database, tmp_path: Path, versions: Versions
) -> None:
    (model_id,) = versions(1)
    data = pickle.dumps({"w": 1})
    (tmp_path / "m.pkl").write_bytes(data)
    folder = tmp_path / "artifacts"
    digest = hashlib.sha256(data).hexdigest()
    trusting = ModelRegistry(database, artifacts=folder, allowed_digests={digest})
    trusting.log_artifact(model_id, tmp_path / "m.pkl")
    assert trusting.load_artifact(model_id, "m.pkl") == data
    with pytest.raises(UnsafeArtifactError):
        ModelRegistry(database, artifacts=folder).load_artifact(model_id, "m.pkl")
    (tmp_path / "n.pkl").write_bytes(pickle.dumps({"w": 2}))
    with pytest.raises(UnsafeArtifactError):
        trusting.log_artifact(model_id, tmp_path / "n.pkl")


def test_a_file_that_is_not_there_is_an_error(
    registry: ModelRegistry, model_id: UUID, tmp_path: Path
) -> None:
    for missing in (tmp_path / "none.json", "memory://none/none.json", "nosuch://x/y.json"):
        with pytest.raises(ArtifactError):
            registry.log_artifact(model_id, missing)
    with pytest.raises(ArtifactError, match="there is no file"):
        registry.log_artifact(model_id, tmp_path)
    registry.store_artifact(model_id, b"1", "config.json")
    (artifact,) = registry.list_artifacts(model_id)
    Path(artifact.artifact_path.removeprefix("file://")).unlink()
    with pytest.raises(ArtifactError, match=r"cannot be read: there is no file.*restore it"):
        registry.load_artifact(model_id, "config.json")


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_uri_keeps_its_scheme(
    database: Database, versions: Versions, tmp_path: Path, kind: str
) -> None:
    (model_id,) = versions(1)
    root = f"memory://{uuid4().hex}" if kind == "memory" else f"file://{tmp_path}/artifacts"
    source = f"{root}/from/weights.json"
    with fsspec.open(source, "wb", auto_mkdir=True) as file:
        file.write(b"[1, 2]")
    registry = ModelRegistry(database, artifacts=root)
    registry.log_artifact(model_id, source)
    (artifact,) = registry.list_artifacts(model_id)
    assert artifact.artifact_path.startswith(f"{root}/")
    assert registry.load_artifact(model_id, "weights.json") == b"[1, 2]"
