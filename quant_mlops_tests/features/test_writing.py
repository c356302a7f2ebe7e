from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant_mlops.database import Database
from quant_mlops.errors import (
    AmbiguousTimeError,
    ConflictingValueError,
    InvalidValueError,
    MarketDataError,
)
from quant_mlops.features import FeatureStore, feature
from quant_mlops.features.catalog import register_definitions
from quant_mlops.features.rows import SCHEMA
from quant_mlops.features.writing import write_rows

START = datetime(2024, 1, 15, 21, tzinfo=UTC)
INSTANT = pa.timestamp("us", tz="UTC")
DAY = timedelta(days=1)
fresh_names = itertools.count()

WRITE = """
import sys
from datetime import UTC, datetime, timedelta
from quant_mlops.features import FeatureStore

import numpy as np
import pyarrow as pa

count = 5_000
event = np.arange(count) * 60_000_000 + 1_700_000_000_000_000
frame = pa.table({
    "entity_key": pa.array(np.where(np.arange(count) % 2, "A", "B")),
    "event_time": pa.array(event).cast(pa.timestamp("us", tz="UTC")),
    "f": np.arange(count) / 7,
})
store = FeatureStore(sys.argv[1], "test")
print("ready", flush=True)
sys.stdin.readline()
print(store.write_frame(frame, availability_lag=timedelta(0)).stored, flush=True)
store.database.close()
"""


def contents(database: Database) -> list[tuple[Any, ...]]:
    return database.fetch_all(
        "SELECT entity_key, feature_name, event_time, ingest_time, value_double, value_json"
        " FROM feature_events ORDER BY 1, 2, 3, 4"
    )


def count(database: Database) -> int:
    return len(contents(database))


# One series against the contract in plain Python.

Offer = tuple[int, int, Any]


