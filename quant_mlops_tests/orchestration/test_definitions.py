"""What Dagster loads: keys, groups, checks, jobs, schedules, sensors, and where it finds them."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
import yaml

from quant_mlops.database import Database
from quant_mlops.errors import StrategyError
from quant_mlops.orchestration.code_location import PROBLEMS
from quant_mlops.orchestration.instance import dagster_yaml, workspace_yaml
from quant_mlops.orchestration.jobs import PRELOADED

MODULE = "quant_mlops.definitions"
REPOSITORY = Path(__file__).resolve().parents[2]
GROUPS = {
    "price_bars": "market",
    "feature_events": "features",
    "training_snapshots": "training",
    "models": "training",
    "model_deployments": "training",
    "predictions": "serving",
    "strategy_returns": "serving",
    "feature_drift": "monitoring",
    "drift_metrics": "monitoring",
    "alerts": "monitoring",
    "monitoring_report": "monitoring",
}
UPSTREAM = {
    "price_bars": set(),
    "feature_events": {"price_bars"},
    "training_snapshots": {"feature_events"},
    "models": {"training_snapshots"},
    "model_deployments": {"models"},
    "predictions": {"feature_events", "model_deployments"},
    "strategy_returns": {"predictions", "price_bars"},
    "feature_drift": {"feature_events", "model_deployments"},
    "drift_metrics": {"predictions", "price_bars", "strategy_returns", "feature_drift"},
    "alerts": {"drift_metrics"},
    "monitoring_report": {"alerts", "drift_metrics"},
}
CHECKS = {
    ("price_bars", "sessions_have_prices", False),
    ("feature_events", "values_are_defined", True),
    ("feature_events", "nothing_is_stored_twice", True),
    ("feature_events", "nothing_looks_ahead", True),
    ("feature_events", "logic_is_as_stored", True),
    ("feature_events", "values_arrive_in_time", False),
    ("feature_events", "served_values_agree_with_prices", False),
    ("training_snapshots", "snapshot_is_intact", True),
    ("training_snapshots", "snapshots_are_reproducible", False),
    ("models", "artifacts_are_intact", True),
    ("model_deployments", "live_model_has_a_verdict", True),
    ("drift_metrics", "within_thresholds", False),
}
JOBS = {
    "history": {"price_bars", "feature_events"},
    "training": {"training_snapshots", "models", "model_deployments"},
    "monitoring": {
        "predictions", "strategy_returns", "feature_drift", "drift_metrics", "alerts",
    },
    "daily": {
        "price_bars", "feature_events", "predictions", "strategy_returns", "feature_drift",
        "drift_metrics", "alerts",
    },
    "report": {"monitoring_report"},
    "verification": set(),
    "revision": set(),
    "retraining_request": set(),
}  # fmt: skip
SCHEDULES = {"daily_schedule", "monthly_retraining_schedule", "weekly_verification_schedule"}
SENSORS = {"retraining_sensor", "missing_sessions_sensor", "corrections_sensor"}
SHARED_SENSORS = {"alert_delivery_sensor", "run_failure_sensor", "run_success_sensor"}


def named(strategy: str, names: set[str]) -> set[str]:
    return {f"{strategy}_{name}" for name in names}


def load(monkeypatch: pytest.MonkeyPatch, folder: Path) -> dg.Definitions:
    """Load the module as Dagster does, with the strategies of a folder."""
    monkeypatch.setenv("QUANT_MLOPS_STRATEGIES", str(folder))
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    found = importlib.import_module(MODULE).defs()
    assert isinstance(found, dg.Definitions)
    return found


@pytest.fixture
def strategies(tmp_path: Path, strategy_text: str) -> Path:
    (tmp_path / "small.toml").write_text(strategy_text)
    return tmp_path


def test_they_can_be_loaded(monkeypatch: pytest.MonkeyPatch, strategies: Path) -> None:
    dg.Definitions.validate_loadable(load(monkeypatch, strategies))


def test_asset_keys_are_tables_behind_the_name_of_the_strategy(
    monkeypatch: pytest.MonkeyPatch, strategies: Path
) -> None:
    specs = load(monkeypatch, strategies).resolve_all_asset_specs()
    assert {s.key.path[1]: s.group_name for s in specs} == GROUPS
    assert {s.key.path[0] for s in specs} == {"small"}
    found = {s.key.path[1]: {d.asset_key.path[1] for d in s.deps} for s in specs}
    assert found == UPSTREAM


def test_every_asset_key_but_the_report_is_a_table(
    database: Database, monkeypatch: pytest.MonkeyPatch, strategies: Path
) -> None:
    rows = database.fetch_all(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
    )
    specs = load(monkeypatch, strategies).resolve_all_asset_specs()
    keys = {spec.key.path[1] for spec in specs}
    assert keys - {"monitoring_report"} <= {name for (name,) in rows}


def test_every_asset_is_described_owned_and_versioned(
    monkeypatch: pytest.MonkeyPatch, strategies: Path
) -> None:
    for spec in load(monkeypatch, strategies).resolve_all_asset_specs():
        assert spec.description, spec.key
        assert list(spec.owners) == ["team@example.com"], spec.key
        assert spec.code_version, spec.key


def test_the_checks_and_which_of_them_stop_a_run(
    monkeypatch: pytest.MonkeyPatch, strategies: Path
) -> None:
    graph = load(monkeypatch, strategies).resolve_asset_graph()
    found = {
        (key.asset_key.path[1], key.name, graph.get(key).blocking) for key in graph.asset_check_keys
    }
    assert found == CHECKS


def test_jobs_and_the_assets_of_each(monkeypatch: pytest.MonkeyPatch, strategies: Path) -> None:
    defs = load(monkeypatch, strategies)
    jobs = {job.name: job for job in defs.resolve_all_job_defs() if job.name.startswith("small_")}
    found = {
        name.removeprefix("small_"): {key.path[1] for key in job.asset_layer.executable_asset_keys}
        for name, job in jobs.items()
    }
    assert found == JOBS
    assert {job.executor_def.name for job in jobs.values()} == {"in_process"}


def test_the_executor_of_the_settings_is_that_of_every_job(
    monkeypatch: pytest.MonkeyPatch, strategies: Path
) -> None:
    monkeypatch.setenv("QUANT_MLOPS_EXECUTOR", "multiprocess")
    defs = load(monkeypatch, strategies)
    jobs = [job for job in defs.resolve_all_job_defs() if job.name.startswith("small_")]
    found = {job.name for job in jobs if job.executor_def.name == "multiprocess"}
    assert found == {f"small_{name}" for name in JOBS}


def test_what_is_imported_before_steps_are_forked_exists() -> None:
    # A module that cannot be imported is passed over in silence, and the steps are slow.
    for name in PRELOADED:
        importlib.import_module(name)


def test_schedules_and_sensors_are_running_by_default(
    monkeypatch: pytest.MonkeyPatch, strategies: Path
) -> None:
    repository = load(monkeypatch, strategies).get_repository_def()
    assert {s.name for s in repository.schedule_defs} == named("small", SCHEDULES)
    assert {s.name for s in repository.sensor_defs} == named("small", SENSORS) | SHARED_SENSORS
    assert {s.default_status for s in repository.schedule_defs} == {
        dg.DefaultScheduleStatus.RUNNING
    }
    assert {s.default_status for s in repository.sensor_defs} == {dg.DefaultSensorStatus.RUNNING}


def test_the_weekly_check_is_in_its_own_job_alone(
    monkeypatch: pytest.MonkeyPatch, strategies: Path
) -> None:
    defs = load(monkeypatch, strategies)
    holding = {
        job.name
        for job in defs.resolve_all_job_defs()
        if job.name.startswith("small_")
        and any("snapshots_are_reproducible" in node.name for node in job.graph.nodes)
    }
    assert holding == {"small_verification"}


def test_what_computes_sessions_of_a_strategy_shares_one_slot(
    monkeypatch: pytest.MonkeyPatch, strategies: Path
) -> None:
    defs = load(monkeypatch, strategies)
    for name in ("history", "monitoring", "daily", "revision"):
        pools = {n.definition.pool for n in defs.resolve_job_def(f"small_{name}").graph.nodes}
        assert pools - {None} == {"small_sessions"}, name
    for spec in defs.resolve_all_asset_specs():
        policy = defs.resolve_assets_def(spec.key).backfill_policy
        assert (policy is not None) is (spec.partitions_def is not None), spec.key
        assert policy is None or policy.max_partitions_per_run is None


def test_training_takes_the_one_slot_of_its_pool(
    monkeypatch: pytest.MonkeyPatch, strategies: Path
) -> None:
    job = load(monkeypatch, strategies).resolve_job_def("small_training")
    assert {node.definition.pool for node in job.graph.nodes} >= {"training"}
    pools = yaml.safe_load(dagster_yaml().read_text())["concurrency"]["pools"]
    assert pools == {"default_limit": 1, "granularity": "run"}


def test_two_strategies_stand_side_by_side(
    monkeypatch: pytest.MonkeyPatch, strategies: Path, strategy_text: str
) -> None:
    other = strategy_text.replace('name = "small"', 'name = "other"')
    (strategies / "other.toml").write_text(other.replace('"XNYS"', '"XTKS"'))
    defs = load(monkeypatch, strategies)
    dg.Definitions.validate_loadable(defs)
    keys = {tuple(spec.key.path) for spec in defs.resolve_all_asset_specs()}
    assert keys == {(name, table) for name in ("small", "other") for table in GROUPS}
    repository = defs.get_repository_def()
    assert {s.name for s in repository.schedule_defs} == (
        named("small", SCHEDULES) | named("other", SCHEDULES)
    )
    assert {s.name for s in repository.sensor_defs} == (
        named("small", SENSORS) | named("other", SENSORS) | SHARED_SENSORS
    )
    graph = defs.resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        assert {parent.path[0] for parent in graph.get(key).parent_keys} <= {key.path[0]}


def problems_of(defs: dg.Definitions) -> dict[str, str]:
    """Return the description of each file that is shown as one with errors."""
    return {
        spec.key.path[1]: spec.description or ""
        for spec in defs.resolve_all_asset_specs()
        if spec.key.path[0] == PROBLEMS
    }


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("horizon = 2", "horizn = 2", "key horizn: is no key of a strategy; did you mean horizon?"),
        ('"XNYS"', '"XXXX"', "there is no trading calendar named 'XXXX'"),
        ('"ret_5d"', '"ret_6d"', "there is no definition of feature 'ret_6d'"),
        ("[features]", '[features]\nmodule = "no_such"', "features.module 'no_such' cannot be"),
        ("team@example.com", "somebody", "somebody"),
        ("[prices]", "prices]", "is not valid TOML"),
    ],
)
def test_a_wrong_file_is_shown_and_the_good_ones_load(
    monkeypatch: pytest.MonkeyPatch, strategies: Path, strategy_text: str,
    caplog: pytest.LogCaptureFixture, before: str, after: str, sentence: str,
) -> None:  # fmt: skip
    assert before in strategy_text
    wrong = strategy_text.replace('name = "small"', 'name = "wrong"').replace(before, after, 1)
    # Two files whose names differ in what a name in Dagster may not hold.
    (strategies / "not-good.toml").write_text(wrong)
    (strategies / "not good.toml").write_text(wrong.replace('"wrong"', '"wrong_too"'))

    defs = load(monkeypatch, strategies)

    dg.Definitions.validate_loadable(defs)
    keys = {tuple(spec.key.path) for spec in defs.resolve_all_asset_specs()}
    assert {table for name, table in keys if name == "small"} == set(GROUPS)
    schedules = {s.name for s in defs.get_repository_def().schedule_defs}
    assert schedules == named("small", SCHEDULES)
    problems = problems_of(defs)
    assert set(problems) == {"not-good.toml", "not good.toml"}
    for name, text in problems.items():
        assert str(strategies / name) in text
        assert sentence in text
        assert any(sentence in r.message and name in r.message for r in caplog.records)
    materializable = defs.resolve_asset_graph().materializable_asset_keys
    assert {key.path[0] for key in materializable} == {"small"}


def test_two_strategies_of_one_name_are_both_refused_and_named(
    monkeypatch: pytest.MonkeyPatch, strategies: Path, strategy_text: str
) -> None:
    (strategies / "again.toml").write_text(strategy_text)
    (strategies / "other.toml").write_text(strategy_text.replace('"small"', '"other"'))
    defs = load(monkeypatch, strategies)
    problems = problems_of(defs)
    assert set(problems) == {"again.toml", "small.toml"}
    for text in problems.values():
        assert all(str(strategies / name) in text for name in problems)
    keys = {spec.key.path[0] for spec in defs.resolve_all_asset_specs()}
    assert keys == {"other", PROBLEMS}


def test_a_folder_without_any_strategy_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(StrategyError, match=r"there is no strategy file"):
        load(monkeypatch, tmp_path)


HEAVY = """
import sys
import quant_mlops.definitions

