"""Probes and scans against a search through every row, which is the definition itself.

`--hypothesis-profile=thorough` tries some thousands of cases instead of a few.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant_mlops.database import Database
from quant_mlops.database.hypertables import has_timescaledb
from quant_mlops.features.access_path import AccessPath, choose_access_path
from quant_mlops.features.spine import read_spine
from quant_mlops.features.table import point_in_time_table
from quant_mlops.instants import from_microseconds
from quant_mlops.market.calendar import trading_calendar

INSTANT = pa.timestamp("us", tz="UTC")
ZONE = ZoneInfo("America/New_York")
# The close of a Thursday; a weekend and a holiday on Monday follow.
START = datetime(2024, 1, 11, 21, tzinfo=UTC)
# Beyond the server's clock: rows that are not known yet, and questions about days to come.
FUTURE = START.replace(year=2100)
ENTITIES = ("A", "B", "never written")
FEATURES = ("f", "g")
PATHS = [AccessPath(probes=True), AccessPath(probes=False), AccessPath(probes=False, readers=2)]
fresh_names = itertools.count()

Value = float | dict[str, int] | None


@dataclass(frozen=True)
class Row:
    entity: str
    feature: str
    version: int
    event: datetime
    ingest: datetime
    value: Value


@dataclass(frozen=True)
class Case:
    rows: list[Row]
    spine: list[tuple[str, datetime]]
    cut: datetime | None
    max_age: timedelta | int | None
    vintage: str
    versions: dict[str, int]


def closes() -> list[datetime]:
    calendar = trading_calendar("XNYS")
    sessions = calendar.sessions(date(2024, 1, 2), date(2024, 2, 29))
    return [from_microseconds(close) for close in calendar.closes(sessions)]


CLOSES = closes()


def too_old(event: datetime, time: datetime, max_age: timedelta | int | None) -> bool:
    if max_age is None:
        return False
    if isinstance(max_age, timedelta):
        return time - event > max_age
    return sum(event < close <= time for close in CLOSES) > max_age


def known(rows: list[Row], case: Case, *, now: datetime, time: datetime) -> Value:
    """Search one series for what was known, in the words of the contract."""
    cut = min(case.cut or now, now)
    seen = [r for r in rows if r.event <= time and r.ingest <= cut]
    if case.vintage != "latest":
        seen = [r for r in seen if r.ingest <= time]
    found = max(seen, key=lambda r: (r.event, r.ingest), default=None)
    if found is None or too_old(found.event, time, case.max_age):
        return None
    if case.vintage == "first":
        prints = [r for r in rows if r.event == found.event and r.ingest <= cut]
        return min(prints, key=lambda r: r.ingest).value
    return found.value


def expected_column(case: Case, feature: str, *, now: datetime) -> list[float | str | None]:
    series = [r for r in case.rows if r.version == case.versions[feature] and r.feature == feature]
    answers = [
        known([r for r in series if r.entity == entity], case, now=now, time=time)
        for entity, time in case.spine
    ]
    if any(isinstance(answer, dict) for answer in answers):
        return [None if answer is None else json.dumps(answer) for answer in answers]
    return answers


INSTANTS = st.builds(
    lambda base, step: base + timedelta(hours=8 * step),
    st.sampled_from([START] * 9 + [FUTURE]),
    st.integers(0, 18),
)
NUMBERS = st.integers(-3, 3).map(float)
DOCUMENTS = st.integers(0, 2).map(lambda n: {"n": n})
ROWS = st.lists(
    st.builds(
        Row,
        st.sampled_from(ENTITIES[:2]),
        st.sampled_from(FEATURES),
        st.sampled_from([1, 1, 1, 2]),
        INSTANTS,
        INSTANTS,
        st.one_of(NUMBERS, NUMBERS, NUMBERS, st.none(), DOCUMENTS),
    ),
    max_size=40,
    unique_by=lambda r: (r.entity, r.feature, r.version, r.event, r.ingest),
)


def without_documents(rows: list[Row], features: set[str]) -> list[Row]:
    """Keep documents to some features, as they are rare in life."""
    return [
        replace(r, value=1.0) if isinstance(r.value, dict) and r.feature not in features else r
        for r in rows
    ]


CASES = st.builds(
    Case,
    st.builds(without_documents, ROWS, st.sampled_from([set(), set(), {"f"}])),
    st.lists(st.tuples(st.sampled_from(ENTITIES), INSTANTS), max_size=25),
    st.none() | INSTANTS,
    st.none() | st.integers(0, 6) | st.integers(0, 100).map(lambda h: timedelta(hours=h)),
    st.sampled_from(["as_known", "as_known", "first", "latest"]),
    st.fixed_dictionaries({"f": st.sampled_from([1, 2]), "g": st.sampled_from([1, 2])}),
)


def store_rows(database: Database, rows: list[Row]) -> dict[str, str]:
    """Store rows under feature names of this case's own, as rows cannot be taken back."""
    suffix = next(fresh_names)
    names = {name: f"{name}{suffix}" for name in FEATURES}
    documents = [json.dumps(r.value) if isinstance(r.value, dict) else None for r in rows]
    database.execute(
        "INSERT INTO feature_events (entity_key, feature_name, feature_version, event_time,"
        " ingest_time, value_double, value_json, producer)"
        " SELECT *, 'test' FROM unnest(%s::text[], %s::text[], %s::integer[], %s::timestamptz[],"
        " %s::timestamptz[], %s::double precision[], %s::jsonb[])",
        [
            [r.entity for r in rows],
            [names[r.feature] for r in rows],
            [r.version for r in rows],
            [r.event for r in rows],
            [r.ingest for r in rows],
            [r.value if isinstance(r.value, float) else None for r in rows],
            documents,
        ],
    )
    return names


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=CASES)
def test_every_access_path_agrees_with_a_search_through_all_rows(
    module_database: Database, case: Case
) -> None:
    names = store_rows(module_database, case.rows)
    check_answers(module_database, case, names)


