"""A folder at a path or a URI: what is written is there whole, and what fails says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import known_implementations

from quant_mlops.errors import MissingFileError, StorageError
from quant_mlops.storage import (
    folder_uri,
    local_copy,
    local_path,
    place,
    read_bytes,
    upload,
    without_credentials,
    write_bytes,
)

SECRET = "hunter2-0815"


class Remote(MemoryFileSystem):
    """A file system of a scheme of its own, which breaks when it is told to."""

    protocol: ClassVar[Any] = "remote"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    moves = 0
    problem: ClassVar[Exception | None] = None

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.rpartition("://")[2].strip("/")

    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        if self.problem is not None:
            super().pipe_file(path, value[:1], **options)
            raise self.problem
        super().pipe_file(path, value, **options)

    def cat_file(self, path: str, **options: Any) -> bytes:
        if self.problem is not None:
            raise self.problem
        return bytes(super().cat_file(path, **options))

    def mv(self, *arguments: Any, **options: Any) -> None:
        type(self).moves += 1
        super().mv(*arguments, **options)


class Objects(Remote):
    """The same as an object store, under one of the schemes that are known as such."""

    protocol: ClassVar[Any] = ("s3", "objects")
    store: ClassVar[dict[str, Any]] = {}


@pytest.fixture
def remote() -> Iterator[type[Remote]]:
    for name, kind in (("remote", Remote), ("objects", Objects)):
        fsspec.register_implementation(name, kind, clobber=True)
    yield Remote
    for kind in (Remote, Objects):
        kind.store.clear()
        kind.moves, kind.problem = 0, None


def root(kind: str, folder: Path) -> str:
    return {
        "file": f"file://{folder}/a b", "memory": f"memory://{uuid4().hex}",
        "remote": "remote://host/x", "objects": "objects://bucket/x",
    }[kind]  # fmt: skip


@pytest.mark.usefixtures("remote")
@pytest.mark.parametrize("kind", ["file", "memory", "remote", "objects"])
def test_what_is_written_is_read_back_and_lent_as_a_file(kind: str, tmp_path: Path) -> None:
    uri = f"{root(kind, tmp_path)}/deep/o'ne.json"
    with pytest.raises(MissingFileError, match=r"there is no file at .*restore it"):
        read_bytes(uri)
    with pytest.raises(MissingFileError), local_copy(uri):
        pass
    for data in (b"first", b"second, which takes its place"):
        write_bytes(uri, data)
        assert read_bytes(uri) == data
        with local_copy(uri) as path:
            assert path.read_bytes() == data
            assert path.name == "o'ne.json"
        assert path.exists() == (kind == "file")
    if kind == "file":
        assert path == tmp_path / "a b" / "deep" / "o'ne.json"


@pytest.mark.parametrize("kind", ["memory", "remote", "objects"])
def test_a_file_is_put_elsewhere_as_it_is(remote: type[Remote], kind: str, tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.write_bytes(bytes(range(256)) * 100)
    uri = f"{root(kind, tmp_path)}/data.parquet"
    upload(source, uri)
    assert read_bytes(uri) == source.read_bytes()
    # A move is a copy in an object store, where nothing is ever seen in part.
    assert (Remote.moves, Objects.moves) == (int(kind == "remote"), 0)


@pytest.mark.parametrize("kind", ["file", "remote"])
def test_a_write_that_fails_leaves_what_was_there(
    remote: type[Remote], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError("disk full")

    uri = f"{root(kind, tmp_path)}/one.json"
    write_bytes(uri, b"before")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        patch.setattr(remote, "problem", OSError("disk full"))
        with pytest.raises(StorageError, match=r"one\.json cannot be written: disk full; check"):
            write_bytes(uri, b"after")
    assert read_bytes(uri) == b"before"
    left = [p.name for p in tmp_path.rglob("*") if p.is_file()] if kind == "file" else remote.store
    assert len(left) == 1


def test_a_package_that_is_missing_is_named() -> None:
    # A file system that fsspec knows of and that needs a package nobody has.
    known_implementations["nobodys"] = {"class": "nobodys_fs.Its", "err": "Install nobodys_fs"}
    try:
        with pytest.raises(StorageError, match=r"nobodys://b/x needs .*: install nobodys_fs where"):
            read_bytes("nobodys://b/x")
    finally:
        del known_implementations["nobodys"]
    with pytest.raises(StorageError, match=r"nosuch://b/x cannot be read: Protocol not known"):
        read_bytes("nosuch://b/x")


def test_an_error_of_any_kind_is_one_sentence_without_credentials(remote: type[Remote]) -> None:
    uri = f"remote://ann:{SECRET}@host/x?sig={SECRET}"
    remote.problem = KeyError(f"no\nsuch host for {uri} or remote://b:{SECRET}@c/d")
    with pytest.raises(StorageError, match="cannot be read") as caught:
        read_bytes(uri)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "remote://***@host/x?***" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"sftp://ann:{SECRET}@host/x", "sftp://***@host/x"),
        (f"sftp://ann:{SECRET}/@{SECRET}@host/x", "sftp://***@host/x"),
        (f"https://host/x?token={SECRET} said no", "https://host/x?*** said no"),
        ("abfs://folder@account.example.com/x", "abfs://folder@account.example.com/x"),
        ("s3://bucket/a:b/c", "s3://bucket/a:b/c"),
        ("file:///a?b:c@d", "file:///a?b:c@d"),
    ],
)
def test_credentials_are_left_out_of_what_is_shown(text: str, shown: str) -> None:
    assert without_credentials(text) == shown


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("s3://bucket/quant/", "s3://bucket/quant"),
        ("memory://x", "memory://x"),
        ("abfs://folder@account.example.com/x", "abfs://folder@account.example.com/x"),
        ("file:///srv/a b#?", "file:///srv/a b#?"),
        ("/srv/s3:/x", "file:///srv/s3:/x"),
        (Path("/srv/x"), "file:///srv/x"),
        ("a:b", f"file://{Path.cwd()}/a:b"),
    ],
)
def test_a_folder_has_one_uri(given: str | Path, found: str) -> None:
    assert folder_uri(given) == found


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Path("s3://bucket/x"), "was made a Path, which loses a slash; give it as a string"),
        ("file://relative/x", "is no URI of a folder; give a path, file:///PATH, or"),
        ("s3:///x", "is no URI of a folder"),
        ("simplecache::s3://bucket/x", "is no URI of a folder"),
        (f"sftp://ann:{SECRET}@host/x", "holds a password or a query; .* FSSPEC_SFTP_KEY"),
        (f"abfs://x/y?sig={SECRET}", "holds a password or a query"),
    ],
)
def test_what_is_no_folder_is_refused_and_shows_no_secret(given: Any, message: str) -> None:
    with pytest.raises(StorageError, match=message) as caught:
        folder_uri(given)
    assert SECRET not in str(caught.value)


def test_a_uri_has_a_path_only_on_this_machine() -> None:
    assert local_path("file:///srv/x") == Path("/srv/x")
    assert (place("file:///srv/x"), place("s3://b/x")) == ("/srv/x", "s3://b/x")
    with pytest.raises(StorageError, match="s3://b/x is not on this machine and has no path"):
        local_path("s3://b/x")
