"""What runs the program elsewhere agrees with it: Compose, systemd, and the pages on scaling."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from dagster._cli import create_dagster_cli
from dagster._core.instance.config import dagster_instance_config
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.cli import create_dagster_daemon_cli
from dagster_webserver.cli import create_dagster_webserver_cli

from quant_mlops.cli.main import cli
from quant_mlops.database import Database
from quant_mlops.settings import Settings, SmtpSettings, load_settings

REPOSITORY = Path(__file__).resolve().parents[1]
COMPOSE = yaml.safe_load((REPOSITORY / "compose.yaml").read_text("utf-8"))
OURS = ("migrate", "code", "webserver", "daemon")
UNITS = sorted((REPOSITORY / "deploy" / "systemd").glob("*.service"))
PAGE = (REPOSITORY / "docs" / "scaling.md").read_text("utf-8")
BLOCKS = re.findall(r"^```yaml (\S+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
# Variables of others: libpq, Dagster, and Compose itself.
KNOWN_ELSEWHERE = {
    "PGPASSWORD", "PGPASSFILE", "DAGSTER_HOME", "POSTGRES_PASSWORD", "PACKAGES", "PYTHONPATH",
}  # fmt: skip
WORK = "/srv/quant_mlops/work"
FEATURES = """
from quant_mlops.features.builtin import rsi_14
from quant_mlops.features.definition import Values, feature
from quant_mlops.market.panel import Panel


@feature("half", lookback=0)
def half(panel: Panel) -> Values:
    return panel.close / 2
"""
STRATEGY = """
name = "mounted"
horizon = 2
[prices]
file = "prices.csv"
[features]
module = "work_features"
names = ["half", "rsi_14"]
[training]
window_sessions = 200
val_sessions = 30
test_sessions = 30
[[training.learners]]
name = "ridge"
params = { penalties = [1.0] }
[monitoring]
first_session = 2023-01-03
"""
# What a code server of Dagster does first.
SHOW_ASSETS = """
from quant_mlops.definitions import defs
print(*sorted(key.to_user_string() for key in defs().resolve_all_asset_keys()))
"""
PROGRAMS = {
    "quant-mlops": cli,
    "dagster": create_dagster_cli(),
    "dagster-webserver": create_dagster_webserver_cli(),
    "dagster-daemon": create_dagster_daemon_cli(),
}


def settings_variables() -> set[str]:
    plain = {f"QUANT_MLOPS_{name.upper()}" for name in Settings.model_fields}
    mail = {f"QUANT_MLOPS_SMTP_{name.upper()}" for name in SmtpSettings.model_fields}
    unnamed = {"QUANT_MLOPS_SMTP", "QUANT_MLOPS_DAGSTER_PG_URL"}
    return (plain | mail | {"DAGSTER_PG_URL"}) - unnamed


def check_command(words: list[str]) -> None:
    """Check that a program, its subcommands and every option exist and fit each other."""
    command = PROGRAMS[Path(words[0]).name]
    context = click.Context(command, info_name=words[0])
    words = words[1:]
    while isinstance(command, click.Group):
        name, command, words = command.resolve_command(context, words)
        assert command is not None, name
        context = click.Context(command, info_name=name, parent=context)
    command.make_parser(context).parse_args(list(words))


def options(words: list[str]) -> dict[str, str]:
    pairs = (word.removeprefix("--").split("=", 1) for word in words if "=" in word)
    return {name: value for name, value in pairs}


def read_unit(path: Path) -> dict[str, dict[str, list[str]]]:
    """Return the sections of a unit; a key may be there more than once."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, separator, value = line.partition("=")
            assert separator, line
            section.setdefault(key, []).append(value)
    return found


def unit_commands(path: Path) -> list[list[str]]:
    service = read_unit(path)["Service"]
    lines = [*service.get("ExecStartPre", []), *service["ExecStart"]]
    return [shlex.split(line) for line in lines]


def compose_commands() -> Iterator[list[str]]:
    for name in OURS:
        words = COMPOSE["services"][name]["command"]
        if words[0] == "sh":
            yield from (shlex.split(part) for part in words[-1].split("&&"))
        else:
            yield words
        test = COMPOSE["services"][name].get("healthcheck", {}).get("test", ["CMD"])
        if len(test) > 1 and test[1] != "python":
            yield test[1:]


def read_environment(path: Path) -> dict[str, str]:
    lines = path.read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def location(workspace: Any) -> dict[str, Any]:
    (entry,) = workspace["load_from"]
    return dict(entry["grpc_server"])


@pytest.mark.parametrize("words", list(compose_commands()), ids=" ".join)
def test_every_command_of_the_services_exists(words: list[str]) -> None:
    check_command(words)


@pytest.mark.parametrize(
    "words", [words for path in UNITS for words in unit_commands(path)], ids=" ".join
)
def test_every_command_of_the_units_exists(words: list[str]) -> None:
    check_command(words)


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    for words in (["dagster", "serve"], ["dagster-webserver", "--prot=1"], ["quant-mlops", "x"]):
        with pytest.raises(click.UsageError):
            check_command(words)


