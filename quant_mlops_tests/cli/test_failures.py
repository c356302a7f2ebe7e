"""What goes wrong is one sentence and a status; a traceback only on demand, a password never."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from quant_mlops.cli.workspace import choose_strategy
from quant_mlops.demonstration import bundled_strategies
from quant_mlops.errors import StrategyError
from quant_mlops.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
PASSWORD = "s3cr3t-w0rd"
UNREACHABLE = f"postgresql://bob:{PASSWORD}@127.0.0.1:1/quant"
STRATEGY_COMMANDS = [["daily"], ["report"], ["models", "live"], ["drift", "rules"]]


@pytest.mark.parametrize(
    "arguments",
    [["db", "status"], ["db", "migrate"], ["daily"], ["demo"], ["dev"], ["features", "list"]],
    ids=" ".join,
)
@pytest.mark.parametrize("debug", [False, True])
def test_a_database_that_cannot_be_reached_is_named_without_its_password(
    shell: Any, monkeypatch: pytest.MonkeyPatch, arguments: list[str], debug: bool
) -> None:
    monkeypatch.setenv("QUANT_MLOPS_DATABASE_URL", UNREACHABLE)
    found = shell(*arguments, *(["--debug"] if debug else []))
    assert found.status == 1
    assert "127.0.0.1:1/quant" in found.stderr
    assert "QUANT_MLOPS_DATABASE_URL" in found.stderr
    assert PASSWORD not in found.stdout + found.stderr
    assert ("Traceback" in found.stderr) is debug


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://bob:{PASSWORD}/x@127.0.0.1:1/quant",
        f"postgresql://bob:{PASSWORD}@x@127.0.0.1:1/quant",
        f"postgres//bob:{PASSWORD}@127.0.0.1:1/quant",
        f"{PASSWORD}",
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_a_malformed_connection_string_is_not_repeated(
    shell: Any, monkeypatch: pytest.MonkeyPatch, url: str, debug: bool
) -> None:
    monkeypatch.setenv("QUANT_MLOPS_DATABASE_URL", url)
    found = shell("db", "status", *(["--debug"] if debug else []))
    assert found.status == 1
    assert PASSWORD not in found.stdout + found.stderr


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_a_port_that_cannot_be_is_refused(shell: Any, port: str) -> None:
    found = shell("dev", "--port", port)
    assert found.status == 2
    assert f"{port} is not in the range 1<=x<=65535" in found.stderr


def test_the_doctor_reports_an_unreachable_database_and_fails(
    shell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_MLOPS_DATABASE_URL", UNREACHABLE)
    found = shell("doctor", "--json")
    assert found.status == 1
    assert found.document["database"]["status"] == "failed"
    assert found.document["python"]["status"] == "ok"
    assert PASSWORD not in found.stdout + found.stderr


def test_a_storage_of_dagster_that_cannot_be_reached_is_named_without_its_password(
    empty: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"postgresql+psycopg2://bob:{PASSWORD}@127.0.0.1:1/dagster"
    monkeypatch.setenv("DAGSTER_PG_URL", url)
    found = empty("demo")
    assert found.status == 1
    assert found.stderr.splitlines()[-1].startswith("error: Dagster's storage: no connection")
    assert PASSWORD not in found.stdout + found.stderr


def test_a_server_of_ones_own_without_a_storage_for_dagster_is_explained(empty: Any) -> None:
    assert "DAGSTER_PG_URL is not set" in empty.fails("demo")


@pytest.mark.parametrize("arguments", STRATEGY_COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "broken.toml is not valid TOML"),
        ('name = "Upper Case"', "broken.toml, key name: "),
        ('name = "x"\nhorizon = 5\ncolour = "red"', "broken.toml, key "),
    ],
)
def test_a_malformed_strategy_is_named_with_its_key(
    empty: Any, tmp_path: Path, arguments: list[str], text: str, message: str
) -> None:
    folder = tmp_path / "home" / "strategies"
    folder.mkdir(parents=True)
    (folder / "broken.toml").write_text(text)
    assert message in empty.fails(*arguments)


def test_the_doctor_reports_a_strategy_that_is_valid_and_cannot_run(
    empty: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "home" / "strategies"
    folder.mkdir(parents=True)
    bundled = (bundled_strategies() / "momentum.toml").read_text("utf-8")
    (folder / "a.toml").write_text(bundled)
    assert empty("doctor", "--json").document["strategies"]["status"] == "ok"
    away = bundled.replace("bundled:sample", "away.csv").replace('"momentum"', '"second"', 1)
    (folder / "b.toml").write_text(away)
    found = empty("doctor", "--json")
    assert found.status == 1
    check = found.document["strategies"]
    assert check["status"] == "failed"
    assert check["detail"].startswith("strategy second: prices.file ")
    (folder / "c.toml").write_text(bundled.replace("horizon = 5", "horizon = 0"))
    told = empty("doctor", "--json").document["strategies"]["detail"]
    assert "c.toml, key horizon:" in told
    assert "strategy second: prices.file " in told


def test_beside_a_wrong_file_a_strategy_is_found_by_its_name_alone(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, strategies=tmp_path)
    bundled = (bundled_strategies() / "momentum.toml").read_text("utf-8")
    (tmp_path / "a.toml").write_text(bundled)
    (tmp_path / "b.toml").write_text(bundled.replace("horizon = 5", "horizon = 0"))
    assert choose_strategy(settings, "momentum").name == "momentum"
    for name in (None, "other"):
        with pytest.raises(StrategyError, match=r"b\.toml, key horizon.* --strategy momentum"):
            choose_strategy(settings, name)


def test_a_folder_without_a_strategy_is_named(
    empty: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_MLOPS_STRATEGIES", str(tmp_path))
    assert f"there is no strategy file (*.toml) in {tmp_path}" in empty.fails("daily")


@pytest.mark.parametrize("name", ["quant_mlops.toml", ".env"])
def test_malformed_settings_are_named(shell: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"home = \xff")
    assert name in shell.fails("db", "status")


def test_an_unknown_setting_is_named(shell: Any, tmp_path: Path) -> None:
    (tmp_path / "quant_mlops.toml").write_text('databse_url = "x"')
    sentence = shell.fails("db", "status")
    assert "databse_url of quant_mlops.toml" in sentence
    assert "database_url" in sentence


def test_before_anything_is_stored_commands_say_what_to_do_first(empty: Any) -> None:
    assert "quant-mlops ingest prices" in empty.fails("features", "backfill")
    assert "quant-mlops features backfill" in empty("features", "latest", "AAPL").stderr
    assert "nothing to show" in empty("models", "list").stdout
    assert empty("models", "list", "--json").document == []


def test_a_home_that_is_a_file_is_refused(shell: Any, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    found = shell("--home", file, "db", "status")
    assert found.status == 2
    assert "is a file" in found.stderr


def test_a_relative_home_is_made_absolute(
    shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_MLOPS_DATABASE_URL", UNREACHABLE)
    found = shell("--home", "here", "doctor", "--json")
    assert found.document["home"]["detail"] == str(tmp_path / "here")
    assert os.environ["QUANT_MLOPS_HOME"] == str(tmp_path / "here")


def test_debug_may_stand_behind_the_command(empty: Any) -> None:
    for arguments in (("--debug", "features", "backfill"), ("features", "backfill", "--debug")):
        found = empty(*arguments)
        assert found.status == 1
        assert "Traceback" in found.stderr
        assert found.stderr.splitlines()[-1].startswith("error: ")


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    code = "from quant_mlops.cli.main import main; main(['--help'] )"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    stderr = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(30) in (0, 1)
    assert stderr == ""


SWALLOWED = """
import signal, sys, time
import click
from quant_mlops.cli import main

class Finalised:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0.01)  # where Python drops what the signal raised

@main.cli.command()
def swallow():
    Finalised()
    print("dropped", flush=True)
    for _ in range(1000):
        time.sleep(0.01)

main.main(["swallow"])
"""


def test_a_signal_that_strikes_in_a_finaliser_ends_the_command_all_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SWALLOWED], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "dropped\n"
    assert done.returncode == 130
    assert done.stderr.strip() == "error: interrupted; run the same command again to go on"
