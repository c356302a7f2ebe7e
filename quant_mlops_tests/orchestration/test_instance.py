"""Dagster's instance: its environment, its connections, and runs whose process has died."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from quant_mlops.database import Database
from quant_mlops.database.access import ServerAccess
from quant_mlops.errors import ServerUnavailableError, SettingsError
from quant_mlops.orchestration.instance import (
    IN_PROCESS_TAG,
    dagster_yaml,
    fail_abandoned_runs,
    open_instance,
    prepare_environment,
    run_job,
)
from quant_mlops.settings import Settings

PASSWORD = "s3cr3t-w0rd"
PREPARED = (
    "DAGSTER_HOME", "DAGSTER_PG_URL", "DAGSTER_EVENT_BATCH_SIZE", "QUANT_MLOPS_HOME",
    "QUANT_MLOPS_STRATEGIES",
)  # fmt: skip


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the variables unset before the test and as they were after it."""
    for name in PREPARED:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def access_to(database: Database, dagster_url: str) -> ServerAccess:
    return ServerAccess(database, dagster_url, None)


def sqlalchemy_url(database: Database) -> str:
    parts = conninfo_to_dict(database.conninfo)
    user, name, host, port = (parts.get(key, "") for key in ("user", "dbname", "host", "port"))
    return f"postgresql+psycopg2://{user}:{PASSWORD}@/{name}?host={host}&port={port or 5432}"


@pytest.mark.usefixtures("clean")
def test_the_environment_names_home_server_and_strategies(
    database: Database, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path / "home", strategies=tmp_path / "strategies")
    url = sqlalchemy_url(database)
    prepare_environment(settings, access_to(database, url))
    assert os.environ["DAGSTER_HOME"] == str(tmp_path / "home" / "dagster")
    assert os.environ["DAGSTER_PG_URL"] == url
    assert os.environ["QUANT_MLOPS_HOME"] == str(tmp_path / "home")
    assert os.environ["QUANT_MLOPS_STRATEGIES"] == str(tmp_path / "strategies")
    assert int(os.environ["DAGSTER_EVENT_BATCH_SIZE"]) > 1


@pytest.mark.usefixtures("clean")
def test_no_file_of_the_home_holds_a_password(database: Database, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    prepare_environment(settings, access_to(database, sqlalchemy_url(database)))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.name for path in files] == ["dagster.yaml"]
    assert PASSWORD not in files[0].read_text()
    assert files[0].read_bytes() == dagster_yaml().read_bytes()


@pytest.mark.usefixtures("clean")
def test_a_home_of_dagster_that_the_user_has_set_is_left_as_it_is(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(own))
    settings = Settings(home=tmp_path / "home")
    prepare_environment(settings, access_to(database, sqlalchemy_url(database)))
    assert os.environ["DAGSTER_HOME"] == str(own)
    assert list(own.iterdir()) == []
    assert not (tmp_path / "home" / "dagster").exists()


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("given", ["relative/folder", "/nowhere/to/be/found"])
def test_a_home_of_dagster_that_is_no_folder_is_refused_in_a_sentence(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", given)
    access = access_to(database, sqlalchemy_url(database))
    with pytest.raises(SettingsError, match=r"DAGSTER_HOME is set to .* unset it"):
        prepare_environment(Settings(home=tmp_path), access)


@pytest.mark.usefixtures("clean")
def test_a_storage_that_cannot_be_reached_is_named_without_its_password(
    database: Database, tmp_path: Path
) -> None:
    url = f"postgresql+psycopg2://bob:{PASSWORD}@localhost:1/dagster"
    with pytest.raises(ServerUnavailableError, match=r"localhost:1/dagster.*DAGSTER_PG_URL") as e:
        prepare_environment(Settings(home=tmp_path), access_to(database, url))
    assert PASSWORD not in str(e.value)


@pytest.mark.usefixtures("clean")
def test_a_server_of_the_users_needs_a_storage_for_dagster(
    database: Database, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path, database_url=SecretStr(database.conninfo))
    with pytest.raises(SettingsError, match="DAGSTER_PG_URL is not set"):
        prepare_environment(settings, access_to(database, ""))


def test_statements_share_pooled_connections(desk: Any) -> None:
    name = conninfo_to_dict(os.environ["DAGSTER_PG_URL"].replace("+psycopg2", ""))["dbname"]

    def backends() -> set[int]:
        with psycopg.connect(make_conninfo(desk.conninfo)) as connection:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = %s", [name]
            ).fetchall()
        return {pid for (pid,) in rows}

    desk.instance.get_runs_count()
    before = backends()
    for _ in range(10):
        desk.instance.get_runs_count()
    assert before
    assert backends() == before


