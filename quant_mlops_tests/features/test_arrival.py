from __future__ import annotations

import itertools
import math
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant_mlops.database import Database
from quant_mlops.errors import (
    AmbiguousTimeError,
    InvalidValueError,
    MarketDataError,
    UnknownFeatureError,
)
from quant_mlops.features import FeatureStore, feature
from quant_mlops.features.arrival import FeatureArrival, arrival_statistics
from quant_mlops.features.catalog import register_definitions
from quant_mlops.market.calendar import TradingCalendar

INSTANT = pa.timestamp("us", tz="UTC")
FRIDAY = datetime(2024, 1, 5, 21, tzinfo=UTC)  # the close of an ordinary Friday
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
fresh_names = itertools.count()


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def write(store: FeatureStore, rows: list[tuple[Any, ...]], *, feature_version: int = 1) -> None:
    """Store rows of entity, feature, event time, ingest time and number."""
    columns = zip(*rows, strict=True)
    names = ["entity_key", "feature_name", "event_time", "ingest_time", "value"]
    types = [pa.string(), pa.string(), INSTANT, INSTANT, pa.float64()]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, types, strict=True)]
    store.write_frame(pa.table(arrays, names=names), feature_version=feature_version)


def only(found: list[FeatureArrival]) -> FeatureArrival:
    (arrival,) = found
    return arrival


@pytest.fixture
def shared_store(module_database: Database) -> FeatureStore:
    """Give a store that others write to as well, for cases that are too many for one each."""
    return FeatureStore(module_database, "test")


@pytest.fixture
def name() -> str:
    return f"f{next(fresh_names)}"


@pytest.fixture(scope="session")
def closes(calendar: TradingCalendar) -> list[datetime]:
    sessions = calendar.sessions(date(2023, 11, 1), date(2025, 1, 31))
    return [calendar.close_time(day.item()) for day in sessions]


# A search through all rows, in plain Python


def by_hand(
    database: Database,
    closes: list[datetime],
    *,
    names: list[str],
    as_of: datetime,
    since: datetime | None = None,
    tolerance: timedelta = DAY,
) -> list[FeatureArrival]:
    stored = database.fetch_all(
        "SELECT feature_name, feature_version, producer, entity_key, event_time, ingest_time,"
        " value_double, recorded_at FROM feature_events WHERE feature_name = ANY (%s)"
        " ORDER BY ingest_time",
        [names],
    )
    rows = defaultdict(list)
    prints = defaultdict(list)
    for name, version, producer, entity, event, ingest, value, recorded in stored:
        if event > as_of or ingest > as_of or (since is not None and event < since):
            continue
        before = prints[name, version, entity, event]
        rows[name, version, producer].append((entity, event, ingest, recorded, value, before[-1:]))
        before.append(value)

    def elapsed(start: datetime, end: datetime) -> int:
        if end < start:
            return -elapsed(end, start)
        return sum(start < close <= end for close in closes)

    found = []
    for (name, version, producer), written in sorted(rows.items()):
        events = {(entity, event) for entity, event, *_ in written}
        revisions = [row for row in written if row[-1]]
        pairs = [(value, before) for *_, value, (before,) in revisions]
        pairs = [(value, before) for value, before in pairs if None not in (value, before)]
        changes = [abs(value - before) for value, before in pairs]
        relative = [abs(value - before) / abs(before) for value, before in pairs if before]
        lags = [ingest - event for _, event, ingest, *_ in written]
        sessions = [elapsed(event, ingest) for _, event, ingest, *_ in written]
        newest = max(event for _, event, *_ in written)
        late = [recorded - ingest > tolerance for _, _, ingest, recorded, *_ in written]
        revised = {(entity, event) for entity, event, *_ in revisions}
        found.append(
            FeatureArrival(
                feature_name=name,
                feature_version=version,
                producer=producer,
                as_of=as_of,
                rows=len(written),
                events=len(events),
                lag_p50=nearest_rank(lags, 50),
                lag_p95=nearest_rank(lags, 95),
                lag_max=max(lags),
                lag_sessions_p50=nearest_rank(sessions, 50),
                lag_sessions_p95=nearest_rank(sessions, 95),
                lag_sessions_max=max(sessions),
                revisions=len(revisions),
                revised_events=len(revised),
                revision_rate=len(revised) / len(events),
                median_change=nearest_rank(changes, 50),
                largest_change=max(changes, default=None),
                median_relative_change=nearest_rank(relative, 50),
                newest_event_time=newest,
                newest_ingest_time=max(ingest for _, _, ingest, *_ in written),
                freshness_sessions=elapsed(newest, as_of),
                share_assumed=sum(late) / len(late),
            )
        )
    return found


