"""What pages show: tables in their order, numbers in few digits, NULL where there is none."""

from __future__ import annotations

import dagster as dg
import numpy as np

from quant_mlops.orchestration.metadata import shown_number, shown_table


def test_a_table_keeps_the_order_of_its_columns_and_marks_what_is_undefined() -> None:
    table = shown_table(
        ("session", "IC", "rows", "kept"),
        [("2022-12-28", np.float64(0.123456), 3, True), (None, float("nan"), 0, False)],
    )
    assert [column.name for column in table.schema.columns] == ["session", "IC", "rows", "kept"]
    assert [record.data for record in table.records] == [
        {"session": "2022-12-28", "IC": "0.1235", "rows": 3, "kept": "yes"},
        {"session": "", "IC": "NULL", "rows": 0, "kept": "no"},
    ]


def test_a_table_without_rows_has_its_header() -> None:
    table = shown_table(("feature", "stored"), [])
    assert table.records == []
    assert [column.name for column in table.schema.columns] == ["feature", "stored"]


def test_a_number_that_is_undefined_can_be_stored_and_queried() -> None:
    assert shown_number(0.01437345084674906) == 0.0143735
    # GraphQL has no NaN: the whole answer that holds one is an error.
    for value in (float("nan"), float("inf")):
        event = dg.AssetMaterialization("metrics", metadata={"mean_ic": shown_number(value)})
        assert isinstance(event.metadata["mean_ic"], dg.NullMetadataValue)
