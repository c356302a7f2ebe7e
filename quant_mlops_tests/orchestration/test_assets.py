"""Assets in runs of their jobs: over a range, on one day, again, and with planted defects."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import dagster as dg
import psycopg
import pyarrow as pa
import pytest

from quant_mlops.database import Database
from quant_mlops.errors import QuantMlopsError, TrainingError
from quant_mlops.market.price_bars import write_bars
from quant_mlops.market.price_files import BARS_SCHEMA
from quant_mlops.orchestration.assets.monitoring import ROWS_SHOWN
from quant_mlops.orchestration.assets.training import METRICS_SHOWN
from quant_mlops.orchestration.instance import PLANNED_AS_ONE, run_job
from quant_mlops.orchestration.jobs import TRAINING
from quant_mlops.orchestration.resources import Server
from quant_mlops.orchestration.strategy_set import strategy_definitions
from quant_mlops.session_figures import feature_psi
from quant_mlops.settings import load_settings
from quant_mlops.strategy import Strategy
from quant_mlops.strategy_context import StrategyContext

pytestmark = pytest.mark.shared

MONITORED = 60
HISTORY_CHECKS = (
    "sessions_have_prices", "values_are_defined", "nothing_is_stored_twice", "nothing_looks_ahead",
    "logic_is_as_stored", "values_arrive_in_time", "served_values_agree_with_prices",
)  # fmt: skip


def metadata(result: dg.ExecuteInProcessResult, table: str) -> dict[str, Any]:
    events = result.asset_materializations_for_node(f"small__{table}")
    return {
        key: rows_of(value) if isinstance(value, dg.TableMetadataValue) else value.value
        for key, value in events[-1].metadata.items()
    }


def rows_of(table: dg.TableMetadataValue) -> list[tuple[Any, ...]]:
    """Return header and rows of a table in the order in which it is shown."""
    names = tuple(column.name for column in table.schema.columns)
    return [names, *(tuple(record.data[name] for name in names) for record in table.records)]


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {check.check_name: check.passed for check in result.get_asset_check_evaluations()}


def definitions_of(strategy: Strategy) -> dg.Definitions:
    return dg.Definitions.merge(
        strategy_definitions(strategy), dg.Definitions(resources={"server": Server()})
    )


def scalar(conninfo: str, statement: str, *parameters: Any) -> Any:
    with psycopg.connect(conninfo) as connection:
        row = connection.execute(statement, parameters).fetchone()  # type: ignore[call-overload]
    assert row is not None
    return row[0]


def contents(conninfo: str) -> dict[str, int]:
    with psycopg.connect(conninfo) as connection:
        tables = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        ).fetchall()
        return {
            name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]  # type: ignore[index,call-overload]
            for (name,) in tables
        }


def training_config(
    strategy: Strategy, as_of: datetime | str, request_id: int = 0
) -> dict[str, Any]:
    text = as_of if isinstance(as_of, str) else as_of.isoformat()
    config = {"as_of": text, "request_id": request_id}
    return {"ops": {f"{strategy.name}__{table}": {"config": config} for table in TRAINING}}


def judged_at(strategy: Strategy, session: date) -> datetime:
    return strategy.trading_calendar.close_time(session) + strategy.evaluation_lag


def test_the_first_partition_takes_in_all_history_before_it(ran: Any, sessions: list[date]) -> None:
    found = metadata(ran.history, "price_bars")
    assert found["rows_in_file"] == 12 * len(sessions)
    assert found["bars_stored"] == found["bars_offered"] == 12 * (len(sessions) - 1)
    assert len(ran.history.asset_materializations_for_node("small__price_bars")) == MONITORED


def test_price_metadata_shows_source_digest_and_defects(ran: Any) -> None:
    found = metadata(ran.history, "price_bars")
    assert found["source"] == "twelve.csv"
    assert len(found["file_sha256"]) == 64
    assert found["defects"] == [("reason", "rows", "outcome", "rule")]
    assert any("assumed" in note for note in found["notes"])


def test_restatements_to_be_looked_at_are_named_in_the_metadata_and_the_log(
    defs: dg.Definitions, desk: Any, strategy: Strategy, sessions: list[date]
) -> None:
    first, calendar = strategy.first_partition, strategy.trading_calendar
    bars = {
        "ticker": "T00",
        "session": first,
        "event_time": calendar.close_time(first),
        "ingest_time": calendar.close_time(first),
        "close": 1.5,
        "availability_observed": True,
    }
    with Database(desk.conninfo) as database:
        table = pa.Table.from_pylist([bars], schema=BARS_SCHEMA)
        write_bars(database, table, source="vendor.csv")
    result = run_job(
        defs, desk.instance, "small_history",
        sessions=(first, first), assets=[dg.AssetKey(["small", "price_bars"])],
    )  # fmt: skip
    other, large = metadata(result, "price_bars")["notes"][-2:]
    assert other.startswith(f"1 bar restates one of another source, such as T00 on {first} with")
    assert "1.5 in vendor.csv" in other
    assert f"a stored close by more than 50%, such as T00 on {first} from 1.5 to" in large
    said = [entry.user_message for entry in desk.instance.all_logs(result.run_id)]
    assert {other, large} <= set(said)


def test_feature_metadata_counts_each_feature(ran: Any) -> None:
    found = metadata(ran.history, "feature_events")
    _, *rows = found["by_feature"]
    assert [row[0] for row in rows] == ["ret_5d@1", "reversal_1d@1", "vol_20d@1"]
    stored = sum(row[2] for row in rows)
    assert found["events_stored"] == stored > 0
    assert found["revisions"] == 0


def test_the_data_version_of_the_snapshot_is_its_fingerprint(ran: Any) -> None:
    event = ran.training.asset_materializations_for_node("small__training_snapshots")[0]
    fingerprint = event.metadata["fingerprint"].value
    assert event.tags["dagster/data_version"] == fingerprint
    assert len(fingerprint) == 64


def test_training_metadata_shows_every_learner_and_the_verdict(ran: Any) -> None:
    found = metadata(ran.training, "models")
    learners = ("small_xgboost v1", "small_ridge v1")
    assert tuple(row[0] for row in found["models"][1:]) == learners
    header, *rows = found["metrics"]
    assert header == ("metric", *learners)
    assert {name: all(map(float, values)) for name, *values in rows} == dict.fromkeys(
        METRICS_SHOWN, True
    )
    verdict = metadata(ran.training, "model_deployments")
    assert verdict["promoted"] is True
    assert verdict["reason"] == "first model of the strategy"


def test_monitoring_metadata_shows_the_newest_sessions(ran: Any, sessions: list[date]) -> None:
    found = metadata(ran.monitoring, "drift_metrics")
    assert found["sessions"] == found["stored"] == MONITORED - 1
    # The newest first, as on a page that is read from the top.
    assert [row[0] for row in found["newest sessions"][1:]] == [
        str(session) for session in sessions[-2 : -2 - ROWS_SHOWN : -1]
    ]
    assert isinstance(found["mean_ic"], float)
    assert metadata(ran.monitoring, "predictions")["sessions_without_live_model"] == 0
    assert metadata(ran.monitoring, "feature_drift")["stored"] == 3 * (MONITORED - 1)


def pictures(event: dg.AssetMaterialization) -> dict[str, bytes]:
    """Return the pictures that the metadata of a materialisation carry, decoded."""
    texts = {key: str(value.value) for key, value in event.metadata.items()}
    return {
        key: base64.b64decode(text.partition("base64,")[2].rstrip(")"), validate=True)
        for key, text in texts.items()
        if "data:image/png;base64," in text
    }


@pytest.mark.parametrize(
    ("table", "plot"),
    [
        ("predictions", "predictions of the newest session"),
        ("feature_drift", "PSI by feature"),
        ("drift_metrics", "information coefficient"),
    ],
)
def test_the_plot_of_a_run_is_stored_once_however_many_sessions_it_has(
    ran: Any, sessions: list[date], table: str, plot: str
) -> None:
    for result, count in ((ran.monitoring, MONITORED - 1), (ran.daily, 1)):
        events = result.asset_materializations_for_node(f"small__{table}")
        assert len(events) == count
        carried = {event.partition: found for event in events if (found := pictures(event))}
        newest = sessions[-1] if count == 1 else sessions[-2]
        assert list(carried) == [str(newest)]
        assert list(carried[str(newest)]) == [plot]
        (picture,) = carried[str(newest)].values()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < 100_000


def test_the_plot_of_psi_has_the_aggregate_of_a_session_that_is_not_judged_yet(
    ran_desk: Any, forge: Any, strategy: Strategy, sessions: list[date]
) -> None:
    with Database(ran_desk.conninfo) as database:
        forge(database, f"DELETE FROM drift_metrics WHERE date >= '{sessions[-3]}'")
        work = StrategyContext(database, load_settings(home=ran_desk.home), strategy)
        figure = feature_psi(work, sessions[-1])
        forge(database, "DELETE FROM rules_in_force")
        rules = strategy.rules.model_copy(update={"psi_warning": 0.17, "psi_critical": 0.31})
        own = replace(work, strategy=strategy.model_copy(update={"rules": rules}))
        before_any_rule = feature_psi(own, sessions[-1])
    mean = scalar(
        ran_desk.conninfo, "SELECT avg(psi) FROM feature_drift WHERE session = %s", sessions[-1]
    )
    assert "mild above 0.10" in [text.get_text() for text in figure.axes[0].texts]
    assert "mild above 0.17" in [text.get_text() for text in before_any_rule.axes[0].texts]
    assert figure.axes[0].get_title(loc="left").startswith(f"Aggregate PSI {mean:.3f}; ")


def test_snapshot_models_and_deployment_lead_to_each_other(ran: Any) -> None:
    snapshot, models, deployment = (metadata(ran.training, table) for table in TRAINING)
    assert models["trained_on"] == dg.AssetKey(["small", "training_snapshots"])
    assert deployment["chosen_from"] == dg.AssetKey(["small", "models"])
    assert snapshot["snapshot_id"] == models["snapshot_id"] == deployment["snapshot_id"]
    assert snapshot["fingerprint"] == models["snapshot"] == deployment["snapshot"]
    assert deployment["model_id"] in [row[1] for row in models["models"]]
    (event,) = ran.training.asset_materializations_for_node("small__models")
    assert list(pictures(event)) == ["metrics of the learners"]
    served = metadata(ran.daily, "predictions")
    assert served["model_id"] == deployment["model_id"]
    assert served["model"] == deployment["candidate"]
    assert served["made_live_by"] == dg.AssetKey(["small", "model_deployments"])


def test_one_day_adds_one_session_to_every_table(ran: Any, ran_desk: Any) -> None:
    assert metadata(ran.daily, "price_bars")["bars_stored"] == 12
    assert metadata(ran.daily, "feature_events")["events_stored"] == 3 * 12
    assert metadata(ran.daily, "predictions")["stored"] == 12
    assert metadata(ran.daily, "feature_drift")["stored"] == 3
    assert metadata(ran.daily, "drift_metrics")["stored"] == 1
    judged = scalar(ran_desk.conninfo, "SELECT count(*) FROM drift_metrics")
    assert judged == MONITORED


def test_the_report_is_a_file_and_its_plots_are_pictures_in_the_metadata(ran: Any) -> None:
    found = metadata(ran.report, "monitoring_report")
    assert Path(found["report"]).read_text().startswith("<!")
    plots = {key: value for key, value in found.items() if "data:image/png;base64," in str(value)}
    assert set(plots) == {
        "information coefficient",
        "PSI by feature",
        "cumulative return",
        "alerts",
    }
    for text in plots.values():
        encoded = text.partition("base64,")[2].rstrip(")")
        assert base64.b64decode(encoded, validate=True).startswith(b"\x89PNG")


def test_checks_run_in_each_job_and_their_results_are_stored(ran: Any, ran_desk: Any) -> None:
    assert checks(ran.history) == dict.fromkeys(HISTORY_CHECKS, True)
    assert checks(ran.training) == {
        "snapshot_is_intact": True, "artifacts_are_intact": True, "live_model_has_a_verdict": True,
    }  # fmt: skip
    assert set(checks(ran.monitoring)) == {"within_thresholds"}
    assert set(checks(ran.daily)) == {*HISTORY_CHECKS, "within_thresholds"}
    key = dg.AssetCheckKey(dg.AssetKey(["small", "models"]), "artifacts_are_intact")
    stored = ran_desk.instance.event_log_storage.get_asset_check_execution_history(key, limit=5)
    assert [record.status.value for record in stored] == ["SUCCEEDED"]


def test_the_threshold_check_says_what_is_beyond(
    ran: Any, ran_desk: Any, sessions: list[date]
) -> None:
    (check,) = [
        c for c in ran.daily.get_asset_check_evaluations() if c.check_name == "within_thresholds"
    ]
    levels = scalar(
        ran_desk.conninfo,
        "SELECT array[ic_alert, psi_alert, sharpe_alert] FROM drift_metrics WHERE date = %s",
        sessions[-1],
    )
    assert check.passed is not any(levels)
    for level in filter(None, levels):
        assert level in str(check.metadata["beyond"].value)


def test_what_a_range_is_going_to_fill_is_one_event_an_asset(ran: Any, ran_desk: Any) -> None:
    planned = ran_desk.instance.all_logs(
        ran.history.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
    )
    assert len(planned) == 2
    filled = ran.history.asset_materializations_for_node("small__price_bars")
    assert len(filled) > 2
    assert PLANNED_AS_ONE not in os.environ


def test_running_everything_again_stores_nothing(
    ran: Any, ran_desk: Any, defs: dg.Definitions, strategy: Strategy, sessions: list[date]
) -> None:
    before = contents(ran_desk.conninfo)
    whole = (strategy.first_partition, sessions[-1])
    history = run_job(defs, ran_desk.instance, "small_history", sessions=whole)
    training = run_job(
        defs, ran_desk.instance, "small_training",
        config=training_config(strategy, judged_at(strategy, strategy.first_partition)),
    )  # fmt: skip
    run_job(
        defs, ran_desk.instance, "small_monitoring", sessions=(sessions[-MONITORED], sessions[-1])
    )
    assert contents(ran_desk.conninfo) == before
    assert metadata(history, "feature_events")["events_stored"] == 0
    first = metadata(ran.training, "training_snapshots")
    assert metadata(training, "training_snapshots")["fingerprint"] == first["fingerprint"]
    assert "True" not in metadata(training, "models")["models"]


def test_a_leak_anywhere_in_the_history_is_found_by_a_run_of_the_first_partition(
    ran_desk: Any, defs: dg.Definitions, strategy: Strategy
) -> None:
    with psycopg.connect(ran_desk.conninfo, autocommit=True) as connection:
        connection.execute(
            """
            INSERT INTO feature_events (entity_key, feature_name, feature_version, event_time,
                                        ingest_time, value_double, producer)
            SELECT entity_key, feature_name, feature_version, event_time,
                   event_time - interval '1 day', 0.5, 'leak'
            FROM feature_events WHERE feature_name = 'vol_20d' AND entity_key = 'T07'
            ORDER BY event_time LIMIT 1
            """
        )
    first = strategy.first_partition
    with pytest.raises(QuantMlopsError, match="nothing_looks_ahead"):
        run_job(defs, ran_desk.instance, "small_history", sessions=(first, first))


@contextmanager
def tampered(path: Path) -> Iterator[None]:
    original = path.read_bytes()
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(original + b" ")
    try:
        yield
    finally:
        path.write_bytes(original)
        path.chmod(mode)


def test_a_tampered_artifact_stops_the_promotion(
    ran_desk: Any, defs: dg.Definitions, strategy: Strategy
) -> None:
    path, name = scalar(
        ran_desk.conninfo,
        """
        SELECT array[artifact_path, name] FROM model_artifacts JOIN models USING (model_id)
        WHERE artifact_type LIKE 'weights%%' AND name = 'small_ridge'
        """,
    )
    deployments = scalar(ran_desk.conninfo, "SELECT count(*) FROM model_deployments")
    config = training_config(strategy, judged_at(strategy, strategy.first_partition))
    location = Path(urlparse(path).path)
    file = location if location.is_absolute() else ran_desk.home / "artifacts" / location
    with tampered(file), pytest.raises(QuantMlopsError, match="artifacts_are_intact"):
        run_job(defs, ran_desk.instance, "small_training", config=config)
    assert name == "small_ridge"
    assert scalar(ran_desk.conninfo, "SELECT count(*) FROM model_deployments") == deployments


def test_a_tampered_snapshot_stops_the_training_in_one_sentence(
    ran_desk: Any, defs: dg.Definitions, strategy: Strategy
) -> None:
    uri = scalar(ran_desk.conninfo, "SELECT uri FROM training_snapshots")
    config = training_config(strategy, judged_at(strategy, strategy.first_partition))
    file = Path(urlparse(uri).path) / "data.parquet"
    models = scalar(ran_desk.conninfo, "SELECT count(*) FROM models")
    with tampered(file), pytest.raises(QuantMlopsError):
        run_job(defs, ran_desk.instance, "small_training", config=config)
    assert scalar(ran_desk.conninfo, "SELECT count(*) FROM models") == models


def test_the_price_check_names_sessions_without_prices_and_lets_the_run_go_on(
    desk: Any, strategy: Strategy, sessions: list[date], tmp_path: Path
) -> None:
    lines = Path(strategy.prices.file).read_text().splitlines(keepends=True)
    shorter = tmp_path / "shorter.csv"
    shorter.write_text("".join(line for line in lines if str(sessions[-1]) not in line))
    prices = strategy.prices.model_copy(update={"file": str(shorter)})
    renamed = strategy.model_copy(update={"prices": prices})
    both = (sessions[-2], sessions[-1])
    result = run_job(definitions_of(renamed), desk.instance, "small_history", sessions=both)
    (check,) = [
        c for c in result.get_asset_check_evaluations() if c.check_name == "sessions_have_prices"
    ]
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert check.metadata["without_prices"].value == str(sessions[-1])
    assert metadata(result, "feature_events")["events_offered"] == 0


def test_a_training_run_refuses_a_time_that_says_nothing_and_an_answered_request(
    ran_desk: Any, defs: dg.Definitions, strategy: Strategy, sessions: list[date]
) -> None:
    later = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    asked = {
        "as_of is 'yesterday'": training_config(strategy, "yesterday"),
        "no ISO 8601 time with a zone": training_config(strategy, "2022-03-01T20:00"),
        "lies in the future": training_config(strategy, later),
        "4711 is not open": training_config(strategy, judged_at(strategy, sessions[-1]), 4711),
    }
    for message, config in asked.items():
        with pytest.raises(TrainingError, match=message):
            run_job(defs, ran_desk.instance, "small_training", config=config)


def test_models_are_trained_on_the_snapshot_of_their_own_run(
    ran_desk: Any, ran: Any, strategy: Strategy
) -> None:
    """A snapshot of the same knowledge time and other features was built in between."""
    fewer = Strategy.model_validate(
        {**strategy.model_dump(), "features": {"names": ["ret_5d", "vol_20d"]}}
    )
    config = training_config(strategy, judged_at(strategy, strategy.first_partition))
    keys = [dg.AssetKey(["small", table]) for table in ("training_snapshots", "models")]
    other, again = (
        run_job(
            definitions_of(chosen), ran_desk.instance, "small_training",
            config={"ops": {f"small__{key.path[1]}": config["ops"][f"small__{key.path[1]}"]
                            for key in keys}},
            assets=keys,
        )
        for chosen in (fewer, strategy)
    )  # fmt: skip
    first = metadata(ran.training, "training_snapshots")["fingerprint"]
    assert metadata(other, "training_snapshots")["fingerprint"] != first
    assert metadata(again, "training_snapshots")["fingerprint"] == first
    assert "small_ridge v2" in [row[0] for row in metadata(other, "models")["models"]]
    assert "small_ridge v1" in [row[0] for row in metadata(again, "models")["models"]]


def test_a_training_run_of_an_ended_strategy_knows_by_default_what_its_last_session_knew(
    ran_desk: Any, defs: dg.Definitions, strategy: Strategy, sessions: list[date]
) -> None:
    result = run_job(defs, ran_desk.instance, "small_training")
    found = {
        table: metadata(result, table) for table in ("training_snapshots", "model_deployments")
    }
    known = datetime.fromisoformat(found["training_snapshots"]["knowledge_time"])
    assert known == judged_at(strategy, sessions[-1])
    assert found["training_snapshots"]["fingerprint"] == found["model_deployments"]["snapshot"]
