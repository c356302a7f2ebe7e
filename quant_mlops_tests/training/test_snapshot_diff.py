"""Differences of training sets, held against a loop over their rows."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_mlops.training import snapshot_diff
from quant_mlops.training.snapshot_diff import CellDifference, SnapshotDiff, diff_files

FIRST = date(2024, 1, 2)
INSTANT = pa.timestamp("us", tz="UTC")
Rows = dict[tuple[date, str], dict[str, Any]]

keys = st.tuples(st.integers(0, 5).map(lambda n: FIRST + timedelta(days=n)), st.sampled_from("AbC"))
cells = st.fixed_dictionaries(
    {
        "rsi_14": st.sampled_from([0.0, -0.0, 1.5, 2.5, math.nan, None]),
        "label_known_at": st.sampled_from(
            [None, *(datetime(2024, 2, d, tzinfo=UTC) for d in (1, 2))]
        ),
    }
)
row_sets = st.dictionaries(keys, cells, min_size=1, max_size=12)


def table_of(rows: Rows) -> pa.Table:
    found = [
        {"session": day, "entity_key": entity, **rows[day, entity]} for day, entity in sorted(rows)
    ]
    schema = pa.schema(
        [
            ("session", pa.date32()), ("entity_key", pa.string()), ("rsi_14", pa.float64()),
            ("label_known_at", INSTANT),
        ]
    )  # fmt: skip
    return pa.Table.from_pylist(found, schema=schema)


def same(one: Any, other: Any) -> bool:
    absent = [value is None or value != value for value in (one, other)]
    return absent == [True, True] or (absent == [False, False] and one == other)


def plain(value: Any) -> Any:
    return None if value != value else value


def by_hand(before: Rows, after: Rows) -> dict[str, Any]:
    changed = [
        CellDifference(*key, name, before[key][name], after[key][name])
        for key in sorted(before.keys() & after.keys())
        for name in sorted(before[key])
        if not same(before[key][name], after[key][name])
    ]
    return {
        "cells": [
            (c.session, c.entity_key, c.column, plain(c.before), plain(c.after)) for c in changed
        ],
        "gone": sorted(before.keys() - after.keys()),
        "new": sorted(after.keys() - before.keys()),
        "compared": 2 * len(before.keys() & after.keys()),
    }


def in_files(folder: Path, before: Rows, after: Rows, **options: int) -> SnapshotDiff:
    paths = [folder / "before.parquet", folder / "after.parquet"]
    for path, rows in zip(paths, (before, after), strict=True):
        pq.write_table(table_of(rows), path, row_group_size=2)
    return diff_files(*paths, **options)


@given(before=row_sets, after=row_sets, sessions=st.sampled_from([1, 2, 500]))
def test_every_difference_is_found_whatever_is_read_at_a_time(
    tmp_path_factory: pytest.TempPathFactory, before: Rows, after: Rows, sessions: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot_diff, "SESSIONS_AT_A_TIME", sessions)
        found = in_files(tmp_path_factory.mktemp("diff"), before, after, cells=100)
    expected = by_hand(before, after)
    listed = [
        (c.session, c.entity_key, c.column, plain(c.before), plain(c.after)) for c in found.cells
    ]
    assert listed == expected["cells"]
    assert (list(found.keys_gone), list(found.keys_new)) == (expected["gone"], expected["new"])
    assert found.cells_compared == expected["compared"]
    assert found.cells_changed == len(expected["cells"])
    assert (found.rows_before, found.rows_after) == (len(before), len(after))
    assert found.identical == (not any(expected[k] for k in ("cells", "gone", "new")))


def test_a_list_is_cut_and_the_counts_are_not(tmp_path: Path) -> None:
    days = [FIRST + timedelta(days=n) for n in range(30)]
    before = {(day, "A"): {"rsi_14": 1.0, "label_known_at": None} for day in days}
    after = {(day, "A"): {"rsi_14": 1.0 + i, "label_known_at": None} for i, day in enumerate(days)}
    found = in_files(tmp_path, before, after, cells=3)
    assert [cell.session for cell in found.cells] == days[1:4]
    assert found.columns is not None
    assert (found.columns["rsi_14"].cells, found.columns["rsi_14"].largest) == (29, 29.0)
    assert "29 cells differ" in found.sentence()


def test_columns_that_only_one_has_are_named(tmp_path: Path) -> None:
    table = table_of({(FIRST, "A"): {"rsi_14": 1.0, "label_known_at": None}})
    renamed = table.rename_columns(["session", "entity_key", "rsi_15", "label_known_at"])
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(renamed, tmp_path / "b.parquet")
    found = diff_files(tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert (found.columns_gone, found.columns_new) == (("rsi_14",), ("rsi_15",))
    assert not found.identical
    assert "rsi_15 are new" in found.sentence()


def test_the_largest_difference_of_a_column_without_numbers_is_undefined(tmp_path: Path) -> None:
    moments = [datetime(2024, 2, day, tzinfo=UTC) for day in (1, 2)]
    sets = [{(FIRST, "A"): {"rsi_14": None, "label_known_at": moment}} for moment in moments]
    found = in_files(tmp_path, *sets)
    assert found.columns is not None
    assert np.isnan(found.columns["label_known_at"].largest)
    assert (found.cells[0].before, found.cells[0].after) == tuple(moments)
