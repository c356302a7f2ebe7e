from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from quant_mlops.errors import ConflictingValueError, FeatureStoreError, InvalidValueError
from quant_mlops.features import FeatureStore

CLOSE = datetime(2024, 1, 16, 21, tzinfo=UTC)
NEXT = CLOSE + timedelta(days=1)
LAG = timedelta(minutes=15)

LONG = {
    "entity_key": ["A", "A", "B"],
    "feature_name": ["f", "g", "f"],
    "event_time": [CLOSE, CLOSE, NEXT],
    "value": [1.0, 2.0, 3.0],
}
WIDE = {
    "entity_key": ["A", "B"],
    "event_time": [CLOSE, NEXT],
    "f": [1.0, 3.0],
    "g": [2.0, None],
}
EXPECTED = [("A", "f", CLOSE, 1.0), ("A", "g", CLOSE, 2.0), ("B", "f", NEXT, 3.0)]

KINDS = {
    "pyarrow": pa.table,
    "pandas": pd.DataFrame,
    "pandas, filtered": lambda data: pd.concat([pd.DataFrame(data)] * 2, keys=[0, 1]).loc[1],
    "pandas, Arrow types": lambda data: pa.table(data).to_pandas(types_mapper=pd.ArrowDtype),
    "polars": pl.DataFrame,
}


def contents(store: FeatureStore) -> list[tuple[Any, ...]]:
    return store.database.fetch_all(
        "SELECT entity_key, feature_name, event_time, value_double FROM feature_events"
        " ORDER BY 1, 2, 3"
    )


@pytest.mark.parametrize("data", [LONG, WIDE], ids=["long", "wide"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_frame_stores_the_same_rows(
    store: FeatureStore, kind: str, data: dict[str, Any]
) -> None:
    result = store.write_frame(KINDS[kind](data), availability_lag=LAG)
    assert (result.offered, result.stored, result.revised) == (3, 3, 0)
    assert contents(store) == EXPECTED
    assert store.write_frame(KINDS[kind](data), availability_lag=LAG).stored == 0


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_frame_serves_as_a_spine(store: FeatureStore, kind: str) -> None:
    store.write_frame(pa.table(WIDE), availability_lag=LAG)
    spine = KINDS[kind]({"entity_key": ["B", "A"], "time": [NEXT + LAG, NEXT]})
    found = store.point_in_time_table(spine, ["f", "g"])
    assert found.column_names == ["entity_key", "time", "f", "g"]
    assert found["f"].to_pylist() == [3.0, 1.0]
    assert found["g"].to_pylist() == [None, 2.0]


def test_categories_integers_and_single_precision_are_numbers_and_text(
    store: FeatureStore,
) -> None:
    frame = pd.DataFrame(
        {
            "entity_key": pd.Categorical(["A", "B"]),
            "event_time": pd.to_datetime([CLOSE, NEXT]).as_unit("ns"),
            "f": pd.array([1, 3], dtype="int32"),
            "g": pd.array([0.5, float("nan")], dtype="float32"),
        }
    )
    assert store.write_frame(frame, availability_lag=LAG).stored == 3
    assert [row[3] for row in contents(store)] == [1.0, 0.5, 3.0]


def test_a_frames_own_ingest_times_and_versions_win(store: FeatureStore) -> None:
    frame = pa.table(LONG | {"ingest_time": [CLOSE, NEXT, NEXT], "feature_version": [1, 2, 3]})
    store.write_frame(frame, availability_lag=LAG, feature_version=9)
    assert store.database.fetch_all(
        "SELECT feature_name, feature_version, ingest_time FROM feature_events ORDER BY 2"
    ) == [("f", 1, CLOSE), ("g", 2, NEXT), ("f", 3, NEXT)]


def test_without_a_lag_rows_become_known_now(store: FeatureStore) -> None:
    store.write_frame(pa.table(LONG))
    (known,) = store.database.fetch_all("SELECT DISTINCT ingest_time FROM feature_events")
    assert abs(known[0] - datetime.now(UTC)) < timedelta(minutes=5)


def test_naive_times_of_a_frame_are_wall_time_of_the_market(store: FeatureStore) -> None:
    naive = [datetime(2024, 1, 16, 16), datetime(2024, 7, 16, 16)]  # noqa: DTZ001
    frame = pd.DataFrame({"entity_key": ["A", "B"], "event_time": naive, "f": [1.0, 2.0]})
    store.write_frame(frame)
    assert [row[2] for row in contents(store)] == [CLOSE, CLOSE.replace(month=7, hour=20)]


def test_no_row_is_no_write(store: FeatureStore) -> None:
    result = store.write_frame(pa.table(LONG).slice(0, 0))
    assert (result.offered, result.stored, result.repeated) == (0, 0, 0)
    empty = pa.table(WIDE).set_column(2, "f", pa.nulls(2)).drop_columns(["g"])
    assert store.write_frame(empty).offered == 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"value": [1.0, float("nan"), 3.0]}, InvalidValueError, "1 of 3 values are not finite"),
        ({"value": [1.0, None, 3.0]}, InvalidValueError, "the first is None for g of A"),
        ({"value": [1.0, float("inf"), 3.0]}, InvalidValueError, "the first is inf for g of A"),
        ({"value": [True, False, True]}, InvalidValueError, "'value' holds bool"),
        ({"value": ["1", "2", "3"]}, InvalidValueError, "'value' holds string"),
        ({"value": [1, 2, 2**53 + 1]}, InvalidValueError, "does not hold exactly"),
        ({"entity_key": ["A", None, "B"]}, InvalidValueError, "1 of 3 rows have no entity_key"),
        ({"event_time": [CLOSE, None, NEXT]}, InvalidValueError, "1 of 3 rows have no event_time"),
        ({"feature_name": ["f", None, "f"]}, InvalidValueError, "1 of 3 rows have no feature_name"),
        ({"event_time": [date(2024, 1, 16)] * 3}, InvalidValueError, "is a date where an instant"),
        ({"event_time": ["2024-01-16"] * 3}, InvalidValueError, "is a str where an instant"),
    ],
)
def test_a_frame_with_one_unfit_cell_is_refused_whole(
    store: FeatureStore, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        store.write_frame(pa.table(LONG | change), availability_lag=LAG)
    assert contents(store) == []


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pa.table({"entity_key": ["A"], "f": [1.0]}), "lacks event_time"),
        (pa.table({"entity_key": ["A"], "event_time": [CLOSE]}), "only the key columns"),
        (pa.table({k: v for k, v in LONG.items() if k != "value"}), "'feature_name' holds string"),
        ({"entity_key": ["A"]}, "a dict is not a frame"),
    ],
)
def test_what_is_no_frame_of_features_is_refused(
    store: FeatureStore, frame: Any, message: str
) -> None:
    with pytest.raises(FeatureStoreError, match=message):
        store.write_frame(frame)


