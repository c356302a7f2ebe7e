"""Artifacts filed under their SHA-256 digest, verified whenever they are written or read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath

from quant_mlops.errors import ArtifactError, ChecksumMismatchError, StorageError
from quant_mlops.registry.artifact_formats import refuse_unsafe
from quant_mlops.storage import folder_uri, place, read_bytes, write_bytes


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
        StorageError
            It cannot be written there.
        """
        checksum = hashlib.sha256(data).hexdigest()
        if checksum not in self.allowed:
            refuse_unsafe(suffix, data)
        uri = f"{folder_uri(self.root)}/{checksum[:2]}/{checksum}{suffix}"
        if not _holds(uri, data):
            write_bytes(uri, data)
            found = hashlib.sha256(read_artifact(uri)).hexdigest()
            if found != checksum:
                raise ChecksumMismatchError(
                    f"the artifact at {place(uri)} was written with SHA-256 {checksum} and reads "
                    f"back with {found}; check the storage and store it again"
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
        data = read_artifact(uri)
        found = hashlib.sha256(data).hexdigest()
        if found != checksum:
            raise ChecksumMismatchError(
                f"the artifact at {place(uri)} has SHA-256 {found} and was registered with "
                f"{checksum}; it was changed after registration: restore it from a backup, or "
                f"train again"
            )
        if checksum not in self.allowed:
            refuse_unsafe(PurePosixPath(uri).suffix, data)
        return data


def read_artifact(uri: str) -> bytes:
    """Return the bytes of an artifact at a URI, as they are.

    Raises
    ------
    ArtifactError
        There is nothing to read.
    """
    try:
        return read_bytes(uri)
    except StorageError as error:
        raise ArtifactError(f"the artifact cannot be read: {error}") from error


def _holds(uri: str, data: bytes) -> bool:
    try:
        return read_bytes(uri) == data
    except StorageError:
        return False
