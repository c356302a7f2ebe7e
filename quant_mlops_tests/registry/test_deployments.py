"""At every instant one model is live, and the record of it cannot be rewritten."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import psycopg
import pytest

from quant_mlops.database import Database
from quant_mlops.errors import ModelNotFoundError, PromotionConflictError, RegistryError
from quant_mlops.registry import ModelRegistry, deployments
from quant_mlops.registry.records import Deployment

Versions = Callable[[int], list[UUID]]
WHY = {"by": "ann", "reason": "test"}


def day(number: int) -> datetime:
    return datetime(2024, 1, number, 21, tzinfo=UTC)


def promote(registry: ModelRegistry, version: int, on: int, **changes: object) -> Deployment:
    return registry.promote("m", version, "momentum", effective_from=day(on), **(WHY | changes))


def live(registry: ModelRegistry, at: datetime | None = None) -> int | None:
    found = registry.live_model("momentum", at)
    return None if found is None else found.version


def test_which_version_was_live_can_be_told_for_any_time(
    registry: ModelRegistry, versions: Versions
) -> None:
    versions(3)
    assert live(registry) is None
    for version, on in ((1, 2), (3, 5), (2, 9)):
        assert promote(registry, version, on).version == version
    microsecond = timedelta(microseconds=1)
    changes = {1: None, 2: 1, 4: 1, 5: 3, 8: 3, 9: 2, 30: 2}
    assert {number: live(registry, day(number)) for number in changes} == changes
    assert live(registry, day(5) - microsecond) == 1
    assert live(registry, day(9) - microsecond) == 3
    assert live(registry) == 2
    spans = registry.deployments("momentum")
    assert [(d.version, d.live_from, d.live_until) for d in spans] == [
        (1, day(2), day(5)), (3, day(5), day(9)), (2, day(9), None),
    ]  # fmt: skip
    assert registry.deployments("reversal") == []


def test_who_promoted_and_why_is_kept(registry: ModelRegistry, versions: Versions) -> None:
    versions(1)
    done = promote(registry, 1, 2, by="O'Hara", reason='beats "v0"', evidence={"p": 0.9})
    assert (done.promoted_by, done.reason, done.evidence) == (
        "O'Hara", 'beats "v0"', {"p": 0.9},
    )  # fmt: skip
    for missing in ({"by": " "}, {"reason": ""}):
        with pytest.raises(RegistryError, match="who makes it and why"):
            promote(registry, 1, 3, **missing)


def test_of_two_promotions_that_expect_the_same_one_wins(
    registry: ModelRegistry, versions: Versions
) -> None:
    first, *_ = versions(3)
    promote(registry, 1, 2)
    start = threading.Barrier(2)

    def contend(version: int) -> str:
        start.wait()
        try:
            registry.promote("m", version, "momentum", expected_current=first, **WHY)
        except PromotionConflictError as error:
            return str(error)
        return "won"

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(contend, (2, 3)))
    assert outcomes.count("won") == 1
    assert live(registry) == (2 if outcomes[0] == "won" else 3)
    (lost,) = [outcome for outcome in outcomes if outcome != "won"]
    assert f"{first} was expected" in lost
    assert len(registry.deployments("momentum")) == 2


def test_a_version_may_be_expected_by_name_and_number(
    registry: ModelRegistry, versions: Versions
) -> None:
    versions(3)
    promote(registry, 1, 2, expected_current=None)
    with pytest.raises(PromotionConflictError, match=r"m v1, [0-9a-f-]+ is live .* m v2, "):
        promote(registry, 3, 3, expected_current=("m", 2))
    with pytest.raises(ModelNotFoundError, match="there is no m v9"):
        promote(registry, 3, 3, expected_current=("m", 9))
    assert promote(registry, 3, 3, expected_current=("m", 1)).version == 3


def test_a_promotion_of_what_is_deleted_meanwhile_finds_no_model(
    registry: ModelRegistry, versions: Versions, database: Database
) -> None:
    (model_id,) = versions(1)
    registry.delete_model("m", 1)
    with pytest.raises(ModelNotFoundError), database.transaction() as connection:
        deployments.promote(connection, model_id=model_id, strategy_id="momentum", **WHY)
    assert registry.deployments("momentum") == []


def test_none_may_be_expected(registry: ModelRegistry, versions: Versions) -> None:
    versions(2)
    promote(registry, 1, 2, expected_current=None)
    with pytest.raises(PromotionConflictError, match="none was expected"):
        promote(registry, 2, 3, expected_current=None)


def test_many_promotions_at_once_leave_one_unbroken_line(
    registry: ModelRegistry, versions: Versions
) -> None:
    versions(4)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda v: registry.promote("m", v, "momentum", **WHY), [1, 2, 3, 4] * 5))
    spans = registry.deployments("momentum")
    assert all(a.live_until == b.live_from for a, b in pairwise(spans))
    assert all(a.version != b.version for a, b in pairwise(spans))
    assert spans[-1].live_until is None


def test_the_past_is_not_rewritten(registry: ModelRegistry, versions: Versions) -> None:
    versions(2)
    promote(registry, 1, 5)
    for on in (4, 5):
        with pytest.raises(PromotionConflictError, match=r"would rewrite that, give a later"):
            promote(registry, 2, on)
    later = datetime.now(UTC) + timedelta(days=1)
    registry.promote("m", 2, "momentum", effective_from=later, **WHY)
    with pytest.raises(PromotionConflictError, match="would rewrite that"):
        registry.promote("m", 1, "momentum", **WHY)
    assert live(registry) == 1
    assert live(registry, later) == 2


def test_a_promotion_made_again_changes_nothing(
    registry: ModelRegistry, versions: Versions
) -> None:
    versions(3)
    first = promote(registry, 1, 2)
    assert promote(registry, 1, 2) == first
    assert promote(registry, 1, 7) == first
    second = promote(registry, 2, 5)
    before = registry.deployments("momentum")
    assert promote(registry, 2, 5) == second
    # Even after another one: a step that is run again finds its own deployment.
    assert promote(registry, 1, 2).live_from == day(2)
    assert registry.deployments("momentum") == before


def test_a_time_without_a_zone_is_refused(registry: ModelRegistry, versions: Versions) -> None:
    versions(1)
    naive = datetime(2024, 1, 2, 21)  # noqa: DTZ001 - what a caller may get wrong
    with pytest.raises(RegistryError, match="no time zone"):
        registry.promote("m", 1, "momentum", effective_from=naive, **WHY)
    with pytest.raises(RegistryError, match="no time zone"):
        registry.live_model("momentum", naive)


def test_the_table_itself_refuses_two_live_models(
    registry: ModelRegistry, versions: Versions
) -> None:
    ids = versions(2)
    promote(registry, 1, 2)
    insert = (
        "INSERT INTO model_deployments (strategy_id, model_id, live_range, promoted_by, reason) "
        "VALUES (%s, %s, %s::tstzrange, 'x', 'x')"
    )
    for span in ("[2024-02-01,2024-02-02)", "[2023-01-01,2024-01-03)", "(,)", "[2024-01-03,)"):
        with pytest.raises(psycopg.errors.ExclusionViolation):
            registry.database.execute(insert, ["momentum", ids[1], span])
    registry.database.execute(insert, ["momentum", ids[1], "[2023-01-01,2024-01-02 21:00+00)"])
    for neighbour in ("momentum2", "momentu", "m", "MOMENTUM", "momentum "):
        registry.database.execute(insert, [neighbour, ids[1], "(,)"])


def test_a_rollback_makes_the_model_before_live_again(
    registry: ModelRegistry, versions: Versions
) -> None:
    versions(3)
    with pytest.raises(RegistryError, match="no model was live for momentum before"):
        registry.rollback("momentum", **WHY)
    promote(registry, 1, 2)
    with pytest.raises(RegistryError, match="no model was live for momentum before"):
        registry.rollback("momentum", **WHY)
    promote(registry, 3, 5)
    done = registry.rollback("momentum", **WHY)
    assert (done.version, done.evidence) == (1, {"rollback": True})
    assert live(registry) == 1
    assert live(registry, day(6)) == 3
    with pytest.raises(RegistryError, match="no model was live for momentum before"):
        registry.rollback("momentum", **WHY)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE model_deployments SET promoted_by = 'bob'",
        "UPDATE model_deployments SET live_range = tstzrange('2020-01-01', NULL)",
        "DELETE FROM model_deployments",
        "UPDATE models SET params = '{\"forged\": 1}'",
        "UPDATE model_metrics SET value = 9",
        "DELETE FROM model_metrics",
        "UPDATE model_artifacts SET checksum = repeat('0', 64)",
        "DELETE FROM model_artifacts",
        "UPDATE training_snapshots SET fingerprint = 'forged'",
        "DELETE FROM training_snapshots",
        "UPDATE predictions SET signal = 1",
        "DELETE FROM predictions",
        "TRUNCATE predictions",
    ],
)
def test_the_database_itself_refuses_to_rewrite_the_record(
    registry: ModelRegistry, snapshot_id: UUID, statement: Any
) -> None:
    model_id = registry.register_model("m", "momentum", snapshot_id=snapshot_id)
    registry.log_metrics(model_id, {"ic_mean": 0.1}, "test")
    registry.store_artifact(model_id, b"1", "config.json")
    registry.promote("m", 1, "momentum", by="ann", reason="review")
    registry.register_model("m", "momentum")
    registry.promote("m", 2, "momentum", by="ann", reason="review")
    registry.database.execute(
        "INSERT INTO predictions (strategy_id, entity_key, event_time, session, model_id, signal, "
        "feature_digest) VALUES ('momentum', 'A', now(), '2024-01-02', %s, 0.5, 'x')",
        [model_id],
    )
    with pytest.raises(psycopg.errors.RestrictViolation, match="refused"):
        registry.database.execute(statement)


def test_a_second_rollback_goes_further_back(registry: ModelRegistry) -> None:
    for version in (1, 2, 3):
        registry.register_model("m", "momentum")
        registry.promote("m", version, "momentum", by="ann", reason="review")
    back = [registry.rollback("momentum", by="bob", reason="bad fills").version for _ in range(2)]
    assert back == [2, 1]
    with pytest.raises(RegistryError, match="no model was live for momentum before"):
        registry.rollback("momentum", by="bob", reason="bad fills")
    registry.promote("m", 3, "momentum", by="ann", reason="mended")
    assert registry.rollback("momentum", by="bob", reason="not mended").version == 1
