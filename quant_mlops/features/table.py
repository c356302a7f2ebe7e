"""Joining features to a spine of entities and times, series by series."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quant_mlops.database import Database
from quant_mlops.database.binary_copy import stream_arrays
from quant_mlops.database.queries import query
from quant_mlops.errors import FeatureStoreError
from quant_mlops.features.instants import column_as_utc
from quant_mlops.features.point_in_time import KnownSeries, collapse
from quant_mlops.features.rows import arrow_table
from quant_mlops.instants import MICROSECOND, from_microseconds, to_microseconds

Vintage = Literal["as_known", "first", "latest"]
VINTAGES = ("as_known", "first", "latest")
Instants = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def point_in_time_table(
    database: Database,
    spine: Any,
    features: Mapping[str, int],
    *,
    knowledge_time: datetime,
    max_age: timedelta | None,
    vintage: Vintage,
    zone: ZoneInfo,
) -> pa.Table:
    """Return the spine with a column for each feature as it was known at each row's time.

    Memory is that of the result and of one series at a time.

    Raises
    ------
    FeatureStoreError
        The spine lacks a column, or the vintage has another name than the three that exist.
    """
    if vintage not in VINTAGES:
        raise FeatureStoreError(f"vintage {vintage!r} is none of {', '.join(VINTAGES)}; use one")
    spine = arrow_table(spine)
    taken = [name for name in features if name in spine.column_names]
    if taken:
        raise FeatureStoreError(
            f"the spine has a column named like the feature {', '.join(taken)}; rename or drop it"
        )
    entities, times = _spine_columns(spine, zone)
    columns = {name: np.full(spine.num_rows, np.nan) for name in features}
    age = None if max_age is None else max_age // MICROSECOND
    if spine.num_rows and features:
        rows_of = _rows_by_entity(entities)
        cut = to_microseconds(knowledge_time)
        parameters = {
            "entities": list(rows_of),
            "names": list(features),
            "versions": list(features.values()),
            "last": from_microseconds(int(times.max())),
            "first": None if age is None else _oldest(int(times.min()) - age),
            "knowledge_time": knowledge_time,
        }
        with database.transaction() as connection:
            for entity, name, event, ingest, values in stream_arrays(
                connection, query("select_feature_series"), parameters
            ):
                rows = rows_of[entity]
                series = _series(event, ingest, values, cut=cut, vintage=vintage)
                columns[name][rows] = series.as_of(times[rows], max_age=age)
    for name, column in columns.items():
        spine = spine.append_column(name, pa.array(column, mask=np.isnan(column)))
    return spine


def _oldest(microseconds: int) -> datetime | None:
    try:
        return from_microseconds(microseconds)
    except OverflowError:  # an age beyond all time is no bound
        return None


def _series(
    event: Instants, ingest: Instants, values: Floats, *, cut: int, vintage: Vintage
) -> KnownSeries:
    if vintage == "as_known":
        return collapse(event, ingest, values, knowledge_time=cut)
    kept = ingest <= cut
    event, ingest, values = event[kept], ingest[kept], values[kept]
    order = np.lexsort((ingest, event))
    event, ingest, values = event[order], ingest[order], values[order]
    if vintage == "latest":
        newest = np.append(event[1:] != event[:-1], [True])[: len(event)]
        return KnownSeries(event[newest], event[newest], ingest[newest], values[newest])
    known = collapse(event, ingest, values)
    first_print = np.searchsorted(event, known.event_times, side="left")
    return KnownSeries(known.available, known.event_times, known.ingest_times, values[first_print])


def _spine_columns(spine: pa.Table, zone: ZoneInfo) -> tuple[pa.ChunkedArray, Instants]:
    for name in ("entity_key", "time"):
        if name not in spine.column_names:
            raise FeatureStoreError(
                f"the spine has the columns {', '.join(spine.column_names)} and lacks {name!r}; "
                f"give one row for each entity_key and time"
            )
        if spine[name].null_count:
            raise FeatureStoreError(
                f"{spine[name].null_count} of {spine.num_rows} spine rows have no {name}; "
                f"leave them out"
            )
    times = column_as_utc(spine["time"], zone=zone)
    return spine["entity_key"], times.cast(pa.int64()).to_numpy()


def _rows_by_entity(entities: pa.ChunkedArray) -> dict[str, npt.NDArray[np.int64]]:
    encoded = entities.cast(pa.string()).combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()
    order = np.argsort(codes, kind="stable").astype(np.int64)
    names = encoded.dictionary.to_pylist()
    bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
    return {name: order[bounds[i] : bounds[i + 1]] for i, name in enumerate(names)}
