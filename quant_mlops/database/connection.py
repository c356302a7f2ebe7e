"""A database that rooms are handed: pooled connections, transactions, Arrow and dataclass rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow, class_row
from psycopg_pool import ConnectionPool, PoolTimeout

from quant_mlops.errors import DatabaseError, ServerUnavailableError

Row = TypeVar("Row")
Parameters = Sequence[Any] | Mapping[str, Any]

CONNECT_TIMEOUT = 30.0


class Database:
    """Pooled access to one PostgreSQL or TimescaleDB database.

    Parameters
    ----------
    conninfo : str
        libpq key-value string or URL. Its password is never shown again.
    max_connections : int
        Upper bound of the pool; a further user waits.

    Raises
    ------
    DatabaseError
        The string is neither of the two forms; it is not repeated, as it may hold a password.
    """

    def __init__(self, conninfo: str, *, max_connections: int = 8) -> None:
        self.conninfo = conninfo
        try:
            self._parts = conninfo_to_dict(conninfo)
        except psycopg.Error:
            raise DatabaseError(
                "the connection string is neither a libpq URL such as postgresql://USER@HOST/NAME "
                "nor key=value pairs; correct QUANT_MLOPS_DATABASE_URL, and write special "
                "characters of a URL's password as %XX"
            ) from None
        self._reached = False
        self._opened: deque[psycopg.Connection[TupleRow]] = deque()
        self._pool = ConnectionPool(
            conninfo,
            connection_class=_taking(self._opened),
            min_size=0,
            max_size=max_connections,
            timeout=CONNECT_TIMEOUT,
            kwargs={"autocommit": True},
            configure=_configure,
            check=ConnectionPool.check_connection,
            open=False,
        )

    def __repr__(self) -> str:
        return f"Database({self.address})"

    @property
    def address(self) -> str:
        """Host and database name, fit to be printed."""
        port = f":{self._parts['port']}" if "port" in self._parts else ""
        host = self._parts.get("host", "localhost")
        return f"{host}{port}/{self._parts.get('dbname', '')}"

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every pooled connection."""
        self._pool.close()
        while self._opened:
            self._opened.popleft().close()

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[TupleRow]]:
        """Lend a connection in autocommit mode.

        Raises
        ------
        ServerUnavailableError
            No connection could be made; the message has the address but never the password.
        """
        if not self._reached:
            self._reach()
        try:
            connection = self._pool.getconn()
        except PoolTimeout:
            raise ServerUnavailableError(
                f"no connection to the database at {self.address} within {CONNECT_TIMEOUT:.0f} s; "
                f"start the server, or correct QUANT_MLOPS_DATABASE_URL"
            ) from None
        try:
            yield connection
        finally:
            self._pool.putconn(connection)

    def connect(self) -> psycopg.Connection[TupleRow]:
        """Open a connection that does not belong to the pool; the caller closes it."""
        connection = psycopg.connect(
            self.conninfo, autocommit=True, connect_timeout=int(CONNECT_TIMEOUT)
        )
        _configure(connection)
        return connection

    def _reach(self) -> None:
        """Open the pool and its first connection.

        The pool would try again for long, so the first failure is looked at here.
        """
        try:
            first = psycopg.connect(
                self.conninfo, autocommit=True, connect_timeout=int(CONNECT_TIMEOUT)
            )
        except psycopg.OperationalError as error:
            reason = " ".join(str(error).split())
            password = self._parts.get("password")
            if password:
                reason = reason.replace(str(password), "***")
            raise ServerUnavailableError(
                f"no connection to the database at {self.address}: {reason}; start the server, or "
                f"correct QUANT_MLOPS_DATABASE_URL"
            ) from None
        self._opened.append(first)
        self._pool.open()
        self._reached = True

    @contextmanager
    def transaction(
        self, within: psycopg.Connection[TupleRow] | None = None
    ) -> Iterator[psycopg.Connection[TupleRow]]:
        """Lend a connection inside one transaction: all of it is stored, or nothing.

        Parameters
        ----------
        within : psycopg.Connection, optional
            The connection of a caller, whose transaction this becomes a part of: what fails here
            is undone, and the caller may go on.
        """
        if within is not None:
            with within.transaction():
                yield within
            return
        with self.connection() as connection, connection.transaction():
            yield connection

    def now(self) -> datetime:
        """Return the time by the server's clock, the one by which rows are stamped."""
        row = self.fetch_one("SELECT clock_timestamp()")
        assert row is not None
        moment: datetime = row[0]
        return moment.astimezone(UTC)

    def execute(self, statement: LiteralString, parameters: Parameters = ()) -> int:
        """Run one statement and return how many rows it touched."""
        with self.connection() as connection:
            return connection.execute(statement, parameters or None).rowcount

    def fetch_all(
        self, statement: LiteralString, parameters: Parameters = ()
    ) -> list[tuple[Any, ...]]:
        """Return every row of a query as tuples."""
        with self.connection() as connection:
            return connection.execute(statement, parameters or None).fetchall()

    def fetch_one(
        self, statement: LiteralString, parameters: Parameters = ()
    ) -> tuple[Any, ...] | None:
        """Return the first row of a query, or None."""
        with self.connection() as connection:
            return connection.execute(statement, parameters or None).fetchone()

    def fetch_rows(
        self, row: type[Row], statement: LiteralString, parameters: Parameters = ()
    ) -> list[Row]:
        """Return every row of a query as instances of a dataclass with the columns' names."""
        with self.connection() as connection, connection.cursor(row_factory=class_row(row)) as c:
            return c.execute(statement, parameters or None).fetchall()


def _taking(
    opened: deque[psycopg.Connection[TupleRow]],
) -> type[psycopg.Connection[TupleRow]]:
    """Return the class by which a pool connects: what is open already is taken first."""

    class Taking(psycopg.Connection[TupleRow]):
        @classmethod
        def connect(cls, conninfo: str = "", **options: Any) -> Any:
            try:
                return opened.popleft()
            except IndexError:
                return super().connect(conninfo, **options)

    return Taking


def _configure(connection: psycopg.Connection[TupleRow]) -> None:
    connection.execute("SET TIME ZONE 'UTC'")
