"""The decisions between champions and challengers, for a person and as a document."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import Any

import pytest

from quant_mlops.database import Database
from quant_mlops.registry import ModelRegistry
from quant_mlops.registry.comparisons import record_comparison
from quant_mlops.training.comparison import Comparison, PairedDifference

HEADER = ["as of", "champion", "challenger", "IC p", "net p", "live"]
ROWS = [
    ["-", "small_ridge v1", "-", "-", "yes"],
    ["small_ridge v1", "small_ridge v2", "0.31", "0.07", "no"],
]


@pytest.fixture
def first(desk: Any, stock: Any) -> dict[str, Any]:
    """Add a verdict against the champion, and give the one that made it champion."""
    (only,) = desk("models", "verdicts", "--json").document
    comparison = Comparison(
        30, 0.02, 0.0077, -0.0123, 0.02, 0.3123, False, "not better",
        PairedDifference(30, 0.001, 0.0, -0.001, 0.0004, 0.0711),
    )  # fmt: skip
    with Database(os.environ["QUANT_MLOPS_DATABASE_URL"]) as database:
        registry = ModelRegistry(database, artifacts=stock.home / "artifacts")
        with database.transaction() as connection:
            record_comparison(
                connection,
                strategy_id="small",
                champion_id=only["challenger_id"],
                challenger_id=registry.register_model(
                    "small_ridge", "small", connection=connection
                ),
                snapshot_id=only["snapshot_id"],
                as_of=datetime.fromisoformat(only["as_of"]) + timedelta(days=61),
                promoted=False,
                reason="not better",
                evidence={"comparison": comparison.to_json()},
            )
    return dict(only)


def test_verdicts_are_shown_with_their_evidence_and_fit_a_terminal(
    desk: Any, first: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (first["champion"], first["challenger"], first["promoted"]) == (
        None, "small_ridge v1", True,
    )  # fmt: skip
    assert first["evidence"]["status"] == "promoted"
    found = desk("models", "verdicts", "--json").document
    assert found[0] == first
    assert (found[1]["champion"], found[1]["reason"]) == ("small_ridge v1", "not better")
    assert found[1]["evidence"]["comparison"]["returns"]["probability_better"] == 0.0711
    monkeypatch.setenv("COLUMNS", "80")
    lines = desk("models", "verdicts").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    cells = [
        [cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")]
        for line in lines
        if line[0] in "│┃"
    ]
    dates = [verdict["as_of"][:10] for verdict in found]
    assert cells == [HEADER, *([day, *row] for day, row in zip(dates, ROWS, strict=True))]


def test_without_a_decision_there_is_nothing_to_show(empty: Any) -> None:
    assert empty("models", "verdicts").stdout == "nothing to show\n"
    assert empty("models", "verdicts", "--json").document == []
