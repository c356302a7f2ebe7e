"""A suffix is a promise, and the content is held to it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quant_mlops.errors import UnsafeArtifactError
from quant_mlops.registry.artifact_formats import SAFE_SUFFIXES, refuse_unsafe
from quant_mlops.registry.artifact_store import ArtifactStore


class Exploit:
    """What an attacker would have run by whoever loads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("pwned",)


def archive(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        for name, data in members.items():
            written.writestr(name.replace("__", "/").replace("_", "."), data)
    return file.getvalue()


def saved(kind: str, *arrays: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, *arrays) if kind == "npy" else np.savez(file, *arrays)
    return file.getvalue()


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"x": [1, 2]}), file)
    return file.getvalue()


def version_3() -> bytes:
    """Return an array whose header is in UTF-8, as names of other scripts need it."""
    header = b"{'descr': [('\xe5\x8a\xa8', '<f8')], 'fortran_order': False, 'shape': (1,), }\n"
    return b"\x93NUMPY\x03\x00" + struct.pack("<I", len(header)) + header + bytes(8)


OBJECTS = np.array([Exploit()], dtype=object)
NESTED = np.array([(1, Exploit())], dtype=[("a", "i4"), ("b", "O")])
PICKLES = {f"protocol {p}": pickle.dumps(Exploit(), protocol=p) for p in range(6)}
TORCH = archive(model__data_pkl=PICKLES["protocol 2"], model__version=b"3\n")
REFUSED = PICKLES | {
    "pickle of plain data": pickle.dumps({"w": 1}),
    "compressed pickle": gzip.compress(PICKLES["protocol 4"]),
    "array of objects": saved("npy", OBJECTS),
    "array with a field of objects": saved("npy", NESTED),
    "archive with an array of objects": saved("npz", np.ones(2), OBJECTS),
    "archive with a pickle": archive(data_pkl=PICKLES["protocol 4"]),
    "archive with a pickle named as an array": archive(data_npy=PICKLES["protocol 4"]),
    "torch": TORCH,
    "pickle before an archive": PICKLES["protocol 4"] + saved("npz", np.ones(2)),
    "compiled code": b"\x7fELF\x02\x01\x01\x00",
}
ACCEPTED = {
    ".json": [b"{}", b" [1, 2]\n", b'"x"', b"-1.5", b"null", b"\xef\xbb\xbf{}",
              json.dumps({"动": 1}, ensure_ascii=False).encode()],
    ".ubj": [b"{L\x00\x00", b"[$d#"],
    ".onnx": [b"\x08\x07\x12\x07pytorch\x1a\x00"],
    ".parquet": [parquet()],
    ".npz": [saved("npz", np.ones((2, 3)), np.array(["x"]), np.arange(3)), saved("npz")],
    ".npy": [saved("npy", np.zeros((0, 3))), saved("npy", np.zeros(2, dtype=[("a", "f8")])),
             version_3()],
    ".csv": [b"close,volume\n1.5,2\n", b"", b"C" * 110 + b".", b"cats\nand\ndogs\n",
             b"Ic\nclose\n0.5\n", "动,b\n".encode()],
    ".txt": [b"0.", b".", b"N.", b"I1\n.", b"(dp0\n.", b"ridge, seed 7\n"],
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("suffix", sorted(SAFE_SUFFIXES))
def test_what_runs_code_is_refused_whatever_its_suffix(
    suffix: str, what: str, tmp_path: Path
) -> None:
    for name in (suffix, suffix.upper()):
        with pytest.raises(UnsafeArtifactError, match=rf"suffix {name} is refused, .* run code"):
            refuse_unsafe(name, REFUSED[what])
    with pytest.raises(UnsafeArtifactError):
        ArtifactStore(str(tmp_path)).put(REFUSED[what], suffix)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", sorted(SAFE_SUFFIXES))
def test_what_is_of_its_format_is_accepted(suffix: str, tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    for data in ACCEPTED[suffix]:
        stored = store.put(data, suffix)
        assert store.read(stored.uri, stored.checksum) == data


@pytest.mark.parametrize("binary", [".parquet", ".npz", ".npy", ".onnx"])
def test_formats_are_not_taken_for_each_other(binary: str) -> None:
    for other in SAFE_SUFFIXES - {binary}:
        pairs = [(other, data) for data in ACCEPTED[binary]]
        for suffix, data in [*pairs, *((binary, data) for data in ACCEPTED[other])]:
            with pytest.raises(UnsafeArtifactError):
                refuse_unsafe(suffix, data)


@pytest.mark.parametrize(
    ("what", "described"),
    [
        ("protocol 0", "a pickle and not text"),
        ("protocol 4", "a pickle and not text"),
        ("torch", "an archive that holds more than plain arrays"),
        ("array of objects", "an array of Python objects"),
        ("compiled code", r"bytes that begin with b'\\x7fELF.* and not text"),
    ],
)
def test_the_refusal_says_what_was_found(what: str, described: str) -> None:
    with pytest.raises(UnsafeArtifactError, match=f"its content is {described}"):
        refuse_unsafe(".csv", REFUSED[what])


def test_no_prefix_of_a_file_and_no_noise_breaks_the_look_at_it() -> None:
    chance = np.random.default_rng(3)
    whole = [*REFUSED.values(), *(data for examples in ACCEPTED.values() for data in examples)]
    noise = [chance.integers(0, 256, 40, dtype=np.uint8).tobytes() for _ in range(200)]
    cut = [data[:length] for data in whole for length in (1, 2, 7, len(data) - 3)]
    heads = [head + data for head in (b"PK\x03\x04", b"\x93NUMPY\x01\x00") for data in noise]
    for data in [*noise, *cut, *heads]:
        for suffix in SAFE_SUFFIXES:
            try:
                refuse_unsafe(suffix, data)
            except UnsafeArtifactError:
                continue
            assert not data.startswith(b"\x80")


def test_what_was_stored_before_it_was_looked_at_is_refused_on_loading(tmp_path: Path) -> None:
    data = REFUSED["archive with an array of objects"]
    trusting = ArtifactStore(str(tmp_path), frozenset([hashlib.sha256(data).hexdigest()]))
    stored = trusting.put(data, ".npz")
    assert trusting.read(stored.uri, stored.checksum) == data
    with pytest.raises(UnsafeArtifactError, match="more than plain arrays"):
        ArtifactStore(str(tmp_path)).read(stored.uri, stored.checksum)
