"""Storing feature rows: what is news goes by a sorted COPY into a staging table, then on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
import pyarrow as pa
from psycopg.rows import TupleRow

from quant_mlops.database import Database
from quant_mlops.database.binary_copy import copy_table, stream_arrays
from quant_mlops.database.queries import query
from quant_mlops.database.repeats import Comparison, TimedRows, by_series, compare
from quant_mlops.errors import ConflictingValueError, InvalidValueError
from quant_mlops.features.rows import SERIES_COLUMNS, WriteResult


def write_rows(
    database: Database,
    rows: pa.Table,
    *,
    producer: str,
    producer_version: str | None = None,
    run_id: str | None = None,
) -> WriteResult:
    """Store the rows that say something new, all of them or none.

    Parameters
    ----------
    database : Database
    rows : pyarrow.Table
        In the schema of `rows.SCHEMA`, sorted by series and time.
    producer, producer_version, run_id : str
        Who wrote them, kept with each row.

    Returns
    -------
    WriteResult
        A row is stored if it is the first of its event or differs from what was known of that
        event just before its ingest time; the latter is a revision.

    Raises
    ------
    ConflictingValueError
        A row differs from another, stored or offered, of the same key and ingest time.
    InvalidValueError
        The database refuses a row, for example one of an empty entity key.
    """
    if rows.num_rows == 0:
        return WriteResult(0, 0, 0)
    try:
        with database.transaction() as connection:
            return _store(
                connection,
                rows,
                {"producer": producer, "producer_version": producer_version, "run_id": run_id},
            )
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise InvalidValueError(
            f"the database refused a row of {rows.num_rows}: {error.diag.message_primary}; nothing "
            f"of this call was stored; correct the row or leave it out"
        ) from error


def _store(
    connection: psycopg.Connection[TupleRow], rows: pa.Table, origin: dict[str, str | None]
) -> WriteResult:
    offered = rows.num_rows
    rows, series = by_series(rows, SERIES_COLUMNS)
    connection.execute(query("lock_feature_events"))
    comparison = _compare(connection, rows, series)
    if comparison.known.all():
        return WriteResult(offered, 0, 0)
    connection.execute(query("create_staged_feature_events"))
    news = rows.filter(pa.array(~comparison.known)) if comparison.known.any() else rows
    copy_table(connection, "staged_feature_events", table=news)
    connection.execute("ANALYZE staged_feature_events")
    connection.execute(query("register_staged_features"))
    repeats_itself = connection.execute(query("find_repeated_staged_feature")).fetchone()
    if repeats_itself is None and not comparison.undecided:
        stored = connection.execute(query("insert_new_feature_events"), origin).rowcount
        return WriteResult(offered, stored, comparison.revisions)
    _refuse_conflict(connection)
    counts = connection.execute(query("insert_revised_feature_events"), origin).fetchone()
    stored, revised = counts or (0, 0)
    return WriteResult(offered, stored, revised)


def _refuse_conflict(connection: psycopg.Connection[TupleRow]) -> None:
    conflict = connection.execute(query("find_conflicting_feature_event")).fetchone()
    if conflict is not None:
        entity, name, version, event_time, ingest_time, first, second = conflict
        raise ConflictingValueError(
            f"{name}@{version} of {entity} at {event_time.isoformat()} is both {first} and "
            f"{second} as known at {ingest_time.isoformat()}; nothing of this call was stored; "
            f"give the correction a later ingest time"
        )


def _compare(
    connection: psycopg.Connection[TupleRow],
    rows: pa.Table,
    series: Mapping[tuple[Any, ...], slice],
) -> Comparison:
    """Hold the rows against what is stored; without a number, none counts as known.

    The arrays do not tell a document from a value that is missing.
    """
    offered = TimedRows.of_table(rows, ["value_double"])
    bounds = [offered.part(part).bounds() for part in series.values()]
    entities, names, versions = (list(column) for column in zip(*series, strict=True))
    parameters = {
        "entities": entities,
        "names": names,
        "versions": versions,
        "firsts": [first for first, _ in bounds],
        "lasts": [last for _, last in bounds],
    }
    arrays = stream_arrays(connection, query("select_stored_feature_rows"), parameters)
    stored = (
        ((entity, name, version), TimedRows(event, ingest, (values,)))
        for entity, name, version, event, ingest, values in arrays
    )
    return compare(offered, series, stored, nan_equals_nan=False)
