"""Training sets that a retention takes with it: what is dropped is a part of what they need."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import pyarrow.parquet as pq

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.database.retention import retentions_of
from quant_mlops.errors import QuantMlopsError
from quant_mlops.market.calendar import trading_calendar
from quant_mlops.training.decision_features import oldest_needed_event
from quant_mlops.training.snapshot_files import Snapshot, list_snapshots, local_data


@dataclass(frozen=True)
class LostTrainingSet:
    """A training set that cannot be collected again, and the models trained on it.

    Attributes
    ----------
    models : tuple of str
        Name and version of each.
    """

    snapshot: Snapshot
    models: tuple[str, ...]


def lost_training_sets(
    database: Database, table: str, *, until: datetime | None
) -> list[LostTrainingSet]:
    """Return the training sets that need a row of a table from before a time, newest first.

    Their files stay, and so do the models; neither can be made again from the database.

    Parameters
    ----------
    database : Database
    table : str
    until : datetime, optional
        Aware; rows with an earlier event time are dropped. None drops nothing.
    """
    if until is None:
        return []
    lost = [s for s in list_snapshots(database) if _needs(database, table, s, until)]
    models = _models(database, [snapshot.snapshot_id for snapshot in lost])
    return [LostTrainingSet(s, tuple(models[s.snapshot_id])) for s in lost]


def what_was_dropped(database: Database, snapshot: Snapshot) -> str | None:
    """Return in words what retention dropped of a training set's rows; None if nothing."""
    found = retentions_of(database, snapshot.snapshot_id)
    return "; ".join(each.sentence() for each in found) or None


def _needs(database: Database, table: str, snapshot: Snapshot, until: datetime) -> bool:
    calendar = trading_calendar(str(snapshot.label["calendar"]))
    # A stock is in the set of a session by its price in the session before.
    oldest_price = calendar.close_time(calendar.previous(snapshot.first_session))
    if table == "price_bars":
        return oldest_price < until
    return table == "feature_events" and _oldest_event(database, snapshot, oldest_price) < until


def _oldest_event(database: Database, snapshot: Snapshot, oldest_price: datetime) -> datetime:
    """Return when the oldest feature was that a row can hold; without the file, the likely one."""
    try:
        with local_data(snapshot) as path:
            rows = pq.read_table(path, columns=["entity_key", "decision_time"])
    except (QuantMlopsError, OSError, ValueError):
        return oldest_price
    spine = rows.rename_columns(["entity_key", "time"])
    found = oldest_needed_event(
        database, spine, snapshot.feature_versions, knowledge_time=snapshot.knowledge_time
    )
    return found or oldest_price


def _models(database: Database, snapshot_ids: Sequence[UUID]) -> dict[UUID, list[str]]:
    found: dict[UUID, list[str]] = defaultdict(list)
    rows = database.fetch_all(query("select_models_of_snapshots"), [list(snapshot_ids)])
    for snapshot_id, name, version in rows:
        found[snapshot_id].append(f"{name} v{version}")
    return found
