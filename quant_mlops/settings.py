"""Settings, read in one place: environment, `.env`, `quant_mlops.toml`, then defaults."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from quant_mlops.errors import SettingsError

PREFIX = "QUANT_MLOPS_"
TOML_FILE = "quant_mlops.toml"


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
    strategies : Path or None
        Folder of strategy files (TOML); None means the ones bundled with the package.
    webhook_url : SecretStr or None
        Where alerts are posted as JSON; None turns the channel off.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Path(".quant_mlops")
    database_url: SecretStr | None = None
    dagster_pg_url: SecretStr | None = None
    strategies: Path | None = None
    webhook_url: SecretStr | None = None
    smtp: SmtpSettings = SmtpSettings()

    @property
    def postgres_folder(self) -> Path:
        """Where the embedded server would keep its data if the folder is fit for it."""
        return self.home / "postgres"

    @property
    def snapshots_folder(self) -> Path:
        """Immutable training sets, one folder each."""
        return self.home / "snapshots"

    @property
    def artifacts_folder(self) -> Path:
        """Model files under their SHA-256 digest."""
        return self.home / "artifacts"

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
        Where `.env` and `quant_mlops.toml` are looked for; the working directory by default.
    **overrides
        Values that win over every file and variable, by attribute name.

    Raises
    ------
    SettingsError
        A file is malformed, or a value is unknown or not of its type. The message names the
        key and never shows the value of a secret.
    """
    folder = folder or Path.cwd()
    values = _from_toml(folder / TOML_FILE)
    dotenv = {k: v for k, v in dotenv_values(folder / ".env").items() if v is not None}
    values.update(_from_environment({**dotenv, **os.environ}))
    values.update({key: value for key, value in overrides.items() if value is not None})
    if not values.get("home"):
        values["home"] = folder / ".quant_mlops"
    values["home"] = Path(values["home"]).expanduser().absolute()
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"setting {key!r} was read from the environment, .env or {TOML_FILE} and is not valid: "
            f"{first['msg'].lower()}; see .env.example for the names and their form"
        ) from None


def _from_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}; correct that line") from None


def _from_environment(environment: dict[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    smtp: dict[str, Any] = {}
    for name, value in environment.items():
        if name == "DAGSTER_PG_URL" and value:
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
        smtp["recipients"] = tuple(part.strip() for part in smtp["recipients"].split(","))
    if smtp:
        values["smtp"] = smtp
    return values