def loaded(*names):
    return sorted(set(names) & set(sys.modules))

print(loaded("exchange_calendars", "matplotlib", "pandas", "psycopg", "pyarrow", "scipy"))
quant_mlops.definitions.defs().get_repository_def()
print(loaded("matplotlib", "pyarrow.dataset", "scipy", "xgboost"))
"""


def test_importing_the_module_takes_dagster_alone_and_loading_it_nothing_that_runs_need(
    start_python: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch,
    strategies: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("QUANT_MLOPS_STRATEGIES", str(strategies))
    output, errors = start_python(HEAVY).communicate(timeout=60)
    assert output.splitlines() == ["[]", "[]"], errors


def test_both_files_that_name_the_code_location_agree() -> None:
    # Dagster reads the block of pyproject.toml and then ignores workspace.yaml.
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]
    (entry,) = yaml.safe_load(workspace_yaml().read_text())["load_from"]
    assert entry["python_module"] == {
        "module_name": project["dagster"]["module_name"],
        "location_name": project["dagster"]["code_location_name"],
    }
    assert "dg" not in project
    assert entry["python_module"]["module_name"] == MODULE


@pytest.mark.slow
def test_dagster_itself_validates_the_workspace(tmp_path: Path, strategies: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "QUANT_MLOPS_STRATEGIES": str(strategies),
        "QUANT_MLOPS_HOME": str(tmp_path / "home"),
    }
    environment.pop("DAGSTER_HOME", None)
    finished = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-w", str(workspace_yaml())],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    output = finished.stdout + finished.stderr
    assert finished.returncode == 0, output
    assert "Validation successful for code location quant_mlops" in output
