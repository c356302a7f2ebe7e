"""The two engines against a search through every row, which is the definition itself."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant_mlops.database import Database
from quant_mlops.errors import (
    AmbiguousTimeError,
    FeatureStoreError,
    InvalidValueError,
    UnknownFeatureError,
)
from quant_mlops.features import FeatureStore
from quant_mlops.features.point_in_time import collapse
from quant_mlops.features.rows import SCHEMA
from quant_mlops.features.writing import write_rows
from quant_mlops.instants import to_microseconds

INSTANT = pa.timestamp("us", tz="UTC")
START = datetime(2024, 1, 15, 21, tzinfo=UTC)
# Beyond the server's clock: rows that are not known yet, and questions about days to come.
FUTURE = START.replace(year=2100)
ENTITIES = ("A", "B", "never written")
FEATURES = ("f", "g")
fresh_names = itertools.count()


@dataclass(frozen=True)
class Row:
    entity: str
    feature: str
    version: int
    event: datetime
    ingest: datetime
    value: float


def known(rows: list[Row], *, now: datetime, time: datetime) -> Row | None:
    """Search one series for what was known, in the words of the contract."""
    seen = [r for r in rows if r.event <= time and r.ingest <= min(now, time)]
    return max(seen, key=lambda r: (r.event, r.ingest), default=None)


MINUTES = st.integers(0, 12)
INSTANTS = st.builds(
    lambda base, minute: base + timedelta(minutes=minute),
    st.sampled_from([START] * 9 + [FUTURE]),
    MINUTES,
)
ROWS = st.lists(
    st.builds(
        Row,
        st.sampled_from(ENTITIES[:2]),
        st.sampled_from(FEATURES),
        st.sampled_from([1, 1, 1, 2]),
        INSTANTS,
        INSTANTS,
        st.integers(-3, 3).map(float),
    ),
    max_size=40,
    unique_by=lambda r: (r.entity, r.feature, r.version, r.event, r.ingest),
)
SPINE = st.lists(st.tuples(st.sampled_from(ENTITIES), INSTANTS), max_size=25)


def stored(database: Database, rows: list[Row]) -> dict[str, str]:
    """Store rows under feature names of this example's own, as rows cannot be taken back."""
    suffix = next(fresh_names)
    names = {name: f"{name}{suffix}" for name in FEATURES}
    database.execute(
        "INSERT INTO feature_definitions (feature_name, feature_version, logic_hash, lookback,"
        " availability_lag) SELECT name, version, '', 0, '0' FROM unnest(%s::text[]) AS name,"
        " unnest(%s::integer[]) AS version",
        [list(names.values()), [1, 2]],
    )
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO feature_events (entity_key, feature_name, feature_version, event_time,"
            " ingest_time, value_double, producer) VALUES (%s, %s, %s, %s, %s, %s, 'test')",
            [(r.entity, names[r.feature], r.version, r.event, r.ingest, r.value) for r in rows],
        )
    return names


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS, spine=SPINE, version=st.none() | st.sampled_from([1, 2]))
def test_the_probe_agrees_with_a_search_through_all_rows(
    module_database: Database, rows, spine, version
) -> None:
    names = stored(module_database, rows)
    now = datetime.now(UTC)
    found = FeatureStore(module_database, "test").get_point_in_time(
        spine, list(names.values()), feature_version=version
    )
    expected = []
    for (entity, time), feature in itertools.product(spine, FEATURES):
        series = [
            r for r in rows if (r.entity, r.feature, r.version) == (entity, feature, version or 2)
        ]
        row = known(series, now=now, time=time)
        if row is not None:
            key = (entity, names[feature], row.version, row.event, row.ingest, time)
            expected.append((*key, row.value))
    assert [
        (
            *(v.entity_key, v.feature_name, v.feature_version),
            *(v.event_time, v.ingest_time, v.as_of_time, v.value),
        )
        for v in found
    ] == expected


