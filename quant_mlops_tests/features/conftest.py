"""A store on a database of the test's own, and the scale of times that the tests use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from quant_mlops.database import Database
from quant_mlops.features import FeatureStore

START = datetime(2024, 1, 15, 21, tzinfo=UTC)


@pytest.fixture
def store(database: Database) -> FeatureStore:
    return FeatureStore(database, "test", producer_version="7", run_id="run")


@pytest.fixture(scope="session")
def at():
    """Give a function from minutes to instants, counted from a close in January 2024."""

    def instant(minutes: float) -> datetime:
        return START + timedelta(minutes=minutes)

    return instant
