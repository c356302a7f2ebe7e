"""Feature values as they are offered for storage: one Arrow form for every kind of caller."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quant_mlops.errors import FeatureStoreError, InvalidValueError
from quant_mlops.features.instants import INSTANT as INSTANT
from quant_mlops.features.instants import column_as_utc
from quant_mlops.features.values import value_columns

KEY_COLUMNS = ("entity_key", "event_time")
DOCUMENTS = "value_json"
SERIES_COLUMNS = ("entity_key", "feature_name", "feature_version")
SCHEMA = pa.schema(
    [
        ("entity_key", pa.string()),
        ("feature_name", pa.string()),
        ("feature_version", pa.int32()),
        ("event_time", INSTANT),
        ("ingest_time", INSTANT),
        ("value_double", pa.float64()),
        ("value_json", pa.string()),
    ]
)


@dataclass(frozen=True)
class WriteResult:
    """What a write did: stored rows are new values or revisions, repeated ones were known."""

    offered: int
    stored: int
    revised: int

    @property
    def repeated(self) -> int:
        """Rows that said what was known already."""
        return self.offered - self.stored


def frame_to_rows(
    frame: Any, *, feature_version: int, ingest_time: datetime, zone: ZoneInfo
) -> pa.Table:
    """Bring a frame into the stored form, its rows in their order.

    Parameters
    ----------
    frame : pyarrow.Table, pandas.DataFrame, or any object with the Arrow interface
        Long: `entity_key, feature_name, event_time, value[, ingest_time, feature_version,
        value_json]`, where the last holds a JSON object as text where there is no number.
        Wide: `entity_key, event_time[, ingest_time]` and one column of numbers a feature; an
        empty cell of a wide frame is no row.
    feature_version : int
        Where the frame has no column of that name.
    ingest_time : datetime
        Where the frame has no column of that name.
    zone : ZoneInfo
        Zone of naive times.

    Raises
    ------
    FeatureStoreError
        A key column is missing.
    InvalidValueError
        A key is null, or a column does not hold numbers.
    """
    table = arrow_table(frame)
    missing = [name for name in KEY_COLUMNS if name not in table.column_names]
    if missing:
        raise FeatureStoreError(
            f"the frame has the columns {', '.join(table.column_names)} and lacks "
            f"{', '.join(missing)}; rename them"
        )
    if "feature_name" in table.column_names and DOCUMENTS in table.column_names:
        if "value" not in table.column_names:
            table = table.append_column("value", pa.nulls(table.num_rows, pa.float64()))
    elif not {"feature_name", "value"} <= set(table.column_names):
        table = _melt(table)
    count = table.num_rows
    ingest = (
        column_as_utc(table["ingest_time"], zone=zone)
        if "ingest_time" in table.column_names
        else pa.repeat(pa.scalar(ingest_time, INSTANT), count)
    )
    version = (
        table["feature_version"].cast(pa.int32())
        if "feature_version" in table.column_names
        else pa.array(np.full(count, feature_version, dtype=np.int32))
    )
    rows = pa.table(
        {
            "entity_key": table["entity_key"].cast(pa.string()),
            "feature_name": table["feature_name"].cast(pa.string()),
            "feature_version": version,
            "event_time": column_as_utc(table["event_time"], zone=zone),
            "ingest_time": ingest,
            "value_double": _numbers(table, "value"),
            "value_json": _documents(table),
        },
        schema=SCHEMA,
    )
    _refuse_null_keys(rows)
    return rows


def _documents(table: pa.Table) -> pa.Array | pa.ChunkedArray:
    if DOCUMENTS not in table.column_names:
        return pa.nulls(table.num_rows, pa.string())
    try:
        column = table[DOCUMENTS].cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise InvalidValueError(
            f"column {DOCUMENTS!r} holds {table[DOCUMENTS].type} and not text; give each document "
            f"as JSON text"
        ) from None
    texts = column.to_pylist()
    both = pc.and_(pc.is_valid(column), pc.is_valid(table["value"]))
    if pc.any(both).as_py():
        row = pc.index(both, True).as_py()
        raise InvalidValueError(
            f"row {row} has the number {table['value'][row].as_py()} and a document; leave one of "
            f"them out"
        )
    return pa.array([None if text is None else _canonical(text) for text in texts], pa.string())


def _canonical(text: str) -> str:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InvalidValueError(f"{text!r} is no JSON: {error}; correct it") from None
    stored = value_columns("a document", document)["value_json"]
    if stored is None:
        raise InvalidValueError(f"{text!r} is no JSON object; put numbers into the column 'value'")
    return str(stored)


def settle_missing(rows: pa.Table, allowed: Callable[[], Collection[tuple[str, int]]]) -> pa.Table:
    """Return the rows with null for a value that is no finite number, where that is allowed.

    Parameters
    ----------
    rows : pyarrow.Table
    allowed : callable
        Gives the (feature_name, feature_version) that allow it; asked only if there is need.

    Raises
    ------
    InvalidValueError
        A value is null, NaN or infinite and its feature does not allow that.
    """
    finite = pc.fill_null(pc.is_finite(rows["value_double"]), False)
    unfit = pc.and_(pc.invert(finite), pc.is_null(rows["value_json"]))
    if not pc.any(unfit).as_py():
        return rows
    may_miss = set(allowed())
    first: dict[str, Any] | None = None
    refused = 0
    for row in rows.filter(unfit).to_pylist():
        if (row["feature_name"], row["feature_version"]) not in may_miss:
            first, refused = first or row, refused + 1
    if first is not None:
        raise InvalidValueError(
            f"{refused} of {rows.num_rows} values are not finite, the first is "
            f"{first['value_double']} for {first['feature_name']} of {first['entity_key']} at "
            f"{first['event_time'].isoformat()}; leave such rows out, or declare the feature with "
            f"allows_missing=True"
        )
    known = pc.if_else(finite, rows["value_double"], pa.scalar(None, pa.float64()))
    position = rows.column_names.index("value_double")
    return rows.set_column(position, SCHEMA.field("value_double"), known)


def _refuse_null_keys(rows: pa.Table) -> None:
    for name in ("entity_key", "feature_name", "feature_version", "event_time", "ingest_time"):
        if rows[name].null_count:
            raise InvalidValueError(
                f"{rows[name].null_count} of {rows.num_rows} rows have no {name}; "
                f"give one or leave the rows out"
            )


def arrow_table(frame: Any) -> pa.Table:
    """Return any kind of frame as an Arrow table; the index of pandas is not part of it."""
    if isinstance(frame, pa.Table):
        return frame
    if hasattr(frame, "columns") and hasattr(frame, "iloc"):
        return pa.Table.from_pandas(frame, preserve_index=False)
    if hasattr(frame, "__arrow_c_stream__"):
        return _without_views(pa.table(frame))
    raise FeatureStoreError(
        f"a {type(frame).__name__} is not a frame; give a pyarrow, pandas or polars table"
    )


def _without_views(table: pa.Table) -> pa.Table:
    """Give text the layout that every Arrow function takes; polars hands out another."""
    for position, field in enumerate(table.schema):
        if pa.types.is_string_view(field.type):
            text = table.column(position).cast(pa.string())
            table = table.set_column(position, field.name, text)
    return table


def _melt(table: pa.Table) -> pa.Table:
    keys = [n for n in table.column_names if n in (*KEY_COLUMNS, "ingest_time", "feature_version")]
    features = [name for name in table.column_names if name not in keys]
    if not features:
        raise FeatureStoreError(
            f"the frame has only the key columns {', '.join(keys)}; add a column for each feature"
        )
    parts = []
    for name in features:
        values = _numbers(table, name)
        part = table.select(keys)
        part = part.append_column("feature_name", pa.repeat(name, table.num_rows))
        part = part.append_column("value", values)
        parts.append(part.filter(pc.invert(pc.is_null(values, nan_is_null=True))))
    return pa.concat_tables(parts)


def _numbers(table: pa.Table, name: str) -> pa.ChunkedArray:
    column = table[name]
    kind = column.type
    if not (
        pa.types.is_floating(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
    ):
        raise InvalidValueError(
            f"column {name!r} holds {kind} and not numbers; give numbers, or leave it out (a long "
            f"frame has the columns feature_name and value)"
        )
    try:
        return column.cast(pa.float64())
    except pa.ArrowInvalid as error:
        raise InvalidValueError(
            f"column {name!r} holds {kind} that a double does not hold exactly: {error}; round it"
        ) from None
