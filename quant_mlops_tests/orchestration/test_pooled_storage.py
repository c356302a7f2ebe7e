"""Dagster's storage keeps a connection, replaces it when it breaks, and gives it back."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
import psycopg
import pytest

GONE_SECONDS = 30


class Server:
    """The server, as it sees the connections of one instance."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        self.before = self._backends()

    def _backends(self) -> set[int]:
        rows = self.connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
            "AND backend_type = 'client backend'"
        )
        return {pid for (pid,) in rows}

    def backends(self) -> set[int]:
        return self._backends() - self.before

    def kill(self, pid: int) -> None:
        self.connection.execute("SELECT pg_terminate_backend(%s, 30000)", [pid])


@pytest.fixture
def server(desk: Any) -> Iterator[Server]:
    """Look at Dagster's storage; the instance of the desk counts as having been there before."""
    del desk
    url = os.environ["DAGSTER_PG_URL"].replace("+psycopg2", "")
    with psycopg.connect(url, autocommit=True) as connection:
        yield Server(connection)


def ask_each_storage(instance: dg.DagsterInstance) -> None:
    assert instance.get_runs_count() == 0
    assert list(instance.all_asset_keys()) == []
    assert list(instance.all_instigator_state()) == []


def test_one_connection_serves_all_three_storages_until_the_end(server: Server) -> None:
    with dg.DagsterInstance.get() as instance:
        ask_each_storage(instance)
        (kept,) = server.backends()
        ask_each_storage(instance)
        assert server.backends() == {kept}
    deadline = time.monotonic() + GONE_SECONDS
    while server.backends():
        assert time.monotonic() < deadline, "a connection of an instance that is closed"


def test_a_connection_that_broke_is_replaced_unnoticed(server: Server) -> None:
    with dg.DagsterInstance.get() as instance:
        ask_each_storage(instance)
        (broken,) = server.backends()
        server.kill(broken)
        ask_each_storage(instance)
        (kept,) = server.backends()
        assert kept != broken
