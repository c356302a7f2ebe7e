"""Stored values that should not be as they are, and the record of who has looked at them.

Nothing stored is ever changed, so what stops the runs of a session stops them until a person says
that it may pass. A value stored as known before the time it is about is one such: no read gives it
before that time, so it misleads at most until its true ingest time; but whatever wrote it has a
wrong clock, or knew what it must not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import FeatureStoreError
from quant_mlops.features.definition import FeatureDefinition
from quant_mlops.features.values import FeatureValue
from quant_mlops.market.calendar import TradingCalendar

MOST_SHOWN = 20


def early_values(
    database: Database,
    calendar: TradingCalendar,
    definitions: Iterable[FeatureDefinition],
    *,
    first: date,
    last: date,
    tickers: Sequence[str] | None = None,
) -> list[FeatureValue]:
    """Return the oldest early values about a range of sessions that nobody has looked at.

    Parameters
    ----------
    database : Database
    calendar : TradingCalendar
    definitions : iterable of FeatureDefinition
    first, last : date
        Sessions, both included. Entities without a price in them are not looked at.
    tickers : sequence of str, optional
        Entities to look at; all by default.
    """
    chosen = list(definitions)
    parameters = {
        "names": [definition.name for definition in chosen],
        "versions": [definition.version for definition in chosen],
        "first_open": calendar.open_time(first),
        "last_close": calendar.close_time(last),
        "tickers": None if tickers is None else list(tickers),
        "most": MOST_SHOWN,
    }
    rows = database.fetch_all(query("select_early_values"), parameters)
    return [FeatureValue.of_row(row) for row in rows]


def review_values(
    database: Database, entity: str, name: str, event_time: datetime, *, by: str, reason: str
) -> int:
    """Put on record that a person has looked at the values that are stored of an event.

    The checks that stop runs of the session let them pass from then on, and not what is stored of
    the event later. The values stay, and reads go on as before: a wrong one needs a correction with
    a later ingest time.

    Parameters
    ----------
    database : Database
    entity, name : str
    event_time : datetime
        Aware.
    by, reason : str
        Who has looked at them, and why they are there.

    Returns
    -------
    int
        Values concerned, of any version of the feature.

    Raises
    ------
    FeatureStoreError
        There is none that nobody has looked at, or `by` or `reason` is empty.
    """
    if not by.strip() or not reason.strip():
        raise FeatureStoreError("a review needs to know who makes it and why; give by and reason")
    parameters = {
        "entity": entity, "name": name, "event_time": event_time,
        "by": by.strip(), "reason": reason.strip(),
    }  # fmt: skip
    reviewed = database.execute(query("insert_value_reviews"), parameters)
    if not reviewed:
        raise FeatureStoreError(
            f"no value of {name} of {entity} about {event_time.isoformat()} is stored that is "
            f"still to be looked at; `quant-mlops features history {entity} {name}` shows what is "
            f"stored"
        )
    return reviewed
