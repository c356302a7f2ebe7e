"""Features as known at decisions, read from no further back than an answer can lie."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime

import pyarrow as pa

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.features.age_limit import AgeLimit
from quant_mlops.features.catalog import age_limits, require_registered
from quant_mlops.features.spine import read_spine
from quant_mlops.features.store import FeatureStore
from quant_mlops.features.table import point_in_time_table
from quant_mlops.features.vintage import Vintage
from quant_mlops.market.calendar import TradingCalendar


def features_as_known(
    store: FeatureStore,
    calendar: TradingCalendar,
    spine: pa.Table,
    features: Mapping[str, int],
    *,
    knowledge_time: datetime,
    max_ages: Mapping[str, int] | None = None,
    vintage: Vintage = "as_known",
) -> pa.Table:
    """Join features to a spine of decisions, as the store's point-in-time table does.

    Models read numbers: a JSON document counts as missing, here as in a prediction on demand.

    Parameters
    ----------
    store : FeatureStore
    calendar : TradingCalendar
        Whose sessions are the ages of `max_ages`.
    spine : pyarrow.Table
        `entity_key` and `time`; other columns are carried along.
    features : mapping of str to int
        Pinned versions.
    knowledge_time : datetime
        Aware; values known only later are treated as not written.
    max_ages : mapping of str to int, optional
        Of features whose values are not to count for ever: sessions that an event may be older
        than the availability lag explains, see `AgeLimit`.
    vintage : {"as_known", "first", "latest"}
        As in the store; the first but for measuring what later knowledge would change.

    Notes
    -----
    What is known of a series can only be replaced by a newer event, or by a revision of the same
    one. The newest event known when an entity is first asked for is therefore the oldest that
    can matter to it, and a range of sessions costs a read of that range, not of all history.
    The latest vintage finds events that nobody knew of yet, which are newer ones as well.
    """
    registered = require_registered(store.database, features)
    since = oldest_needed_event(store.database, spine, features, knowledge_time=knowledge_time)
    limits = age_limits(registered, max_ages or {})
    groups: dict[AgeLimit | None, list[str]] = defaultdict(list)
    for name in features:
        groups[limits.get(name)].append(name)
    columns: dict[str, pa.ChunkedArray] = {}
    for limit, group in groups.items():
        joined = point_in_time_table(
            store.database,
            read_spine(spine, zone=store.zone, max_age=limit, calendar=calendar.name),
            {name: features[name] for name in group},
            knowledge_time=store.known_by(knowledge_time),
            vintage=vintage,
            since=since,
            numbers_only=True,
        )
        columns |= {name: joined[name] for name in group}
    for name in features:
        spine = spine.append_column(name, columns[name])
    return spine


def oldest_needed_event(
    database: Database, spine: pa.Table, features: Mapping[str, int], *, knowledge_time: datetime
) -> datetime | None:
    """Return before which event time no value can be an answer; None if nothing says so.

    Parameters
    ----------
    database : Database
    spine : pyarrow.Table
        `entity_key` and `time`.
    features : mapping of str to int
        Pinned versions.
    knowledge_time : datetime
        Aware; values known only later are treated as not written.
    """
    if spine.num_rows == 0 or not features:
        return None
    first = spine.group_by("entity_key").aggregate([("time", "min")])
    row = database.fetch_one(
        query("select_oldest_needed_event"),
        {
            "entities": first["entity_key"].to_pylist(),
            "times": first["time_min"].to_pylist(),
            "names": list(features),
            "versions": list(features.values()),
            "knowledge_time": knowledge_time,
        },
    )
    return row[0] if row else None
