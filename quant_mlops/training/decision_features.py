"""Features as known at decisions, read from no further back than an answer can lie."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import pyarrow as pa

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.features.catalog import require_registered
from quant_mlops.features.spine import read_spine
from quant_mlops.features.store import FeatureStore
from quant_mlops.features.table import point_in_time_table
from quant_mlops.features.vintage import Vintage


def features_as_known(
    store: FeatureStore,
    spine: pa.Table,
    features: Mapping[str, int],
    *,
    knowledge_time: datetime,
    vintage: Vintage = "as_known",
) -> pa.Table:
    """Join features to a spine of decisions; the same as the store's point-in-time table.

    Parameters
    ----------
    store : FeatureStore
    spine : pyarrow.Table
        `entity_key` and `time`; other columns are carried along.
    features : mapping of str to int
        Pinned versions.
    knowledge_time : datetime
        Aware; values known only later are treated as not written.
    vintage : {"as_known", "first", "latest"}
        As in the store; the first but for measuring what later knowledge would change.

    Notes
    -----
    What is known of a series can only be replaced by a newer event, or by a revision of the same
    one. The newest event known when an entity is first asked for is therefore the oldest that
    can matter to it, and a range of sessions costs a read of that range, not of all history.
    The latest vintage finds events that nobody knew of yet, which are newer ones as well.
    """
    require_registered(store.database, features)
    since = oldest_needed_event(store.database, spine, features, knowledge_time=knowledge_time)
    return point_in_time_table(
        store.database,
        read_spine(spine, zone=store.zone, max_age=None, calendar=store.calendar),
        features,
        knowledge_time=store.known_by(knowledge_time),
        vintage=vintage,
        since=since,
    )


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
