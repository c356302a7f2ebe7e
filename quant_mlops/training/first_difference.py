"""The first place in which two files of a model differ, in words."""

from __future__ import annotations

import io
import json
from itertools import zip_longest
from pathlib import PurePosixPath
from typing import Any

import numpy as np

ABSENT = object()


def first_difference(name: str, one: bytes, other: bytes) -> str | None:
    """Return where two versions of a file differ first, or None if they are the same bytes.

    Parameters
    ----------
    name : str
        File name; JSON and NPZ are compared by what they hold, anything else byte by byte.
    one, other : bytes
    """
    if one == other:
        return None
    suffix = PurePosixPath(name).suffix
    try:
        if suffix == ".json":
            found = _in_documents(json.loads(one), json.loads(other), "")
        elif suffix == ".npz":
            found = _in_arrays(one, other)
        else:
            found = None
    except (ValueError, OSError):
        found = None
    return found or _in_bytes(one, other)


def _in_documents(one: Any, other: Any, path: str) -> str | None:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            found = _in_documents(
                one.get(key, ABSENT), other.get(key, ABSENT), f"{path}.{key}" if path else key
            )
            if found:
                return found
        return None
    if isinstance(one, list) and isinstance(other, list):
        for i, (a, b) in enumerate(zip_longest(one, other, fillvalue=ABSENT)):
            found = _in_documents(a, b, f"{path}[{i}]")
            if found:
                return found
        return None
    return None if one == other else f"{path or 'the document'}: {_text(one)}, now {_text(other)}"


def _in_arrays(one: bytes, other: bytes) -> str | None:
    with (
        np.load(io.BytesIO(one), allow_pickle=False) as a,
        np.load(io.BytesIO(other), allow_pickle=False) as b,
    ):
        for name in sorted({*a.files, *b.files}):
            if name not in a.files or name not in b.files:
                return f"{name}: only in one of the two"
            left, right = a[name], b[name]
            if left.shape != right.shape:
                return f"{name}: shapes {left.shape} and {right.shape}"
            differs = np.argwhere(left != right)
            if len(differs):
                place = tuple(int(i) for i in differs[0])
                where = "".join(f"[{i}]" for i in place)
                return f"{name}{where}: {left[place].item()!r}, now {right[place].item()!r}"
    return None


def _in_bytes(one: bytes, other: bytes) -> str:
    shared = min(len(one), len(other))
    differs = np.flatnonzero(
        np.frombuffer(one[:shared], np.uint8) != np.frombuffer(other[:shared], np.uint8)
    )
    if len(differs) == 0:
        return f"{len(one):,} bytes long, now {len(other):,}"
    place = int(differs[0])
    return f"byte {place:,}: {one[place]}, now {other[place]}"


def _text(value: Any) -> str:
    if value is ABSENT:
        return "nothing"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