def nearest_rank(values: list[Any], percent: int) -> Any:
    """Return the value at place ceil(percent / 100 * n) of the values in order."""
    place = -(-percent * len(values) // 100)
    return sorted(values)[place - 1] if values else None


# Instants at, just around and far from the closes of weekends, holidays, half-days and changes of
# clocks.
NOTABLE = [
    utc(text)
    for text in (
        "2023-11-22T21:00",
        "2023-11-24T18:00",
        "2023-11-27T21:00",
        "2024-01-12T21:00",
        "2024-01-16T21:00",
        "2024-03-08T21:00",
        "2024-03-11T20:00",
        "2024-11-01T20:00",
        "2024-11-04T21:00",
    )
]
OFFSETS = [
    timedelta(0),
    timedelta(microseconds=-1),
    timedelta(microseconds=1),
    15 * MINUTE,
    2 * DAY,
]
INSTANTS = st.builds(lambda a, b: a + b, st.sampled_from(NOTABLE), st.sampled_from(OFFSETS))
# Few enough that most of them have several prints.
EVENTS = st.sampled_from([NOTABLE[0], NOTABLE[5] - timedelta(microseconds=1)])
NUMBERS = st.sampled_from([None, 0.0, -0.1, 1.0, 3.0]) | st.floats(-1e6, 1e6)
PRODUCERS = ("a", "b")
ROWS = st.lists(
    st.tuples(
        st.sampled_from(PRODUCERS),
        st.sampled_from(["A", "B"]),
        EVENTS,
        INSTANTS,
        NUMBERS,
    ),
    min_size=1,
    max_size=30,
    unique_by=lambda row: row[1:4],
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=ROWS,
    as_of=st.just(utc("2024-12-31T12:00")) | INSTANTS,
    since=st.none() | EVENTS,
    assumed_after=st.sampled_from([DAY, timedelta(days=10**5)]),
)
def test_it_agrees_with_a_search_through_all_rows(
    module_database: Database, calendar, closes, rows, as_of, since, assumed_after
) -> None:
    name = f"f{next(fresh_names)}"

    @feature(name, lookback=0, allows_missing=True)
    def may_miss(panel):
        return panel.close

    register_definitions(module_database, [may_miss])
    for producer in PRODUCERS:
        offered = [(entity, name, *values) for by, entity, *values in rows if by == producer]
        if offered:
            write(FeatureStore(module_database, producer), offered)
    found = arrival_statistics(
        module_database,
        calendar,
        feature_names=[name],
        since=since,
        as_of=as_of,
        assumed_after=assumed_after,
    )
    assert found == by_hand(
        module_database, closes, names=[name], as_of=as_of, since=since, tolerance=assumed_after
    )


# Lags


@pytest.mark.parametrize(
    ("event", "ingest", "sessions"),
    [
        ("2024-01-05T21:00", "2024-01-05T21:15", 0),  # a quarter of an hour after a Friday's close
        ("2024-01-05T21:00", "2024-01-08T14:30", 0),  # Monday morning
        ("2024-01-05T21:00", "2024-01-08T21:00", 1),  # at Monday's close
        ("2024-01-05T20:59", "2024-01-05T21:00", 1),  # about a minute before the close
        ("2024-01-06T12:00", "2024-01-07T12:00", 0),  # within a weekend
        ("2024-01-12T21:00", "2024-01-15T23:00", 0),  # a holiday Monday
        ("2024-01-12T21:00", "2024-01-16T21:00", 1),
        ("2023-11-22T21:00", "2023-11-24T17:59", 0),  # Thanksgiving, and a half-day after it
        ("2023-11-22T21:00", "2023-11-24T18:00", 1),
        ("2024-03-08T21:00", "2024-03-11T19:59", 0),  # clocks go forward
        ("2024-03-08T21:00", "2024-03-11T20:00", 1),
        ("2024-11-01T20:00", "2024-11-04T20:59", 0),  # and back
        ("2024-11-01T20:00", "2024-11-04T21:00", 1),
        ("2022-12-30T21:00", "2024-01-02T21:00", 251),  # 250 sessions of 2023, and one
        ("2024-01-05T21:00", "2024-01-04T12:00", -2),  # known before Thursday's close
        ("2024-01-05T21:00", "2024-01-05T20:00", -1),
        ("2024-01-06T12:00", "2024-01-06T11:00", 0),
    ],
)
def test_a_lag_counts_the_closes_after_the_event_and_by_the_ingest_time(
    shared_store: FeatureStore, calendar, name, event: str, ingest: str, sessions: int
) -> None:
    write(shared_store, [("A", name, utc(event), utc(ingest), 1.0)])
    found = only(arrival_statistics(shared_store.database, calendar, feature_names=[name]))
    assert found.lag_p50 == found.lag_p95 == found.lag_max == utc(ingest) - utc(event)
    assert found.lag_sessions_p50 == found.lag_sessions_p95 == found.lag_sessions_max == sessions


@pytest.mark.parametrize("count", [1, 2, 19, 20, 21, 100])
def test_a_quantile_is_the_value_at_its_nearest_rank(
    shared_store: FeatureStore, calendar, name, count: int
) -> None:
    lags = [n * DAY for n in range(1, count + 1)]
    write(
        shared_store, [(f"E{lag.days}", name, FRIDAY, FRIDAY + lag, 1.0) for lag in reversed(lags)]
    )
    found = only(arrival_statistics(shared_store.database, calendar, feature_names=[name]))
    assert found.lag_p50.days == math.ceil(count / 2)
    assert found.lag_p95.days == {1: 1, 2: 2, 19: 19, 20: 19, 21: 20, 100: 95}[count]
    assert found.lag_max.days == count
    assert found.lag_sessions_max == calendar.sessions_between(
        FRIDAY.date(), (FRIDAY + count * DAY).date()
    )


def test_a_lag_weighs_as_much_as_it_has_rows(store: FeatureStore, calendar) -> None:
    usual = [(f"E{n}", "f", FRIDAY, FRIDAY + 15 * MINUTE, 1.0) for n in range(95)]
    late = [(f"L{n}", "f", FRIDAY, FRIDAY + (4 + n) * DAY, 1.0) for n in range(5)]
    write(store, usual + late)
    found = only(arrival_statistics(store.database, calendar))
    assert (found.rows, found.events) == (100, 100)
    assert (found.lag_p50, found.lag_p95, found.lag_max) == (15 * MINUTE, 15 * MINUTE, 8 * DAY)
    assert (found.lag_sessions_p50, found.lag_sessions_p95, found.lag_sessions_max) == (0, 0, 5)
    write(store, [("M", "f", FRIDAY, FRIDAY + 4 * DAY, 1.0)])
    found = only(arrival_statistics(store.database, calendar))
    assert (found.lag_p95, found.lag_sessions_p95) == (4 * DAY, 2)


# Revisions


def test_revisions_are_counted_by_event_and_measured_from_the_print_before(
    store: FeatureStore, calendar
) -> None:
    rows = [
        ("A", "f", FRIDAY, FRIDAY + HOUR, 100.0),
        ("A", "f", FRIDAY, FRIDAY + 2 * HOUR, 104.0),
        ("A", "f", FRIDAY, FRIDAY + 3 * HOUR, 102.0),
        ("B", "f", FRIDAY, FRIDAY + HOUR, -8.0),
        ("B", "f", FRIDAY, FRIDAY + 2 * HOUR, -7.0),
        ("C", "f", FRIDAY, FRIDAY + HOUR, 5.0),
        ("D", "f", FRIDAY, FRIDAY + HOUR, 5.0),
    ]
    write(store, rows)
    found = only(arrival_statistics(store.database, calendar))
    assert (found.rows, found.events, found.revisions, found.revised_events) == (7, 4, 3, 2)
    assert found.revision_rate == 0.5
    assert (found.median_change, found.largest_change) == (2.0, 4.0)
    assert found.median_relative_change == 4.0 / 100.0  # of 2 / 104, 4 / 100 and 1 / 8
    first = only(arrival_statistics(store.database, calendar, as_of=FRIDAY + HOUR))
    assert (first.rows, first.events, first.revisions, first.revision_rate) == (4, 4, 0, 0.0)
    assert (first.median_change, first.largest_change, first.median_relative_change) == (None,) * 3


def test_events_of_one_entity_and_one_time_of_several_entities_are_no_revisions(
    store: FeatureStore, calendar
) -> None:
    events = [FRIDAY - n * DAY for n in range(3)]
    write(store, [(e, "f", t, FRIDAY + HOUR, 1.0) for e in ("A", "B") for t in events])
    write(store, [("A", "f", FRIDAY, FRIDAY + 2 * HOUR, 2.0)], feature_version=2)
    one, two = arrival_statistics(store.database, calendar)
    assert (one.key, one.events, one.revisions) == ("f@1", 6, 0)
    assert (two.key, two.events, two.revisions) == ("f@2", 1, 0)


def test_a_revision_belongs_to_the_producer_that_wrote_it(store: FeatureStore, calendar) -> None:
    vendor = FeatureStore(store.database, "vendor")
    write(store, [(e, "f", FRIDAY, FRIDAY + HOUR, 10.0) for e in ("A", "B", "C", "D")])
    write(vendor, [(e, "f", FRIDAY, FRIDAY + DAY, 11.0) for e in ("A", "B", "new")])
    write(vendor, [("A", "f", FRIDAY, FRIDAY + 2 * DAY, 16.0)])
    write(store, [("A", "f", FRIDAY, FRIDAY + 3 * DAY, 8.0)])
    ours, theirs = arrival_statistics(store.database, calendar)
    assert (ours.producer, ours.rows, ours.events) == ("test", 5, 4)
    assert (ours.revisions, ours.revised_events, ours.revision_rate) == (1, 1, 0.25)
    assert (ours.median_change, ours.largest_change) == (8.0, 8.0)
    assert (theirs.producer, theirs.rows, theirs.events) == ("vendor", 4, 3)
    assert (theirs.revisions, theirs.revised_events, theirs.revision_rate) == (3, 2, 2 / 3)
    assert (theirs.median_change, theirs.largest_change) == (1.0, 5.0)
    assert (ours.lag_max, theirs.lag_p50) == (3 * DAY, DAY)


def test_a_change_from_or_to_no_number_counts_and_has_no_size(
    store: FeatureStore, calendar
) -> None:
    @feature("f", lookback=0, allows_missing=True)
    def may_miss(panel):
        return panel.close

    register_definitions(store.database, [may_miss])
    values = [1.0, None, 3.0, {"a": 1}, {"a": 2}, 4.0, 4.5]
    for hours, value in enumerate(values):
        store.write_features("A", FRIDAY, {"f": value}, availability_lag=hours * HOUR)
    found = only(arrival_statistics(store.database, calendar))
    assert (found.rows, found.events, found.revisions) == (7, 1, 6)
    assert (found.median_change, found.largest_change) == (0.5, 0.5)
    assert found.median_relative_change == 0.125
    before = only(arrival_statistics(store.database, calendar, as_of=FRIDAY + 5 * HOUR))
    assert before.revision_rate == 1.0
    assert before.median_change is before.largest_change is before.median_relative_change is None


def test_a_change_from_zero_has_no_relative_size(store: FeatureStore, calendar) -> None:
    write(store, [("A", "f", FRIDAY, FRIDAY, 0.0), ("A", "f", FRIDAY, FRIDAY + HOUR, 5.0)])
    found = only(arrival_statistics(store.database, calendar))
    assert (found.median_change, found.median_relative_change) == (5.0, None)
    write(store, [("A", "f", FRIDAY, FRIDAY + 2 * HOUR, 0.0)])
    found = only(arrival_statistics(store.database, calendar))
    assert (found.revisions, found.median_change, found.median_relative_change) == (2, 5.0, 1.0)


@pytest.mark.parametrize(
    ("first", "second", "change", "relative"),
    [
        (1.7e308, -1.7e308, math.inf, math.inf),
        (0.0, 1e308, math.inf, None),
        (5e-324, 1.0, 1.0, math.inf),
        (1.0, 5e-324, 1.0, 1.0),
        (5e-324, 1e-323, 5e-324, 1.0),
        (3e307, -3e307, 6e307, 2.0),
        (1e-300, 1e300, 1e300, math.inf),
        (1e300, 1e-300, 1e300, 1.0),
    ],
)
def test_a_number_at_the_edge_of_a_double_is_measured_like_any_other(
    shared_store: FeatureStore, calendar, name, first, second, change, relative
) -> None:
    write(
        shared_store,
        [("A", name, FRIDAY, FRIDAY, first), ("A", name, FRIDAY, FRIDAY + HOUR, second)],
    )
    found = only(arrival_statistics(shared_store.database, calendar, feature_names=[name]))
    assert (found.largest_change, found.median_relative_change) == (change, relative)


# What counts, and how fresh it is


@pytest.mark.parametrize(
    ("event", "as_of", "sessions"),
    [
        ("2024-01-05T21:00", "2024-01-08T14:29", 0),  # Friday's value on Monday morning
        ("2024-01-05T21:00", "2024-01-08T20:59", 0),
        ("2024-01-05T21:00", "2024-01-08T21:00", 1),
        ("2024-01-12T21:00", "2024-01-16T14:00", 0),  # a holiday Monday
        ("2023-11-22T21:00", "2023-11-24T18:30", 1),  # a half-day
        ("2024-03-08T21:00", "2024-03-11T20:00", 1),  # clocks went forward
    ],
)
def test_freshness_counts_the_closes_since_the_newest_event(
    shared_store: FeatureStore, calendar, name, event: str, as_of: str, sessions: int
) -> None:
    write(
        shared_store,
        [
            ("A", name, utc(event), utc(event) + 15 * MINUTE, 1.0),
            ("B", name, utc(event) - 30 * DAY, utc(event) + 20 * MINUTE, 1.0),
        ],
    )
    found = only(
        arrival_statistics(shared_store.database, calendar, feature_names=[name], as_of=utc(as_of))
    )
    assert found.freshness_sessions == sessions
    assert found.newest_event_time == utc(event)
    assert found.newest_ingest_time == utc(event) + 20 * MINUTE
    assert found.as_of == utc(as_of)


def test_only_what_was_known_counts(store: FeatureStore, calendar) -> None:
    write(
        store,
        [
            ("A", "f", FRIDAY, FRIDAY + HOUR, 1.0),
            ("A", "f", FRIDAY, FRIDAY + 2 * HOUR, 2.0),
            ("A", "f", FRIDAY + 3 * HOUR, FRIDAY, 3.0),  # known before its event
        ],
    )
    statistics = {
        hours: arrival_statistics(store.database, calendar, as_of=FRIDAY + hours * HOUR)
        for hours in (0, 1, 2, 3)
    }
    assert statistics[0] == []
    assert [only(statistics[hours]).rows for hours in (1, 2, 3)] == [1, 2, 3]
    assert [only(statistics[hours]).revisions for hours in (1, 2, 3)] == [0, 1, 1]
    later = only(arrival_statistics(store.database, calendar, since=FRIDAY + HOUR))
    assert (later.rows, later.newest_event_time) == (1, FRIDAY + 3 * HOUR)
    whole = only(arrival_statistics(store.database, calendar, since=FRIDAY))
    assert (whole.rows, whole.revised_events) == (3, 1)
    assert arrival_statistics(store.database, calendar, since=FRIDAY + 4 * HOUR) == []


def test_what_lies_ahead_of_the_databases_clock_does_not_count(
    store: FeatureStore, calendar
) -> None:
    century = FRIDAY.replace(year=2100)
    write(store, [("A", "f", FRIDAY, FRIDAY, 1.0), ("A", "f", FRIDAY, century, 2.0)])
    write(store, [("A", "f", century, FRIDAY, 1.0)])
    (now,) = store.database.fetch_one("SELECT clock_timestamp()")
    found = only(arrival_statistics(store.database, calendar, as_of=century + DAY))
    assert (found.rows, found.newest_event_time) == (1, FRIDAY)
    assert now <= found.as_of < now + HOUR
    assert found.freshness_sessions > 250


def test_availability_is_assumed_where_the_record_is_later_by_more_than_the_tolerance(
    store: FeatureStore, calendar
) -> None:
    store.write_features("A", FRIDAY, {"f": 1.0})
    assert only(arrival_statistics(store.database, calendar)).share_assumed == 0.0
    store.write_features("B", FRIDAY, {"f": 1.0, "g": 1.0}, availability_lag=15 * MINUTE)
    assert [f.share_assumed for f in arrival_statistics(store.database, calendar)] == [0.5, 1.0]
    (delay,) = store.database.fetch_one(
        "SELECT recorded_at - ingest_time FROM feature_events WHERE feature_name = 'g'"
    )
    for tolerance, share in ((delay, 0.0), (delay - timedelta(microseconds=1), 1.0)):
        found = arrival_statistics(
            store.database, calendar, feature_names=["g"], assumed_after=tolerance
        )
        assert only(found).share_assumed == share


def test_features_versions_and_producers_are_apart_and_in_order(
    store: FeatureStore, calendar
) -> None:
    other = FeatureStore(store.database, "Other")
    for writer, name, version, entity in (
        (store, "g", 1, "A"),
        (store, "f", 2, "A"),
        (store, "f", 1, "A"),
        (other, "f", 1, "B"),
        (other, "F", 1, "B"),
    ):
        write(writer, [(entity, name, FRIDAY, FRIDAY, 1.0)], feature_version=version)
    found = arrival_statistics(store.database, calendar)
    assert [(f.key, f.producer) for f in found] == [
        ("F@1", "Other"),
        ("f@1", "Other"),
        ("f@1", "test"),
        ("f@2", "test"),
        ("g@1", "test"),
    ]
    assert arrival_statistics(
        store.database, calendar, feature_names=iter(["f"]), as_of=FRIDAY
    ) == by_hand(store.database, [], names=["f"], as_of=FRIDAY)
    assert arrival_statistics(store.database, calendar, feature_names=[]) == []


def test_an_empty_store_has_no_statistics(database: Database, calendar) -> None:
    assert arrival_statistics(database, calendar) == []


def test_a_feature_that_was_never_written_is_an_error(store: FeatureStore, calendar) -> None:
    write(store, [("A", "f", FRIDAY, FRIDAY, 1.0)])
    with pytest.raises(UnknownFeatureError, match="feature nowhere is not in the store"):
        arrival_statistics(store.database, calendar, feature_names=["f", "nowhere"])


# Times as callers give them


def test_a_naive_time_is_wall_time_of_the_calendars_exchange(store: FeatureStore, calendar) -> None:
    write(store, [("A", "f", FRIDAY, FRIDAY, 1.0)])
    close, before = datetime(2024, 1, 5, 16), datetime(2024, 1, 5, 15, 59)  # noqa: DTZ001
    assert only(arrival_statistics(store.database, calendar, as_of=close)).as_of == FRIDAY
    assert arrival_statistics(store.database, calendar, as_of=before) == []
    assert only(arrival_statistics(store.database, calendar, since=close)).rows == 1
    with pytest.raises(AmbiguousTimeError, match="exists twice"):
        arrival_statistics(store.database, calendar, as_of=datetime(2024, 11, 3, 1, 30))  # noqa: DTZ001
    with pytest.raises(InvalidValueError, match="where an instant is asked for"):
        arrival_statistics(store.database, calendar, since=FRIDAY.date())  # type: ignore[arg-type]


def test_an_event_that_the_calendar_does_not_cover_is_an_error_and_no_guess(
    store: FeatureStore, calendar
) -> None:
    write(store, [("A", "f", FRIDAY, FRIDAY, 1.0), ("A", "f", utc("1960-01-04"), FRIDAY, 1.0)])
    with pytest.raises(MarketDataError, match=r"from 1960-01-03 to .* narrow them with `since`"):
        arrival_statistics(store.database, calendar)
    found = only(arrival_statistics(store.database, calendar, since=utc("1990-01-02")))
    assert found.rows == 1
    short = TradingCalendar("XNYS", through=date(2024, 1, 31))
    with pytest.raises(MarketDataError, match="covered from 1990-01-01 to 2024-01-31"):
        arrival_statistics(store.database, short, since=FRIDAY)
    assert only(arrival_statistics(store.database, short, since=FRIDAY, as_of=FRIDAY)).rows == 1


def test_a_market_that_never_closes_has_a_session_a_day(store: FeatureStore) -> None:
    write(store, [("BTC", "f", utc("2024-01-06T00:00"), utc("2024-01-08T00:00"), 1.0)])
    found = only(
        arrival_statistics(store.database, TradingCalendar("24/7"), as_of=FRIDAY + 5 * DAY)
    )
    assert (found.lag_sessions_max, found.freshness_sessions) == (2, 4)
