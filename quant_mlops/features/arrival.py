"""How feature values arrive: how late, how often revised and by how much, and how fresh."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import psycopg
from psycopg.rows import TupleRow, dict_row

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import MarketDataError
from quant_mlops.features.catalog import resolve_versions
from quant_mlops.features.instants import as_utc
from quant_mlops.features.leakage import ASSUMED_AFTER
from quant_mlops.market.calendar import Instants, TradingCalendar

NO_REVISIONS = {
    "repeats": 0,
    "revisions": 0,
    "revised_events": 0,
    "median_change": None,
    "largest_change": None,
    "median_relative_change": None,
}


@dataclass(frozen=True)
class FeatureArrival:
    """How the values that one producer wrote of one feature version became known.

    Attributes
    ----------
    feature_name, feature_version, producer
        Whose rows are counted.
    as_of : datetime
        What was known by then counts.
    rows, events : int
        Rows, and the distinct pairs of entity and event time that they are about.
    lag_p50, lag_p95, lag_max : timedelta
        Ingest time less event time, over rows; negative for a value known before its event.
    lag_sessions_p50, lag_sessions_p95, lag_sessions_max : int
        The same in sessions: closes after the event and by the ingest time. 15 minutes after a
        close is 0, and so is any time until the next one; a value known before its event has
        minus the closes from its ingest time to its event.
    revisions, revised_events : int
        Rows about events of which an earlier row was known, whoever wrote that one, and how many
        events they are about. A revision belongs to its own producer, and not to that of the
        value it replaces.
    revision_rate : float
        Share of the events that were so revised.
    median_change, largest_change, median_relative_change : float or None
        Size of revisions: absolute difference from the print just before, in units of the
        feature, and the same divided by the absolute value of that print. Only between two
        numbers, and the relative one only from a number other than 0; None where there is none.
        Infinite where a double cannot hold it, or where one of the two is 4e307 or beyond.
    newest_event_time, newest_ingest_time : datetime
    freshness_sessions : int
        Sessions whose close lies after the newest event and by `as_of`. A value of Friday's
        close is 0 sessions old until Monday's close.
    share_assumed : float
        Share of rows recorded later than their ingest time by more than the tolerance: that
        they were available then is assumed and was not observed.
    """

    feature_name: str
    feature_version: int
    producer: str
    as_of: datetime
    rows: int
    events: int
    lag_p50: timedelta
    lag_p95: timedelta
    lag_max: timedelta
    lag_sessions_p50: int
    lag_sessions_p95: int
    lag_sessions_max: int
    revisions: int
    revised_events: int
    revision_rate: float
    median_change: float | None
    largest_change: float | None
    median_relative_change: float | None
    newest_event_time: datetime
    newest_ingest_time: datetime
    freshness_sessions: int
    share_assumed: float

    @property
    def key(self) -> str:
        """Name and version, such as rsi_14@1."""
        return f"{self.feature_name}@{self.feature_version}"


def arrival_statistics(
    database: Database,
    calendar: TradingCalendar,
    *,
    feature_names: Iterable[str] | None = None,
    entities: Iterable[str] | None = None,
    since: datetime | None = None,
    as_of: datetime | None = None,
    assumed_after: timedelta = ASSUMED_AFTER,
) -> list[FeatureArrival]:
    """Measure how the values of features became known.

    The server counts and ranks, so that what is fetched is a row for each result. A quantile is
    the nearest rank: of n values in order the one at place ceil(p n), which is always a value
    that occurred; the median of an even number is the lower of the middle two.

    Parameters
    ----------
    database : Database
    calendar : TradingCalendar
        Exchange whose sessions are counted, and in whose zone a naive datetime is wall time. With
        that of another exchange, lags and freshness are off by a session on its holidays.
    feature_names : iterable of str, optional
        All by default; every version of a feature is measured.
    entities : iterable of str, optional
        All by default.
    since : datetime, optional
        Only events at or after it count, each with all of its rows.
    as_of : datetime, optional
        Only rows with event and ingest time by then count; the database's clock by default, and
        at the latest.
    assumed_after : timedelta
        Delay of the record up to which availability counts as observed. Too long a one takes a
        backfill for observation, too short a one a slow job for a backfill.

    Returns
    -------
    list of FeatureArrival
        By feature name, version and producer, of those that have rows.

    Raises
    ------
    UnknownFeatureError
        A name has never been registered or written.
    MarketDataError
        A time that counts lies outside of what the calendar covers.
    AmbiguousTimeError, InvalidValueError
        `since` or `as_of` is no single instant, see `as_utc`.
    """
    names = None if feature_names is None else list(feature_names)
    if names is not None:
        resolve_versions(database, names)
    closes = calendar.closes(calendar.sessions(calendar.first_day, calendar.last_day))
    with database.transaction() as connection:
        # Both statements must count the same rows, whatever is written between them.
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        known_by = _known_by(connection, calendar, as_of)
        scope = {
            "names": names,
            "entities": None if entities is None else list(entities),
            "since": None if since is None else as_utc(since, zone=calendar.timezone),
            "as_of": known_by,
            "closes": _array_literal(closes),
            "tolerance": assumed_after,
        }
        arrivals = _rows_by_series(connection, "select_feature_arrivals", scope)
        revisions = _rows_by_series(connection, "select_feature_revisions", scope)
    oldest = [arrival.pop("oldest_time") for arrival in arrivals.values()]
    _refuse_uncovered(calendar, oldest, newest=known_by)
    found = []
    for series, arrival in arrivals.items():
        row = arrival | revisions.get(series, NO_REVISIONS)
        events = row["rows"] - row.pop("repeats")
        rate = row["revised_events"] / events
        found.append(FeatureArrival(as_of=known_by, events=events, revision_rate=rate, **row))
    return found


def _known_by(
    connection: psycopg.Connection[TupleRow], calendar: TradingCalendar, as_of: datetime | None
) -> datetime:
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    now: datetime = row[0]
    return now if as_of is None else min(now, as_utc(as_of, zone=calendar.timezone))


def _array_literal(instants: Instants) -> str:
    """Return instants as the text of an array; psycopg would turn thousands one by one."""
    texts = np.datetime_as_string(instants.astype("datetime64[us]"), timezone="UTC")
    return "{" + ",".join(texts.tolist()) + "}"


def _rows_by_series(
    connection: psycopg.Connection[TupleRow], statement: str, scope: Mapping[str, Any]
) -> dict[tuple[str, int, str], dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query(statement), scope).fetchall()
    return {(row["feature_name"], row["feature_version"], row["producer"]): row for row in rows}


def _refuse_uncovered(
    calendar: TradingCalendar, oldest: Sequence[datetime], newest: datetime
) -> None:
    if not oldest:
        return
    days = [moment.astimezone(calendar.timezone).date() for moment in (min(oldest), newest)]
    if days[0] < calendar.first_day or days[1] > calendar.last_day:
        raise MarketDataError(
            f"arrivals from {days[0]} to {days[1]} are to be counted in sessions of "
            f"{calendar.name}, which is covered from {calendar.first_day} to "
            f"{calendar.last_day}; narrow them with `since` and `as_of`"
        )
