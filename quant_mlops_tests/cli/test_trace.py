"""`quant-mlops trace` shows a prediction's origin to a person and to a program."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from quant_mlops.market.calendar import TradingCalendar


@pytest.fixture
def decided(calendar: TradingCalendar, sessions: list[date]) -> datetime:
    return calendar.open_time(sessions[-3])


def test_the_document_holds_everything(desk: Any, decided: datetime) -> None:
    found = desk("trace", "T03", decided.isoformat(), "--json").document
    assert (found["exact"], found["verdict"], found["later"]) == (True, "matches", [])
    assert found["prediction"]["event_time"] == decided.isoformat()
    assert found["digest"] == found["prediction"]["feature_digest"]
    # In the order in which the model takes them, which JSON in PostgreSQL does not keep.
    position = {name: entry["position"] for name, entry in found["snapshot"]["features"].items()}
    assert [f["feature_name"] for f in found["features"]] == sorted(position, key=position.get)
    assert found["model"]["snapshot_id"] == found["snapshot"]["snapshot_id"]
    assert found["deployment"]["model_id"] == found["model"]["model_id"]
    assert found["training"]["seed"] == 7
    assert found["training"]["code_version"]


def test_a_person_reads_it_in_80_columns(
    desk: Any, decided: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    later = decided + timedelta(hours=2)
    found = desk("trace", "T03", later.isoformat())
    assert found.status == 0
    assert max(map(len, found.stdout.splitlines())) <= 80
    text = " ".join(found.stdout.split())
    for part in ("Prediction", "Model", "Training", "Features, as known", "Who wrote them"):
        assert part in text
    assert "the newest since the open before it" in text
    assert "matches: these are the values that were used" in text
    assert f"{decided:%Y-%m-%d}" in text


def test_a_date_is_a_session(desk: Any, decided: datetime) -> None:
    found = desk("trace", "T03", f"{decided:%Y-%m-%d}", "--json").document
    assert found["prediction"]["event_time"] == decided.isoformat()


def test_a_prediction_that_is_not_there_fails_with_the_nearest(
    desk: Any, sessions: list[date]
) -> None:
    sentence = desk.fails("trace", "T03", f"{sessions[0]}")
    assert f"no prediction of T03 for the session {sessions[0]}; the nearest" in sentence
    assert "nothing was ever predicted for NONE" in desk.fails("trace", "NONE", f"{sessions[-3]}")
    assert json.loads(desk("trace", "T03", f"{sessions[-3]}", "--json").stdout)


def test_a_time_that_is_none_is_wrong_usage(desk: Any) -> None:
    found = desk("trace", "T03", "yesterday")
    assert (found.status, found.stdout) == (2, "")
    assert "is no ISO 8601 time" in found.stderr
