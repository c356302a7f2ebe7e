"""The table `universe_memberships`: storing who belonged to an index, reading it as known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import numpy.typing as npt
import psycopg
import pyarrow as pa
from psycopg.rows import TupleRow

from quant_mlops.database import Database
from quant_mlops.database.binary_copy import copy_table, stream_arrays
from quant_mlops.database.queries import query
from quant_mlops.errors import ConflictingValueError, MarketDataError
from quant_mlops.instants import from_microseconds, to_microseconds

Instants = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

MEMBERSHIP_SCHEMA = pa.schema(
    [
        pa.field("entity_key", pa.string(), nullable=False),
        pa.field("first_session", pa.date32(), nullable=False),
        pa.field("last_session", pa.date32()),
        pa.field("ingest_time", pa.timestamp("us", "UTC"), nullable=False),
    ]
)
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class MembershipsWritten:
    """What one load of memberships did: `stored` rows are new, the others were stored before."""

    offered: int
    stored: int


def write_memberships(
    database: Database, table: pa.Table, *, universe: str, source: str
) -> MembershipsWritten:
    """Store what is new of some spells, all of it or nothing.

    Parameters
    ----------
    database : Database
    table : pyarrow.Table
        Columns of `MEMBERSHIP_SCHEMA`. A row says what was known, from its `ingest_time` on, of
        the end of the spell that begins with `first_session`: the last day, included; null where
        no end was known; a day before the first where the spell was withdrawn.
    universe : str
        Name of the index.
    source : str
        Where the rows are from, kept with each of them.

    Raises
    ------
    ConflictingValueError
        A row gives another end than one of the same spell and ingest time, stored or offered.
    MarketDataError
        A row lacks its key, or two spells of one entity overlap by what is known last of them: an
        earlier start that was corrected and not withdrawn would stay in force for ever.
    """
    if not universe.strip():
        raise MarketDataError(
            f"{universe!r} is no name of a universe; give one such as sp500; nothing was stored"
        )
    rows = table.select(MEMBERSHIP_SCHEMA.names)
    for field in MEMBERSHIP_SCHEMA:
        if not field.nullable and rows[field.name].null_count:
            raise MarketDataError(
                f"{rows[field.name].null_count} of {rows.num_rows} memberships of {source} have no "
                f"{field.name}; nothing was stored; leave them out"
            )
    if rows.num_rows == 0:
        return MembershipsWritten(0, 0)
    staged = (
        rows.cast(MEMBERSHIP_SCHEMA)
        .append_column("universe", pa.repeat(universe, rows.num_rows))
        .append_column("source", pa.repeat(source, rows.num_rows))
    )
    try:
        with database.transaction() as connection:
            stored = _store(connection, staged, universe=universe, source=source)
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise MarketDataError(
            f"the database refused a membership of {source}: {error.diag.message_primary}; nothing "
            f"was stored; correct the row or leave it out"
        ) from error
    return MembershipsWritten(rows.num_rows, stored)


def _store(
    connection: psycopg.Connection[TupleRow], staged: pa.Table, *, universe: str, source: str
) -> int:
    connection.execute(query("lock_universe_memberships"))
    connection.execute(query("create_staged_universe_memberships"))
    copy_table(connection, "staged_universe_memberships", table=staged)
    conflict = connection.execute(query("find_conflicting_universe_membership")).fetchone()
    if conflict is not None:
        raise ConflictingValueError(_conflict(*conflict, source=source))
    stored = connection.execute(query("insert_new_universe_memberships")).rowcount
    overlap = connection.execute(
        query("find_overlapping_memberships"), {"universe": universe}
    ).fetchone()
    if overlap is not None:
        raise MarketDataError(_overlap(*overlap, source=source))
    return stored


def _conflict(
    entity: str,
    first: date,
    ingest_time: datetime,
    last_before: date | None,
    last: date | None,
    source_before: str,
    offered_before: bool,
    *,
    source: str,
) -> str:
    other = "itself gives" if offered_before else f"{source_before}, which is stored, gives"
    return (
        f"{source} gives the spell of {entity} from {first} {_end(last)}, and {other} "
        f"{_end(last_before)}, as known at the same time, {ingest_time.isoformat()}; nothing was "
        f"stored; give a correction a later known_at"
    )


def _overlap(
    entity: str, first_before: date, last_before: date | None, first: date, *, source: str
) -> str:
    return (
        f"with {source}, {entity} would have a spell from {first_before} with "
        f"{_end(last_before)} and another from {first}, which overlap; nothing was stored; end the "
        f"first before the second begins, or withdraw one of them: an end_date the day before its "
        f"start_date, with known_at"
    )


def _end(last: date | None) -> str:
    return "no end" if last is None else f"the end {last}"


def members_as_known(
    database: Database,
    universe: str,
    *,
    sessions: npt.NDArray[np.datetime64],
    opens: Instants,
    knowledge_time: datetime,
) -> tuple[list[str], Flags]:
    """Tell who was a member in each session, as known when it opened.

    Parameters
    ----------
    database : Database
    universe : str
        Name of the index.
    sessions : ndarray of datetime64[D], shape (S,)
        Distinct and ascending, at least one.
    opens : ndarray of int64, shape (S,)
        When each session's decision is taken, in microseconds UTC, ascending. A later time lets a
        decision see departures that were announced after it.
    knowledge_time : datetime
        Aware; rows known only later are treated as not written.

    Returns
    -------
    tickers, members : list of str, ndarray of bool of shape (S, N)
        Entities with a spell known in any of the sessions, in code point order, and whether each
        belongs to each session. Of a spell's rows the newest known at the decision holds.

    Raises
    ------
    MarketDataError
        Nothing is stored of a universe of that name.
    """
    known_by = np.minimum(opens, to_microseconds(knowledge_time))
    days = sessions.astype(np.int64)
    tickers, rows = _read_rows(
        database, universe, last=sessions[-1].item(), as_of=from_microseconds(int(known_by[-1]))
    )
    # A row holds until the next one of its spell is known. Decisions and days both ascend, so
    # that it makes one interval of sessions a member, and counting intervals needs no loop.
    same_spell = (rows.ticker[1:] == rows.ticker[:-1]) & (rows.first[1:] == rows.first[:-1])
    until = np.full(len(rows.ingest), NEVER)
    until[:-1][same_spell] = rows.ingest[1:][same_spell]
    begins = np.maximum(
        np.searchsorted(known_by, rows.ingest, side="left"),
        np.searchsorted(days, rows.first, side="left"),
    )
    ends = np.minimum(
        np.searchsorted(known_by, until, side="left"),
        np.searchsorted(days, rows.last, side="right"),
    )
    some = begins < ends
    # Sums along the rows of memory are several times as fast as sums across them.
    change = np.zeros((len(tickers), len(sessions) + 1), dtype=np.int32)
    np.add.at(change, (rows.ticker[some], begins[some]), 1)
    np.add.at(change, (rows.ticker[some], ends[some]), -1)
    intervals = change.cumsum(axis=1, dtype=np.int32)[:, :-1]
    return tickers, np.ascontiguousarray((intervals > 0).T)


@dataclass(frozen=True)
class _Rows:
    """What was known of spells, in the order of the key; all int64, shape (R,), days since 1970."""

    ticker: Instants
    first: Instants
    last: Instants
    ingest: Instants


def _read_rows(
    database: Database, universe: str, *, last: date, as_of: datetime
) -> tuple[list[str], _Rows]:
    """Read the rows of spells that begin by a day, tickers in code point order."""
    parameters = {"universe": universe, "last": last, "as_of": as_of}
    with database.transaction() as connection:
        found = {
            ticker: arrays
            for ticker, *arrays in stream_arrays(
                connection, query("select_memberships"), parameters
            )
        }
    if not found:
        _refuse_unknown(database, universe)
    tickers = sorted(found)
    nothing = np.empty(0, dtype=np.int64)
    counts = np.array([len(found[ticker][0]) for ticker in tickers], dtype=np.int64)
    first, end, ingest = (
        np.concatenate([nothing, *(found[ticker][i] for ticker in tickers)]) for i in range(3)
    )
    return tickers, _Rows(np.repeat(np.arange(len(tickers)), counts), first, end, ingest)


def _refuse_unknown(database: Database, universe: str) -> None:
    statement = "SELECT DISTINCT universe FROM universe_memberships ORDER BY 1"
    stored = [name for (name,) in database.fetch_all(statement)]
    if universe not in stored:
        raise MarketDataError(
            f"nothing is stored of a universe {universe!r}; stored are: "
            f"{', '.join(stored) or 'none'}; correct the name, or load its members with "
            f"`quant-mlops ingest universe FILE --name {universe}`"
        )
