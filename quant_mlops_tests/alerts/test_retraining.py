"""However many alerts ask for it, a strategy is retrained once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any
from uuid import UUID

import pytest

from quant_mlops.alerts.outbox import Alert
from quant_mlops.alerts.retraining import (
    RetrainRequest,
    finish_request,
    open_request,
    request_retrain,
)
from quant_mlops.database import Database
from quant_mlops.errors import MonitoringError

Store = Callable[..., Alert]
Ask = Callable[..., RetrainRequest]
Finish = Callable[..., RetrainRequest]


@pytest.fixture
def ask(database: Database, store_alert: Store) -> Ask:
    def ask(day: int = 4, **changes: Any) -> RetrainRequest:
        values: dict[str, Any] = {
            "strategy_id": "momentum",
            "session": date(2024, 3, day),
            "requested_by": "psi_severe",
            "may_promote": True,
        }
        if "alert_id" not in changes:
            changes["alert_id"] = store_alert().alert_id
        with database.transaction() as connection:
            return request_retrain(connection, **(values | changes))

    return ask


@pytest.fixture
def finish(database: Database) -> Finish:
    def finish(
        request: RetrainRequest, status: str, *, model_id: UUID | None = None, **verdict: Any
    ) -> RetrainRequest:
        with database.transaction() as connection:
            return finish_request(
                connection, request.request_id, status=status, model_id=model_id, verdict=verdict
            )

    return finish


def test_a_request_is_open_until_it_is_finished(
    database: Database, ask: Ask, finish: Finish
) -> None:
    assert open_request(database, "momentum") is None
    request = ask()
    assert (request.status, request.may_promote, request.verdict) == ("open", True, None)
    assert open_request(database, "momentum") == request
    assert open_request(database, "reversal") is None
    done = finish(request, "rejected", sharpe=float("nan"))
    assert (done.status, done.verdict) == ("rejected", {"sharpe": None})
    assert done.finished_at is not None
    assert open_request(database, "momentum") is None


def test_a_further_request_joins_the_open_one(database: Database, ask: Ask) -> None:
    first, second = ask(4), ask(5)
    assert second.status == "coalesced"
    assert second.verdict == {"coalesced_into": first.request_id}
    assert open_request(database, "momentum") == first
    assert ask(5, strategy_id="reversal").status == "open"


@pytest.mark.parametrize(
    ("first", "second", "result"),
    [(False, True, True), (True, False, True), (False, False, False)],
)
def test_the_open_request_takes_over_the_permission_to_promote(
    database: Database, ask: Ask, first: bool, second: bool, result: bool
) -> None:
    ask(may_promote=first)
    assert ask(may_promote=second).status == "coalesced"
    request = open_request(database, "momentum")
    assert request is not None
    assert request.may_promote is result


def test_an_alert_asks_once(database: Database, ask: Ask, finish: Finish) -> None:
    request = ask()
    assert ask(alert_id=request.alert_id) == request
    done = finish(request, "prepared")
    assert ask(alert_id=request.alert_id) == done
    assert open_request(database, "momentum") is None


def test_persons_may_ask_without_an_alert(ask: Ask) -> None:
    assert ask(alert_id=None, requested_by="ana").status == "open"
    assert ask(alert_id=None, requested_by="ben").status == "coalesced"
    with pytest.raises(MonitoringError, match="name"):
        ask(alert_id=None, requested_by=" ")


@pytest.mark.parametrize(
    ("status", "earlier_may", "may_promote", "cooldown_day", "expected"),
    [
        ("promoted", True, True, 4, "coalesced"),
        ("promoted", True, True, 5, "open"),
        ("rejected", True, True, 1, "coalesced"),
        ("prepared", False, False, 4, "coalesced"),
        ("prepared", False, True, 4, "open"),
        ("failed", True, True, 4, "open"),
        ("promoted", True, True, None, "open"),
    ],
)
def test_a_cool_down_absorbs_what_the_last_retraining_answers(
    ask: Ask,
    finish: Finish,
    status: str,
    earlier_may: bool,
    may_promote: bool,
    cooldown_day: int | None,
    expected: str,
) -> None:
    earlier = ask(4, may_promote=earlier_may)
    finish(earlier, status)
    start = None if cooldown_day is None else date(2024, 3, cooldown_day)
    request = ask(8, may_promote=may_promote, cooldown_start=start)
    assert request.status == expected
    if expected == "coalesced":
        assert request.verdict == {"coalesced_into": earlier.request_id}


def test_a_coalesced_request_does_not_prolong_the_cool_down(ask: Ask, finish: Finish) -> None:
    finish(ask(4), "rejected")
    assert ask(6, cooldown_start=date(2024, 3, 1)).status == "coalesced"
    assert ask(8, cooldown_start=date(2024, 3, 5)).status == "open"


@pytest.mark.parametrize("promoting", range(4))
def test_requests_at_once_leave_one_open(database: Database, ask: Ask, promoting: int) -> None:
    askers = 4
    start = threading.Barrier(askers)

    def evaluate(number: int) -> RetrainRequest:
        start.wait(30)
        return ask(may_promote=number == promoting)

    with ThreadPoolExecutor(askers) as pool:
        statuses = sorted(request.status for request in pool.map(evaluate, range(askers)))
    assert statuses == ["coalesced"] * (askers - 1) + ["open"]
    request = open_request(database, "momentum")
    assert request is not None
    assert request.may_promote


def test_an_end_that_waits_for_a_request_sees_what_it_handed_over(
    database: Database,
    ask: Ask,
    finish: Finish,
    store_alert: Store,
    wait_until_blocked: Callable[[], None],
) -> None:
    first = ask(may_promote=False)
    alert_id = store_alert().alert_id
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as connection:
            second = request_retrain(
                connection,
                strategy_id="momentum",
                session=date(2024, 3, 5),
                alert_id=alert_id,
                requested_by="psi_severe",
                may_promote=True,
            )
            ended = pool.submit(finish, first, "promoted")
            wait_until_blocked()
        assert ended.result(30).status == "promoted"
    assert second.status == "coalesced"


def test_a_request_that_waits_for_an_end_is_not_lost_in_it(
    database: Database, ask: Ask, store_alert: Store, wait_until_blocked: Callable[[], None]
) -> None:
    first = ask(may_promote=False)
    alert_id = store_alert().alert_id
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as connection:
            finish_request(
                connection, first.request_id, status="prepared", model_id=None, verdict=None
            )
            asked = pool.submit(ask, 5, alert_id=alert_id)
            wait_until_blocked()
        second = asked.result(30)
    assert second.status == "open"
    assert open_request(database, "momentum") == second


def test_the_same_end_twice_is_one_end(ask: Ask, finish: Finish) -> None:
    request = ask()
    done = finish(request, "rejected")
    assert finish(request, "rejected", said="again") == done
    with pytest.raises(MonitoringError, match="is rejected and was to become promoted"):
        finish(request, "promoted")


def test_a_request_that_may_only_prepare_is_not_promoted(ask: Ask, finish: Finish) -> None:
    request = ask(may_promote=False)
    with pytest.raises(MonitoringError, match="only prepare"):
        finish(request, "promoted")
    assert finish(request, "prepared").status == "prepared"


def test_ends_that_make_no_sense_are_refused(database: Database, ask: Ask, finish: Finish) -> None:
    request = ask()
    coalesced = ask()
    with pytest.raises(MonitoringError, match="promoted, rejected, prepared, failed"):
        finish(request, "open")
    with pytest.raises(MonitoringError, match="is coalesced"):
        finish(coalesced, "failed")
    with database.transaction() as connection, pytest.raises(MonitoringError, match="request 77"):
        finish_request(connection, 77, status="failed", model_id=None, verdict=None)


def test_a_finished_request_names_its_model(database: Database, ask: Ask, finish: Finish) -> None:
    model_id = UUID(int=3)
    database.execute(
        "INSERT INTO models (model_id, name, version) VALUES (%s, 'ridge', 1)", [model_id]
    )
    done = finish(ask(), "promoted", model_id=model_id)
    assert done.model_id == model_id
