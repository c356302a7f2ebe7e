"""Reference profiles of a model's features, stored when it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import psycopg
from psycopg.rows import TupleRow

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import MonitoringError
from quant_mlops.statistics import ReferenceProfile


def store_profiles(
    connection: psycopg.Connection[TupleRow],
    model_id: UUID,
    profiles: Mapping[str, ReferenceProfile],
    *,
    versions: Mapping[str, int],
) -> None:
    """Store a model's profiles in the transaction that registers it."""
    rows = [
        (model_id, name, versions[name], list(profile.cuts), list(profile.counts))
        for name, profile in profiles.items()
    ]
    with connection.cursor() as cursor:
        cursor.executemany(query("insert_feature_profile"), rows)


def read_profiles(database: Database, model_id: UUID) -> dict[str, ReferenceProfile]:
    """Return a model's profiles by feature.

    Raises
    ------
    MonitoringError
        It has none, so that drift of its features cannot be measured.
    """
    rows = database.fetch_all(query("select_feature_profiles"), [model_id])
    if not rows:
        raise MonitoringError(
            f"model {model_id} has no feature profiles; train it again to have them stored"
        )
    return {
        name: ReferenceProfile(tuple(cuts), tuple(counts), int(sum(counts)))
        for name, cuts, counts in rows
    }
