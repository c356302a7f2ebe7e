"""Each check sees what is planted for it; one that blocks stops what comes after it in the run."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import date, datetime
from typing import Any

import dagster as dg
import psycopg
import pytest

from quant_mlops.database import Database
from quant_mlops.errors import QuantMlopsError
from quant_mlops.features.value_reviews import review_values
from quant_mlops.orchestration.instance import run_job
from quant_mlops.registry import ModelRegistry
from quant_mlops.registry.deployments import promote
from quant_mlops.strategy import Strategy

pytestmark = pytest.mark.shared

PRINT = """
INSERT INTO feature_events (entity_key, feature_name, feature_version, event_time, ingest_time,
                            value_double, producer)
SELECT entity_key, feature_name, feature_version, {event}, {ingest}, {value}, 'planted'
FROM feature_events WHERE feature_name = 'ret_5d' AND entity_key = 'T03'
ORDER BY event_time DESC, ingest_time LIMIT 1
"""
NULL = PRINT.format(event="event_time", ingest="ingest_time + interval '1 minute'", value="NULL")
REPEATED = PRINT.format(
    event="event_time", ingest="ingest_time + interval '1 minute'", value="value_double"
)
OFF_CLOSE = PRINT.format(
    event="event_time - interval '5 minutes'", ingest="ingest_time", value="value_double"
)
EARLY = PRINT.format(
    event="event_time", ingest="event_time - interval '1 second'", value="value_double + 1"
)
# As if another process stored other logic between the asset and its check.
OTHER_LOGIC = """
CREATE FUNCTION change_logic() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE feature_definitions SET logic_hash = 'changed' WHERE feature_name = 'vol_20d';
    RETURN NEW;
END $$;
CREATE TRIGGER between BEFORE INSERT OR UPDATE ON feature_corrections
    FOR EACH ROW EXECUTE FUNCTION change_logic();
