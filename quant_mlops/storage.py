"""A folder at a path or at an fsspec URI: where training sets and artifacts are kept."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from quant_mlops.errors import MissingFileError, StorageError

LOCAL = "file://"
# There an object appears whole or not at all, and what is called a move is a copy.
WHOLE_OBJECTS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oci", "oss"})
URI = re.compile(r"(?!file:)[a-z][a-z0-9+.-]*://[^/].*|file:///.*", re.DOTALL)
# What pathlib makes of a URI.
FLATTENED = re.compile(r"[a-z][a-z0-9+.-]+:/(?!/)")
PASSWORD = re.compile(r"(?<=://)[^\s/@]*:\S*@")
QUERY = re.compile(r"(://[^\s?]*)\?\S*")


def is_uri(location: str) -> bool:
    """Tell a URI from a path; a colon alone is a part of many a file name."""
    return "://" in location


def folder_uri(location: str | Path) -> str:
    """Return the URI of a folder, without a slash at its end; a path becomes absolute.

    Parameters
    ----------
    location : str or Path
        A path, or the URI of a folder such as `s3://BUCKET/NAME` as a string.

    Raises
    ------
    StorageError
        It is a URI that cannot be one of a folder, or holds a password or a query.
    """
    text = str(location)
    if isinstance(location, Path) and FLATTENED.match(text):
        raise StorageError(
            f"{without_credentials(text)} is a URI that was made a Path, which loses a slash; give "
            f"it as a string"
        )
    if not is_uri(text):
        return f"{LOCAL}{Path(text).absolute()}"
    if not URI.fullmatch(text):
        raise StorageError(
            f"{without_credentials(text)} is no URI of a folder; give a path, file:///PATH, or a "
            f"scheme with a bucket or host such as s3://BUCKET/NAME"
        )
    if not text.startswith(LOCAL) and (PASSWORD.search(text) or "?" in text):
        raise StorageError(
            f"{without_credentials(text)} holds a password or a query; leave them out, and give "
            f"credentials by the variables that its file system reads, such as AWS_ACCESS_KEY_ID "
            f"or FSSPEC_{text.partition(':')[0].upper()}_KEY"
        )
    return text.rstrip("/")


def without_credentials(text: str) -> str:
    """Return a text with the passwords and queries of its URIs left out."""
    return text if text.startswith(LOCAL) else QUERY.sub(r"\1?***", PASSWORD.sub("***@", text))


def local_path(uri: str) -> Path:
    """Return the path that a URI of this machine stands for, letter by letter.

    Raises
    ------
    StorageError
        It is elsewhere.
    """
    if not uri.startswith(LOCAL):
        raise StorageError(
            f"{without_credentials(uri)} is not on this machine and has no path; read it by its URI"
        )
    return Path(uri.removeprefix(LOCAL))


def place(uri: str) -> str:
    """Return how a URI is shown to a person: as a path where it is one, without credentials."""
    return str(local_path(uri)) if uri.startswith(LOCAL) else without_credentials(uri)


def read_bytes(uri: str) -> bytes:
    """Return the bytes at a URI.

    Raises
    ------
    MissingFileError
        There is nothing.
    StorageError
        It cannot be read.
    """
    with _told(uri, "read"):
        if uri.startswith(LOCAL):
            return local_path(uri).read_bytes()
        filesystem, path = _filesystem(uri)
        return bytes(filesystem.cat_file(path))


def write_bytes(uri: str, data: bytes) -> None:
    """Put bytes at a URI, in the place of what is there; a part of them is never seen there.

    Raises
    ------
    StorageError
        They cannot be written.
    """
    with _told(uri, "written"):
        if uri.startswith(LOCAL):
            _replace_file(local_path(uri), data)
            return
        filesystem, path = _filesystem(uri)
        with _written_whole(filesystem, path) as target:
            filesystem.pipe_file(target, data)


def remove(uri: str) -> None:
    """Remove the file at a URI.

    Raises
    ------
    StorageError
        It cannot be removed, or there is none.
    """
    with _told(uri, "removed"):
        if uri.startswith(LOCAL):
            local_path(uri).unlink()
            return
        filesystem, path = _filesystem(uri)
        filesystem.rm_file(path)


def upload(source: Path, uri: str) -> None:
    """Put a file at a URI that is not on this machine; a part of it is never seen there.

    Raises
    ------
    StorageError
        It cannot be written.
    """
    with _told(uri, "written"):
        filesystem, path = _filesystem(uri)
        with _written_whole(filesystem, path) as target:
            filesystem.put_file(str(source), target)


@contextmanager
def local_copy(uri: str) -> Iterator[Path]:
    """Lend a file to what reads paths: itself if it is on this machine, else a copy of it.

    The copy is in the folder for temporary files and is gone after the block.

    Raises
    ------
    MissingFileError
        There is no such file.
    StorageError
        It cannot be read.
    """
    if uri.startswith(LOCAL):
        path = local_path(uri)
        with _told(uri, "read"):
            path.open("rb").close()
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="quant-mlops-") as folder:
        copy = Path(folder) / uri.rpartition("/")[2]
        with _told(uri, "read"):
            filesystem, path_there = _filesystem(uri)
            filesystem.get_file(path_there, str(copy))
        yield copy


def _filesystem(uri: str) -> tuple[Any, str]:
    # It takes a tenth of a second, which commands that read no URI need not spend.
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(uri)
    return filesystem, path


@contextmanager
def _told(uri: str, done: str) -> Iterator[None]:
    """Say in one sentence what went wrong; each file system raises errors of its own kinds."""
    shown = place(uri)
    try:
        yield
    except StorageError:
        raise
    except ImportError as error:
        package = getattr(error.__cause__ or error, "name", None) or "its fsspec implementation"
        raise StorageError(
            f"{shown} needs a package that is not installed: install {package} wherever runs and "
            f"commands take place"
        ) from error
    except Exception as error:
        if done == "read" and isinstance(error, FileNotFoundError):
            raise MissingFileError(
                f"there is no file at {shown}; restore it, or correct the location"
            ) from error
        reason = without_credentials(" ".join(str(error).replace(uri, shown).split()))
        raise StorageError(
            f"{shown} cannot be {done}: {reason or type(error).__name__}; check the location, the "
            f"credentials and the network"
        ) from error


@contextmanager
def _written_whole(filesystem: Any, path: str) -> Iterator[str]:
    """Give the name to write to: the path itself where objects appear whole, else one to move."""
    protocols = filesystem.protocol
    if not WHOLE_OBJECTS.isdisjoint([protocols] if isinstance(protocols, str) else protocols):
        yield path
        return
    folder = path.rpartition("/")[0]
    filesystem.makedirs(folder, exist_ok=True)
    temporary = f"{folder}/.writing-{uuid4().hex}"
    try:
        yield temporary
        filesystem.mv(temporary, path)
    finally:
        if filesystem.exists(temporary):
            filesystem.rm_file(temporary)


def _replace_file(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o444)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
