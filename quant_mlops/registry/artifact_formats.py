"""Formats that are read as data, told by suffix and by content; what could run code is refused."""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Callable

from quant_mlops.errors import UnsafeArtifactError

# What a pickle names to be imported; without one of these it holds nothing but data.
IMPORTING = frozenset({"GLOBAL", "INST", "STACK_GLOBAL"})


def refuse_unsafe(suffix: str, data: bytes) -> None:
    """Raise UnsafeArtifactError unless bytes are what the suffix of a data format says.

    A suffix alone is a promise: a pickle named `weights.json` runs its code as soon as somebody
    loads it with the tool that wrote it.

    Parameters
    ----------
    suffix : str
        Such as `.json`; its case does not matter.
    data : bytes
        All of the file.
    """
    kind = suffix.lower()
    if kind not in _CONTENT:
        raise UnsafeArtifactError(
            f"an artifact with suffix {suffix or '(none)'} is refused, since loading it could run "
            f"code; keep weights as {', '.join(sorted(SAFE_SUFFIXES))}"
        )
    what, fits = _CONTENT[kind]
    if not fits(data):
        found = _described(data)
        raise UnsafeArtifactError(
            f"an artifact with suffix {suffix} is refused, since loading it could run code: its "
            f"content is {found} and not {what}; write it in the format its suffix says"
        )


def _is_json(data: bytes) -> bool:
    """Tell by the first character, which no pickle, archive or compressed file begins with."""
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")[:1]
    return start != b"" and start in b'{["-0123456789tfn' and _is_text(data)


def _is_text(data: bytes) -> bool:
    if b"\0" in data:
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not _is_pickle(data)


def _is_universal_binary_json(data: bytes) -> bool:
    return data[:1] in (b"{", b"[")


def _is_onnx(data: bytes) -> bool:
    """Tell by the tag of `ir_version`, the first field of every model."""
    return data[:1] == b"\x08"


def _is_parquet(data: bytes) -> bool:
    return len(data) > 8 and data[:4] == data[-4:] == b"PAR1"


def _is_array(data: bytes) -> bool:
    # Loaded where an array is at hand: registering a model needs none.
    from numpy.lib import format as npy

    file = io.BytesIO(data)
    try:
        version = npy.read_magic(file)
        if version == (1, 0):
            kind = npy.read_array_header_1_0(file)[2]
        elif version == (2, 0):
            kind = npy.read_array_header_2_0(file)[2]
        else:
            file.seek(0)
            kind = npy.read_array(file, allow_pickle=False).dtype
    except (ValueError, SyntaxError, TypeError, EOFError):
        return False
    # Objects are kept as a pickle behind the header.
    return not kind.hasobject


def _is_archive_of_arrays(data: bytes) -> bool:
    # An archive may follow other content, such as a pickle.
    if data[:2] != b"PK":
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return all(_is_array(archive.read(name)) for name in archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError):
        return False


def _is_pickle(data: bytes) -> bool:
    """Tell a pickle by its first byte, or, in the older text protocols, by following it.

    Following runs nothing. A text that happens to begin like an instruction soon breaks the rules
    of the stack.
    """
    if data[:1] == b"\x80":
        return True
    try:
        names = {opcode.name for opcode, _, _ in pickletools.genops(data)}
        if names.isdisjoint(IMPORTING):
            return False
        pickletools.dis(data, out=io.StringIO())
    except Exception:
        # Whatever a parser of foreign bytes stumbles over, the bytes are no pickle.
        return False
    return True


def _described(data: bytes) -> str:
    if not data:
        return "empty"
    if _is_pickle(data):
        return "a pickle"
    if data[:2] == b"PK":
        return "an archive that holds more than plain arrays"
    if data[:6] == b"\x93NUMPY":
        return "an array of Python objects"
    return f"bytes that begin with {data[:8]!r}"


_CONTENT: dict[str, tuple[str, Callable[[bytes], bool]]] = {
    ".json": ("JSON", _is_json),
    ".ubj": ("universal binary JSON", _is_universal_binary_json),
    ".onnx": ("an ONNX model", _is_onnx),
    ".parquet": ("a Parquet file", _is_parquet),
    ".npz": ("an archive of plain arrays", _is_archive_of_arrays),
    ".npy": ("a plain array", _is_array),
    ".csv": ("text in UTF-8", _is_text),
    ".txt": ("text in UTF-8", _is_text),
}
SAFE_SUFFIXES = frozenset(_CONTENT)
