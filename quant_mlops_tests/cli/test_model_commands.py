"""What one version was made of, its runs, promotion by compare-and-set, and deletion."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from quant_mlops.database import Database
from quant_mlops.registry import ModelRegistry

WHO = ("--by", "ann", "--reason", "review")


@pytest.fixture
def registry(desk: Any, stock: Any) -> Iterator[ModelRegistry]:
    with Database(os.environ["QUANT_MLOPS_DATABASE_URL"]) as database:
        yield ModelRegistry(database, artifacts=stock.home / "artifacts")


def test_a_version_is_shown_with_what_it_was_made_of(desk: Any, registry: ModelRegistry) -> None:
    found = registry.get_model("small_ridge")
    assert found is not None
    registry.set_tag(found.model_id, "stage", "[final]", by="ann")
    document = desk("models", "show", "small_ridge", "--json").document
    assert document["model"]["version"] == 1
    assert document["metrics"] == registry.get_metrics(found.model_id)
    assert set(document["snapshot"]["features"]) == {"ret_5d", "reversal_1d", "vol_20d"}
    assert all(len(f["logic_hash"]) == 64 for f in document["snapshot"]["features"].values())
    assert document["training_run"]["status"] == "completed"
    assert document["training_run"]["library_versions"]["numpy"]
    assert {a["artifact_type"] for a in document["artifacts"]} == {
        "config.json", "scaler.npz", "weights.npz",
    }  # fmt: skip
    assert [d["strategy_id"] for d in document["deployments"]] == ["small"]
    assert (document["revised"]["cells_changed"], document["revised"]["rows_new"]) == (0, 0)
    assert document["revised"]["cells_compared"] == document["snapshot"]["row_count"] * 7
    assert (
        desk("models", "show", "small_ridge", "--no-revisions", "--json").document["revised"]
        is None
    )
    assert document["tags"] == {"stage": "[final]"}
    # As tables name it.
    named = desk("models", "show", "small_ridge", "v1", "--no-revisions", "--json").document
    assert named["model"] == document["model"]
    wrong = desk("models", "show", "small_ridge", "one")
    assert wrong.status == 2
    assert "'one' is not a valid" in wrong.stderr


def test_what_is_shown_of_a_version_fits_80_columns(
    desk: Any, registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = registry.get_model("small_ridge")
    assert found is not None
    registry.set_tag(found.model_id, "stage", "final", by="ann")
    monkeypatch.setenv("COLUMNS", "80")
    for arguments in (("show", "small_ridge"), ("runs",), ("list",)):
        lines = desk("models", *arguments).stdout.splitlines()
        assert max(map(len, lines)) <= 80
    text = desk("models", "show", "small_ridge").stdout
    lineage = registry.lineage(found.model_id)
    assert lineage.snapshot is not None
    for wanted in (
        lineage.snapshot.fingerprint[:16],
        f"{lineage.snapshot.row_count:,} rows",
        "ret_5d@1",
        "numpy ",
        "stage = final",
        "small from ",
    ):
        assert wanted in text, text


def test_a_version_registered_by_hand_is_shown_without_what_it_lacks(
    desk: Any, registry: ModelRegistry
) -> None:
    registry.register_model("small_ridge", "small")
    document = desk("models", "show", "small_ridge", 2, "--json").document
    assert (document["snapshot"], document["training_run"]) == (None, None)
    assert desk("models", "show", "small_ridge", 2).status == 0


def test_runs_are_listed_and_those_whose_process_is_gone_have_failed(
    desk: Any, registry: ModelRegistry
) -> None:
    registry.database.execute(
        "INSERT INTO model_training_runs (run_id, training_key, params, snapshot_id, status) "
        "SELECT gen_random_uuid(), 'killed', '{}', snapshot_id, 'running' FROM training_snapshots"
    )
    killed, trained = desk("models", "runs", "--json").document
    assert (killed["status"], killed["error"]) == ("failed", "the process ended without a word")
    assert (trained["status"], trained["name"], trained["version"]) == (
        "completed", "small_ridge", 1,
    )  # fmt: skip
    assert desk("models", "runs", "--status", "failed", "--json").document == [killed]
    assert desk("models", "runs", "--last", "1", "--json").document == [killed]
    text = desk("models", "runs").stdout
    assert "small_ridge v1" in text
    assert "without a word" in text
    assert desk("models", "runs", "--status", "running").stdout == "nothing to show\n"
    assert desk("models", "runs", "--status", "done").status == 2


@pytest.fixture
def second(registry: ModelRegistry) -> None:
    """Register version 2 on the training set of version 1."""
    first = registry.get_model("small_ridge")
    assert first is not None
    registry.register_model("small_ridge", "small", snapshot_id=first.snapshot_id)


@pytest.mark.usefixtures("second")
def test_a_promotion_may_expect_what_is_live(desk: Any) -> None:
    promote = ("models", "promote", "small_ridge", 2, *WHO)
    for expected in ("none", "small_ridge:2"):
        sentence = desk.fails(*promote, "--expected-current", expected)
        assert "small_ridge v1, " in sentence
        assert "was expected" in sentence
    assert "no small_ridge v7" in desk.fails(*promote, "--expected-current", "small_ridge:7")
    done = desk(*promote, "--expected-current", "small_ridge:1", "--json").document
    assert (done["version"], done["live_until"]) == (2, None)


@pytest.mark.parametrize("expected", ["small_ridge", "small_ridge:", ":1", "small_ridge:v1", ""])
def test_an_expectation_in_another_form_is_wrong_usage(shell: Any, expected: str) -> None:
    found = shell("models", "promote", "small_ridge", 1, *WHO, "--expected-current", expected)
    assert found.status == 2
    assert "neither NAME:VERSION" in found.stderr


def test_what_could_not_be_served_is_not_promoted(desk: Any, registry: ModelRegistry) -> None:
    registry.register_model("mean_rev", "fx")
    registry.register_model("by_hand", "small")
    for name, words in (("mean_rev", "a model of fx and not of small"), ("by_hand", "snapshot")):
        assert words in desk.fails("models", "promote", name, 1, *WHO)
    live = registry.live_model("small")
    assert live is not None
    assert live.name == "small_ridge"


@pytest.mark.usefixtures("second")
def test_a_promotion_may_hold_from_a_time(desk: Any, registry: ModelRegistry) -> None:
    promote = ("models", "promote", "small_ridge", 2, *WHO, "--from")
    assert "would rewrite that" in desk.fails(*promote, "2001-01-02")
    done = desk(*promote, "2022-12-01T09:30", "--json").document
    start = datetime(2022, 12, 1, 14, 30, tzinfo=UTC)
    assert datetime.fromisoformat(done["live_from"]) == start
    before = registry.live_model("small", at=start - timedelta(microseconds=1))
    assert before is not None
    assert before.version == 1
    assert desk(*promote, "yesterday").status == 2


def test_a_version_is_deleted_with_who_and_why(desk: Any, registry: ModelRegistry) -> None:
    registry.register_model("small_ridge", "small")
    done = desk("models", "delete", "small_ridge", 2, *WHO, "--json").document
    assert (done["version"], done["deleted_by"], done["reason"]) == (2, "ann", "review")
    assert done["record"]["model"]["name"] == "small_ridge"
    assert [m["model"]["version"] for m in desk("models", "list", "--json").document] == [1]
    registry.register_model("small_ridge", "small")
    found = desk("models", "delete", "small_ridge", 3, *WHO)
    assert found.stderr == "small_ridge v3 is deleted; its record is kept\n"
    assert "no small_ridge v3" in desk.fails("models", "delete", "small_ridge", 3, *WHO)


def test_a_version_that_the_record_names_is_not_deleted(desk: Any) -> None:
    sentence = desk.fails("models", "delete", "small_ridge", 1, *WHO)
    assert "small_ridge v1 cannot be deleted: it is or was live for small; " in sentence
    assert "signals were predicted with it for small" in sentence
    assert desk("models", "delete", "small_ridge", 1, "--by", "ann").status == 2


def test_models_are_found_by_their_tags_and_ordered_by_a_metric(
    desk: Any, registry: ModelRegistry
) -> None:
    other = registry.register_model("other", "small")
    registry.log_metrics(other, {"ic_mean": 9.0}, "test")
    registry.register_model("without", "small")
    ordered = desk("models", "list", "--order-by", "-ic_mean_test", "--json").document
    assert [f["model"]["name"] for f in ordered] == ["other", "small_ridge", "without"]
    first = desk("models", "list", "--order-by", "-ic_mean_test", "--last", "1", "--json")
    assert first.document == ordered[:1]
    assert desk("models", "tag", "other", "1", "stage=review", "--by", "ann").status == 0
    for wanted in ("stage=review", "stage"):
        (found,) = desk("models", "list", "--tag", wanted, "--json").document
        assert found["model"]["name"] == "other"
    assert desk("models", "list", "--tag", "stage=live", "--json").document == []
    history = desk(
        "models", "tag", "other", "1", "stage", "--remove", "--by", "bob", "--json"
    ).document
    assert [(c["value"], c["set_by"]) for c in history] == [("review", "ann"), (None, "bob")]
    assert desk("models", "list", "--tag", "stage", "--json").document == []


@pytest.mark.parametrize("arguments", [("stage",), ("stage=x", "--remove"), ("=x",), ("stage=",)])
def test_a_tag_that_cannot_be_meant_is_wrong_usage(desk: Any, arguments: tuple[str, ...]) -> None:
    assert desk("models", "tag", "small_ridge", "1", *arguments, "--by", "ann").status == 2


def test_where_there_are_several_strategies_a_model_names_its_own(
    beside_another: Any, registry: ModelRegistry
) -> None:
    second = registry.register_model("small_ridge", "small")
    first = registry.get_model("small_ridge", 1)
    assert first is not None
    models = partial(beside_another, "models")
    assert [m["model"]["version"] for m in models("list", "--json").document] == [1, 2]
    assert models("list", "--strategy", "other", "--json").document == []
    assert models("tag", "small_ridge", 2, "stage=review", "--by", "ann").status == 0
    assert models("show", second, "--no-revisions", "--json").document["tags"] == {
        "stage": "review"
    }
    assert models("delete", "small_ridge", 2, *WHO).status == 0
    verified = models("verify", first.model_id)
    assert "3 of 3 logic hashes in the store, 3 in the code" in verified.stdout
    (command,) = re.findall("never reproduced; `quant-mlops (.*)`", verified.stdout)
    assert beside_another(*command.split()).status == 0
    again = models("promote", "small_ridge", 1, *WHO, "--json")
    assert again.document["strategy_id"] == "small"
    assert "not of other" in beside_another.fails(
        "models", "promote", "small_ridge", 1, *WHO, "--strategy", "other"
    )
    alerts = beside_another("alerts", "list")
    assert "small: " in alerts.stdout
    assert "state of other: active, position scale 1\n" in alerts.stdout
    of_one = beside_another("alerts", "list", "--strategy", "other", "--json").document
    assert (of_one["alerts"], of_one["state"]["strategy_id"]) == ([], "other")
    unknown = beside_another.fails("models", "show", first.snapshot_id)
    assert f"there is no model with id {first.snapshot_id}" in unknown
