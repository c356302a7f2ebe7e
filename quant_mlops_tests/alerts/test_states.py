"""A strategy is scaled down and paused by alerts, and made active by persons alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import permutations

import psycopg
import pytest

from quant_mlops.alerts.outbox import Alert
from quant_mlops.alerts.states import (
    StrategyState,
    apply_scale,
    current_state,
    pause,
    position_scales,
    resume,
)
from quant_mlops.database import Database
from quant_mlops.errors import MonitoringError

Store = Callable[..., Alert]

T0 = datetime(2024, 3, 4, 21, 15, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def scale(database: Database, store_alert: Store) -> Callable[..., StrategyState | None]:
    def apply(
        day: int,
        *,
        factor: float = 0.5,
        alert_id: int | None = None,
        strategy_id: str = "momentum",
    ) -> StrategyState | None:
        with database.transaction() as connection:
            return apply_scale(
                connection,
                strategy_id=strategy_id,
                factor=factor,
                alert_id=store_alert().alert_id if alert_id is None else alert_id,
                effective_from=T0 + day * DAY,
                reason="IC below 0.01",
            )

    return apply


@pytest.fixture
def stop(database: Database, store_alert: Store) -> Callable[..., StrategyState | None]:
    def apply(day: int, *, strategy_id: str = "momentum") -> StrategyState | None:
        with database.transaction() as connection:
            return pause(
                connection,
                strategy_id=strategy_id,
                alert_id=store_alert().alert_id,
                effective_from=T0 + day * DAY,
                reason="IC below 0 three times",
            )

    return apply


Change = Callable[..., StrategyState | None]


def rows(database: Database) -> int:
    return int(database.fetch_all("SELECT count(*) FROM strategy_states")[0][0])


def test_a_strategy_without_a_row_is_active(database: Database) -> None:
    assert current_state(database, "momentum") == StrategyState("momentum", "active", 1.0)


def test_scales_multiply_and_hold_from_their_moment_on(database: Database, scale: Change) -> None:
    first, second = scale(0), scale(2)
    assert first is not None
    assert second is not None
    assert (first.status, first.position_scale, first.changed_by) == ("reduced", 0.5, "monitor")
    assert second.position_scale == 0.25
    assert current_state(database, "momentum") == second
    assert current_state(database, "momentum", at=T0 + DAY) == first
    assert current_state(database, "momentum", at=T0) == first
    before = current_state(database, "momentum", at=T0 - timedelta(microseconds=1))
    assert before.status == "active"
    assert current_state(database, "reversal").status == "active"


def test_an_alert_scales_once(database: Database, scale: Change, store_alert: Store) -> None:
    alert_id = store_alert().alert_id
    assert scale(0, alert_id=alert_id) is not None
    assert scale(0, alert_id=alert_id) is None
    assert scale(5, alert_id=alert_id) is None
    assert rows(database) == 1


def test_one_alert_at_once_from_two_evaluations_scales_once(
    database: Database, scale: Change, store_alert: Store
) -> None:
    alert_id = store_alert().alert_id
    start = threading.Barrier(4)

    def evaluate(_: int) -> StrategyState | None:
        start.wait(30)
        return scale(0, alert_id=alert_id)

    with ThreadPoolExecutor(4) as pool:
        written = [state for state in pool.map(evaluate, range(4)) if state is not None]
    assert len(written) == 1
    assert current_state(database, "momentum").position_scale == 0.5


def test_alerts_at_once_are_all_applied(database: Database, scale: Change) -> None:
    start = threading.Barrier(4)

    def evaluate(_: int) -> StrategyState | None:
        start.wait(30)
        return scale(0)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(evaluate, range(4)))
    assert current_state(database, "momentum").position_scale == 0.5**4


def test_a_paused_strategy_stays_paused(database: Database, scale: Change, stop: Change) -> None:
    paused = stop(0)
    assert paused is not None
    assert (paused.status, paused.position_scale) == ("paused", 0.0)
    assert scale(1) is None
    assert stop(2) is None
    assert rows(database) == 1
    assert current_state(database, "momentum") == paused


def test_only_a_person_with_a_reason_resumes(database: Database, stop: Change) -> None:
    stop(0)
    for by, reason in [("", "reviewed"), ("ana", " "), ("monitor", "looks fine")]:
        with pytest.raises(MonitoringError, match="person"):
            resume(database, strategy_id="momentum", by=by, reason=reason)
    state = resume(database, strategy_id="momentum", by="ana", reason="features were stale")
    assert (state.status, state.position_scale, state.alert_id) == ("active", 1.0, None)
    assert (state.changed_by, state.reason) == ("ana", "features were stale")
    assert current_state(database, "momentum") == state
    with pytest.raises(MonitoringError, match="active already"):
        resume(database, strategy_id="momentum", by="ana", reason="again")


def test_a_strategy_that_never_stopped_cannot_be_resumed(database: Database) -> None:
    with pytest.raises(MonitoringError, match="active already"):
        resume(database, strategy_id="momentum", by="ana", reason="why not")


def test_after_a_resumption_the_scale_starts_from_one(
    database: Database, scale: Change, stop: Change
) -> None:
    stop(0)
    resume(
        database,
        strategy_id="momentum",
        by="ana",
        reason="reviewed",
        effective_from=T0 + 3 * DAY,
    )
    scale(5)
    asked = [T0 + day * DAY for day in (5, -1, 0, 2, 3, 4)]
    found = position_scales(database, "momentum", asked)
    assert found.tolist() == [0.5, 1.0, 0.0, 0.0, 1.0, 1.0]
    with pytest.raises(MonitoringError, match="reduced from"):
        resume(
            database,
            strategy_id="momentum",
            by="ana",
            reason="too early",
            effective_from=T0 + 4 * DAY,
        )


def test_a_resumption_ends_a_pause_that_takes_effect_later(database: Database) -> None:
    tomorrow = datetime.now(UTC) + DAY
    with database.transaction() as connection:
        pause(
            connection,
            strategy_id="momentum",
            alert_id=None,
            effective_from=tomorrow,
            reason="quarter end",
            by="ben",
        )
    assert current_state(database, "momentum").status == "active"
    state = resume(database, strategy_id="momentum", by="ana", reason="not needed")
    assert state.effective_from == tomorrow
    assert current_state(database, "momentum", at=tomorrow).status == "active"


def test_the_order_in_which_history_is_replayed_does_not_matter(
    database: Database, scale: Change
) -> None:
    changes = [(0, 0.5), (2, 0.8), (2, 0.5), (4, 0.25)]
    asked = [T0 + day * DAY for day in range(-1, 6)]
    for number, order in enumerate(permutations(changes)):
        strategy_id = f"order {number}"
        for day, factor in order:
            assert scale(day, factor=factor, strategy_id=strategy_id) is not None
        found = position_scales(database, strategy_id, asked)
        assert found.tolist() == pytest.approx([1, 0.5, 0.5, 0.2, 0.2, 0.05, 0.05])
        assert current_state(database, strategy_id).position_scale == pytest.approx(0.05)


def test_a_pause_found_late_holds_over_what_was_stored_before_it(
    database: Database, scale: Change, stop: Change
) -> None:
    scale(2)
    scale(4)
    assert stop(1) is not None
    asked = [T0 + day * DAY for day in range(6)]
    assert position_scales(database, "momentum", asked).tolist() == [1, 0, 0, 0, 0, 0]
    assert current_state(database, "momentum").status == "paused"


def test_a_scale_found_late_leaves_a_later_pause_as_it_is(
    database: Database, scale: Change, stop: Change
) -> None:
    paused = stop(2)
    found = scale(0)
    assert found is not None
    assert found.position_scale == 0.5
    assert current_state(database, "momentum") == paused
    assert rows(database) == 2


def test_what_is_found_late_does_not_undo_a_resumption(
    database: Database, scale: Change, stop: Change
) -> None:
    stop(2)
    resume(database, strategy_id="momentum", by="ana", reason="ok", effective_from=T0 + 3 * DAY)
    scale(4)
    scale(0)
    stop(1)
    asked = [T0 + day * DAY for day in range(5)]
    assert position_scales(database, "momentum", asked).tolist() == [0.5, 0, 0, 1, 0.5]


def test_a_change_rolled_back_with_its_transaction_leaves_nothing(
    database: Database, store_alert: Store
) -> None:
    alert_id = store_alert().alert_id

    with database.transaction() as connection:
        apply_scale(
            connection,
            strategy_id="momentum",
            factor=0.5,
            alert_id=alert_id,
            effective_from=T0,
            reason="IC below 0.01",
        )
        raise psycopg.Rollback
    assert rows(database) == 0


@pytest.mark.parametrize("factor", [0.0, 1.0, 1.5, -0.5, float("nan")])
def test_a_factor_that_pauses_or_raises_is_refused(scale: Change, factor: float) -> None:
    with pytest.raises(MonitoringError, match="between 0 and 1"):
        scale(0, factor=factor)


def test_naive_times_are_refused(database: Database) -> None:
    naive = T0.replace(tzinfo=None)
    with pytest.raises(MonitoringError, match="time zone"):
        current_state(database, "momentum", at=naive)
    with pytest.raises(MonitoringError, match="time zone"):
        position_scales(database, "momentum", [naive])
    with database.transaction() as connection, pytest.raises(MonitoringError, match="time zone"):
        pause(connection, strategy_id="momentum", alert_id=None, effective_from=naive, reason="?")


def test_scales_without_instants_or_rows(database: Database) -> None:
    assert position_scales(database, "momentum", []).shape == (0,)
    assert position_scales(database, "momentum", [T0]).tolist() == [1.0]


def test_a_state_cannot_be_rewritten(database: Database, scale: Change) -> None:
    scale(0)
    with pytest.raises(psycopg.errors.RestrictViolation):
        database.execute("UPDATE strategy_states SET position_scale = 0.9")
