"""Reads side by side: several connections that all see the database in one and the same state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import repeat
from typing import Any, TypeVar

import psycopg
from psycopg import IsolationLevel, sql
from psycopg.rows import TupleRow

from quant_mlops.database.connection import Database

Connection = psycopg.Connection[TupleRow]
Result = TypeVar("Result")


def read_side_by_side(
    database: Database, reads: Sequence[Callable[[Connection], Result]]
) -> list[Result]:
    """Run every read on a connection of its own, in threads, and return what each returned.

    All of them see one snapshot of the database, so what is written meanwhile is in the results
    of all or of none. Where the server grants no further connection, reads share the first one.

    Parameters
    ----------
    database : Database
    reads : sequence of callable
        Each takes a connection inside a read-only transaction.
    """
    with ExitStack() as stack:
        first = stack.enter_context(database.connection())
        # What a pool lends must go back as it came.
        stack.callback(setattr, first, "isolation_level", first.isolation_level)
        stack.callback(setattr, first, "read_only", first.read_only)
        _snapshot_isolation(first)
        stack.enter_context(first.transaction())
        connections = [first]
        if len(reads) > 1:
            row = first.execute("SELECT pg_export_snapshot()").fetchone()
            for _ in reads[1:]:
                other = _same_snapshot(database, str(row[0]) if row else "", stack)
                if other is None:
                    break
                connections.append(other)
        shares = [reads[place :: len(connections)] for place in range(len(connections))]
        results = _run(connections, shares)
    return [results[nth % len(connections)][nth // len(connections)] for nth in range(len(reads))]


def _snapshot_isolation(connection: Connection) -> None:
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    connection.read_only = True


def _same_snapshot(database: Database, snapshot: str, stack: ExitStack) -> Connection | None:
    """Open a connection beside the pool, which might keep one waiting that waits for another."""
    try:
        connection = database.connect()
    except psycopg.OperationalError:
        return None
    stack.callback(connection.close)
    _snapshot_isolation(connection)
    stack.enter_context(connection.transaction())
    connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
    return connection


def _run(
    connections: Sequence[Connection], shares: Sequence[Sequence[Callable[[Connection], Any]]]
) -> list[list[Any]]:
    if len(connections) == 1:
        return [_read_in_turn(connections[0], shares[0])]
    with ThreadPoolExecutor(len(connections), thread_name_prefix="read") as threads:
        running = list(map(threads.submit, repeat(_read_in_turn), connections, shares))
        try:
            return [future.result() for future in running]
        except BaseException:
            # The others would read to their end for nobody.
            for connection in connections:
                connection.cancel_safe()
            raise


def _read_in_turn(
    connection: Connection, reads: Sequence[Callable[[Connection], Any]]
) -> list[Any]:
    return [read(connection) for read in reads]
