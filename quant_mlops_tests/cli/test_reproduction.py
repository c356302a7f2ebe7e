"""A model made again, and the checklist of what that needs, by command."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import pytest

from quant_mlops.database import Database
from quant_mlops.features.store import FeatureStore
from quant_mlops.market.calendar import trading_calendar

ITEMS = [
    "code version", "feature versions", "training data", "parameters", "weights",
    "evaluation metrics",
]  # fmt: skip
PARTS = ["data", "weights", "predictions", "metrics"]


@contextmanager
def opened() -> Iterator[Database]:
    with Database(os.environ["QUANT_MLOPS_DATABASE_URL"]) as database:
        yield database


@pytest.fixture
def clean(desk: Any) -> Any:
    """Give a desk whose model was trained with code that is known and committed."""
    with opened() as database:
        database.execute(
            "UPDATE model_training_runs SET code_dirty = false, code_version = 'quant-mlops 1.0'"
        )
    return desk


def verdicts(found: Any) -> dict[str, str]:
    items = found.document["items"]
    assert [item["item"] for item in items] == ITEMS
    return {item["item"]: item["verdict"] for item in items}


def test_a_model_is_made_again_bit_by_bit_and_the_verdict_stays(clean: Any) -> None:
    assert clean("models", "verify", "small_ridge", "--json").document["reproduction"] is None
    found = clean("models", "reproduce", "small_ridge", "1", "--json")
    assert found.status == 0, found
    document = found.document
    assert [part["part"] for part in document["parts"]] == PARTS
    assert [part["identical"] for part in document["parts"]] == [True] * 4
    assert "weights.npz, scaler.npz" in document["parts"][1]["detail"]
    verified = clean("models", "verify", "small_ridge", "--json")
    assert verified.status == 0
    assert set(verdicts(verified).values()) == {"proven"}
    assert verified.document["reproduction"] == document
    shown = clean("models", "verify", "small_ridge").stdout
    assert all(item in shown for item in ITEMS)
    assert "identical" in shown


def test_where_a_model_differs_first_is_named(clean: Any, sessions: list[date], forge: Any) -> None:
    snapshot = clean("snapshot", "list", "--json").document[0]
    last = date.fromisoformat(snapshot["last_session"])
    calendar = trading_calendar("XNYS")
    before = sessions[sessions.index(last) - 120]
    event = calendar.close_time(before)
    lag = calendar.open_time(calendar.next(before)) - event
    with opened() as database:
        FeatureStore(database).write_features("T04", event, {"vol_20d": 9.0}, availability_lag=lag)
        forge(database, "UPDATE model_metrics SET value = 9 WHERE metric_name = 'hit_rate'")
    found = clean("models", "reproduce", "small_ridge", "1", "--json")
    assert found.status == 1
    details = {part["part"]: part["detail"] for part in found.document["parts"]}
    assert [part["identical"] for part in found.document["parts"]] == [False] * 4
    assert f"first vol_20d of T04 on {calendar.next(before)}" in details["data"]
    assert "weights.npz, weights[0]: " in details["weights"]
    assert "rows differ" not in details["predictions"]
    assert "differ by up to" in details["predictions"]
    assert "_train: " in details["metrics"]
    shown = clean("models", "verify", "small_ridge")
    assert shown.status == 1
    assert "DIFFERENT" in shown.stdout


@pytest.mark.parametrize(
    ("statement", "item", "verdict", "words"),
    [
        ("UPDATE model_training_runs SET code_dirty = true", "code version", "unproven", "nobody"),
        (
            "UPDATE model_training_runs SET code_version = 'git 00000000'",
            "code version", "unproven", "not in this checkout",
        ),
        (
            "UPDATE feature_definitions SET logic_hash = 'abc' WHERE feature_name = 'ret_5d'",
            "feature versions", "failed", "ret_5d@1 was",
        ),
        (
            "UPDATE training_snapshots SET file_sha256 = repeat('0', 64)",
            "training data", "failed", "tampered",
        ),
        (
            "UPDATE models SET params = params || '{\"seed\": 8}'",
            "parameters", "failed", "seed",
        ),
        (
            "UPDATE model_artifacts SET checksum = repeat('0', 64) WHERE artifact_type LIKE 'sca%'",
            "weights", "failed", "0000000000",
        ),
        (
            "UPDATE model_metrics SET value = 0.5 WHERE metric_name = 'ic_mean'",
            "evaluation metrics", "failed", "ic_mean_train was registered as 0.5",
        ),
    ],
)  # fmt: skip
def test_what_speaks_against_a_model_is_said_with_its_proof(
    clean: Any, forge: Any, statement: Any, item: str, verdict: str, words: str
) -> None:
    with opened() as database:
        forge(database, statement)
    found = clean("models", "verify", "small_ridge", "--json")
    assert found.status == (verdict == "failed")
    assert verdicts(found)[item] == verdict
    proof = next(each["proof"] for each in found.document["items"] if each["item"] == item)
    assert words in proof


def test_a_model_registered_by_hand_is_unproven_and_cannot_be_made_again(desk: Any) -> None:
    from quant_mlops.registry import ModelRegistry

    with opened() as database:
        ModelRegistry(database).register_model("by_hand", "small")
    found = desk("models", "verify", "by_hand", "--json")
    assert found.status == 0
    assert set(verdicts(found).values()) == {"unproven"}
    assert "without a training snapshot" in desk.fails("models", "reproduce", "by_hand", "1")


def test_what_retention_took_from_the_training_set_is_said_and_speaks_against_nothing(
    clean: Any,
) -> None:
    with opened() as database:
        database.execute(
            "INSERT INTO retentions (table_name, dropped_until, row_count, snapshot_ids, "
            "dropped_by) SELECT 'price_bars', '2021-06-01', 9, array_agg(snapshot_id), 'ann' "
            "FROM training_snapshots"
        )
    found = clean("models", "verify", "small_ridge", "--json")
    assert found.status == 0
    assert verdicts(found)["training data"] == "unproven"
    words = "rows of price_bars before 2021-06-01 were dropped by retention on "
    proof = next(i["proof"] for i in found.document["items"] if i["item"] == "training data")
    assert proof.startswith(f"the file is as written, but {words}")
    assert words in clean.fails("models", "reproduce", "small_ridge", "1")
    assert clean("models", "verify", "small_ridge", "--json").document["reproduction"] is None