def rows_table(name: str, offers: Iterable[Offer]) -> pa.Table:
    rows = [
        {
            "entity_key": "A",
            "feature_name": name,
            "feature_version": 1,
            "event_time": START + timedelta(minutes=event),
            "ingest_time": START + timedelta(minutes=ingest),
            "value_double": value if isinstance(value, float) else None,
            "value_json": value if isinstance(value, str) else None,
        }
        for event, ingest, value in offers
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write_by_the_book(
    stored: dict[tuple[int, int], Any], offers: list[Offer]
) -> tuple[int, int] | None:
    """Store offers in a dictionary and count new rows and revisions; None for a conflict."""
    said = dict(stored)
    for event, ingest, value in offers:
        if said.setdefault((event, ingest), value) != value:
            return None
    new = revised = 0
    for key in sorted({(event, ingest) for event, ingest, _ in offers} - set(stored)):
        earlier = [k for k in said if k[0] == key[0] and k[1] < key[1]]
        if not earlier or said[max(earlier)] != said[key]:
            stored[key] = said[key]
            new += 1
            revised += bool(earlier)
    return new, revised


VALUES = st.sampled_from([1.0, 2.0, 0.0, -0.0, None, '{"a": 1}', '{"a": 2}'])
OFFERS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), VALUES), max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(calls=st.lists(OFFERS, min_size=1, max_size=5))
def test_writes_follow_the_contract_call_by_call(
    module_database: Database, calls: list[list[Offer]]
) -> None:
    name = f"f{next(fresh_names)}"
    book: dict[tuple[int, int], Any] = {}
    for offers in calls:
        expected = write_by_the_book(trial := dict(book), offers)
        table = rows_table(name, offers)
        if expected is None:
            with pytest.raises(ConflictingValueError):
                write_rows(module_database, table, producer="test")
        else:
            result = write_rows(module_database, table, producer="test")
            assert (result.offered, result.stored, result.revised) == (len(offers), *expected)
            book = trial
        rows = module_database.fetch_all(
            "SELECT event_time, ingest_time, value_double, value_json::text FROM feature_events"
            " WHERE feature_name = %s",
            [name],
        )
        minute = timedelta(minutes=1)
        found = {
            ((event - START) // minute, (ingest - START) // minute): document or number
            if document is not None
            else number
            for event, ingest, number, document in rows
        }
        assert found == book


def test_the_same_value_again_stores_nothing_whatever_its_ingest_time(
    store: FeatureStore, at
) -> None:
    assert store.write_features("A", at(0), {"f": 1.5, "g": {"a": 1}}) == 2
    assert store.write_features("A", at(0), {"f": 1.5, "g": {"a": 1}}) == 0
    later = {"availability_lag": timedelta(days=5_000)}
    assert store.write_features("A", at(0), {"f": 1.5, "g": {"a": 1.0}}, **later) == 0
    assert count(store.database) == 2


def test_another_value_at_a_later_time_is_a_revision(store: FeatureStore, at) -> None:
    lag = timedelta(minutes=1)
    assert store.write_features("A", at(0), {"f": 1.0}, availability_lag=lag) == 1
    assert store.write_features("A", at(0), {"f": 2.0}, availability_lag=2 * lag) == 1
    assert store.write_features("A", at(0), {"f": 1.0}, availability_lag=3 * lag) == 1
    assert [v.value for v in store.history("A", "f")] == [1.0, 2.0, 1.0]
    frame = pa.table({"entity_key": ["A"], "event_time": pa.array([at(0)], INSTANT), "f": [5.0]})
    result = store.write_frame(frame, availability_lag=4 * lag)
    assert (result.offered, result.stored, result.revised, result.repeated) == (1, 1, 1, 0)


def test_a_conflict_stores_nothing_of_the_call(store: FeatureStore, at) -> None:
    lag = timedelta(0)
    store.write_features("A", at(0), {"f": 1.0}, availability_lag=lag)
    with pytest.raises(ConflictingValueError, match=r"f@1 of A at .* is both 1 and 2 as known at"):
        store.write_features("A", at(0), {"e": 7.0, "f": 2.0, "g": 8.0}, availability_lag=lag)
    assert [row[1] for row in contents(store.database)] == ["f"]
    assert len(store.database.fetch_all("SELECT FROM feature_definitions")) == 1


def test_a_conflict_within_one_frame_stores_nothing(store: FeatureStore, at) -> None:
    frame = pa.table(
        {
            "entity_key": ["A", "A", "B"],
            "event_time": pa.array([at(0)] * 3, INSTANT),
            "f": [1.0, 2.0, 3.0],
        }
    )
    with pytest.raises(ConflictingValueError, match=r"f@1 of A .* nothing of this call was stored"):
        store.write_frame(frame, availability_lag=timedelta(0))
    assert count(store.database) == 0


def test_a_row_that_is_no_news_still_contradicts_another_of_its_key(database: Database) -> None:
    write_rows(database, rows_table("f", [(0, 1, 5.0)]), producer="test")
    for offers in ([(0, 2, 5.0), (0, 2, 6.0)], [(0, 2, 6.0), (0, 2, 5.0)]):
        with pytest.raises(ConflictingValueError):
            write_rows(database, rows_table("f", offers), producer="test")
    revisions = [(0, 2, 5.0), (0, 3, 5.0), (0, 4, 7.0)]
    result = write_rows(database, rows_table("f", revisions), producer="test")
    assert (result.stored, result.revised) == (1, 1)


def test_the_same_row_twice_in_one_frame_is_stored_once(store: FeatureStore, at) -> None:
    frame = pa.table(
        {"entity_key": ["A", "A"], "event_time": pa.array([at(0)] * 2, INSTANT), "f": [1.0, 1.0]}
    )
    for stored in (1, 0):
        result = store.write_frame(frame, availability_lag=timedelta(0))
        assert (result.stored, result.revised, result.repeated) == (stored, 0, 2 - stored)


def test_rows_in_any_order_are_stored_as_if_sorted(database: Database) -> None:
    sorted_rows = pa.concat_tables(
        rows_table(name, [(minute, minute, float(minute)) for minute in range(20)])
        for name in ("f", "g")
    )
    shuffled = sorted_rows.take(np.random.default_rng(1).permutation(sorted_rows.num_rows))
    for stored in (40, 0):
        assert write_rows(database, shuffled, producer="test").stored == stored


@pytest.mark.parametrize(
    "value",
    [
        *(float("nan"), float("inf"), -float("inf"), True, np.True_, "1.5", [1.0], Decimal("1.5")),
        *({"a": float("nan")}, {"a": {1, 2}}, {"a": START}, {"a": "\0"}, None, 2**53 + 1, 10**400),
    ],
    ids=repr,
)
def test_what_is_no_finite_number_and_no_json_is_refused(
    store: FeatureStore, at, value: Any
) -> None:
    with pytest.raises(InvalidValueError):
        store.write_features("A", at(0), {"e": 1.0, "f": value})
    assert count(store.database) == 0


@pytest.mark.parametrize("value", [3, np.float32(1.5), np.int64(7), np.float64(2.5), 2**60])
def test_every_kind_of_real_number_is_stored_as_a_double(store: FeatureStore, at, value) -> None:
    assert store.write_features("A", at(0), {"f": value}) == 1
    found = store.get_latest("A")["f"].value
    assert type(found) is float
    assert found == float(value)


def test_documents_come_back_as_they_were_written(store: FeatureStore, at) -> None:
    document = {"weights": [0.1, 2, None], "text": "ü", "nested": {"flag": True}}
    store.write_features("A", at(0), {"f": document})
    assert store.get_latest("A")["f"].value == document
    assert store.get_latest("A")["f"].producer == "test"
    spine = pa.table({"entity_key": ["A"], "time": pa.array([at(10**6)], INSTANT)})
    assert store.point_in_time_table(spine, ["f"])["f"].to_pylist() == [None]


def test_known_to_be_missing_is_stored_only_where_the_definition_allows_it(
    store: FeatureStore, at
) -> None:
    @feature("may_miss", lookback=0, allows_missing=True)
    def may_miss(panel):
        return panel.close

    register_definitions(store.database, [may_miss])
    store.write_features("A", at(0), {"may_miss": 1.0}, availability_lag=timedelta(0))
    nan = {"may_miss": float("nan")}
    assert store.write_features("A", at(5), nan, availability_lag=timedelta(0)) == 1
    assert store.write_features("A", at(5), nan, availability_lag=timedelta(0)) == 0
    assert store.get_latest("A", as_of=at(4))["may_miss"].value == 1.0
    assert store.get_latest("A", as_of=at(6))["may_miss"].value is None
    spine = pa.table({"entity_key": ["A", "A"], "time": pa.array([at(4), at(6)], INSTANT)})
    assert store.point_in_time_table(spine, ["may_miss"])["may_miss"].to_pylist() == [1.0, None]
    with pytest.raises(
        InvalidValueError, match="1 of 2 values are not finite, the first is nan for g"
    ):
        store.write_features("A", at(7), nan | {"g": float("nan")})


def test_who_wrote_a_row_is_kept_with_it(store: FeatureStore, at) -> None:
    store.write_features("A", at(0), {"f": 1.0})
    assert store.database.fetch_one(
        "SELECT producer, producer_version, run_id, recorded_at >= ingest_time FROM feature_events"
    ) == ("test", "7", "run", True)


@pytest.mark.parametrize("entity", ["", "a\0b"])
def test_what_the_database_refuses_is_one_sentence(store: FeatureStore, at, entity: str) -> None:
    with pytest.raises(
        InvalidValueError, match=r"the database refused a row.*nothing of this call"
    ):
        store.write_features(entity, at(0), {"f": 1.0})
    assert count(store.database) == 0


def test_a_version_below_one_is_refused(store: FeatureStore, at) -> None:
    with pytest.raises(InvalidValueError):
        store.write_features("A", at(0), {"f": 1.0}, feature_version=0)


# Times


def test_a_naive_time_is_wall_time_of_the_market(store: FeatureStore) -> None:
    naive = datetime(2024, 7, 15, 16)  # noqa: DTZ001
    store.write_features("A", naive, {"f": 1.0})
    store.write_features("B", naive.replace(month=1), {"f": 1.0})
    tokyo = FeatureStore(store.database, "test", timezone="Asia/Tokyo")
    tokyo.write_features("C", naive, {"f": 1.0})
    aware = naive.replace(tzinfo=ZoneInfo("Europe/London"))
    store.write_features("D", aware, {"f": 1.0})
    assert [row[2].isoformat() for row in contents(store.database)] == [
        "2024-07-15T20:00:00+00:00",
        "2024-01-15T21:00:00+00:00",
        "2024-07-15T07:00:00+00:00",
        "2024-07-15T15:00:00+00:00",
    ]


@pytest.mark.parametrize(
    ("wall", "problem"),
    [("2024-03-10T02:30:00", "does not exist"), ("2024-11-03T01:30:00", "exists twice")],
)
def test_a_wall_time_that_clocks_skip_or_repeat_is_refused(
    store: FeatureStore, wall: str, problem: str
) -> None:
    wall = datetime.fromisoformat(wall)
    message = f"{wall.isoformat()} .* America/New_York and {problem}"
    with pytest.raises(AmbiguousTimeError, match=message):
        store.write_features("A", wall, {"f": 1.0})
    times = pa.array([None, wall], pa.timestamp("us"))
    frame = pa.table({"entity_key": ["A", "A"], "event_time": times, "f": [1.0, 1.0]})
    with pytest.raises(AmbiguousTimeError, match=message):
        store.write_frame(frame)
    # The same instants, said with a zone, are no question.
    for fold in (0, 1):
        aware = wall.replace(tzinfo=ZoneInfo("America/New_York"), fold=fold)
        assert store.write_features(f"fold {fold}", aware, {"f": 1.0}) == 1


def test_what_is_no_instant_is_refused(store: FeatureStore) -> None:
    for moment in (START.date(), "2024-01-15", 1_700_000_000):
        with pytest.raises(InvalidValueError, match="where an instant is asked for"):
            store.write_features("A", moment, {"f": 1.0})  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="outside of the years"):
        store.write_features("A", datetime(9999, 12, 31, 23), {"f": 1.0})  # noqa: DTZ001


