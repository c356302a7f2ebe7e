"""A failed run is one alert, without the text of its error, until the same work succeeds."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import dagster as dg
import pytest

from quant_mlops.alerts.outbox import Alert, list_alerts
from quant_mlops.database import Database
from quant_mlops.errors import NoPartitionError
from quant_mlops.orchestration.instance import run_job
from quant_mlops.orchestration.jobs import STRATEGY_TAG
from quant_mlops.orchestration.resources import Server
from quant_mlops.orchestration.run_sensors import run_sensors
from quant_mlops.orchestration.runs import strategy_of_run
from quant_mlops.strategy import Strategy

SECRET = "postgresql://bob:s3cr3t@db.example.com/quant"


class BrokenConnection(Exception):
    """An error of a library, whose text holds what it was given."""


def job_that(*, fails: bool) -> dg.Definitions:
    @dg.op(config_schema={"url": str})
    def load(context) -> None:  # type: ignore[no-untyped-def]
        if fails:
            raise BrokenConnection(f"cannot reach {context.op_config['url']}")

    @dg.job(name="small_load", tags={STRATEGY_TAG: "small"}, executor_def=dg.in_process_executor)
    def small_load() -> None:
        load()

    return dg.Definitions(jobs=[small_load])


def run_it(desk: Any, *, fails: bool, tags: dict[str, str] | None = None) -> dg.DagsterRun:
    config = {"ops": {"load": {"config": {"url": SECRET}}}}
    try:
        run_job(job_that(fails=fails), desk.instance, "small_load", config=config, tags=tags)
    except BrokenConnection:
        assert fails
    run: dg.DagsterRun = desk.instance.get_runs(limit=1)[0]
    return run


def sense(desk: Any, strategy: Strategy, run: dg.DagsterRun) -> Any:
    """Evaluate the sensor that a run's end is for, as the daemon does."""
    failed, succeeded = run_sensors({"small": strategy})
    is_failure = run.status is dg.DagsterRunStatus.FAILURE
    kind = dg.DagsterEventType.RUN_FAILURE if is_failure else dg.DagsterEventType.RUN_SUCCESS
    (record,) = desk.instance.get_records_for_run(run.run_id, of_type=kind).records
    with dg.build_run_status_sensor_context(
        sensor_name="sensor", dagster_event=record.event_log_entry.dagster_event,
        dagster_instance=desk.instance, dagster_run=run, resources={"server": Server()},
    ) as context:  # fmt: skip
        return failed(context.for_run_failure()) if is_failure else succeeded(context)


def alerts(desk: Any) -> list[Alert]:
    with Database(desk.conninfo) as database:
        return list_alerts(database)


def test_a_failed_run_is_one_alert_that_tells_no_secret(desk: Any, strategy: Strategy) -> None:
    run = run_it(desk, fails=True, tags={"dagster/partition": "2022-11-23"})
    for _ in range(2):
        sense(desk, strategy, run)
    (alert,) = alerts(desk)
    assert (alert.rule, alert.severity, alert.strategy_id) == ("run_failed", "severe", "small")
    assert alert.dedupe_key == f"small/run_failed/{run.run_id}"
    assert alert.message == (
        f"run {run.run_id} of small_load for 2022-11-23 failed in load (BrokenConnection); "
        f"its log in Dagster says more"
    )
    assert alert.evidence["steps"] == ["load"]
    for secret in ("s3cr3t", "db.example.com", "cannot reach"):
        assert secret not in json.dumps(alert.evidence) + alert.message
    # It is news of today, or a backfill's failure would be told to the log only.
    assert alert.opened_session > date(2026, 1, 1)


def test_each_failed_run_is_told_and_all_are_over_when_the_work_is_done(
    desk: Any, strategy: Strategy
) -> None:
    tags = {"dagster/partition": "2022-11-23"}
    for _ in range(2):
        sense(desk, strategy, run_it(desk, fails=True, tags=tags))
    sense(desk, strategy, run_it(desk, fails=True, tags={"dagster/partition": "2022-11-25"}))
    assert [alert.closed_session for alert in alerts(desk)] == [None] * 3
    sense(desk, strategy, run_it(desk, fails=False, tags=tags))
    closed = {alert.evidence["sessions"]: alert.closed_session for alert in alerts(desk)}
    assert closed["2022-11-25"] is None
    assert closed["2022-11-23"] is not None


