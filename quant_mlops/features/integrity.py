"""Whether stored values are what the write path would have let through: defined, once, in time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.features.catalog import registered_features
from quant_mlops.features.definition import FeatureDefinition
from quant_mlops.instants import from_microseconds
from quant_mlops.market.calendar import TradingCalendar

NEWEST_SESSIONS = 60


Example = tuple[str, datetime]


@dataclass(frozen=True)
class FeatureIntegrity:
    """Stored rows of one feature about some sessions, and how many of them should not be.

    What a person has looked at does not count as such; see `value_reviews`.

    Attributes
    ----------
    rows : int
        Every print of every value.
    undefined : int
        Without a finite value or document although the definition allows no missing ones.
    off_close : int
        Beside a value of the close of the same session. What has none may be about any time.
    repeated : int
        Prints that say what the print before them said, and so are no revision; looked for in
        the newest 60 sessions.
    early : int
        Known before the session they are about had closed.
    undefined_example, duplicate_example, early_example : tuple of (str, datetime) or None
        Entity and event time of one of each.
    """

    feature_name: str
    feature_version: int
    rows: int
    undefined: int
    off_close: int
    repeated: int
    early: int
    undefined_example: Example | None = None
    duplicate_example: Example | None = None
    early_example: Example | None = None

    @property
    def key(self) -> str:
        """Name and version, such as rsi_14@1."""
        return f"{self.feature_name}@{self.feature_version}"

    @property
    def duplicates(self) -> int:
        """Rows beside the one that a session, or a revision, should have."""
        return self.off_close + self.repeated


def feature_integrity(
    database: Database,
    calendar: TradingCalendar,
    definitions: Iterable[FeatureDefinition],
    *,
    first: date,
    last: date,
    tickers: Sequence[str] | None = None,
) -> list[FeatureIntegrity]:
    """Count what stored values of a range of sessions have that none should.

    Parameters
    ----------
    database : Database
    calendar : TradingCalendar
        Whose closes the values are about; with another one's, all of them are off the close.
    definitions : iterable of FeatureDefinition
    first, last : date
        Sessions, both included. Entities without a price in them are not looked at.
    tickers : sequence of str, optional
        All by default.

    Returns
    -------
    list of FeatureIntegrity
        By name and version, of those that have rows.
    """
    chosen = list(definitions)
    sessions = calendar.sessions(first, last)
    closes = calendar.closes(sessions)
    parameters = {
        "names": [definition.name for definition in chosen],
        "versions": [definition.version for definition in chosen],
        "allows_missing": [definition.allows_missing for definition in chosen],
        "first_open": from_microseconds(int(calendar.opens([first])[0])),
        "newest_open": from_microseconds(int(calendar.opens(sessions[-NEWEST_SESSIONS:])[0])),
        "last_close": from_microseconds(int(np.max(closes))),
        "closes": [from_microseconds(int(close)) for close in closes],
        "tickers": None if tickers is None else list(tickers),
    }
    rows = database.fetch_all(query("select_feature_integrity"), parameters)
    return [FeatureIntegrity(*row[:-3], *map(_example, row[-3:])) for row in rows]


def _example(found: list[str] | None) -> Example | None:
    return None if found is None else (found[0], datetime.fromisoformat(found[1]))


def changed_logic(
    database: Database, definitions: Sequence[FeatureDefinition]
) -> dict[str, tuple[str, str]]:
    """Return the stored logic hash and the code's, of the definitions that are not as stored.

    A definition that is not stored at all has an empty stored hash.
    """
    stored = {
        (feature.feature_name, feature.feature_version): feature.logic_hash
        for feature in registered_features(database)
    }
    held = {d.key: (stored.get((d.name, d.version), ""), d.logic_hash) for d in definitions}
    return {key: (was, is_now) for key, (was, is_now) in held.items() if was != is_now}
