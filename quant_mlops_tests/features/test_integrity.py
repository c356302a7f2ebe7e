"""Stored values that nothing in the write path would have let through are counted by kind."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from quant_mlops.database import Database
from quant_mlops.errors import FeatureStoreError
from quant_mlops.features.builtin import ret_5d, vol_20d
from quant_mlops.features.catalog import register_definitions
from quant_mlops.features.integrity import FeatureIntegrity, changed_logic, feature_integrity
from quant_mlops.features.value_reviews import early_values, review_values
from quant_mlops.market.calendar import TradingCalendar

DAY, NEXT = date(2022, 11, 23), date(2022, 11, 25)
CLOSE = datetime(2022, 11, 23, 21, tzinfo=UTC)
# The day after Thanksgiving ends three hours early.
HALF_DAY = datetime(2022, 11, 25, 18, tzinfo=UTC)
LAG = timedelta(minutes=15)


def bar(database: Database, ticker: str, event: datetime) -> None:
    database.execute(
        "INSERT INTO price_bars (ticker, event_time, ingest_time, session, close, "
        "availability_observed, source) VALUES (%s, %s, %s, %s, 10, false, 'test')",
        [ticker, event, event + LAG, event.date()],
    )


def value(
    database: Database, event: datetime, number: Any, *, name: str = "ret_5d", ticker: str = "AAA",
    lag: timedelta = LAG,
) -> None:  # fmt: skip
    database.execute(
        "INSERT INTO feature_events (entity_key, feature_name, feature_version, event_time, "
        "ingest_time, value_double, producer) VALUES (%s, %s, 1, %s, %s, %s, 'test')",
        [ticker, name, event, event + lag, number],
    )


@pytest.fixture
def priced(database: Database) -> Database:
    for event in (CLOSE, HALF_DAY):
        bar(database, "AAA", event)
        value(database, event, 0.01)
    return database


def only(found: list[FeatureIntegrity]) -> FeatureIntegrity:
    (one,) = found
    return one


def looked_at(database: Database, calendar: TradingCalendar) -> FeatureIntegrity:
    return only(feature_integrity(database, calendar, [ret_5d], first=DAY, last=NEXT))


def test_sound_values_are_counted_and_nothing_else(
    priced: Database, calendar: TradingCalendar
) -> None:
    value(priced, CLOSE, 0.02, lag=timedelta(days=3))
    value(priced, CLOSE, 0.01, lag=timedelta(days=4))
    assert looked_at(priced, calendar) == FeatureIntegrity("ret_5d", 1, 4, 0, 0, 0, 0)


def test_a_value_known_to_be_missing_needs_a_definition_that_allows_it(
    priced: Database, calendar: TradingCalendar
) -> None:
    value(priced, HALF_DAY, None, lag=2 * LAG)
    found = looked_at(priced, calendar)
    assert (found.undefined, found.duplicates, found.early) == (1, 0, 0)
    assert found.undefined_example == ("AAA", HALF_DAY)
    assert found.duplicate_example is None
    allowed = replace(ret_5d, allows_missing=True)
    assert only(feature_integrity(priced, calendar, [allowed], first=DAY, last=NEXT)).undefined == 0


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_not_finite_is_found_were_the_constraint_gone(
    priced: Database, calendar: TradingCalendar, number: str
) -> None:
    priced.execute("ALTER TABLE feature_events DROP CONSTRAINT feature_events_value_double_check")
    value(priced, CLOSE, float(number), lag=2 * LAG)
    assert looked_at(priced, calendar).undefined == 1


def test_a_second_value_of_a_session_and_a_repeated_print_are_duplicates(
    priced: Database, calendar: TradingCalendar
) -> None:
    value(priced, CLOSE, 0.01, lag=2 * LAG)
    value(priced, datetime(2022, 11, 25, 21, tzinfo=UTC), 0.03)
    found = looked_at(priced, calendar)
    # What is stored about the usual close of a half-day is after the last close that is looked at.
    assert (found.repeated, found.off_close) == (1, 0)
    value(priced, CLOSE - timedelta(hours=1), 0.03)
    found = looked_at(priced, calendar)
    assert (found.repeated, found.off_close, found.duplicates) == (1, 1, 2)


def test_values_that_another_job_writes_during_a_session_are_no_duplicates(
    priced: Database, calendar: TradingCalendar
) -> None:
    for hours in (1, 2):
        value(priced, CLOSE - timedelta(hours=hours), 0.03, name="vol_20d")
    found = only(feature_integrity(priced, calendar, [vol_20d], first=DAY, last=NEXT))
    assert (found.rows, found.duplicates) == (2, 0)


def test_a_value_known_before_its_close_is_early(
    priced: Database, calendar: TradingCalendar
) -> None:
    value(priced, CLOSE, 0.03, lag=-timedelta(seconds=1))
    assert looked_at(priced, calendar).early == 1


def test_an_early_value_is_let_pass_on_a_persons_word_which_stays(
    priced: Database, calendar: TradingCalendar
) -> None:
    value(priced, CLOSE, 0.03, lag=-timedelta(seconds=1))
    value(priced, CLOSE, 0.04, lag=-timedelta(seconds=2))
    value(priced, HALF_DAY, 0.03, lag=-timedelta(seconds=1))
    value(priced, CLOSE, 0.03, lag=-timedelta(seconds=1), ticker="WITHOUT PRICE")
    found = early_values(priced, calendar, [ret_5d], first=DAY, last=NEXT)
    assert [(v.entity_key, v.event_time, v.value) for v in found] == [
        ("AAA", CLOSE, 0.04), ("AAA", CLOSE, 0.03), ("AAA", HALF_DAY, 0.03),
    ]  # fmt: skip
    others = early_values(priced, calendar, [ret_5d], first=DAY, last=NEXT, tickers=["BBB"])
    assert others == []

    with pytest.raises(FeatureStoreError, match="who makes it and why"):
        review_values(priced, "AAA", "ret_5d", CLOSE, by="ann", reason=" ")
    assert review_values(priced, "AAA", "ret_5d", CLOSE, by="ann", reason="slow clock") == 3
    with pytest.raises(FeatureStoreError, match="no value of ret_5d of AAA about 2022-11-23T21"):
        review_values(priced, "AAA", "ret_5d", CLOSE, by="ann", reason="slow clock")

    assert looked_at(priced, calendar).early == 1
    (left,) = early_values(priced, calendar, [ret_5d], first=DAY, last=NEXT)
    assert left.event_time == HALF_DAY
    for change in (
        "DELETE FROM value_reviews",
        "UPDATE value_reviews SET reason = 'x'",
    ):
        with pytest.raises(psycopg.errors.RestrictViolation):
            priced.execute(change)


def test_a_missing_value_and_a_second_one_pass_on_a_persons_word_and_no_later_one_does(
    priced: Database, calendar: TradingCalendar
) -> None:
    beside = CLOSE - timedelta(hours=1)
    value(priced, CLOSE, None, lag=2 * LAG)
    value(priced, beside, 0.03)
    value(priced, HALF_DAY, 0.01, lag=2 * LAG)
    found = looked_at(priced, calendar)
    assert (found.undefined, found.off_close, found.repeated) == (1, 1, 1)
    assert found.duplicate_example == ("AAA", beside)
    for event in (CLOSE, beside, HALF_DAY):
        review_values(priced, "AAA", "ret_5d", event, by="ann", reason="loaded by hand")
    found = looked_at(priced, calendar)
    assert (found.rows, found.undefined, found.duplicates) == (5, 0, 0)
    value(priced, CLOSE, None, lag=3 * LAG)
    found = looked_at(priced, calendar)
    assert (found.undefined, found.undefined_example) == (1, ("AAA", CLOSE))


def test_each_feature_is_counted_by_itself_in_the_range_alone(
    priced: Database, calendar: TradingCalendar
) -> None:
    value(priced, CLOSE, None, name="vol_20d")
    both = feature_integrity(priced, calendar, [vol_20d, ret_5d], first=DAY, last=NEXT)
    assert [(f.key, f.rows, f.undefined) for f in both] == [("ret_5d@1", 2, 0), ("vol_20d@1", 1, 1)]
    later = feature_integrity(priced, calendar, [vol_20d, ret_5d], first=NEXT, last=NEXT)
    assert [(f.key, f.rows) for f in later] == [("ret_5d@1", 1)]


def test_logic_that_is_not_as_stored_is_named_with_both_hashes(database: Database) -> None:
    register_definitions(database, [ret_5d])
    assert changed_logic(database, [ret_5d]) == {}
    other = replace(ret_5d, lookback=ret_5d.lookback + 1)
    assert changed_logic(database, [other]) == {"ret_5d@1": (ret_5d.logic_hash, other.logic_hash)}
    assert changed_logic(database, [vol_20d]) == {"vol_20d@1": ("", vol_20d.logic_hash)}
