"""The one resource: settings and database of the process that runs an asset."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from pydantic import PrivateAttr

from quant_mlops.database.access import ServerAccess, open_server
from quant_mlops.errors import SettingsError
from quant_mlops.settings import Settings, load_settings
from quant_mlops.strategy import Strategy
from quant_mlops.strategy_context import StrategyContext


class Server(dg.ConfigurableResource[Any]):
    """The database named by the settings, opened for the length of a run or a tick."""

    _settings: Settings | None = PrivateAttr(default=None)
    _access: ServerAccess | None = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Server]:
        """Open the database, starting the embedded server where it is used."""
        del context
        self._settings = load_settings()
        with open_server(self._settings) as access:
            self._access = access
            try:
                yield self
            finally:
                self._access = None

    @property
    def access(self) -> ServerAccess:
        """The open database."""
        if self._access is None:
            raise SettingsError("the server resource is used outside a run; open it first")
        return self._access

    @property
    def settings(self) -> Settings:
        """Settings that were read when the database was opened."""
        if self._settings is None:
            raise SettingsError("the server resource is used outside a run; open it first")
        return self._settings

    def strategy(self, strategy: Strategy, run_id: str | None = None) -> StrategyContext:
        """Return what the steps of a strategy work with."""
        return StrategyContext(self.access.database, self.settings, strategy, run_id)