@settings(max_examples=200, deadline=None)
@given(
    series=st.lists(st.tuples(MINUTES, MINUTES), max_size=30, unique=True),
    times=st.lists(st.integers(-1, 14), max_size=10),
    oldest=st.none() | MINUTES,
)
def test_the_collapsed_series_rises_and_answers_exactly(series, times, oldest) -> None:
    event, ingest = (np.array([pair[i] for pair in series], dtype=np.int64) for i in (0, 1))
    collapsed = collapse(event, ingest)
    assert (np.diff(collapsed.known_from) >= 0).all()
    asked = np.array(times, dtype=np.int64)
    bound = None if oldest is None else np.full(len(asked), oldest, dtype=np.int64)
    for time, found in zip(times, collapsed.at(asked, oldest=bound), strict=True):
        seen = [(e, i, row) for row, (e, i) in enumerate(series) if e <= time and i <= time]
        newest = max(seen, default=None)
        if newest is None or (oldest is not None and newest[0] < oldest):
            assert found == -1
        else:
            assert found == newest[2]


@pytest.fixture
def revised(store: FeatureStore, at) -> FeatureStore:
    """Give a store with one event that was revised twice, and a later event that came first."""
    for minute, ingest, value in [(0, 10, 1.0), (0, 20, 2.0), (0, 30, 3.0), (5, 6, 9.0)]:
        store.write_features(
            "A", at(minute), {"f": value}, availability_lag=at(ingest) - at(minute)
        )
    return store


def test_two_times_of_one_entity_are_two_answers(revised: FeatureStore, at) -> None:
    found = revised.get_point_in_time([("A", at(5)), ("A", at(40)), ("A", at(40))], ["f"])
    assert [(v.value, v.as_of_time) for v in found] == [(9.0, at(40)), (9.0, at(40))]
    found = revised.get_point_in_time([("A", at(7)), ("A", at(5.5)), ("B", at(7))])
    assert [(v.value, v.as_of_time) for v in found] == [(9.0, at(7))]


def test_a_knowledge_time_and_an_age_bound_the_answers(revised: FeatureStore, at) -> None:
    asked = [("A", at(40))]
    found = revised.get_point_in_time(asked, ["f"], knowledge_time=at(5.5))
    assert found == []
    assert revised.get_point_in_time(asked, ["f"], max_age=timedelta(minutes=34)) == []
    found = revised.get_point_in_time(asked, ["f"], max_age=timedelta(minutes=35))
    assert [v.value for v in found] == [9.0]
    assert len(revised.get_point_in_time(asked, ["f"], max_age=0)) == 1


def test_late_news_of_an_older_event_does_not_replace_a_newer_event(
    revised: FeatureStore, at
) -> None:
    assert revised.get_latest("A", as_of=at(25))["f"].value == 9.0
    assert revised.get_latest("A", as_of=at(5.5)) == {}


def test_history_has_every_revision_in_the_order_it_became_known(revised: FeatureStore, at) -> None:
    found = revised.history("A", "f")
    assert [(v.event_time, v.ingest_time, v.value) for v in found] == [
        (at(5), at(6), 9.0),
        (at(0), at(10), 1.0),
        (at(0), at(20), 2.0),
        (at(0), at(30), 3.0),
    ]
    assert [v.value for v in revised.history("A", "f", at(0))] == [1.0, 2.0, 3.0]
    assert revised.history("B", "f") == []


def test_a_read_without_a_time_is_as_of_now(revised: FeatureStore, at) -> None:
    future = datetime.now(UTC) + timedelta(days=1)
    revised.write_features("A", future, {"f": 99.0}, availability_lag=timedelta(0))
    revised.write_features("A", at(8), {"f": 98.0}, availability_lag=future - at(8))
    assert revised.get_latest("A")["f"].value == 9.0
    ahead = future + timedelta(days=9)
    assert revised.get_latest("A", as_of=ahead)["f"].value == 9.0
    spine = pa.table({"entity_key": ["A"], "time": pa.array([ahead], INSTANT)})
    for vintage in ("as_known", "first", "latest"):
        table = revised.point_in_time_table(spine, ["f"], knowledge_time=ahead, vintage=vintage)
        assert table["f"].to_pylist() == [9.0]