def test_the_instance_keeps_runs_in_postgresql(desk: Any) -> None:
    assert isinstance(desk.instance.run_storage, PostgresRunStorage)
    assert isinstance(desk.instance.event_log_storage, PostgresEventLogStorage)
    assert desk.instance.telemetry_enabled is False
    assert desk.instance.nux_enabled is False


def test_the_console_has_what_is_of_note_of_a_run_and_its_log_everything(
    desk: Any, defs: dg.Definitions, capfd: pytest.CaptureFixture[str]
) -> None:
    revision = defs.resolve_job_def("small_revision")
    assert revision.execute_in_process(instance=desk.instance).success
    refused = defs.resolve_job_def("small_history")
    assert not refused.execute_in_process(instance=desk.instance, raise_on_error=False).success
    console = capfd.readouterr().err
    assert "STEP_START" not in console
    assert "NoPartitionError" in console
    (run, _) = reversed(desk.instance.get_runs())
    logged = {entry.level for entry in desk.instance.all_logs(run.run_id)}
    assert logging.DEBUG in logged
    assert any("STEP_START" in str(e.dagster_event) for e in desk.instance.all_logs(run.run_id))


def start_run(desk: Any, defs: dg.Definitions, home: Path, status: dg.DagsterRunStatus) -> str:
    run = desk.instance.create_run_for_job(
        defs.resolve_job_def("small_report"), tags={IN_PROCESS_TAG: str(home)}, status=status
    )
    return str(run.run_id)


def test_runs_whose_process_has_ended_are_marked_failed(desk: Any, defs: dg.Definitions) -> None:
    states = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.NOT_STARTED)
    left = [start_run(desk, defs, desk.home, status) for status in states]
    done = start_run(desk, defs, desk.home, dg.DagsterRunStatus.SUCCESS)

    assert fail_abandoned_runs(desk.instance) == 2

    for run_id in left:
        assert desk.instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.FAILURE
    assert desk.instance.get_run_by_id(done).status is dg.DagsterRunStatus.SUCCESS
    assert fail_abandoned_runs(desk.instance) == 0


def test_runs_of_another_home_and_runs_of_the_daemon_are_left_alone(
    desk: Any, defs: dg.Definitions
) -> None:
    others = start_run(desk, defs, Path("/another/home"), dg.DagsterRunStatus.STARTED)
    daemons = desk.instance.create_run_for_job(
        defs.resolve_job_def("small_report"), status=dg.DagsterRunStatus.STARTED
    ).run_id
    assert fail_abandoned_runs(desk.instance) == 0
    for run_id in (others, daemons):
        assert desk.instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.STARTED


@dg.asset
def interrupted() -> None:
    raise KeyboardInterrupt


def test_an_interrupted_step_is_an_interrupt_and_a_failed_run(desk: Any) -> None:
    defs = dg.Definitions(assets=[interrupted], jobs=[dg.define_asset_job("stop", [interrupted])])
    with pytest.raises(KeyboardInterrupt):
        run_job(defs, desk.instance, "stop")
    (run,) = desk.instance.get_runs(limit=1)
    assert run.is_finished
    assert fail_abandoned_runs(desk.instance) == 0


@pytest.mark.usefixtures("clean")
def test_an_instance_of_the_users_may_keep_its_runs_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with open_instance() as instance:
        assert instance.get_runs_count() == 0
