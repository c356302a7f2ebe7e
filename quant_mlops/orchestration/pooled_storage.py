"""Dagster's storage on PostgreSQL with a connection that is kept, and replaced when it breaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage, PostgresRunStorage
from dagster_postgres.utils import (
    create_pg_engine,
    get_token_provider_from_config,
    pg_url_from_config,
)

if TYPE_CHECKING:
    from dagster_postgres.auth import PgTokenProvider

RECYCLE_SECONDS = 3600


class PooledRunStorage(PostgresRunStorage):
    """Closes the connection when the instance is disposed of, as Dagster's own does not."""

    def dispose(self) -> None:
        """Close the connection that is kept."""
        self._engine.dispose()


class PooledPostgresStorage(DagsterPostgresStorage):
    """Keeps one connection open for runs, events and schedules together.

    Dagster's own opens one for each statement, in the daemon, the code server and the process of
    each run; only its web server keeps some. As many more are opened as there are statements at
    once, and closed after them, so a process never has more open than with Dagster's own.
    """

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
        token_provider: PgTokenProvider | None = None,
    ) -> None:
        super().__init__(postgres_url, should_autocreate_tables, inst_data, token_provider)
        # The tables exist now.
        self._run_storage = PooledRunStorage(postgres_url, False, token_provider=token_provider)
        engine = create_pg_engine(
            postgres_url,
            token_provider,
            isolation_level="AUTOCOMMIT",
            pool_size=1,
            max_overflow=-1,
            # A server that was started again, or an idle connection that was cut, is not noticed.
            pool_pre_ping=True,
            pool_recycle=RECYCLE_SECONDS,
        )
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine = engine

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> PooledPostgresStorage:
        """Return the storage that the instance's configuration describes; Dagster calls it."""
        return cls(
            pg_url_from_config(config_value),
            bool(config_value.get("should_autocreate_tables", True)),
            inst_data,
            get_token_provider_from_config(config_value),
        )