def test_the_newest_version_is_read_unless_one_is_asked_for(store: FeatureStore, at) -> None:
    for version in (2, 10, 9):
        store.write_features("A", at(0), {"f": float(version)}, feature_version=version,
                             availability_lag=timedelta(0))  # fmt: skip
    assert store.get_latest("A", ["f"])["f"].feature_version == 10
    assert store.get_latest("A", ["f"], feature_version=2)["f"].value == 2.0
    spine = pa.table({"entity_key": ["A"], "time": pa.array([at(1)], INSTANT)})
    assert store.point_in_time_table(spine, ["f"])["f"].to_pylist() == [10.0]
    pinned = store.point_in_time_table(spine, ["f"], feature_versions={"f": 9})
    assert pinned["f"].to_pylist() == [9.0]


def test_unknown_names_and_versions_are_refused(revised: FeatureStore, at) -> None:
    spine = pa.table({"entity_key": ["A"], "time": pa.array([at(1)], INSTANT)})
    with pytest.raises(UnknownFeatureError, match="feature h is not in the store, which holds f"):
        revised.get_latest("A", ["f", "h"])
    with pytest.raises(UnknownFeatureError, match="feature f@3"):
        revised.get_latest("A", ["f"], feature_version=3)
    with pytest.raises(UnknownFeatureError, match=r"feature f@3 .* holds f@1"):
        revised.point_in_time_table(spine, ["f"], feature_versions={"f": 3})
    with pytest.raises(UnknownFeatureError, match="feature h"):
        revised.point_in_time_table(spine, ["f", "h"], feature_versions={"f": 1})
    with pytest.raises(UnknownFeatureError, match="feature h"):
        revised.history("A", "h")


def test_a_whole_number_is_read_as_a_float_and_a_huge_one_exactly(store: FeatureStore, at) -> None:
    given_values = {"whole": 50.0, "huge": 1e300, "tiny": 5e-324, "third": 1 / 3, "zero": -0.0}
    store.write_features("A", at(0), given_values, availability_lag=timedelta(0))
    for name, value in store.get_latest("A").items():
        assert type(value.value) is float
        assert value.value == given_values[name]


def test_the_spine_keeps_its_columns_order_and_duplicates(revised: FeatureStore, at) -> None:
    spine = pa.table(
        {
            "weight": [1, 2, 3, 4],
            "time": pa.array([at(25), at(0), at(25), at(25)], INSTANT),
            "entity_key": pa.array(["A", "A", "B", "A"]).dictionary_encode(),
        }
    )
    found = revised.point_in_time_table(spine, ["f"])
    assert found.column_names == ["weight", "time", "entity_key", "f"]
    assert found["weight"].to_pylist() == [1, 2, 3, 4]
    assert found["f"].to_pylist() == [9.0, None, None, 9.0]


@pytest.mark.parametrize(
    ("spine", "message"),
    [
        (pa.table({"entity_key": ["A"]}), "lacks 'time'"),
        (pa.table({"time": pa.array([START], INSTANT)}), "lacks 'entity_key'"),
        (
            pa.table({"entity_key": ["A", None], "time": pa.array([START] * 2, INSTANT)}),
            "1 of 2 spine rows have no entity_key",
        ),
        (
            pa.table({"entity_key": ["A"], "time": pa.array([START], INSTANT), "f": [1.0]}),
            "a column named like the feature f",
        ),
        ([("A", START)], "a list is not a frame"),
    ],
)
def test_a_spine_that_is_none_is_refused(revised: FeatureStore, spine, message: str) -> None:
    with pytest.raises(FeatureStoreError, match=message):
        revised.point_in_time_table(spine, ["f"])


def test_another_name_of_a_vintage_is_refused(revised: FeatureStore, at) -> None:
    spine = pa.table({"entity_key": ["A"], "time": pa.array([at(1)], INSTANT)})
    with pytest.raises(FeatureStoreError, match="'newest' is none of as_known, first, latest"):
        revised.point_in_time_table(spine, ["f"], vintage="newest")  # type: ignore[arg-type]


