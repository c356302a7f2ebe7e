from __future__ import annotations

import psycopg
import pytest

from quant_mlops.database import Database

BAR = """
INSERT INTO price_bars (ticker, event_time, ingest_time, session, close, availability_observed,
                        source)
VALUES ('A', '2024-01-16 21:00Z', '2024-01-16 21:15Z', '2024-01-16', 10, true, 'test')
"""
EVENT = """
INSERT INTO feature_events (entity_key, feature_name, event_time, ingest_time, value_double,
                            producer)
VALUES ('A', 'f', '2024-01-16 21:00Z', '2024-01-16 21:15Z', 1, 'test')
"""


@pytest.fixture
def stored(database: Database) -> Database:
    database.execute(BAR)
    database.execute(EVENT)
    return database


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE price_bars SET close = 11",
        "DELETE FROM price_bars",
        "TRUNCATE price_bars",
        "UPDATE feature_events SET value_double = 2",
        "DELETE FROM feature_events",
        "TRUNCATE feature_events",
        "TRUNCATE price_bars, feature_events CASCADE",
        "INSERT INTO feature_events SELECT * FROM feature_events"
        " ON CONFLICT (entity_key, feature_name, feature_version, event_time, ingest_time)"
        " DO UPDATE SET value_double = 2",
    ],
)
def test_a_stored_row_cannot_be_changed(stored: Database, statement: str) -> None:
    with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
        stored.execute(statement)
    assert stored.fetch_one("SELECT close FROM price_bars") == (10.0,)
    assert stored.fetch_one("SELECT value_double FROM feature_events") == (1.0,)


@pytest.mark.parametrize("value", ["'NaN'", "'Infinity'", "'-Infinity'"])
def test_no_number_that_is_not_finite_can_be_stored(database: Database, value: str) -> None:
    for statement in (
        BAR.replace("10, true", f"{value}, true"),
        EVENT.replace(" 1,", f" {value},"),
    ):
        with pytest.raises(psycopg.errors.CheckViolation):
            database.execute(statement)


def test_a_bar_cannot_be_known_before_its_session_ends(database: Database) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        database.execute(BAR.replace("21:15Z", "20:59Z"))