def test_without_a_lag_the_databases_clock_says_when_a_value_became_known(
    store: FeatureStore, at
) -> None:
    before = store.database.fetch_one("SELECT clock_timestamp()")
    store.write_features("A", at(0), {"f": 1.0})
    after = store.database.fetch_one("SELECT clock_timestamp()")
    assert before is not None
    assert after is not None
    assert before[0] <= store.get_latest("A")["f"].ingest_time <= after[0]


@pytest.mark.parametrize(
    ("event", "opens"),
    [
        ("2024-01-12T21:00", "2024-01-16T14:30"),  # Friday's close, a long weekend
        ("2024-01-13T12:00", "2024-01-16T14:30"),  # a Saturday
        ("2024-01-16T14:29:59", "2024-01-16T14:30"),  # a second before the open
        ("2024-01-16T14:30", "2024-01-17T14:30"),  # at the open itself
        ("2024-03-08T21:00", "2024-03-11T13:30"),  # over the change of clocks
    ],
)
def test_next_session_open_is_the_first_open_after_the_event(
    store: FeatureStore, event: str, opens: str
) -> None:
    moment = datetime.fromisoformat(event).replace(tzinfo=UTC)
    expected = datetime.fromisoformat(opens).replace(tzinfo=UTC)
    lag = {"availability_lag": "next session open"}
    store.write_features("A", moment, {"f": 1.0}, **lag)
    frame = pa.table({"entity_key": ["B"], "event_time": pa.array([moment], INSTANT), "f": [1.0]})
    store.write_frame(frame, **lag)
    assert [row[3] for row in contents(store.database)] == [expected, expected]