"""


def plant(conninfo: str, statement: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[call-overload]


def checks_of_newest_run(
    instance: dg.DagsterInstance, table: str
) -> dict[str, dg.AssetCheckEvaluation]:
    """Return what the checks of an asset said in the newest run, by name."""
    run = instance.get_runs(limit=1)[0]
    records = instance.get_records_for_run(
        run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ).records
    found = {}
    for record in records:
        event = record.event_log_entry.dagster_event
        assert event is not None
        evaluation = event.asset_check_evaluation_data
        if evaluation.asset_key.path[-1] == table:
            found[evaluation.check_name] = evaluation
    return found


def rows_shown(check: dg.AssetCheckEvaluation, table: str, key: str) -> list[list[object]]:
    """Return the cells of each row of a table of evidence that begins with a key."""
    shown = check.metadata[table]
    assert isinstance(shown, dg.TableMetadataValue)
    columns = [column.name for column in shown.schema.columns]
    rows = [[record.data[name] for name in columns] for record in shown.records]
    return [row for row in rows if row[0] == key]


@pytest.mark.parametrize(
    ("planted", "check", "column"),
    [
        (NULL, "values_are_defined", 2),
        (OFF_CLOSE, "nothing_is_stored_twice", 3),
        (REPEATED, "nothing_is_stored_twice", 4),
        (EARLY, "nothing_looks_ahead", 5),
    ],
    ids=["null", "off the close", "repeated", "early"],
)
def test_a_value_that_should_not_be_stops_the_run_and_is_shown(
    ran_desk: Any, defs: dg.Definitions, sessions: list[date],
    planted: str, check: str, column: int,
) -> None:  # fmt: skip
    plant(ran_desk.conninfo, planted)
    with pytest.raises(QuantMlopsError, match=check):
        run_job(defs, ran_desk.instance, "small_daily", sessions=(sessions[-1], sessions[-1]))
    run = ran_desk.instance.get_runs(limit=1)[0]
    done = {step.step_key for step in ran_desk.instance.get_run_step_stats(run.run_id)}
    assert "small__feature_events" in done
    assert not {"small__predictions", "small__drift_metrics", "small__alerts"} & done
    found = checks_of_newest_run(ran_desk.instance, "feature_events")
    names = ("values_are_defined", "nothing_is_stored_twice", "nothing_looks_ahead")
    assert {name: found[name].passed for name in names} == {n: n != check for n in names}
    (line,) = rows_shown(found[check], "by_feature", "ret_5d@1")
    assert line[2:6] == [int(n == column) for n in range(2, 6)]
    assert str(line[6]).startswith("T03 at ")
    assert found[check].metadata["sessions"].value == str(sessions[-1])
    command = "`quant-mlops features review T03 ret_5d 20"
    assert command in str(found[check].metadata["to_go_on"].value)


def test_an_early_value_that_a_person_has_looked_at_stops_its_session_no_longer(
    ran_desk: Any, defs: dg.Definitions, sessions: list[date], strategy: Strategy
) -> None:
    def run() -> None:
        run_job(defs, ran_desk.instance, "small_daily", sessions=(sessions[-1], sessions[-1]))

    plant(ran_desk.conninfo, EARLY)
    with pytest.raises(QuantMlopsError, match="nothing_looks_ahead"):
        run()
    close = strategy.trading_calendar.close_time(sessions[-1])
    found = checks_of_newest_run(ran_desk.instance, "feature_events")["nothing_looks_ahead"]
    ((_, feature, about, *_),) = rows_shown(found, "early_values", "T03")
    assert (feature, about) == ("ret_5d@1", close.isoformat())
    command = f"`quant-mlops features review T03 ret_5d {about} --by NAME --reason WHY`"
    assert command in str(found.metadata["to_go_on"].value)
    with Database(ran_desk.conninfo) as database:
        review_values(database, "T03", "ret_5d", close, by="ann", reason="slow clock")
    run()


def test_logic_that_changed_under_a_run_stops_it(
    ran_desk: Any, defs: dg.Definitions, sessions: list[date]
) -> None:
    plant(ran_desk.conninfo, OTHER_LOGIC)
    with pytest.raises(QuantMlopsError, match="logic_is_as_stored"):
        run_job(defs, ran_desk.instance, "small_daily", sessions=(sessions[-1], sessions[-1]))
    found = checks_of_newest_run(ran_desk.instance, "feature_events")["logic_is_as_stored"]
    ((_, stored, _),) = rows_shown(found, "changed", "vol_20d@1")
    assert stored == "changed"
    steps = ran_desk.instance.get_run_step_stats(ran_desk.instance.get_runs(limit=1)[0].run_id)
    assert "small__predictions" not in {step.step_key for step in steps}


def test_late_and_wrong_values_warn_and_the_run_goes_on(
    ran_desk: Any, defs: dg.Definitions, sessions: list[date]
) -> None:
    late = PRINT.format(
        event="event_time", ingest="ingest_time + interval '10 hours'", value="value_double + 1"
    ).replace("ORDER BY event_time DESC, ingest_time", "ORDER BY event_time DESC OFFSET 1")
    wrong = PRINT.format(
        event="event_time", ingest="ingest_time + interval '1 hour'", value="-value_double"
    ).replace("T03", "T05")
    plant(ran_desk.conninfo, late)
    plant(ran_desk.conninfo, wrong)
    result = run_job(
        defs, ran_desk.instance, "small_history", sessions=(sessions[-1], sessions[-1])
    )
    assert result.success
    found = {check.check_name: check for check in result.get_asset_check_evaluations()}
    arrival, parity = found["values_arrive_in_time"], found["served_values_agree_with_prices"]
    for check in (arrival, parity):
        assert not check.passed
        assert check.severity is dg.AssetCheckSeverity.WARN
    assert arrival.metadata["problems"].value == "ret_5d@1 by planted takes 10:15:00"
    # A run of one session looks at that session alone.
    assert parity.metadata["mismatches"].value == 1
    ((_, _, _, differ, *_),) = rows_shown(parity, "by_feature", "ret_5d@1")
    assert differ == 1


@pytest.mark.parametrize(
    ("evidence", "stops"), [({}, False), ({"comparison": None}, True)], ids=["by hand", "gate"]
)
def test_what_is_live_without_a_verdict_stops_what_would_use_it_unless_a_person_wanted_it(
    ran_desk: Any, defs: dg.Definitions, strategy: Strategy, sessions: list[date],
    evidence: dict[str, Any], stops: bool,
) -> None:  # fmt: skip
    with Database(ran_desk.conninfo) as database:
        registry = ModelRegistry(database)
        live = registry.live_model("small")
        assert live is not None
        other = {"small_ridge": "small_xgboost", "small_xgboost": "small_ridge"}[live.name]
        model = registry.get_model(other, 1)
        assert model is not None
        with database.transaction() as connection:
            promote(
                connection, model_id=model.model_id, strategy_id="small", by="ann",
                reason="a hunch", evidence=evidence,
            )  # fmt: skip
    both = dg.define_asset_job(
        "small_both",
        selection=dg.AssetSelection.assets(
            dg.AssetKey(["small", "model_deployments"]), dg.AssetKey(["small", "predictions"])
        ),
        executor_def=dg.in_process_executor,
    )
    as_of = strategy.trading_calendar.close_time(strategy.first_partition) + strategy.evaluation_lag
    config = {"ops": {"small__model_deployments": {"config": {"as_of": as_of.isoformat()}}}}
    refused = pytest.raises(QuantMlopsError, match="live_model_has_a_verdict")
    with refused if stops else nullcontext():
        run_job(
            dg.Definitions.merge(defs, dg.Definitions(jobs=[both])), ran_desk.instance,
            "small_both", sessions=(sessions[-1], sessions[-1]), config=config,
        )  # fmt: skip
    found = checks_of_newest_run(ran_desk.instance, "model_deployments")["live_model_has_a_verdict"]
    assert not found.passed
    assert found.severity.name == ("ERROR" if stops else "WARN")
    assert found.metadata["live"].value == f"{other} v1"
    assert "made live by ann (a hunch) and no verdict" in str(found.metadata["reason"].value)
    steps = ran_desk.instance.get_run_step_stats(ran_desk.instance.get_runs(limit=1)[0].run_id)
    assert ("small__predictions" in {step.step_key for step in steps}) != stops
    assert datetime.fromisoformat(str(found.metadata["since"].value)) > live.live_from
