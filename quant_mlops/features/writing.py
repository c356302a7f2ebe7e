"""Storing feature rows: what is news, all of it or nothing, by one sorted COPY."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pyarrow as pa
from psycopg.rows import TupleRow

from quant_mlops.database import Database
from quant_mlops.database.binary_copy import copy_table, stream_arrays
from quant_mlops.database.queries import query
from quant_mlops.database.repeats import TIMES, Comparison, TimedRows, compare
from quant_mlops.database.series_copy import copy_series
from quant_mlops.errors import ConflictingValueError, InvalidValueError
from quant_mlops.features.offers import Offers, Series
from quant_mlops.features.rows import SERIES_COLUMNS, WriteResult

ORIGIN_COLUMNS = ("producer", "producer_version", "run_id")
Origin = tuple[str, str | None, str | None]


def write_rows(
    database: Database,
    rows: pa.Table,
    *,
    producer: str,
    producer_version: str | None = None,
    run_id: str | None = None,
    belated: datetime | None = None,
) -> WriteResult:
    """Store the rows that say something new, all of them or none.

    Several writers may be at work: those of the same series take turns, by locks that every
    writer takes in one order, and a writer sees all that was stored before its turn.

    Parameters
    ----------
    database : Database
    rows : pyarrow.Table
        In the schema of `rows.SCHEMA`; sorted by series and time they cost least.
    producer, producer_version, run_id : str
        Who wrote them, kept with each row.
    belated : datetime, optional
        Ingest time of a row that differs from a stored one of the same ingest time, when it is
        news all the same: what was known cannot be changed, but now more is known. By default
        such a row is refused.

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
    offers = Offers.of_table(rows)
    try:
        with database.transaction() as connection:
            connection.execute(query("lock_feature_series"), {"stripes": offers.stripes()})
            origin = (producer, producer_version, run_id)
            return _store(connection, offers, origin, belated=belated)
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise InvalidValueError(
            f"the database refused a row of {rows.num_rows}: {error.diag.message_primary}; nothing "
            f"of this call was stored; correct the row or leave it out"
        ) from error


def _store(
    connection: psycopg.Connection[TupleRow],
    offers: Offers,
    origin: Origin,
    *,
    belated: datetime | None,
) -> WriteResult:
    names, versions = zip(*offers.features(), strict=True)
    connection.execute(
        query("register_written_features"), {"names": list(names), "versions": list(versions)}
    )
    if offers.has_documents:
        return _store_by_sets(connection, offers, origin)
    stored = _StoredSeries(connection, offers)
    comparison = compare(offers.timed, offers.pieces, stored)
    if stored.have_documents:
        # Arrays of numbers do not tell a document from a value that is missing.
        return _store_by_sets(connection, offers, origin)
    if len(comparison.contradictions):
        if belated is None:
            raise _conflict(*_contradicting(offers, comparison))
        offers = offers.known_from(belated, comparison.contradictions)
        return _store(connection, offers, origin, belated=None)
    copied = 0
    if not comparison.known.all():
        copied = copy_series(
            connection,
            "feature_events",
            constants=(*SERIES_COLUMNS, *ORIGIN_COLUMNS),
            varying=("event_time", "ingest_time", "value_double"),
            series=offers.news(comparison.known, origin),
        )
    return WriteResult(len(offers), copied, comparison.revisions)


class _StoredSeries:
    """What is stored of the offered series in the time that is offered, read one by one."""

    def __init__(self, connection: psycopg.Connection[TupleRow], offers: Offers) -> None:
        self._arrays = stream_arrays(
            connection, query("select_stored_feature_rows"), offers.bounds()
        )
        self.have_documents = False

    def __iter__(self) -> Iterator[tuple[Series, TimedRows]]:
        for entity, name, version, event, ingest, numbers, documents in self._arrays:
            self.have_documents |= documents > 0
            yield (entity, name, version), TimedRows(event, ingest, (numbers,))


def _contradicting(offers: Offers, found: Comparison) -> tuple[Any, ...]:
    row = offers.table.slice(int(found.contradictions[0]), 1).to_pylist()[0]
    values = (found.contradicted[0], row["value_double"])
    said = (
        "missing" if value is None or math.isnan(value) else repr(value).removesuffix(".0")
        for value in values
    )
    times = (row[name].astimezone(UTC) for name in TIMES)
    return (*(row[name] for name in SERIES_COLUMNS), *times, *said)


def _store_by_sets(
    connection: psycopg.Connection[TupleRow], offers: Offers, origin: Origin
) -> WriteResult:
    """Let the database compare what is offered with what is stored, by one statement."""
    connection.execute(query("create_staged_feature_events"))
    copy_table(connection, "staged_feature_events", table=offers.table)
    connection.execute("ANALYZE staged_feature_events")
    conflict = connection.execute(query("find_conflicting_feature_event")).fetchone()
    if conflict is not None:
        raise _conflict(*conflict)
    parameters = dict(zip(ORIGIN_COLUMNS, origin, strict=True))
    counts = connection.execute(query("insert_revised_feature_events"), parameters).fetchone()
    stored, revised = counts or (0, 0)
    return WriteResult(len(offers), stored, revised)


def _conflict(
    entity: str,
    name: str,
    version: int,
    event_time: datetime,
    ingest_time: datetime,
    first: object,
    second: object,
) -> ConflictingValueError:
    return ConflictingValueError(
        f"{name}@{version} of {entity} at {event_time.isoformat()} is both {first} and {second} "
        f"as known at {ingest_time.isoformat()}; nothing of this call was stored; give the "
        f"correction a later ingest time"
    )
