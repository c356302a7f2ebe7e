"""`db timescale` and `db retain`, on a server with TimescaleDB and on one without."""

from __future__ import annotations

import os
from typing import Any

import pytest

from quant_mlops.database import Database
from quant_mlops.database.hypertables import has_timescaledb


@pytest.fixture
def with_extension(database: Database) -> bool:
    return has_timescaledb(database)


def test_without_the_extension_each_command_says_what_is_missing(
    empty: Any, with_extension: bool
) -> None:
    if with_extension:
        pytest.skip("the server has TimescaleDB")
    assert "put timescaledb into shared_preload_libraries" in empty.fails(
        "db", "timescale", "enable"
    )
    assert empty("db", "timescale", "disable", "--json").document == {"disabled": False}
    sentence = empty.fails("db", "retain", "feature_events", "--before", "2020-01-01")
    assert "feature_events is a plain table" in sentence
    assert empty("db", "status", "--json").document["hypertables"] == []


def test_a_table_that_has_no_chunks_is_wrong_usage(empty: Any) -> None:
    assert empty("db", "retain", "alerts", "--before", "2020-01-01").status == 2
    assert empty("db", "retain", "feature_events").status == 2


def test_there_and_back_and_what_is_older_is_dropped(desk: Any, with_extension: bool) -> None:
    if not with_extension:
        pytest.skip("the server has no TimescaleDB; name one in QUANT_MLOPS_TEST_DATABASE_URL")
    events = "SELECT count(*), min(event_time) FROM feature_events"
    with Database(os.environ["QUANT_MLOPS_DATABASE_URL"]) as database:
        before = database.fetch_one(events)
        assert desk("db", "timescale", "disable", "--json").document == {"disabled": True}
        assert desk("db", "migrate").status == 0
        assert desk("db", "status", "--json").document["hypertables"] == []
        enabled = desk("db", "timescale", "enable", "--json").document["hypertables"]
        assert {table["hypertable_name"] for table in enabled} == {
            "price_bars", "feature_events", "predictions", "feature_drift",
        }  # fmt: skip
        assert "feature_events" in desk("db", "status").stdout
        assert database.fetch_one(events) == before
        asked = ("db", "retain", "feature_events", "--before", "2022-01-01")
        shown = desk(*asked, "--json").document
        assert (shown["dropped"], shown["rows"] > 0, len(shown["chunks"])) == (False, True, 1)
        assert "nothing was dropped; say --yes" in desk(*asked).stderr
        (lost,) = shown["training_sets"]
        assert (lost["strategy"], lost["models"]) == ("small", ["small_ridge v1"])
        assert desk(*asked, "--yes").status == 2
        assert database.fetch_one(events) == before
        assert f"dropped {shown['rows']:,} rows" in desk(*asked, "--yes", "--by", "ann").stderr
        assert database.fetch_one("SELECT count(*) FROM feature_events") == (
            before[0] - shown["rows"],  # type: ignore[index]
        )
        verified = desk("snapshot", "verify", lost["fingerprint"])
        assert verified.status == 0
        assert "were dropped by retention on" in verified.stdout
