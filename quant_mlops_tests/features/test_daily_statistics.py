"""Counts and moments by day, beside NumPy's, on whatever server."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from quant_mlops.database import Database
from quant_mlops.database.hypertables import has_timescaledb
from quant_mlops.database.queries import query
from quant_mlops.features.daily_statistics import DailyStatistics, daily_statistics

FIRST = date(2020, 3, 2)
STORE = (
    "INSERT INTO feature_events (entity_key, feature_name, feature_version, event_time,"
    " ingest_time, value_double, value_json, producer)"
    " VALUES (%s, %s, 1, %s, %s, %s, %s, 'test')"
)


def store(database: Database, day: int, entity: str, value: float | None, **other: object) -> None:
    moment = datetime(2020, 3, 2, 21, tzinfo=UTC) + timedelta(days=day)
    ingest = moment + timedelta(days=int(bool(other.get("revised"))), minutes=15)
    database.execute(STORE, [entity, "f", moment, ingest, value, other.get("document")])


@pytest.fixture
def stored(database: Database) -> Database:
    for nth, value in enumerate([1.5, -2.0, 7.25, None]):
        store(database, 0, f"E{nth}", value)
    store(database, 0, "E0", 1.75, revised=True)
    store(database, 1, "E0", 4.0)
    store(database, 2, "E0", None, document='{"a": 1}')
    return database


def found(database: Database) -> list[DailyStatistics]:
    return daily_statistics(database, ["f"], first=FIRST, last=FIRST + timedelta(days=2))


def test_every_stored_row_of_a_day_counts(stored: Database) -> None:
    numbers = np.array([1.5, -2.0, 7.25, 1.75])
    first, second, third = found(stored)
    assert (first.day, first.events, first.missing) == (datetime(2020, 3, 2, tzinfo=UTC), 5, 1)
    assert first.mean == pytest.approx(numbers.mean(), rel=1e-14)
    assert first.std == pytest.approx(numbers.std(ddof=1), rel=1e-14)
    assert (first.minimum, first.maximum) == (-2.0, 7.25)
    assert (second.events, second.missing, second.mean, second.std) == (1, 0, 4.0, None)
    assert (third.events, third.missing, third.mean) == (1, 0, None)


def test_days_outside_and_other_features_are_left_out(stored: Database) -> None:
    days = daily_statistics(stored, ["f"], first=date(2020, 3, 3), last=date(2020, 3, 3))
    assert [row.events for row in days] == [1]
    assert daily_statistics(stored, ["g"], first=FIRST, last=FIRST) == []


def test_the_continuous_aggregate_says_what_the_rows_say(stored: Database) -> None:
    if not has_timescaledb(stored):
        pytest.skip("the server has no TimescaleDB; name one in QUANT_MLOPS_TEST_DATABASE_URL")
    refresh = "CALL refresh_continuous_aggregate('daily_feature_statistics', NULL, NULL)"
    parameters = {
        "names": ["f"],
        "first": datetime(2020, 3, 2, tzinfo=UTC),
        "end": datetime(2020, 3, 5, tzinfo=UTC),
    }
    plain = query("select_daily_feature_statistics")
    stored.execute(refresh)
    assert found(stored) == stored.fetch_rows(DailyStatistics, plain, parameters)
    store(stored, 0, "E9", 100.0)
    stored.execute(refresh)
    assert found(stored)[0].maximum == 100.0
    assert found(stored) == stored.fetch_rows(DailyStatistics, plain, parameters)
