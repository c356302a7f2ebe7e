"""Opening the database that the settings name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg.conninfo import conninfo_to_dict

from quant_mlops.database.connection import Database
from quant_mlops.database.embedded import EmbeddedServer
from quant_mlops.database.migrations import migrate
from quant_mlops.errors import SettingsError
from quant_mlops.settings import Settings


@dataclass(frozen=True)
class ServerAccess:
    """A reachable server: our database, Dagster's URL, and the embedded server if it is one."""

    database: Database
    dagster_pg_url: str
    embedded: EmbeddedServer | None


@contextmanager
def open_server(settings: Settings, *, migrated: bool = True) -> Iterator[ServerAccess]:
    """Reach the server of the settings, starting the embedded one where none is named.

    Parameters
    ----------
    settings : Settings
        `database_url` decides between a server of the user's and the embedded one.
    migrated : bool
        Bring the schema up to date first.
    """
    embedded = None
    if settings.database_url is None:
        embedded = EmbeddedServer(settings.postgres_folder)
        embedded.start()
        url = embedded.url()
        dagster_url = embedded.dagster_url
    else:
        url = settings.database_url.get_secret_value()
        dagster_url = ""
    if settings.dagster_pg_url is not None:
        dagster_url = settings.dagster_pg_url.get_secret_value()
    try:
        with Database(url) as database:
            if migrated:
                migrate(database)
            yield ServerAccess(database, dagster_url, embedded)
    finally:
        if embedded is not None:
            embedded.release()


def require_dagster_url(access: ServerAccess) -> str:
    """Return the URL for Dagster's storage, or say how to give one."""
    if not access.dagster_pg_url:
        host = conninfo_to_dict(access.database.conninfo).get("host", "HOST")
        raise SettingsError(
            f"QUANT_MLOPS_DATABASE_URL names a server at {host} but DAGSTER_PG_URL is not set; "
            f"make a database for Dagster there and set "
            f"DAGSTER_PG_URL=postgresql+psycopg2://USER:PASSWORD@{host}/dagster"
        )
    return access.dagster_pg_url
