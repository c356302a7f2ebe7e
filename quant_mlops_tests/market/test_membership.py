"""Who was a member when, as known at each decision, against plain Python and plain SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import ConflictingValueError, MarketDataError
from quant_mlops.market.calendar import TradingCalendar, trading_calendar
from quant_mlops.market.membership import (
    MEMBERSHIP_SCHEMA,
    MembershipsWritten,
    members_as_known,
    write_memberships,
)
from quant_mlops.market.membership_files import read_membership_file

Row = tuple[str, date, date | None, datetime]
CALENDAR = trading_calendar("XNYS")
# Thanksgiving, its half-day and weekends are among them.
DAYS: list[date] = CALENDAR.sessions(date(2023, 11, 15), date(2023, 12, 6)).tolist()
OPENS = [CALENDAR.open_time(day) for day in DAYS]
MICROSECOND = timedelta(microseconds=1)
MUCH_LATER = datetime(2026, 6, 1, tzinfo=UTC)
INSERT = """
INSERT INTO universe_memberships (universe, entity_key, first_session, last_session, ingest_time,
                                  source)
VALUES (%s, %s, %s, %s, %s, 'test')
"""
NUMBERS = count()


def table_of(rows: Iterable[Row]) -> pa.Table:
    names = MEMBERSHIP_SCHEMA.names
    values = [dict(zip(names, row, strict=True)) for row in rows]
    return pa.Table.from_pylist(values, schema=MEMBERSHIP_SCHEMA)


def insert(database: Database, rows: Sequence[Row]) -> str:
    """Store rows under a universe of their own, as they are, and return its name."""
    universe = f"u{next(NUMBERS)}"
    with database.transaction() as connection:
        connection.cursor().executemany(INSERT, [(universe, *row) for row in rows])
    return universe


def write(database: Database, rows: Sequence[Row], universe: str = "index") -> MembershipsWritten:
    return write_memberships(database, table_of(rows), universe=universe, source="test.csv")


def read(
    database: Database,
    universe: str,
    sessions: Sequence[date] = DAYS,
    knowledge_time: datetime = MUCH_LATER,
) -> set[tuple[str, date]]:
    days = np.array(sessions, dtype="datetime64[D]")
    tickers, members = members_as_known(
        database,
        universe,
        sessions=days,
        opens=CALENDAR.opens(days),
        knowledge_time=knowledge_time,
    )
    assert tickers == sorted(tickers)
    assert members.shape == (len(sessions), len(tickers))
    return {(tickers[column], sessions[row]) for row, column in zip(*np.nonzero(members))}  # noqa: B905


def members_by_hand(
    rows: Sequence[Row], sessions: Sequence[date], knowledge_time: datetime
) -> set[tuple[str, date]]:
    found = set()
    for session in sessions:
        decision = min(CALENDAR.open_time(session), knowledge_time)
        known: dict[tuple[str, date], tuple[datetime, date | None]] = {}
        for ticker, first, last, ingest in rows:
            if ingest <= decision:
                newest = known.get((ticker, first))
                if newest is None or newest[0] < ingest:
                    known[ticker, first] = (ingest, last)
        for (ticker, first), (_, last) in known.items():
            if first <= session and (last is None or session <= last):
                found.add((ticker, session))
    return found


days = st.integers(-3, len(DAYS) + 3).map(lambda i: DAYS[0] + timedelta(days=i))
instants = st.builds(
    lambda opens, apart: opens + apart * MICROSECOND,
    st.sampled_from(OPENS),
    st.sampled_from([-1, 0, 1, -(10**11), 5 * 10**10]),
)
spells = st.lists(
    st.tuples(st.sampled_from(["b", "A'\"", "Ä"]), days, st.none() | days, instants),
    min_size=1,
    max_size=14,
    unique_by=lambda row: (row[0], row[1], row[3]),
)


@given(rows=spells, step=st.integers(1, 3), knowledge_time=instants)
def test_members_are_those_that_brute_force_finds(
    module_database: Database, rows: list[Row], step: int, knowledge_time: datetime
) -> None:
    universe, asked = insert(module_database, rows), DAYS[::step]
    expected = members_by_hand(rows, asked, knowledge_time)
    assert read(module_database, universe, asked, knowledge_time) == expected


def opened(day: int) -> datetime:
    return OPENS[day]


def test_a_spell_known_late_does_not_count_before_it_was_known(module_database: Database) -> None:
    universe = insert(module_database, [("A", DAYS[0], None, opened(5))])
    assert read(module_database, universe) == {("A", day) for day in DAYS[5:]}
    universe = insert(module_database, [("A", DAYS[0], None, opened(5) + MICROSECOND)])
    assert read(module_database, universe) == {("A", day) for day in DAYS[6:]}


def test_an_end_announced_before_it_happens_leaves_the_days_until_it(
    module_database: Database,
) -> None:
    rows: list[Row] = [("A", DAYS[1], None, opened(0)), ("A", DAYS[1], DAYS[7], opened(3))]
    universe = insert(module_database, rows)
    assert read(module_database, universe) == {("A", day) for day in DAYS[1:8]}


def test_a_corrected_end_holds_from_when_it_is_known(module_database: Database) -> None:
    rows: list[Row] = [
        ("A", DAYS[0], DAYS[2], opened(0)),
        ("A", DAYS[0], DAYS[8], opened(5)),
        ("A", DAYS[0], DAYS[6], opened(6)),
    ]
    universe = insert(module_database, rows)
    assert read(module_database, universe) == {("A", DAYS[i]) for i in (0, 1, 2, 5, 6)}


def test_a_withdrawn_spell_is_none_from_when_the_withdrawal_is_known(
    module_database: Database,
) -> None:
    rows: list[Row] = [
        ("A", DAYS[0], None, opened(0)),
        ("A", DAYS[0], DAYS[0] - timedelta(days=1), opened(4)),
        ("B", DAYS[2], DAYS[1], opened(0)),
    ]
    universe = insert(module_database, rows)
    assert read(module_database, universe) == {("A", day) for day in DAYS[:4]}


def test_who_returns_is_out_between_two_spells(module_database: Database) -> None:
    rows: list[Row] = [("A", DAYS[0], DAYS[3], opened(0)), ("A", DAYS[6], DAYS[9], opened(0))]
    write(module_database, rows, "returns")
    days = [*DAYS[:4], *DAYS[6:10]]
    assert read(module_database, "returns") == {("A", day) for day in days}


def test_what_becomes_known_after_the_knowledge_time_is_not_there(
    module_database: Database,
) -> None:
    rows: list[Row] = [("A", DAYS[0], None, opened(0)), ("A", DAYS[0], DAYS[4], opened(5))]
    universe = insert(module_database, rows)
    before = read(module_database, universe, knowledge_time=opened(5) - MICROSECOND)
    assert before == {("A", day) for day in DAYS}
    assert read(module_database, universe, knowledge_time=opened(0) - MICROSECOND) == set()


def test_a_universe_of_which_nothing_is_stored_is_an_error_that_names_those_there_are(
    database: Database,
) -> None:
    with pytest.raises(MarketDataError, match="universe 'sp50'; stored are: none"):
        read(database, "sp50")
    write(database, [("A", DAYS[0], None, opened(0))], "sp500")
    with pytest.raises(MarketDataError, match=r"stored are: sp500;.*FILE --name sp50`"):
        read(database, "sp50")
    assert read(database, "sp500", knowledge_time=opened(0) - MICROSECOND) == set()


def stored_rows(database: Database) -> list[tuple[object, ...]]:
    return database.fetch_all(
        "SELECT universe, entity_key, first_session, last_session, ingest_time, source "
        "FROM universe_memberships ORDER BY universe, entity_key, first_session, ingest_time"
    )


def test_what_is_written_again_is_stored_once(database: Database) -> None:
    rows: list[Row] = [("A", DAYS[0], None, opened(0)), ("A", DAYS[0], DAYS[3], opened(2))]
    assert write(database, rows[:1]) == MembershipsWritten(1, 1)
    assert write(database, [*rows, *rows]) == MembershipsWritten(4, 1)
    assert write(database, rows) == MembershipsWritten(2, 0)
    assert write(database, rows, "another") == MembershipsWritten(2, 2)
    assert write(database, []) == MembershipsWritten(0, 0)
    assert stored_rows(database) == [
        (universe, *row, "test.csv") for universe in ("another", "index") for row in rows
    ]


@pytest.mark.parametrize("other", [None, DAYS[4]])
def test_another_end_known_at_the_same_time_is_refused_with_all_that_comes_with_it(
    database: Database, other: date | None
) -> None:
    write(database, [("A", DAYS[0], DAYS[3], opened(0))])
    before = stored_rows(database)
    news: list[Row] = [("B", DAYS[0], None, opened(0)), ("A", DAYS[0], other, opened(0))]
    with pytest.raises(ConflictingValueError, match=rf"spell of A from {DAYS[0]}.*{DAYS[3]}"):
        write(database, news)
    with pytest.raises(ConflictingValueError, match="itself gives"):
        write(database, [("C", DAYS[0], DAYS[5], opened(0)), ("C", DAYS[0], other, opened(0))])
    assert stored_rows(database) == before


def test_a_start_that_was_moved_must_be_withdrawn(database: Database) -> None:
    write(database, [("A", DAYS[1], None, opened(1))])
    moved: Row = ("A", DAYS[2], None, opened(2))
    with pytest.raises(MarketDataError, match=rf"{DAYS[1]} with no end and another from {DAYS[2]}"):
        write(database, [moved])
    assert len(stored_rows(database)) == 1
    write(database, [moved, ("A", DAYS[1], DAYS[0], opened(2))])
    assert read(database, "index") == {("A", day) for day in DAYS[1:]}
    ended: Row = ("A", DAYS[2], DAYS[5], opened(6))
    again: Row = ("A", DAYS[5], None, opened(6))
    with pytest.raises(MarketDataError, match="overlap"):
        write(database, [ended, again])
    assert write(database, [ended, ("A", DAYS[6], None, opened(6))]).stored == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"entity_key": None}, "have no entity_key"),
        ({"first_session": None}, "have no first_session"),
        ({"ingest_time": None}, "have no ingest_time"),
        ({"entity_key": ""}, "refused a membership of test.csv"),
    ],
)
def test_rows_without_a_key_are_refused(
    module_database: Database, changes: dict[str, str | None], said: str
) -> None:
    row = dict(zip(MEMBERSHIP_SCHEMA.names, ("A", DAYS[0], None, opened(0)), strict=True)) | changes
    table = pa.Table.from_pylist(
        [row], schema=pa.schema([f.with_nullable(True) for f in MEMBERSHIP_SCHEMA])
    )
    with pytest.raises(MarketDataError, match=said):
        write_memberships(module_database, table, universe="index", source="test.csv")
    with pytest.raises(MarketDataError, match="' ' is no name of a universe"):
        write_memberships(module_database, table, universe=" ", source="test.csv")


def test_a_second_writer_waits_and_sees_what_the_first_stored(database: Database) -> None:
    row: Row = ("A", DAYS[0], DAYS[3], opened(0))
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as first:
            first.execute(query("lock_universe_memberships"))
            first.execute(INSERT, ("index", *row))
            second = pool.submit(write, database, [("A", DAYS[0], DAYS[4], opened(0))])
            waiting = (
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                "AND backend_type = 'client backend' AND datname = current_database()"
            )
            while database.fetch_one(waiting) == (0,):
                assert not second.done()
        with pytest.raises(ConflictingValueError, match="which is stored"):
            second.result()
    assert len(stored_rows(database)) == 1


def test_two_writers_of_one_file_store_it_once(database: Database) -> None:
    rows: list[Row] = [(f"T{n:03d}", DAYS[0], None, opened(0)) for n in range(500)]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: write(database, rows), range(2)))
    assert sorted(each.stored for each in done) == [0, 500]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE universe_memberships SET last_session = '2023-12-01'",
        "DELETE FROM universe_memberships",
        "TRUNCATE universe_memberships",
    ],
)
def test_a_stored_membership_cannot_be_changed(module_database: Database, statement: str) -> None:
    insert(module_database, [("A", DAYS[0], None, opened(0))])
    before = stored_rows(module_database)
    with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
        module_database.execute(statement)
    assert stored_rows(module_database) == before


@pytest.mark.parametrize("column", ["first_session", "last_session", "ingest_time"])
def test_no_day_or_time_can_be_infinite(module_database: Database, column: str) -> None:
    values = {"first_session": "2023-12-01", "last_session": None, "ingest_time": "2023-12-01Z"}
    with pytest.raises(psycopg.errors.CheckViolation):
        module_database.execute(INSERT, ["u", "A", *(values | {column: "infinity"}).values()])


NEWEST_KNOWN = """
SELECT entity_key
FROM (
    SELECT DISTINCT ON (entity_key, first_session) entity_key, first_session, last_session
    FROM universe_memberships
    WHERE universe = 'sp500' AND ingest_time <= %(time)s
    ORDER BY entity_key, first_session, ingest_time DESC
) AS known
WHERE first_session <= %(session)s AND (last_session IS NULL OR last_session >= %(session)s)
"""


@pytest.fixture(scope="module")
def sp500(module_database: Database, data_folder: Path, calendar: TradingCalendar) -> Database:
    found = read_membership_file(data_folder / "sp500_membership.parquet", calendar=calendar)
    assert (found.lines, found.spells, found.rows.num_rows) == (1230, 1230, 1230 + 727)
    written = write_memberships(module_database, found.rows, universe="sp500", source=found.source)
    assert written == MembershipsWritten(1957, 1957)
    return module_database


def test_the_members_of_a_real_index_are_those_of_a_query(
    sp500: Database, calendar: TradingCalendar
) -> None:
    every = calendar.sessions(date(1996, 1, 2), date(2025, 7, 9))
    asked = every[::251].tolist()
    members = read(sp500, "sp500", asked)
    for session in asked:
        bound = {"session": session, "time": calendar.open_time(session)}
        expected = {ticker for (ticker,) in sp500.fetch_all(NEWEST_KNOWN, bound)}
        assert {ticker for ticker, day in members if day == session} == expected
        assert 480 <= len(expected) <= 510
    assert len(asked) == 30


def test_american_airlines_left_and_returned(sp500: Database, calendar: TradingCalendar) -> None:
    every = calendar.sessions(date(1997, 1, 13), date(2015, 3, 25)).tolist()
    days = [*every[:5], *every[5:-5:97], *every[-5:]]
    inside = {day for ticker, day in read(sp500, "sp500", days) if ticker == "AAL"}
    assert inside == {d for d in days if d <= date(1997, 1, 15) or d >= date(2015, 3, 23)}