@pytest.mark.parametrize("name", OURS)
def test_the_services_set_every_setting_that_a_deployment_may_want(name: str) -> None:
    variables = set(COMPOSE["services"][name]["environment"])
    known = settings_variables()
    assert variables <= known | KNOWN_ELSEWHERE
    # The image has its home.
    assert known - variables == {"QUANT_MLOPS_HOME"}


def test_what_the_services_are_given_are_settings_that_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.startswith(("QUANT_MLOPS_", "DAGSTER_")):
            monkeypatch.delenv(name)
    for name, value in COMPOSE["services"]["code"]["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{[^}]*\}", "", value))
    settings = load_settings(tmp_path)
    assert settings.database_url is not None
    assert settings.dagster_pg_url is not None
    assert settings.executor == "in_process"


def test_no_password_is_given_by_the_services_and_none_has_a_default() -> None:
    text = (REPOSITORY / "compose.yaml").read_text("utf-8")
    assert set(re.findall(r"\$\{(\w*PASSWORD):?(.)", text)) == {
        ("POSTGRES_PASSWORD", "?"),
        ("QUANT_MLOPS_SMTP_PASSWORD", "-"),
    }
    # An empty password of mail means none; that of the database must be given.
    assert "${QUANT_MLOPS_SMTP_PASSWORD:-}" in text
    assert not re.search(r"PASSWORD: [^$\s]", text)


def test_every_service_is_checked_restarted_and_waits_for_what_it_needs() -> None:
    services = COMPOSE["services"]
    for name in ("timescale", "code", "webserver", "daemon"):
        assert services[name]["healthcheck"]["test"][0] == "CMD", name
        assert services[name]["restart"] == "unless-stopped", name
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            once = services[needed]["restart"] == "no"
            wanted = "service_completed_successfully" if once else "service_healthy"
            assert how["condition"] == wanted, (name, needed)
    assert "ports" not in services["timescale"]
    assert services["webserver"]["ports"] == ["127.0.0.1:3000:3000"]
    mounted = {v for s in services.values() for v in s.get("volumes", [])}
    (work,) = (v for v in mounted if v.endswith(f":{WORK}:ro"))
    assert {v.partition(":")[0] for v in mounted - {work}} == set(COMPOSE["volumes"])


def test_web_server_and_daemon_ask_the_code_server_under_its_name() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text("utf-8")
    (printed,) = re.findall(r"printf '%s\\n' \\\n(.*?) > workspace\.yaml", dockerfile, re.DOTALL)
    image = location(yaml.safe_load("\n".join(re.findall(r"'([^']*)'", printed))))
    given = options(COMPOSE["services"]["code"]["command"])
    assert image == {
        "host": "code", "port": int(given["port"]), "location_name": given["location-name"]
    }  # fmt: skip
    assert image["host"] in COMPOSE["services"]
    folder = REPOSITORY / "deploy" / "systemd"
    here = location(yaml.safe_load((folder / "workspace.yaml").read_text("utf-8")))
    given = options(unit_commands(folder / "quant-mlops-code.service")[-1])
    assert here == {
        "host": given["host"], "port": int(given["port"]), "location_name": given["location-name"]
    }  # fmt: skip
    (origin,) = WorkspaceFileTarget([str(folder / "workspace.yaml")]).create_origins()
    assert origin.location_name == "quant_mlops"


def test_the_image_is_of_one_version_and_does_not_run_as_root() -> None:
    lines = (REPOSITORY / "Dockerfile").read_text("utf-8").splitlines()
    (base,) = [line for line in lines if line.startswith("FROM ")]
    assert re.fullmatch(r"FROM python:3\.\d+\.\d+-slim-\w+", base)
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["quant_mlops"]
    copied = " ".join(line for line in lines if line.startswith("COPY ")).split()
    missing = [name for name in copied if re.search(r"\.\w+$|^sql$", name)
               and not name.startswith("./") and not (REPOSITORY / name).exists()]  # fmt: skip
    assert not missing
    images = {s["image"] for s in COMPOSE["services"].values()}
    assert all(re.search(r":[\d.]+-\w+$", image) for image in images - {"quant-mlops"})


def test_the_units_run_the_services_that_compose_runs() -> None:
    assert {path.stem for path in UNITS} == {f"quant-mlops-{name}" for name in OURS[1:]}
    for path in UNITS:
        unit = read_unit(path)
        assert set(unit) == {"Unit", "Service", "Install"}
        service = unit["Service"]
        assert service["User"] == ["quant_mlops"]
        assert service["Restart"] == ["on-failure"]
        assert service["EnvironmentFile"] == ["/etc/quant_mlops/environment"]
        theirs = COMPOSE["services"][path.stem.rpartition("-")[2]]
        # The gRPC server of Dagster would not end, in either deployment.
        assert service.get("KillSignal", ["SIGTERM"]) == [theirs.get("stop_signal", "SIGTERM")]
        assert Path(unit_commands(path)[-1][0]).name == theirs["command"][0]


