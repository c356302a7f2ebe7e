"""What is live has a verdict behind it, is the first model, or is known to have neither."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest

from quant_mlops.database import Database
from quant_mlops.registry import ModelRegistry
from quant_mlops.registry.comparisons import record_comparison
from quant_mlops.registry.live_verdict import live_verdict

DAYS = [datetime(2024, 1, day, 21, tzinfo=UTC) for day in (5, 12, 19)]


@pytest.fixture
def ids(versions: Callable[[int], list[UUID]]) -> list[UUID]:
    return versions(3)


@pytest.fixture
def decide(
    database: Database, registry: ModelRegistry, ids: list[UUID], snapshot_id: UUID
) -> Callable[..., None]:
    """Give a function that stores a verdict on the n-th version and promotes it where told."""

    def decide(nth: int, *, promoted: bool = True, live: bool = True) -> None:
        with database.transaction() as connection:
            record_comparison(
                connection, strategy_id="momentum", champion_id=ids[0] if nth else None,
                challenger_id=ids[nth], snapshot_id=snapshot_id, as_of=DAYS[nth],
                promoted=promoted, reason=f"verdict {nth}", evidence={},
            )  # fmt: skip
        if live:
            registry.promote(
                "m", nth + 1, "momentum", by="gate", reason="so", effective_from=DAYS[nth]
            )

    return decide


def test_without_a_live_model_there_is_nothing_to_justify(database: Database) -> None:
    found = live_verdict(database, "momentum")
    assert (found.deployment, found.justified) == (None, True)


def test_the_first_model_and_one_with_a_verdict_are_justified(
    database: Database, decide: Callable[..., None]
) -> None:
    decide(0)
    assert live_verdict(database, "momentum").reason == "first model of the strategy"
    decide(1)
    found = live_verdict(database, "momentum")
    assert (found.justified, found.reason) == (True, "verdict 1")


@pytest.mark.parametrize("verdict", [None, False])
def test_a_promotion_that_no_verdict_made_is_not(
    database: Database, registry: ModelRegistry, decide: Callable[..., None], verdict: bool | None
) -> None:
    decide(0)
    if verdict is not None:
        decide(1, promoted=False, live=False)
    registry.promote("m", 2, "momentum", by="ann", reason="a hunch", effective_from=DAYS[1])
    found = live_verdict(database, "momentum")
    assert not found.justified
    assert "m v2 was made live by ann (a hunch)" in found.reason


def test_a_rollback_is_as_good_as_what_it_leads_back_to(
    database: Database, registry: ModelRegistry, decide: Callable[..., None]
) -> None:
    decide(0)
    decide(1)
    registry.promote("m", 3, "momentum", by="ann", reason="a hunch", effective_from=DAYS[2])
    assert not live_verdict(database, "momentum").justified
    registry.rollback("momentum", by="bob", reason="worse")
    back = live_verdict(database, "momentum")
    assert (back.justified, back.reason) == (True, "rolled back to by bob: verdict 1")
    registry.rollback("momentum", by="bob", reason="still worse")
    further = live_verdict(database, "momentum")
    assert further.justified
    assert further.reason == "rolled back to by bob: first model of the strategy"


def test_a_rollback_to_what_was_promoted_by_hand_is_not_justified(
    database: Database, registry: ModelRegistry, decide: Callable[..., None]
) -> None:
    decide(0)
    registry.promote("m", 2, "momentum", by="ann", reason="a hunch", effective_from=DAYS[1])
    decide(2)
    registry.rollback("momentum", by="bob", reason="worse")
    assert "made live by ann (a hunch)" in live_verdict(database, "momentum").reason
