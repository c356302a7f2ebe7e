"""Training sets and artifacts at URIs, through every command that reads or writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from quant_mlops.storage import read_bytes, write_bytes

AS_OF = "2022-03-15T22:00+00:00"


@pytest.fixture(params=["file", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"file://{tmp_path}/far away" if request.param == "file" else f"memory://{uuid4().hex}"
    monkeypatch.setenv("QUANT_MLOPS_SNAPSHOTS", f"{name}/snapshots")
    monkeypatch.setenv("QUANT_MLOPS_ARTIFACTS", f"{name}/artifacts")
    return name


def test_training_reads_and_writes_at_a_uri_and_is_proven_from_there(desk: Any, root: str) -> None:
    trained = desk("models", "train", "--as-of", AS_OF, "--json")
    assert trained.status == 0, trained
    snapshot = desk("snapshot", "list", "--json").document[0]
    assert snapshot["uri"].startswith(f"{root}/snapshots/small/")
    model = desk("models", "show", "small_ridge", "2", "--json").document
    assert all(f"{root}/artifacts/" in str(a) for a in model["artifacts"]), model["artifacts"]

    shown = desk("snapshot", "show", snapshot["snapshot_id"])
    assert (shown.status, snapshot["fingerprint"] in shown.stdout) == (0, True)
    verified = desk("snapshot", "verify", snapshot["snapshot_id"], "--json").document
    assert (verified["intact"], verified["reproducible"]) == (True, True)
    older = desk("snapshot", "list", "--json").document[-1]
    diff = desk("snapshot", "diff", older["snapshot_id"], snapshot["snapshot_id"], "--json")
    assert diff.document["rows_new"] > 0
    since = desk("snapshot", "diff", snapshot["snapshot_id"], "--json").document
    assert (since["identical"], since["cells_changed"]) == (True, 0)

    again = desk("models", "reproduce", "small_ridge", "2", "--json").document
    assert [part["identical"] for part in again["parts"]] == [True] * 4
    checked = desk("models", "verify", "small_ridge", "2", "--json").document
    proven = {i["item"] for i in checked["items"] if i["verdict"] == "proven"}
    assert {"training data", "weights", "evaluation metrics"} <= proven
    assert not (Path.cwd() / "memory:").exists()


def test_a_changed_file_at_a_uri_is_named_with_its_cells(desk: Any, root: str) -> None:
    built = desk("snapshot", "build", "--as-of", AS_OF, "--json").document
    name = "data.parquet" if root.startswith("file") else f"{built['file_sha256']}.parquet"
    data = bytearray(read_bytes(f"{built['uri']}/{name}"))
    data[len(data) // 2] ^= 1
    write_bytes(f"{built['uri']}/{name}", bytes(data))
    found = desk("snapshot", "verify", built["snapshot_id"], "--json")
    assert found.status == 1
    assert (found.document["intact"], found.document["reproducible"]) == (False, True)
    assert name in found.document["file_problem"]
    assert "SHA-256" in desk.fails("models", "train", "--as-of", AS_OF)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("nosuch://bucket/x", "nosuch://bucket/x/small/"),
        ("sftp://ann:hunter2@host/x", "QUANT_MLOPS_SNAPSHOTS of the environment"),
    ],
)
def test_a_location_that_cannot_be_used_is_one_sentence(
    desk: Any, monkeypatch: pytest.MonkeyPatch, value: str, sentence: str
) -> None:
    monkeypatch.setenv("QUANT_MLOPS_SNAPSHOTS", value)
    said = desk.fails("snapshot", "build", "--as-of", AS_OF)
    assert sentence in said
    assert "hunter2" not in said
