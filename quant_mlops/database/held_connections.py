"""Connections that one caller keeps, so that a statement costs one round trip and no more."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from typing import TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from quant_mlops.database.connection import Database
from quant_mlops.errors import ServerUnavailableError

Connection = psycopg.Connection[TupleRow]
Result = TypeVar("Result")


class HeldConnections:
    """Connections beside the pool, as many as are in use at once.

    The pool asks the server whether a connection still lives before it lends it, which doubles
    what a short read costs. Here that shows when work fails, and the work is done once more.

    Parameters
    ----------
    database : Database
    configure : callable
        Is given each new connection, to set what all work on it needs.
    """

    def __init__(self, database: Database, configure: Callable[[Connection], None]) -> None:
        self.database = database
        self._configure = configure
        # Its ends are thread-safe; the newest is taken first, as its caches are warm.
        self._idle: deque[Connection] = deque()
        weakref.finalize(self, _close_all, self._idle)

    def run(self, work: Callable[[Connection], Result]) -> Result:
        """Do work on a connection in autocommit mode and return its result.

        Parameters
        ----------
        work : callable
            Is called again, on another connection, if the one it was given had been lost: it
            must come to the same if it is done twice.

        Raises
        ------
        ServerUnavailableError
            No connection could be made.
        """
        while True:
            try:
                connection, held = self._idle.pop(), True
            except IndexError:
                connection, held = self._connect(), False
            try:
                return work(connection)
            except psycopg.OperationalError:
                if not (held and connection.broken):
                    raise
            finally:
                self._give_back(connection)

    def close(self) -> None:
        """Close every connection that is not in use; the next work opens another."""
        _close_all(self._idle)

    def _give_back(self, connection: Connection) -> None:
        # An interrupt leaves a statement under way, whose rows the next user would read.
        if connection.info.transaction_status == TransactionStatus.IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def _connect(self) -> Connection:
        try:
            connection = self.database.connect()
            self._configure(connection)
        except psycopg.OperationalError:
            raise ServerUnavailableError(
                f"no connection to the database at {self.database.address}; start the server, or "
                f"correct QUANT_MLOPS_DATABASE_URL"
            ) from None
        return connection


def _close_all(connections: deque[Connection]) -> None:
    while connections:
        connections.pop().close()