def check_answers(database: Database, case: Case, names: dict[str, str]) -> None:
    now = datetime.now(UTC)
    frame = pa.table(
        {
            "nth": pa.array(range(len(case.spine)), pa.int64()),
            "entity_key": pa.array([entity for entity, _ in case.spine], pa.string()),
            "time": pa.array([time for _, time in case.spine], INSTANT),
        }
    )
    spine = read_spine(frame, zone=ZONE, max_age=case.max_age, calendar="XNYS")
    expected = {f: expected_column(case, f, now=now) for f in FEATURES}
    for path in PATHS:
        found = point_in_time_table(
            database,
            spine,
            {names[feature]: version for feature, version in case.versions.items()},
            knowledge_time=min(case.cut or now, now),
            vintage=case.vintage,  # type: ignore[arg-type]
            access_path=path,
        )
        assert found["nth"].to_pylist() == list(range(len(case.spine)))
        for feature in FEATURES:
            assert found[names[feature]].to_pylist() == expected[feature], path


@pytest.fixture
def hypertable(database: Database) -> Database:
    """Give a database in which the chunks of the events are so short that a case has several."""
    if not has_timescaledb(database):
        pytest.skip("the server has no TimescaleDB; name one in QUANT_MLOPS_TEST_DATABASE_URL")
    database.fetch_one("SELECT set_chunk_time_interval('feature_events', INTERVAL '2 days')")
    return database


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(case=CASES, compressed=st.booleans())
def test_on_compressed_chunks_the_answers_are_the_same(
    hypertable: Database, case: Case, compressed: bool
) -> None:
    names = store_rows(hypertable, case.rows)
    if compressed:
        hypertable.fetch_all(
            "SELECT compress_chunk(c, if_not_compressed => true)"
            " FROM show_chunks('feature_events') AS c"
        )
    check_answers(hypertable, case, names)


@pytest.mark.parametrize(
    ("entities", "times", "probes"), [(1, 4, True), (40, 1, True), (1, 60, False), (40, 50, False)]
)
def test_compressed_chunks_are_probed_for_fewer_questions(
    hypertable: Database, entities: int, times: int, probes: bool
) -> None:
    hypertable.fetch_one("SELECT set_chunk_time_interval('feature_events', INTERVAL '1 year')")
    names = store_long_history(hypertable)
    hypertable.fetch_all("SELECT compress_chunk(c) FROM show_chunks('feature_events') AS c")
    hypertable.execute("ANALYZE feature_events")
    spine = read_spine(asked(entities, times), zone=ZONE, max_age=None, calendar="XNYS")
    taken = choose_access_path(hypertable, spine, bounds_of(spine, names))
    assert taken.probes is probes


