"""Settings, read in one place: environment, `.env`, `quant_mlops.toml`, then defaults."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Literal

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from quant_mlops.errors import SettingsError, StorageError
from quant_mlops.storage import folder_uri, is_uri

PREFIX = "QUANT_MLOPS_"
TOML_FILE = "quant_mlops.toml"
DOTENV_FILE = ".env"
DAGSTER_VARIABLE = "DAGSTER_PG_URL"
HOST = re.compile(r"(\[[^\]]*\]|[^:@]*)(:\d*)?")


class SmtpSettings(BaseModel):
    """Where alert mail goes; delivery by SMTP is off while `host` is empty."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = ""
    port: int = Field(default=587, gt=0, lt=65536)
    username: str = ""
    password: SecretStr = SecretStr("")
    sender: str = ""
    recipients: tuple[str, ...] = ()
    starttls: bool = True


class Settings(BaseModel):
    """Everything that may differ between two machines running the same code.

    Attributes
    ----------
    home : Path
        Folder for the embedded database, snapshots, artifacts and reports.
    database_url : SecretStr or None
        Any PostgreSQL or TimescaleDB, as a libpq URL; None starts the embedded server.
    dagster_pg_url : SecretStr or None
        Dagster's own storage, as an SQLAlchemy URL; None makes a database of its own
        beside ours on the same server.
    snapshots, artifacts : str or None
        Folder of training sets, and of model files, as a path or an fsspec URI; None means a
        folder of the home.
    executor : {"in_process", "multiprocess"}
        Where the steps of a run take place: one after another in the process of the run, or each
        in a process of its own, those that do not wait for each other at once.
    strategies : Path or None
        Folder of strategy files (TOML); None means the ones bundled with the package.
    webhook_url : SecretStr or None
        Where alerts are posted as JSON; None turns the channel off.
    alert_attempts : int
        Failed attempts after which an alert is undeliverable by a channel.
    alert_rate_messages, alert_rate_minutes : int, float
        More messages of one channel within so many minutes become one digest.
    alert_escalation_hours : float
        After which an open alert that nobody has acknowledged is told once more, graver; 0 never.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Path(".quant_mlops")
    database_url: SecretStr | None = None
    dagster_pg_url: SecretStr | None = None
    snapshots: str | None = None
    artifacts: str | None = None
    executor: Literal["in_process", "multiprocess"] = "in_process"
    strategies: Path | None = None
    webhook_url: SecretStr | None = None
    alert_attempts: int = Field(default=30, gt=0, le=1000)
    alert_rate_messages: int = Field(default=10, gt=0)
    alert_rate_minutes: float = Field(default=10.0, gt=0, le=10_080)
    alert_escalation_hours: float = Field(default=24.0, ge=0, le=8_760)
    smtp: SmtpSettings = SmtpSettings()

    @field_validator("database_url", "dagster_pg_url")
    @classmethod
    def _unambiguous(cls, url: SecretStr | None) -> SecretStr | None:
        """Refuse a URL whose password would be read as, and shown as, a part of the address."""
        _, separator, rest = (url.get_secret_value() if url else "").partition("://")
        authority, _, path = rest.partition("?")[0].partition("/")
        user, _, hosts = authority.rpartition("@")
        plain = all(HOST.fullmatch(host) for host in hosts.split(","))
        if separator and not (plain and "@" not in user + path):
            raise ValueError(
                "its user and password cannot be told from its host and port; write special "
                "characters of user and password as %XX"
            )
        return url

    @field_validator("snapshots", "artifacts")
    @classmethod
    def _is_a_folder(cls, location: str | None) -> str | None:
        """Refuse a URI that is none of a folder, or that holds a password."""
        if location is not None and is_uri(location):
            try:
                return folder_uri(location)
            except StorageError as error:
                raise ValueError(str(error)) from None
        return location

    @property
    def postgres_folder(self) -> Path:
        """Where the embedded server would keep its data if the folder is fit for it."""
        return self.home / "postgres"

    @property
    def snapshots_folder(self) -> str:
        """Immutable training sets, one folder each; a path or a URI."""
        return self.snapshots or str(self.home / "snapshots")

    @property
    def artifacts_folder(self) -> str:
        """Model files under their SHA-256 digest; a path or a URI."""
        return self.artifacts or str(self.home / "artifacts")

    @property
    def reports_folder(self) -> Path:
        """HTML reports and quarantined price rows."""
        return self.home / "reports"

    @property
    def dagster_folder(self) -> Path:
        """The DAGSTER_HOME of commands that run outside a deployment of their own."""
        return self.home / "dagster"


def load_settings(folder: Path | None = None, **overrides: Any) -> Settings:
    """Read the settings that hold in a folder.

    Parameters
    ----------
    folder : Path, optional
        Where `.env` and `quant_mlops.toml` are looked for, and what relative paths are relative
        to; the working directory by default.
    **overrides
        Values that win over every file and variable, by attribute name.

    Raises
    ------
    SettingsError
        A file is malformed, or a value is unknown or not of its type. The message names the
        key and never shows the value of a secret.
    """
    folder = (folder or Path.cwd()).absolute()
    named = {**_from_dotenv(folder / DOTENV_FILE), **os.environ}
    values = _merged(_from_toml(folder / TOML_FILE), _from_environment(named))
    values = _merged(values, {k: v for k, v in overrides.items() if v is not None})
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_what_is_wrong(error)) from None
    places: dict[str, Path | str] = {
        name: folder / place.expanduser()
        for name, place in (("home", settings.home), ("strategies", settings.strategies))
        if place is not None
    }
    for name in ("snapshots", "artifacts"):
        location = getattr(settings, name)
        if location is not None and not is_uri(location):
            places[name] = str(folder / Path(location).expanduser())
    return settings.model_copy(update=places)


def _from_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}; correct that line") from None
    return {key: value for key, value in values.items() if value != ""}


def _from_dotenv(path: Path) -> dict[str, str]:
    try:
        found = dotenv_values(path)
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not text in UTF-8; write it anew") from None
    return {key: value for key, value in found.items() if value is not None}


def _from_environment(environment: dict[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    smtp: dict[str, Any] = {}
    for name, value in environment.items():
        if name == DAGSTER_VARIABLE and value:
            values["dagster_pg_url"] = value
        if not name.startswith(PREFIX) or not value:
            continue
        key = name.removeprefix(PREFIX).lower()
        if key.startswith("test_"):
            continue
        if key.startswith("smtp_"):
            smtp[key.removeprefix("smtp_")] = value
        else:
            values[key] = value
    if "recipients" in smtp:
        parts = (part.strip() for part in smtp["recipients"].split(","))
        smtp["recipients"] = tuple(part for part in parts if part)
    return {**values, "smtp": smtp} if smtp else values


def _merged(lower: dict[str, Any], upper: dict[str, Any]) -> dict[str, Any]:
    """Return both, `upper` winning key by key, in the tables inside as well."""
    merged = {**lower, **upper}
    for key, value in upper.items():
        if isinstance(value, dict) and isinstance(lower.get(key), dict):
            merged[key] = _merged(lower[key], value)
    return merged


def _what_is_wrong(error: ValidationError) -> str:
    """Return a sentence about the first invalid value that does not show the value."""
    first = error.errors(include_input=False, include_url=False)[0]
    path = tuple(str(part) for part in first["loc"])
    variable = DAGSTER_VARIABLE if path == ("dagster_pg_url",) else PREFIX + "_".join(path).upper()
    where = f"{variable} of the environment or {DOTENV_FILE}, or {'.'.join(path)} of {TOML_FILE},"
    if first["type"] == "extra_forbidden":
        known: type[BaseModel] = SmtpSettings if path[0] == "smtp" else Settings
        names = ", ".join(known.model_fields)
        return f"{where} is no setting; there are {names}; correct the name or remove it"
    reason = first["msg"].removeprefix("Value error, ")
    return f"{where} is not valid: {reason[:1].lower()}{reason[1:]}; correct it"