def test_naive_spine_times_are_wall_time_of_the_market(revised: FeatureStore) -> None:
    naive = [datetime(2024, 1, 15, 16, 7), datetime(2024, 1, 15, 16, 5)]  # noqa: DTZ001
    spine = pa.table({"entity_key": ["A", "A"], "time": pa.array(naive, pa.timestamp("us"))})
    assert revised.point_in_time_table(spine, ["f"])["f"].to_pylist() == [9.0, None]
    twice = pa.array([datetime(2024, 11, 3, 1, 30)], pa.timestamp("us"))  # noqa: DTZ001
    with pytest.raises(AmbiguousTimeError, match=r"2024-11-03T01:30:00 .* exists twice"):
        revised.point_in_time_table(pa.table({"entity_key": ["A"], "time": twice}), ["f"])


def test_an_age_in_sessions_skips_closed_days(revised: FeatureStore, at) -> None:
    friday = datetime(2024, 1, 19, 21, tzinfo=UTC)
    revised.write_features("A", friday, {"f": 7.0}, availability_lag=timedelta(minutes=15))
    monday_morning, tuesday_morning = (friday + timedelta(days=d, hours=-7) for d in (3, 4))
    spine = pa.table(
        {"entity_key": ["A", "A"], "time": pa.array([monday_morning, tuesday_morning], INSTANT)}
    )
    assert revised.point_in_time_table(spine, ["f"], max_age=0)["f"].to_pylist() == [7.0, None]
    assert revised.point_in_time_table(spine, ["f"], max_age=1)["f"].to_pylist() == [7.0, 7.0]


@pytest.mark.parametrize("max_age", [-1, timedelta(seconds=-1), 1.5, True, "1 day"])
def test_an_age_that_is_none_is_refused(revised: FeatureStore, at, max_age) -> None:
    spine = pa.table({"entity_key": ["A"], "time": pa.array([at(9)], INSTANT)})
    with pytest.raises(InvalidValueError, match=r"max_age .*; give a"):
        revised.point_in_time_table(spine, ["f"], max_age=max_age)


def test_an_age_beyond_all_time_is_no_bound(revised: FeatureStore, at) -> None:
    spine = pa.table({"entity_key": ["A"], "time": pa.array([at(9)], INSTANT)})
    found = revised.point_in_time_table(spine, ["f"], max_age=timedelta.max)
    assert found["f"].to_pylist() == [9.0]


def test_both_engines_agree_on_a_large_random_history(module_database: Database) -> None:
    random = np.random.default_rng(5)
    count = 4_000
    base = to_microseconds(START)
    event = base + random.integers(0, 300, count) * 60_000_000
    ingest = event + random.integers(-5, 60, count) * 60_000_000
    rows = pa.table(
        {
            "entity_key": pa.array(random.choice(["A", "B", "C"], count)),
            "feature_name": pa.repeat("both", count),
            "feature_version": pa.array(np.ones(count, dtype=np.int32)),
            "event_time": pa.array(event).cast(INSTANT),
            "ingest_time": pa.array(ingest).cast(INSTANT),
            "value_double": pa.array(random.normal(size=count)),
            "value_json": pa.nulls(count, pa.string()),
        },
        schema=SCHEMA,
    )
    key = ["entity_key", "event_time", "ingest_time"]
    first = (
        rows.append_column("row", pa.array(range(count))).group_by(key).aggregate([("row", "min")])
    )
    rows = rows.take(first["row_min"])
    write_rows(module_database, rows, producer="test")
    store = FeatureStore(module_database, "test")
    asked = [
        (str(entity), START + timedelta(minutes=int(minute)))
        for entity, minute in zip(
            random.choice(["A", "B", "C"], 500), random.integers(-10, 400, 500), strict=True
        )
    ]
    spine = pa.table(
        {
            "entity_key": [entity for entity, _ in asked],
            "time": pa.array([time for _, time in asked], INSTANT),
        }
    )
    probe = {
        (v.entity_key, v.as_of_time): v.value for v in store.get_point_in_time(asked, ["both"])
    }
    table = store.point_in_time_table(spine, ["both"])["both"].to_pylist()
    assert table == [probe.get(question) for question in asked]
    assert len(probe) > 300
