"""Settings: which source wins, what is refused, and that secrets stay secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from quant_mlops.errors import SettingsError
from quant_mlops.settings import load_settings

SECRET = "hunter2-0815"
URL = f"postgresql://bob:{SECRET}@db.example.com/quant"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("QUANT_MLOPS_") or name == "DAGSTER_PG_URL":
            monkeypatch.delenv(name)


def write(folder: Path, *, dotenv: str = "", toml: str = "") -> None:
    if dotenv:
        (folder / ".env").write_text(dotenv)
    if toml:
        (folder / "quant_mlops.toml").write_text(toml)


def test_the_defaults_need_nothing(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    assert settings.home == tmp_path / ".quant_mlops"
    assert settings.database_url is None
    assert settings.strategies is None
    assert settings.smtp.host == ""


def test_the_environment_wins_over_dotenv_over_toml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, toml='home = "/from/toml"')
    assert load_settings(tmp_path).home == Path("/from/toml")
    write(tmp_path, dotenv="QUANT_MLOPS_HOME=/from/dotenv\n")
    assert load_settings(tmp_path).home == Path("/from/dotenv")
    monkeypatch.setenv("QUANT_MLOPS_HOME", "/from/environment")
    assert load_settings(tmp_path).home == Path("/from/environment")
    assert load_settings(tmp_path, home=Path("/from/caller")).home == Path("/from/caller")


def test_an_empty_variable_is_as_good_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, toml='home = ""')
    monkeypatch.setenv("QUANT_MLOPS_HOME", "")
    monkeypatch.setenv("QUANT_MLOPS_DATABASE_URL", "")
    monkeypatch.setenv("DAGSTER_PG_URL", "")
    settings = load_settings(tmp_path)
    assert settings.home == tmp_path / ".quant_mlops"
    assert (settings.database_url, settings.dagster_pg_url) == (None, None)


def test_an_empty_variable_hides_that_of_dotenv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, dotenv=f"QUANT_MLOPS_DATABASE_URL={URL}\n")
    assert load_settings(tmp_path).database_url is not None
    monkeypatch.setenv("QUANT_MLOPS_DATABASE_URL", "")
    assert load_settings(tmp_path).database_url is None


def test_sources_are_merged_within_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        tmp_path,
        toml='[smtp]\nhost = "mail.example.com"\nport = 2525\nsender = "q@example.com"\n',
        dotenv="QUANT_MLOPS_SMTP_PORT=465\n",
    )
    monkeypatch.setenv("QUANT_MLOPS_SMTP_PASSWORD", SECRET)
    monkeypatch.setenv("QUANT_MLOPS_SMTP_RECIPIENTS", "ann@example.com, bob@example.com,")
    smtp = load_settings(tmp_path).smtp
    assert (smtp.host, smtp.port, smtp.sender) == ("mail.example.com", 465, "q@example.com")
    assert smtp.recipients == ("ann@example.com", "bob@example.com")
    assert smtp.password.get_secret_value() == SECRET


def test_relative_paths_are_relative_to_the_folder_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, toml='home = "data/home"\nstrategies = "mine"')
    monkeypatch.chdir("/")
    settings = load_settings(tmp_path)
    assert settings.home == tmp_path / "data" / "home"
    assert settings.strategies == tmp_path / "mine"


def test_training_sets_and_artifacts_are_in_the_home_or_where_they_are_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / ".quant_mlops"
    settings = load_settings(tmp_path)
    assert settings.snapshots_folder == str(inside / "snapshots")
    assert settings.artifacts_folder == str(inside / "artifacts")
    write(tmp_path, toml='snapshots = "data/sets"\nartifacts = "~/models"')
    settings = load_settings(tmp_path)
    assert settings.snapshots_folder == str(tmp_path / "data" / "sets")
    assert settings.artifacts_folder == str(Path("~/models").expanduser())
    monkeypatch.setenv("QUANT_MLOPS_SNAPSHOTS", "s3://bucket/sets/")
    assert load_settings(tmp_path).snapshots_folder == "s3://bucket/sets"


@pytest.mark.parametrize("name", ["SNAPSHOTS", "ARTIFACTS"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (f"sftp://ann:{SECRET}@host/x", "holds a password or a query"),
        ("file://x", "is no URI of a folder"),
    ],
)
def test_a_location_with_credentials_or_without_a_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(f"QUANT_MLOPS_{name}", value)
    with pytest.raises(SettingsError, match=rf"QUANT_MLOPS_{name} .* not valid: .*{message}") as e:
        load_settings(tmp_path)
    assert SECRET not in str(e.value)


def test_an_executor_that_there_is_not_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_MLOPS_EXECUTOR", "threads")
    with pytest.raises(SettingsError, match=r"QUANT_MLOPS_EXECUTOR .* 'in_process' or 'multiproc"):
        load_settings(tmp_path)


def test_the_home_of_the_user_is_expanded(tmp_path: Path) -> None:
    write(tmp_path, toml='home = "~/quant"')
    assert load_settings(tmp_path).home == Path("~/quant").expanduser()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("QUANT_MLOPS_DATABSE_URL", "QUANT_MLOPS_DATABSE_URL .* is no setting; there are home, "),
        ("QUANT_MLOPS_SMTP_HOSTNAME", "smtp.hostname .* is no setting; there are host, port"),
    ],
)
def test_an_unknown_variable_is_named_with_those_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.setenv(name, SECRET)
    with pytest.raises(SettingsError, match=message) as error:
        load_settings(tmp_path)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("hom = 1", "hom of quant_mlops.toml, is no setting"),
        ("[smtp]\nprot = 1", "smtp.prot of quant_mlops.toml, is no setting"),
        ("home = 5", "home of quant_mlops.toml, is not valid"),
        ('smtp = "mail"', "smtp of quant_mlops.toml, is not valid"),
        ("[smtp]\nport = 70000", "smtp.port of quant_mlops.toml, is not valid"),
        ("home = ", "quant_mlops.toml is not valid TOML"),
    ],
)
def test_a_wrong_key_or_value_of_the_file_is_named(tmp_path: Path, toml: str, message: str) -> None:
    write(tmp_path, toml=toml)
    with pytest.raises(SettingsError, match=message):
        load_settings(tmp_path)


def test_files_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "quant_mlops.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"quant_mlops\.toml is not valid TOML"):
        load_settings(tmp_path)
    (tmp_path / "quant_mlops.toml").unlink()
    (tmp_path / ".env").write_bytes(b"QUANT_MLOPS_HOME=\xff\xfe")
    with pytest.raises(SettingsError, match=r"\.env is not text"):
        load_settings(tmp_path)


def test_variables_of_the_tests_are_no_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_MLOPS_TEST_DATABASE_URL", URL)
    assert load_settings(tmp_path).database_url is None


def test_secrets_show_in_no_representation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_MLOPS_DATABASE_URL", URL)
    monkeypatch.setenv("DAGSTER_PG_URL", URL.replace("quant", "dagster"))
    monkeypatch.setenv("QUANT_MLOPS_WEBHOOK_URL", f"https://hooks.example.com/{SECRET}")
    monkeypatch.setenv("QUANT_MLOPS_SMTP_PASSWORD", SECRET)
    settings = load_settings(tmp_path)
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == URL
    for text in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.smtp)):
        assert SECRET not in text


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://bob:{SECRET}/x@db.example.com:5432/quant",
        f"postgresql://bob:{SECRET}?x@db.example.com/quant",
        f"postgresql://bob:@{SECRET}@db.example.com/quant",
        f"postgresql://bob:{SECRET}",
    ],
)
@pytest.mark.parametrize("name", ["QUANT_MLOPS_DATABASE_URL", "DAGSTER_PG_URL"])
def test_a_url_whose_password_would_pass_for_an_address_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    monkeypatch.setenv(name, url)
    with pytest.raises(SettingsError, match=rf"{name} .* as %XX") as error:
        load_settings(tmp_path)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "postgresql://postgres@/quant?host=/tmp/a%20socket&port=5432",
        "postgresql://bob:p%40ss%2Fword@[::1]:5432,second:5433/quant",
        "postgresql:///quant?options=-csearch_path%3Da@b",
        f"host=db.example.com user=bob password={SECRET}@/x",
    ],
)
def test_other_urls_and_key_value_strings_are_taken_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("QUANT_MLOPS_DATABASE_URL", url)
    found = load_settings(tmp_path).database_url
    assert found is not None
    assert found.get_secret_value() == url


def test_a_value_of_the_wrong_type_does_not_show_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_MLOPS_SMTP_PORT", SECRET)
    with pytest.raises(SettingsError, match=r"QUANT_MLOPS_SMTP_PORT .* not valid") as error:
        load_settings(tmp_path)
    assert SECRET not in str(error.value)
