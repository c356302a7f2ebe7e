"""What a fingerprint sees, and what it does not."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_mlops.training.fingerprint import FingerprintStream, fingerprint

INSTANT = pa.timestamp("us", tz="UTC")
DEFINITION = {"features": {"rsi_14": 1}, "label": {"horizon": 5}}


def sample() -> pa.Table:
    return pa.table(
        {
            "session": pa.array([date(2024, 1, 2), date(2024, 1, 2), date(1969, 12, 31), None]),
            "entity_key": pa.array(["AAPL", "BRK.B", "Zürich", None]),
            "time": pa.array([datetime(2024, 1, 2, 14, 30, tzinfo=UTC)] * 3 + [None], INSTANT),
            "rsi_14": pa.array([62.5, 0.0, None, -1e300]),
        }
    )


def by_hand(table: pa.Table, definition: dict[str, object]) -> str:
    """Compute the digest value by value, with nothing but struct."""
    columns = []
    for field in table.schema:
        values = table[field.name].to_pylist()
        text = b""
        if field.type == pa.string():
            words = [(value or "").encode() for value in values]
            numbers = b"".join(struct.pack("<i", len(word)) for word in words)
            text = b"".join(words)
        elif field.type == pa.float64():
            numbers = b"".join(struct.pack("<d", value or 0.0) for value in values)
        elif field.type == pa.date32():
            days = [0 if value is None else (value - date(1970, 1, 1)).days for value in values]
            numbers = b"".join(struct.pack("<q", day) for day in days)
        else:
            ticks = table[field.name].cast(pa.int64()).to_pylist()
            numbers = b"".join(struct.pack("<q", tick or 0) for tick in ticks)
        presence = bytes(value is not None for value in values)
        digests = [hashlib.sha256(part).hexdigest() for part in (presence, numbers, text)]
        columns.append([field.name, str(field.type), *digests])
    document = {"columns": columns, "rows": table.num_rows, "definition": definition}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def test_it_is_the_digest_of_the_canonical_bytes() -> None:
    assert fingerprint(sample(), DEFINITION) == by_hand(sample(), DEFINITION)


@given(
    words=st.lists(st.none() | st.text(max_size=5), max_size=9),
    start=st.integers(0, 4),
    cuts=st.lists(st.integers(0, 9), max_size=3),
)
def test_strings_enter_alike_however_they_are_kept(
    words: list[str | None], start: int, cuts: list[int]
) -> None:
    whole = pa.array(["padding"] * start + words, pa.string())
    plain = pa.table({"x": whole.slice(start)})
    expected = by_hand(pa.table({"x": pa.array(words, pa.string())}), {})
    assert fingerprint(plain, {}) == expected
    for other in (
        plain.set_column(0, "x", plain["x"].dictionary_encode()),
        plain.set_column(0, "x", plain["x"].cast(pa.large_string())),
        plain.set_column(0, "x", plain["x"].cast(pa.string_view())),
    ):
        assert fingerprint(other, {}) == expected
    bounds = [0, *sorted(min(cut, len(words)) for cut in cuts), len(words)]
    chunks = [pa.array(words[a:b], pa.string()) for a, b in pairwise(bounds)]
    chunked = pa.table({"x": pa.chunked_array(chunks, pa.string())})
    assert fingerprint(chunked, {}) == expected


def test_the_writer_and_its_row_groups_do_not_show(tmp_path: Path) -> None:
    expected = fingerprint(sample(), DEFINITION)
    for number, options in enumerate(
        [
            {"row_group_size": 1},
            {"use_dictionary": True, "compression": "zstd"},
            {"use_dictionary": False, "version": "1.0", "compression": "none"},
        ]
    ):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(sample(), path, **options)
        assert fingerprint(pq.read_table(path), DEFINITION) == expected


@given(cuts=st.lists(st.integers(0, 4), max_size=5))
def test_blocks_of_any_size_give_the_same(cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), 4]
    stream = FingerprintStream(DEFINITION)
    for start, end in pairwise(bounds):
        stream.update(sample().slice(start, end - start))
    assert stream.hexdigest() == fingerprint(sample(), DEFINITION)


def test_a_block_with_other_columns_is_refused() -> None:
    stream = FingerprintStream(DEFINITION)
    stream.update(sample())
    other = sample().select(["entity_key", "session", "time", "rsi_14"])
    with pytest.raises(ValueError, match="after blocks with"):
        stream.update(other)


def test_negative_zeros_and_kinds_of_nan_are_one() -> None:
    def of(values: list[float]) -> str:
        return fingerprint(pa.table({"x": pa.array(np.array(values))}), {})

    other_nan = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000001))[0]
    assert of([-0.0, 1.0]) == of([0.0, 1.0])
    assert of([other_nan]) == of([math.nan])
    assert of([math.nan]) != of([0.0])


def test_a_table_without_rows_has_one_too() -> None:
    empty = sample().slice(0, 0)
    assert fingerprint(empty, {}) == fingerprint(empty.combine_chunks(), {})
    assert fingerprint(empty, {}) != fingerprint(empty.select(["session"]), {})


@pytest.mark.parametrize("column", ["session", "entity_key", "time", "rsi_14"])
@pytest.mark.parametrize("row", [0, 3])
def test_one_changed_cell_shows(column: str, row: int) -> None:
    other = {
        "session": date(2024, 1, 3),
        "entity_key": "AAPM",
        "time": datetime(2024, 1, 2, 14, 30, 0, 1, tzinfo=UTC),
        "rsi_14": math.nextafter(62.5, 63),
    }
    rows = sample().to_pylist()
    rows[row][column] = other[column]
    changed = pa.Table.from_pylist(rows, schema=sample().schema)
    assert fingerprint(changed, DEFINITION) != fingerprint(sample(), DEFINITION)


def test_absent_is_neither_zero_nor_the_empty_string() -> None:
    seen = {
        fingerprint(pa.table({"x": column}), {})
        for column in (
            pa.array([None, 1.0]),
            pa.array([0.0, 1.0]),
            pa.array([None, ""], pa.string()),
            pa.array(["", ""]),
            pa.array([None, date(1970, 1, 1)], pa.date32()),
            pa.array([date(1970, 1, 1)] * 2, pa.date32()),
        )
    }
    assert len(seen) == 6


def test_words_do_not_run_into_each_other() -> None:
    seen = {
        fingerprint(pa.table({"x": pa.array(words)}), {}) for words in (["ab", "c"], ["a", "bc"])
    }
    assert len(seen) == 2


def test_order_names_and_versions_count() -> None:
    table = sample()
    seen = {
        fingerprint(table, DEFINITION),
        fingerprint(table.select(table.column_names[::-1]), DEFINITION),
        fingerprint(table.take([1, 0, 2, 3]), DEFINITION),
        fingerprint(table.rename_columns(["session", "entity_key", "time", "rsi_15"]), DEFINITION),
        fingerprint(table, DEFINITION | {"features": {"rsi_14": 2}}),
        fingerprint(table, DEFINITION | {"label": {"horizon": 6}}),
    }
    assert len(seen) == 6


def test_the_order_in_which_a_definition_was_written_down_does_not_count() -> None:
    assert fingerprint(sample(), {"b": 1, "a": {"d": 2, "c": 3}}) == fingerprint(
        sample(), {"a": {"c": 3, "d": 2}, "b": 1}
    )
