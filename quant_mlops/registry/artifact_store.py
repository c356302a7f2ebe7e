"""Artifacts filed under their SHA-256 digest, verified whenever they are read."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import fsspec

from quant_mlops.errors import ArtifactError, ChecksumMismatchError, UnsafeArtifactError

# Formats that are read as data. A pickle, whatever its suffix, runs code when it is loaded.
SAFE_SUFFIXES = frozenset({".json", ".ubj", ".onnx", ".parquet", ".npz", ".npy", ".csv", ".txt"})


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

        Raises
        ------
        UnsafeArtifactError
            The suffix is not that of a data format, and the digest is not allowed.
        """
        checksum = hashlib.sha256(data).hexdigest()
        if checksum not in self.allowed:
            refuse_unsafe(suffix)
        uri = f"{self._base()}/{checksum[:2]}/{checksum}{suffix}"
        if uri.startswith("file://"):
            _write_once(Path(uri.removeprefix("file://")), data)
        else:
            with fsspec.open(uri, "wb") as file:
                file.write(data)
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
        if checksum not in self.allowed:
            refuse_unsafe(PurePosixPath(uri).suffix)
        data = read_uri(uri)
        found = hashlib.sha256(data).hexdigest()
        if found != checksum:
            raise ChecksumMismatchError(
                f"the artifact at {uri} has SHA-256 {found} and was registered with {checksum}; "
                f"it was changed after registration: restore it from a backup, or train again"
            )
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


def refuse_unsafe(suffix: str) -> None:
    """Raise UnsafeArtifactError unless a suffix is that of a data format."""
    if suffix.lower() not in SAFE_SUFFIXES:
        raise UnsafeArtifactError(
            f"an artifact with suffix {suffix or '(none)'} is refused, since loading it could run "
            f"code; keep weights as {', '.join(sorted(SAFE_SUFFIXES))}"
        )


def _write_once(path: Path, data: bytes) -> None:
    if path.is_file() and path.read_bytes() == data:
        return
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