def test_times_finer_than_a_microsecond_are_refused(store: FeatureStore) -> None:
    times = pa.array([1], pa.timestamp("ns", tz="UTC"))
    frame = pa.table({"entity_key": ["A"], "event_time": times, "f": [1.0]})
    with pytest.raises(InvalidValueError, match="does not fit into microseconds"):
        store.write_frame(frame)


def test_infinity_in_a_wide_frame_is_refused_and_an_empty_cell_is_no_row(
    store: FeatureStore,
) -> None:
    frame = pd.DataFrame(WIDE | {"g": [float("inf"), float("nan")]})
    with pytest.raises(InvalidValueError, match="1 of 3 values are not finite"):
        store.write_frame(frame)
    assert store.write_frame(frame.assign(g=float("nan"))).stored == 2


def test_a_long_frame_may_hold_documents_beside_numbers(store: FeatureStore) -> None:
    frame = pa.table(
        LONG | {"value": [1.0, None, 3.0], "value_json": [None, '{"b": 1, "a": [2]}', None]}
    )
    assert store.write_frame(frame, availability_lag=LAG).stored == 3
    assert store.write_frame(frame, availability_lag=LAG).stored == 0
    spine = pa.table({"entity_key": ["A", "B"], "time": [NEXT + LAG, NEXT + LAG]})
    found = store.point_in_time_table(spine, ["f", "g"])
    assert found["g"].to_pylist() == ['{"a": [2], "b": 1}', None]
    assert found["f"].to_pylist() == [1.0, 3.0]
    changed = frame.set_column(4, "value_json", pa.array([None, '{"b": 2}', None]))
    later = store.write_frame(changed, availability_lag=2 * LAG)
    assert (later.stored, later.revised) == (1, 1)
    with pytest.raises(ConflictingValueError, match="g@1 of A"):
        store.write_frame(changed, availability_lag=LAG)


@pytest.mark.parametrize(
    ("value", "document", "message"),
    [
        (1.0, '{"a": 1}', "row 1 has the number 1.0 and a document"),
        (None, "[1]", "give a finite number or a JSON object"),
        (None, "{a}", "is no JSON"),
        (None, '{"a": NaN}', "is no JSON object"),
    ],
)
def test_a_document_that_is_none_is_refused(
    store: FeatureStore, value: float | None, document: str, message: str
) -> None:
    columns = {"value": [1.0, value, 3.0], "value_json": [None, document, None]}
    with pytest.raises(InvalidValueError, match=message):
        store.write_frame(pa.table(LONG | columns), availability_lag=LAG)
    assert contents(store) == []


def test_a_long_frame_of_documents_needs_no_column_of_numbers(store: FeatureStore) -> None:
    columns = {name: values for name, values in LONG.items() if name != "value"}
    frame = pa.table(columns | {"value_json": ['{"a": 1}'] * 3})
    assert store.write_frame(frame, availability_lag=LAG).stored == 3
    assert store.get_latest("A", ["g"])["g"].value == {"a": 1}
