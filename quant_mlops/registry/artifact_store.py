"""Artifacts filed under their SHA-256 digest, verified whenever they are written or read."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from uuid import uuid4

import fsspec

from quant_mlops.errors import ArtifactError, ChecksumMismatchError
from quant_mlops.registry.artifact_formats import refuse_unsafe

# There an object appears whole or not at all, and what is called a move is a copy.
WHOLE_OBJECTS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oci", "oss"})


@dataclass(frozen=True)
class StoredFile:
    """Where an artifact is, its digest and its size."""

    uri: str
    checksum: str
    size_bytes: int


@dataclass(frozen=True)
class ArtifactStore:
    """A folder, or an fsspec URI, of files named by the digest of what they hold.

    Parameters
    ----------
    root : str
        Path or URI; a URI keeps its scheme.
    allowed : frozenset of str
        Digests of files that are stored and read whatever their format. A pickle among them runs
        its code when a caller loads it.
    """

    root: str
    allowed: frozenset[str] = frozenset()

    def put(self, data: bytes, suffix: str) -> StoredFile:
        """Store bytes under their digest; the same bytes are stored once.

        A file that is under that name already and holds something else was damaged: writing the
        right bytes in its place repairs it.

        Raises
        ------
        UnsafeArtifactError
            The suffix is not that of a data format, or the bytes are not of it, and the digest is
            not allowed.
        ChecksumMismatchError
            What was written reads back as something else; both digests are named.
        """
        checksum = hashlib.sha256(data).hexdigest()
        if checksum not in self.allowed:
            refuse_unsafe(suffix, data)
        uri = f"{self._base()}/{checksum[:2]}/{checksum}{suffix}"
        if not _holds(uri, data):
            if uri.startswith("file://"):
                _write_file(Path(uri.removeprefix("file://")), data)
            else:
                _write_uri(uri, data)
            found = hashlib.sha256(read_uri(uri)).hexdigest()
            if found != checksum:
                raise ChecksumMismatchError(
                    f"the artifact at {uri} was written with SHA-256 {checksum} and reads back "
                    f"with {found}; check the storage and store it again"
                )
        return StoredFile(uri, checksum, len(data))

    def read(self, uri: str, checksum: str) -> bytes:
        """Return bytes whose digest has been verified first.

        Raises
        ------
        ChecksumMismatchError
            The bytes have another digest; both are named.
        UnsafeArtifactError
            The format runs code when it is loaded, and the digest is not allowed.
        ArtifactError
            There is nothing to read.
        """
        data = read_uri(uri)
        found = hashlib.sha256(data).hexdigest()
        if found != checksum:
            raise ChecksumMismatchError(
                f"the artifact at {uri} has SHA-256 {found} and was registered with {checksum}; "
                f"it was changed after registration: restore it from a backup, or train again"
            )
        if checksum not in self.allowed:
            refuse_unsafe(PurePosixPath(uri).suffix, data)
        return data

    def _base(self) -> str:
        if is_uri(self.root):
            return self.root.rstrip("/")
        return f"file://{Path(self.root).absolute()}"


def is_uri(location: str) -> bool:
    """Tell a URI from a path; a colon alone is a part of many a file name."""
    return "://" in location


def read_uri(uri: str) -> bytes:
    """Return the bytes at a URI; what follows `file://` is a path, taken letter by letter."""
    try:
        if uri.startswith("file://"):
            return Path(uri.removeprefix("file://")).read_bytes()
        with fsspec.open(uri, "rb") as file:
            return bytes(file.read())
    except (OSError, ValueError, ImportError) as error:
        raise ArtifactError(
            f"the artifact at {uri} cannot be read: {error}; restore the file or correct the path"
        ) from error


def _holds(uri: str, data: bytes) -> bool:
    try:
        return read_uri(uri) == data
    except ArtifactError:
        return False


def _write_file(path: Path, data: bytes) -> None:
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


def _write_uri(uri: str, data: bytes) -> None:
    """Write under another name and move, so that a name of a digest never holds a part."""
    filesystem, path = fsspec.core.url_to_fs(uri)
    protocols = filesystem.protocol
    if not WHOLE_OBJECTS.isdisjoint([protocols] if isinstance(protocols, str) else protocols):
        filesystem.pipe_file(path, data)
        return
    folder = path.rpartition("/")[0]
    filesystem.makedirs(folder, exist_ok=True)
    temporary = f"{folder}/.writing-{uuid4().hex}"
    try:
        filesystem.pipe_file(temporary, data)
        filesystem.mv(temporary, path)
    finally:
        if filesystem.exists(temporary):
            filesystem.rm_file(temporary)