def bounds_of(spine, names: list[str]) -> dict[str, object]:
    return {
        "names": names,
        "first": datetime(1990, 1, 1, tzinfo=UTC),
        "last": from_microseconds(spine.last_time),
    }


@pytest.fixture(scope="module")
def long_history(module_database: Database) -> list[str]:
    """Give features of 40 entities with 2,000 events each, for reading."""
    return store_long_history(module_database)


def store_long_history(database: Database) -> list[str]:
    names = [f"long{next(fresh_names)}" for _ in range(2)]
    database.execute(
        "INSERT INTO feature_events (entity_key, feature_name, event_time, ingest_time,"
        " value_double, producer) SELECT 'E' || e, name, t, t, e, 'test'"
        " FROM generate_series(1, 40) AS e, unnest(%s::text[]) AS name,"
        " generate_series(timestamptz '2015-01-01', timestamptz '2020-06-22', '1 day') AS t",
        [names],
    )
    database.execute("ANALYZE feature_events")
    return names


def asked(entities: int, times: int, *, year: int = 2016) -> pa.Table:
    every = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=3 * nth) for nth in range(times)]
    return pa.table(
        {
            "entity_key": [f"E{nth + 1}" for nth in range(entities) for _ in range(times)],
            "time": pa.array([time for _ in range(entities) for time in every], INSTANT),
        }
    )


@pytest.mark.parametrize(
    ("entities", "times", "probes"),
    [(1, 1, True), (40, 2, True), (1, 40, False), (40, 500, False)],
)
def test_few_questions_about_a_long_history_are_probed_and_many_scanned(
    module_database: Database, long_history: list[str], entities: int, times: int, probes: bool
) -> None:
    spine = read_spine(asked(entities, times), zone=ZONE, max_age=None, calendar="XNYS")
    path = choose_access_path(module_database, spine, bounds_of(spine, long_history))
    assert path.probes is probes


def test_a_bounded_age_makes_a_scan_cheap(
    module_database: Database, long_history: list[str]
) -> None:
    """The same questions are probed in a long history and scanned in a short part of it."""
    frame = asked(40, 8, year=2020)
    taken = []
    for max_age in (None, timedelta(days=1)):
        spine = read_spine(frame, zone=ZONE, max_age=max_age, calendar="XNYS")
        bounds = bounds_of(spine, long_history)
        if spine.first_event is not None:
            bounds["first"] = from_microseconds(spine.first_event)
        taken.append(choose_access_path(module_database, spine, bounds).probes)
    assert taken == [True, False]


def test_a_scan_side_by_side_sees_one_state_of_the_database(module_database: Database) -> None:
    """A writer adds the same new event to every entity, in one transaction at a time."""
    (name, _) = store_long_history(module_database)
    last = datetime(2021, 1, 1, tzinfo=UTC)
    frame = pa.table(
        {"entity_key": [f"E{nth + 1}" for nth in range(40)], "time": pa.array([last] * 40, INSTANT)}
    )
    spine = read_spine(frame, zone=ZONE, max_age=None, calendar="XNYS")
    seen = set()
    for nth in range(30):
        moment = datetime(2020, 7, 1, tzinfo=UTC) + timedelta(days=nth)
        writer = module_database.connect()
        with writer, writer.transaction():
            writer.execute(
                "INSERT INTO feature_events (entity_key, feature_name, event_time, ingest_time,"
                " value_double, producer) SELECT 'E' || e, %s, %s, %s, %s, 'test'"
                " FROM generate_series(1, 40) AS e",
                [name, moment, moment, float(nth)],
            )
            table = point_in_time_table(
                module_database,
                spine,
                {name: 1},
                knowledge_time=last,
                access_path=AccessPath(probes=False, readers=2),
            )
        values = set(table[name].to_pylist())
        if nth:
            assert values == {float(nth - 1)}
        seen |= values
    assert np.isfinite(list(seen)).all()