@pytest.mark.shared
def test_a_run_that_names_no_session_fails_in_a_sentence_until_its_job_succeeds_on_any(
    ran_desk: Any, defs: dg.Definitions, strategy: Strategy, sessions: list[date]
) -> None:
    first, last = strategy.first_partition, sessions[-1]
    of_small = f"the sessions of small are those of XNYS from {first} to {last}"
    cases = {
        "": f"the run was started without a partition, and works on sessions; {of_small}, so start",
        "2022-01-17": "2022-01-17, a Monday, is not a session of XNYS; nearest: 2022-01-14",
        "2022-01-17 to 2022-01-18": "2022-01-17, a Monday, is not a session of XNYS",
        "2022-12-27": f"the run was started for 2022-12-27, and {of_small}; start",
        "2022-01-19 to 2022-01-18": "the run was started for 2022-01-19 to 2022-01-18, and the",
    }
    for asked, sentence in cases.items():
        days = [date.fromisoformat(day) for day in asked.split(" to ") if day]
        span = (days[0], days[-1]) if days else None
        with pytest.raises(NoPartitionError) as refused:
            run_job(defs, ran_desk.instance, "small_history", sessions=span)
        assert str(refused.value).startswith(sentence)
        sense(ran_desk, strategy, ran_desk.instance.get_runs(limit=1)[0])
    told = {a.evidence["sessions"]: a for a in alerts(ran_desk) if a.rule == "run_failed"}
    assert set(told) == set(cases)
    assert "for 2022-01-17 failed in small__price_bars (NoPartitionError)" in (
        told["2022-01-17"].message
    )
    run_job(defs, ran_desk.instance, "small_history", sessions=(last, last))
    sense(ran_desk, strategy, ran_desk.instance.get_runs(limit=1)[0])
    assert all(a.closed_session for a in alerts(ran_desk) if a.rule == "run_failed")


def test_a_tag_that_is_no_date_is_in_no_sensors_way(desk: Any, strategy: Strategy) -> None:
    sense(desk, strategy, run_it(desk, fails=True, tags={"dagster/partition": "soon"}))
    (alert,) = alerts(desk)
    assert alert.evidence["sessions"] == ""


def test_a_run_of_no_strategy_is_left_alone(desk: Any, strategy: Strategy) -> None:
    found = sense(desk, strategy, run_it(desk, fails=True, tags={STRATEGY_TAG: "none"}))
    assert "belongs to no strategy" in str(found)
    assert alerts(desk) == []


def test_assets_started_by_hand_tell_their_strategy_by_their_keys(
    desk: Any, defs: dg.Definitions
) -> None:
    key = dg.AssetKey(["small", "price_bars"])
    run = desk.instance.create_run_for_job(
        defs.resolve_implicit_global_asset_job_def(), asset_selection={key}
    )
    assert STRATEGY_TAG not in run.tags
    assert strategy_of_run(run) == "small"


@pytest.mark.shared
def test_the_weekly_check_puts_what_does_not_verify_into_the_outbox_once(
    ran_desk: Any, defs: dg.Definitions, forge: Any
) -> None:
    def verify() -> dg.AssetCheckEvaluation:
        result = run_job(defs, ran_desk.instance, "small_verification")
        assert result.success
        (found,) = result.get_asset_check_evaluations()
        return found

    def told() -> list[tuple[str, str]]:
        with Database(ran_desk.conninfo) as database:
            found = list_alerts(database, severity="critical")
        return [(a.rule, a.evidence["kind"]) for a in found if a.rule == "snapshot_verification"]

    assert verify().passed
    assert told() == []
    with Database(ran_desk.conninfo) as database:
        row = database.fetch_one("SELECT uri FROM training_snapshots")
        assert row is not None
        forge(
            database,
            "UPDATE feature_events SET value_double = value_double + 1 WHERE entity_key = 'T03'",
        )
    for _ in range(2):
        found = verify()
        assert not found.passed
        assert "gives fingerprint" in str(found.metadata["verified"])
        assert told() == [("snapshot_verification", "database")]
    file = Path(urlparse(row[0]).path) / "data.parquet"
    content, mode = file.read_bytes(), file.stat().st_mode
    file.chmod(0o644)
    file.write_bytes(content + b" ")
    try:
        assert not verify().passed
    finally:
        file.write_bytes(content)
        file.chmod(mode)
    assert sorted(told()) == [
        ("snapshot_verification", "database"), ("snapshot_verification", "file"),
    ]  # fmt: skip


def test_the_monthly_request_waits_for_the_sensor_and_joins_what_is_open(
    desk: Any, defs: dg.Definitions, sessions: list[date]
) -> None:
    def ask(session: date) -> None:
        config = {"ops": {"small__request_retraining": {"config": {"session": str(session)}}}}
        assert run_job(defs, desk.instance, "small_retraining_request", config=config).success

    ask(sessions[-40])
    ask(sessions[-20])
    with Database(desk.conninfo) as database:
        rows = database.fetch_all(
            "SELECT session, requested_by, may_promote, status FROM retrain_requests ORDER BY 1"
        )
    assert rows == [
        (sessions[-40], "monthly schedule", True, "open"),
        (sessions[-20], "monthly schedule", True, "coalesced"),
    ]
