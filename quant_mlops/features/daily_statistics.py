"""What was stored of each feature for each day: counts and moments, on whatever server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from quant_mlops.database import Database
from quant_mlops.database.queries import query


@dataclass(frozen=True)
class DailyStatistics:
    """One feature on one day of event time, all entities together.

    Attributes
    ----------
    feature_name : str
    feature_version : int
    day : datetime
        Its start, UTC.
    events : int
        Stored rows; each revision counts.
    missing : int
        Those known to have no value.
    mean, minimum, maximum : float or None
        Of the numbers; None where there is none.
    std : float or None
        Sample standard deviation, divisor N - 1; None for fewer than two numbers.
    """

    feature_name: str
    feature_version: int
    day: datetime
    events: int
    missing: int
    mean: float | None
    std: float | None
    minimum: float | None
    maximum: float | None


def daily_statistics(
    database: Database, names: Sequence[str], *, first: date, last: date
) -> list[DailyStatistics]:
    """Return the statistics of features in order of name, version and day.

    With hypertables they come from the continuous aggregate `daily_feature_statistics`, which
    takes up what was stored for earlier days within an hour; else every event is read.

    Parameters
    ----------
    database : Database
    names : sequence of str
    first, last : date
        Days of event time, UTC, both included.
    """
    found = database.fetch_one("SELECT to_regclass('daily_feature_statistics')")
    name = "select_daily_feature_statistics"
    statement = query(f"timescale/{name}" if found and found[0] is not None else name)
    parameters = {
        "names": list(names),
        "first": datetime.combine(first, time(), UTC),
        "end": datetime.combine(last + timedelta(days=1), time(), UTC),
    }
    return database.fetch_rows(DailyStatistics, statement, parameters)