def test_the_environment_of_the_units_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.startswith(("QUANT_MLOPS_", "DAGSTER_")):
            monkeypatch.delenv(name)
    variables = read_environment(REPOSITORY / "deploy" / "systemd" / "environment.example")
    assert set(variables) <= settings_variables() | KNOWN_ELSEWHERE
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert load_settings(tmp_path).home == Path("/srv/quant_mlops/home")
    assert not re.search("(?i)password *=", "\n".join(variables))


@pytest.mark.parametrize(
    "text", [text for name, text in BLOCKS if name == "dagster.yaml"], ids=["one", "k8s", "celery"]
)
def test_the_instances_on_the_page_are_valid_for_dagster(text: str, tmp_path: Path) -> None:
    shipped = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text("utf-8"))
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(shipped | yaml.safe_load(text)), "utf-8")
    config, _ = dagster_instance_config(str(tmp_path))
    assert config["storage"]["custom"]["config"]["postgres_url"] == {"env": "DAGSTER_PG_URL"}
    assert config["concurrency"]["pools"] == {"default_limit": 1, "granularity": "run"}
    launcher = config.get("run_launcher", {})
    assert set(launcher) <= {"module", "class", "config"}
    for name in launcher.get("config", {}).get("env_vars", []):
        assert name in settings_variables()


def test_the_values_of_the_chart_agree_with_the_program() -> None:
    (text,) = [text for name, text in BLOCKS if name == "values.yaml"]
    values = yaml.safe_load(text)
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    assert set(deployment["env"]) <= settings_variables()
    words = ["dagster", "code-server", "start", *deployment["codeServerArgs"]]
    check_command(words)
    assert options(words)["module-name"] == "quant_mlops.definitions"
    shipped = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text("utf-8"))
    pools = shipped["concurrency"]["pools"]
    assert values["concurrency"]["pools"] == {
        "defaultLimit": pools["default_limit"], "granularity": pools["granularity"]
    }  # fmt: skip
    assert not re.search("(?i)password: ", text)


def test_every_variable_on_the_page_is_a_setting() -> None:
    named = set(re.findall(r"\b(?:QUANT_MLOPS_[A-Z_]+|DAGSTER_PG_URL)\b", PAGE))
    assert named
    assert named <= settings_variables()


@pytest.fixture
def mounted(tmp_path: Path, database: Database) -> tuple[Path, dict[str, str]]:
    """Give a folder as it is mounted, and the environment of the service that runs strategies.

    Where the container has the mount, paths are those of the folder.
    """
    folder = tmp_path / "work"
    (folder / "strategies").mkdir(parents=True)
    (folder / "strategies" / "mounted.toml").write_text(STRATEGY)
    (folder / "work_features.py").write_text(FEATURES)
    (folder / "prices.csv").write_text("date,ticker,close\n2024-01-16,ACME,101.25\n")
    given = COMPOSE["services"]["code"]["environment"]
    # As a person who has set QUANT_MLOPS_STRATEGIES=strategies in .env, as compose.yaml says.
    environment = {
        name: re.sub(r"\$\{[^}]*\}", "", value).replace(WORK, str(folder))
        for name, value in given.items()
    } | {
        "QUANT_MLOPS_STRATEGIES": "strategies",
        "QUANT_MLOPS_DATABASE_URL": database.conninfo,
        "QUANT_MLOPS_HOME": str(tmp_path / "home"),
    }
    environment["PYTHONPATH"] = os.pathsep.join([environment["PYTHONPATH"], str(REPOSITORY)])
    outside = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("QUANT_MLOPS_", "DAGSTER_"))
    }
    return folder, outside | environment


def test_strategies_modules_and_prices_of_the_mounted_folder_are_found(
    mounted: tuple[Path, dict[str, str]],
) -> None:
    service = COMPOSE["services"]["code"]
    assert f"${{WORK_FOLDER:-./work}}:{WORK}:ro" in service["volumes"]
    assert service["working_dir"] == WORK
    folder, environment = mounted

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    checks = json.loads(run("-m", "quant_mlops", "doctor", "--json"))
    assert checks["strategies"] == {"status": "ok", "detail": "mounted"}
    keys = run("-c", SHOW_ASSETS).split()
    assert any(key.startswith("mounted/") for key in keys)
    assert not [key for key in keys if "errors" in key], keys


def test_the_server_has_as_many_connections_as_are_counted() -> None:
    (given,) = re.findall(r"max_connections=(\d+)", str(COMPOSE["services"]["timescale"]))
    runs, reserved = 10, 3
    counted = (8 * runs + 16) + (2 * runs + 63 + 20)
    assert f"Ten runs with both databases on one server are at most {counted}" in " ".join(
        PAGE.split()
    )
    assert f"`max_connections={given}`" in PAGE
    assert int(given) >= counted + reserved
