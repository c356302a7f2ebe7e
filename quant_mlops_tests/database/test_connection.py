from __future__ import annotations

import logging
import socket
import time
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import DatabaseError, ServerUnavailableError

SECRET = "hunter2-secret"


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    "form",
    [
        "postgresql://quant:{secret}@127.0.0.1:{port}/prices",
        "postgresql://127.0.0.1:{port}/prices?user=quant&password={secret}",
        "host=127.0.0.1 port={port} user=quant password={secret} dbname=prices",
    ],
)
def test_an_unreachable_server_is_named_at_once_and_without_the_password(
    form: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    port = closed_port()
    with Database(form.format(secret=SECRET, port=port)) as database:
        with pytest.raises(ServerUnavailableError, match=f"127.0.0.1:{port}/prices") as failure:
            database.fetch_all("SELECT 1")
        assert SECRET not in repr(database) + str(failure.value) + caplog.text
    assert failure.value.__cause__ is None
    assert failure.value.__suppress_context__


@pytest.mark.parametrize(
    "conninfo",
    [
        f"postgresql://quant:{SECRET}@[::1/prices",
        f"postgresql://quant:{SECRET} and more@127.0.0.1/prices",
        f"host=127.0.0.1 passwd={SECRET}",
        f"{SECRET}",
        f"mysql://quant:{SECRET}@127.0.0.1/prices",
    ],
)
def test_a_malformed_connection_string_is_not_repeated(conninfo: str) -> None:
    with pytest.raises(DatabaseError, match="correct QUANT_MLOPS_DATABASE_URL") as failure:
        Database(conninfo)
    assert SECRET not in str(failure.value)
    assert failure.value.__suppress_context__


def test_a_database_that_does_not_exist_is_told_from_a_server_that_is_down(
    server_url: str,
) -> None:
    with (
        Database(make_conninfo(server_url, dbname="nowhere", password=SECRET)) as database,
        pytest.raises(ServerUnavailableError, match=r'"nowhere" does not exist') as failure,
    ):
        database.fetch_all("SELECT 1")
    assert SECRET not in str(failure.value)


def test_a_connection_that_the_server_closed_is_replaced(database: Database) -> None:
    first = database.fetch_one("SELECT pg_backend_pid()")
    assert first is not None
    with psycopg.connect(database.conninfo, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", first)
    second = database.fetch_one("SELECT pg_backend_pid()")
    assert second is not None
    assert second != first


def test_the_first_statement_opens_one_connection_and_a_second_user_another(
    server_url: str, database: Database
) -> None:
    name = str(conninfo_to_dict(database.conninfo)["dbname"])
    with psycopg.connect(server_url, autocommit=True) as other:
        before = sessions(other, name)
        with Database(database.conninfo) as counted:
            assert counted.fetch_one("SHOW timezone") == ("UTC",)
        # The server counts a session when it has ended.
        deadline = time.monotonic() + 10
        while (counts := sessions(other, name) - before) == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert counts == 1
    with database.connection() as first, database.connection() as second:
        assert first.info.backend_pid != second.info.backend_pid
        assert second.execute("SHOW timezone").fetchone() == ("UTC",)


def sessions(connection: psycopg.Connection[Any], name: str) -> int:
    row = connection.execute("SELECT sessions FROM pg_stat_database WHERE datname = %s", [name])
    (count,) = row.fetchone() or ()
    return int(count)


def test_a_transaction_keeps_all_or_nothing(database: Database) -> None:
    database.execute("CREATE TABLE kept (n integer)")

    def insert_and_fail() -> None:
        with database.transaction() as connection:
            connection.execute("INSERT INTO kept VALUES (1)")
            connection.execute("SELECT 1 / 0")

    with pytest.raises(psycopg.errors.DivisionByZero):
        insert_and_fail()
    assert database.fetch_all("SELECT * FROM kept") == []
    assert database.execute("INSERT INTO kept VALUES (1), (2)") == 2


def test_times_come_back_in_utc_whatever_the_servers_zone(database: Database) -> None:
    conninfo = make_conninfo(database.conninfo, options="-c timezone=Asia/Tokyo")
    with Database(conninfo) as tokyo:
        row = tokyo.fetch_one(
            "SELECT timestamptz '2024-01-15 21:00:00+00', current_setting('timezone')"
        )
    assert row is not None
    assert row[0].isoformat() == "2024-01-15T21:00:00+00:00"
    assert row[1] == "UTC"


def test_rows_come_as_dataclasses(database: Database) -> None:
    @dataclass(frozen=True)
    class Pair:
        name: str
        number: int

    found = database.fetch_rows(
        Pair, "SELECT 'a' AS name, n AS number FROM generate_series(1, 2) n"
    )
    assert found == [Pair("a", 1), Pair("a", 2)]


def test_the_address_has_no_more_than_host_and_name(server_url: str) -> None:
    database = Database(f"postgresql://quant:{SECRET}@db.example:6543/prices?application_name=x")
    assert database.address == "db.example:6543/prices"
    assert repr(database) == "Database(db.example:6543/prices)"
    assert conninfo_to_dict(database.conninfo)["password"] == SECRET


def test_a_statement_without_a_file_is_named() -> None:
    with pytest.raises(DatabaseError, match="no statement named 'drop_everything'"):
        query("drop_everything")
