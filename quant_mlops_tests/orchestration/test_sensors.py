"""Sensors: one training run for each open request, and alerts that reach their channel."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import dagster as dg
import psycopg
import pytest

from quant_mlops.alerts.outbox import NewAlert, record_alerts
from quant_mlops.alerts.retraining import RetrainRequest, open_request, request_retrain
from quant_mlops.database import Database
from quant_mlops.orchestration.resources import Server
from quant_mlops.orchestration.sensors import REQUEST_TAG, alert_sensor
from quant_mlops.strategy import Strategy

SENSOR = "small_retraining_sensor"


@pytest.fixture
def desk_database(desk: Any) -> Iterator[Database]:
    with Database(desk.conninfo) as database:
        yield database


def ask(database: Database, session: date) -> RetrainRequest:
    with database.transaction() as connection:
        return request_retrain(
            connection, strategy_id="small", session=session, alert_id=None,
            requested_by="ann", may_promote=True,
        )  # fmt: skip


def tick(desk: Any, defs: dg.Definitions) -> dg.RunRequest | str:
    repository = defs.get_repository_def()
    with dg.build_sensor_context(
        instance=desk.instance, repository_def=repository, resources={"server": Server()}
    ) as context:
        data = repository.get_sensor_def(SENSOR).evaluate_tick(context)
    if not data.run_requests:
        assert data.skip_message
        return data.skip_message
    (request,) = data.run_requests
    return request


def add_run(
    desk: Any, defs: dg.Definitions, request: RetrainRequest, status: dg.DagsterRunStatus
) -> None:
    desk.instance.create_run_for_job(
        defs.resolve_job_def("small_training"),
        tags={REQUEST_TAG: f"small/{request.request_id}"},
        status=status,
    )


def judge(desk: Any, session: date, strategy: Strategy) -> None:
    at = strategy.trading_calendar.close_time(session) + strategy.evaluation_lag
    with psycopg.connect(desk.conninfo, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO drift_metrics (date, strategy_id, evaluation_time, no_data) "
            "VALUES (%s, 'small', %s, false)",
            [session, at],
        )


@pytest.mark.usefixtures("desk_database")
def test_without_a_request_it_asks_for_nothing(desk: Any, defs: dg.Definitions) -> None:
    assert tick(desk, defs) == "no retraining is requested"


def test_an_open_request_becomes_one_run_that_the_job_accepts(
    desk: Any, desk_database: Database, defs: dg.Definitions, strategy: Strategy,
    sessions: list[date],
) -> None:  # fmt: skip
    request = ask(desk_database, sessions[-30])
    judge(desk, sessions[-30], strategy)
    judge(desk, sessions[-21], strategy)

    found = tick(desk, defs)

    assert isinstance(found, dg.RunRequest)
    assert found.tags[REQUEST_TAG] == f"small/{request.request_id}"
    job = defs.resolve_job_def("small_training")
    assert dg.validate_run_config(job, found.run_config)
    configs = [op["config"] for op in found.run_config["ops"].values()]
    newest = strategy.trading_calendar.close_time(sessions[-21]) + strategy.evaluation_lag
    assert {datetime.fromisoformat(config["as_of"]) for config in configs} == {newest}
    assert {config["request_id"] for config in configs} == {request.request_id}


def test_a_request_of_a_session_that_was_not_judged_is_answered_with_what_it_knew(
    desk: Any, desk_database: Database, defs: dg.Definitions, strategy: Strategy,
    sessions: list[date],
) -> None:  # fmt: skip
    ask(desk_database, sessions[-5])
    found = tick(desk, defs)
    assert isinstance(found, dg.RunRequest)
    (as_of, *_) = [op["config"]["as_of"] for op in found.run_config["ops"].values()]
    expected = strategy.trading_calendar.close_time(sessions[-5]) + strategy.evaluation_lag
    assert datetime.fromisoformat(as_of) == expected


@pytest.mark.parametrize(
    "status",
    [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED],
)
def test_while_a_run_works_on_it_no_other_is_asked_for(
    desk: Any, desk_database: Database, defs: dg.Definitions, sessions: list[date],
    status: dg.DagsterRunStatus,
) -> None:  # fmt: skip
    request = ask(desk_database, sessions[-5])
    add_run(desk, defs, request, status)
    assert tick(desk, defs) == f"request {request.request_id} is being worked on"


def test_it_is_tried_three_times_and_then_given_up_for_good(
    desk: Any, desk_database: Database, defs: dg.Definitions, sessions: list[date]
) -> None:
    request = ask(desk_database, sessions[-5])
    keys = []
    for _ in range(3):
        found = tick(desk, defs)
        assert isinstance(found, dg.RunRequest)
        keys.append(found.run_key)
        add_run(desk, defs, request, dg.DagsterRunStatus.FAILURE)
    # Dagster drops a request whose key it has seen, whatever became of the run.
    assert len(set(keys)) == 3

    assert tick(desk, defs) == (f"request {request.request_id} is given up: 3 training runs failed")
    assert open_request(desk_database, "small") is None
    (row,) = desk_database.fetch_all("SELECT status, verdict FROM retrain_requests")
    assert row == ("failed", {"reason": "3 training runs failed"})
    assert tick(desk, defs) == "no retraining is requested"


def test_a_new_request_after_one_that_was_given_up_is_tried_anew(
    desk: Any, desk_database: Database, defs: dg.Definitions, sessions: list[date]
) -> None:
    first = ask(desk_database, sessions[-9])
    for _ in range(3):
        add_run(desk, defs, first, dg.DagsterRunStatus.CANCELED)
    assert isinstance(tick(desk, defs), str)
    second = ask(desk_database, sessions[-5])
    found = tick(desk, defs)
    assert isinstance(found, dg.RunRequest)
    assert found.tags[REQUEST_TAG] == f"small/{second.request_id}"


class Webhook:
    """A server on this machine that answers as it is told and keeps what it was sent."""

    def __init__(self) -> None:
        self.status = 200
        self.received: list[dict[str, Any]] = []
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                webhook.received.append(json.loads(self.rfile.read(length)))
                self.send_response(webhook.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    made = Webhook()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.02,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def today() -> date:
    return datetime.now(UTC).date()


def raise_alert(database: Database, session: date) -> None:
    alert = NewAlert(
        dedupe_key="small/ic_low", strategy_id="small", rule="ic_low",
        severity="critical", action="alert",
        message="the IC is low", opened_session=session, last_session=session,
    )  # fmt: skip
    with database.transaction() as connection:
        record_alerts(connection, [alert])


def deliver() -> str:
    with dg.build_sensor_context(resources={"server": Server()}) as context:
        data = alert_sensor().evaluate_tick(context)
    assert data.skip_message
    return data.skip_message


def test_an_alert_reaches_the_webhook_once(
    desk: Any, desk_database: Database, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_MLOPS_WEBHOOK_URL", webhook.url)
    raise_alert(desk_database, today())
    assert deliver() == "2 delivered, 0 failed, 0 waiting"
    assert len(webhook.received) == 1
    assert "the IC is low" in json.dumps(webhook.received[0])
    assert deliver() == "0 delivered, 0 failed, 0 waiting"
    assert len(webhook.received) == 1


def test_a_webhook_that_answers_500_fails_no_tick_and_is_tried_again_later(
    desk: Any, desk_database: Database, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_MLOPS_WEBHOOK_URL", webhook.url)
    webhook.status = 500
    raise_alert(desk_database, today())
    assert deliver() == "1 delivered, 1 failed, 0 waiting"
    assert deliver() == "0 delivered, 0 failed, 1 waiting"
    attempts = desk_database.fetch_all(
        "SELECT channel, delivered FROM alert_deliveries ORDER BY channel"
    )
    assert attempts == [("log", True), ("webhook", False)]


def test_old_alerts_of_a_backfill_go_to_the_log_only(
    desk: Any, desk_database: Database, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_MLOPS_WEBHOOK_URL", webhook.url)
    raise_alert(desk_database, today() - timedelta(days=11))
    assert deliver().startswith("1 delivered, 0 failed")
    assert webhook.received == []
