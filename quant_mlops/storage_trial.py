"""Whether a folder can be used: a small object is written there, read back and removed."""

from __future__ import annotations

import secrets
from pathlib import Path

from quant_mlops.errors import StorageError
from quant_mlops.storage import (
    LOCAL,
    folder_uri,
    local_path,
    place,
    read_bytes,
    remove,
    write_bytes,
)

CONTENT_BYTES = 32


def try_folder(location: str | Path) -> str:
    """Write, read and remove a small object in a folder, and return what was done in words.

    A folder of this machine that is not there yet is not made: the nearest one above it is tried.

    Parameters
    ----------
    location : str or Path
        A path, or an fsspec URI such as `s3://BUCKET/NAME`.

    Raises
    ------
    StorageError
        One of the three cannot be done; the message says which and why, without credentials.
    """
    uri = folder_uri(location)
    tried = f"{LOCAL}{_existing(local_path(uri))}" if uri.startswith(LOCAL) else uri
    target = f"{tried}/.quant-mlops-doctor-{secrets.token_hex(8)}"
    content = secrets.token_bytes(CONTENT_BYTES)
    write_bytes(target, content)
    try:
        found = read_bytes(target)
    finally:
        remove(target)
    if found != content:
        raise StorageError(
            f"{place(tried)} gave back other bytes than were written; use another location"
        )
    later = "" if tried == uri else f"; {place(uri)} is made when it is first written to"
    return f"written, read and removed at {place(tried)}{later}"


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