def test_next_session_open_beyond_the_calendar_is_refused(store: FeatureStore) -> None:
    with pytest.raises(MarketDataError, match="not covered by the calendar of XNYS"):
        store.write_features("A", START.replace(year=1960), {"f": 1.0},
                             availability_lag="next session open")  # fmt: skip


@pytest.mark.parametrize("lag", [timedelta(-1), "tomorrow", 5])
def test_another_lag_is_refused(store: FeatureStore, at, lag: Any) -> None:
    frame = pa.table({"entity_key": ["A"], "event_time": pa.array([at(0)], INSTANT), "f": [1.0]})
    with pytest.raises(InvalidValueError, match="neither a duration of zero or more"):
        store.write_features("A", at(0), {"f": 1.0}, availability_lag=lag)
    with pytest.raises(InvalidValueError, match="neither a duration of zero or more"):
        store.write_frame(frame, availability_lag=lag)


# Several writers


def test_two_processes_with_the_same_rows_store_them_once(
    store: FeatureStore, start_python
) -> None:
    writers = [start_python(WRITE, store.database.conninfo) for _ in range(2)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    outcomes = [writer.communicate(timeout=60) for writer in writers]
    assert sorted(int(output) for output, _ in outcomes) == [0, 5_000], outcomes
    assert count(store.database) == 5_000


def test_two_threads_with_contradicting_rows_are_not_both_believed(store: FeatureStore, at) -> None:
    barrier = threading.Barrier(2)

    def write(value: float) -> int:
        barrier.wait()
        return store.write_features("A", at(0), {"f": value}, availability_lag=timedelta(0))

    with ThreadPoolExecutor(2) as pool:
        outcomes = [pool.submit(write, value) for value in (1.0, 2.0)]
        errors = [outcome.exception() for outcome in outcomes]
    assert sorted(type(error) for error in errors if error) == [ConflictingValueError]
    assert count(store.database) == 1
