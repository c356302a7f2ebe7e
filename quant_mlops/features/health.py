"""How old each feature's newest value is, in sessions, and how many entities lack it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.features.catalog import registered_features
from quant_mlops.market.calendar import TradingCalendar

# An entity without any value for so many sessions, beyond the pace at which the most frequent
# feature comes, has left and is missed no more.
ALIVE_SESSIONS = 20


@dataclass(frozen=True)
class FeatureHealth:
    """State of one feature as known at one instant.

    Attributes
    ----------
    newest_event : datetime or None
        What its newest value of any entity is about; None if none was known.
    sessions_old : int or None
        Sessions that have closed since: on a Monday morning the close of Friday is 0 old.
    expected_age : int
        Sessions that its declared availability lag explains, and the pace at which it comes.
    entities : int
        Entities that had a value of any of the features within 20 sessions, or as many more as
        even the most frequent of them is apart.
    missing_rate : float
        Share of those without a value of this one about its newest session; of a feature with a
        pace, of those without one that is young enough to count. NaN without any.
    """

    feature_name: str
    feature_version: int
    newest_event: datetime | None
    sessions_old: int | None
    expected_age: int
    entities: int
    missing_rate: float

    def is_stale(self) -> bool:
        """Tell whether it is older, in sessions, than is expected of it."""
        return self.sessions_old is None or self.sessions_old > self.expected_age


def feature_health(
    database: Database,
    calendar: TradingCalendar,
    features: Mapping[str, int],
    *,
    session: date,
    as_of: datetime,
    entities: Sequence[str] | None = None,
    paces: Mapping[str, int] | None = None,
    max_ages: Mapping[str, int] | None = None,
    numbers_only: bool = False,
) -> tuple[FeatureHealth, ...]:
    """Return the state of features, in their order, as it was known at an instant.

    Parameters
    ----------
    database : Database
    calendar : TradingCalendar
    features : mapping of str to int
        Version of each.
    session : date
        Newest session that is over; ages are counted up to it.
    as_of : datetime
        Aware. Values known only later do not count.
    entities : sequence of str, optional
        All with a stored value by default.
    paces : mapping of str to int, optional
        Of the features that do not come every session: sessions that a value may be older than its
        lag explains before something is wrong.
    max_ages : mapping of str to int, optional
        Sessions beyond its lag up to which a value of these features counts, where that is
        another number than the pace, as a model was trained before the pace was changed.
    numbers_only : bool
        Whether a JSON document counts as missing, as it does for models.
    """
    paces, max_ages = paces or {}, max_ages or {}
    newest: dict[str, dict[str, tuple[datetime, bool]]] = defaultdict(dict)
    rows = _known(database, features, as_of, entities, numbers_only=numbers_only)
    for name, entity, event_time, valued in rows:
        newest[name][entity] = (event_time, valued)
    reach = ALIVE_SESSIONS + min((paces.get(name, 0) for name in features), default=0)
    alive_since = calendar.close_time(calendar.previous(session, reach))
    alive = {
        entity
        for entries in newest.values()
        for entity, (event_time, _) in entries.items()
        if event_time > alive_since
    }
    lags = {(f.feature_name, f.feature_version): f for f in registered_features(database)}
    found = []
    for name, version in features.items():
        entries, pace = newest[name], paces.get(name, 0)
        last = max((event_time for event_time, _ in entries.values()), default=None)
        definition = lags.get((name, version))
        expected, missing = 0, np.nan
        if definition is not None:
            known = calendar.session_of(as_of - definition.availability_lag)
            expected = max(calendar.sessions_between(known, session), 0)
        if alive and last is not None:
            # Of a feature for every session, who lacks its newest one; that this is old is said
            # by its age.
            until, within = calendar.session_of(last), 0
            if pace:
                until, within = session, expected + max_ages.get(name, pace)
            there = {
                entity
                for entity, (event_time, valued) in entries.items()
                if valued
                and calendar.sessions_between(calendar.session_of(event_time), until) <= within
            }
            missing = len(alive - there) / len(alive)
        elif alive:
            missing = 1.0
        age = (
            None if last is None else calendar.sessions_between(calendar.session_of(last), session)
        )
        found.append(FeatureHealth(name, version, last, age, expected + pace, len(alive), missing))
    return tuple(found)


def stored_entities(database: Database) -> list[str]:
    """Return every entity with a value of any feature."""
    return [entity for (entity,) in database.fetch_all(query("select_entities"))]


def _known(
    database: Database,
    features: Mapping[str, int],
    as_of: datetime,
    entities: Sequence[str] | None,
    *,
    numbers_only: bool,
) -> list[tuple[str, str, datetime, bool]]:
    parameters = {
        "names": list(features),
        "versions": list(features.values()),
        "entities": stored_entities(database) if entities is None else list(entities),
        "as_of": as_of,
        "numbers_only": numbers_only,
    }
    rows: list[tuple[str, str, datetime, bool]] = database.fetch_all(
        query("select_feature_health"), parameters
    )
    return rows
