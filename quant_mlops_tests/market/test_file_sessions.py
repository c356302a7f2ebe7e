"""A price file's sessions are those of its usable prices, read again when the file has changed."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet
import pytest

from quant_mlops.market import file_sessions
from quant_mlops.market.file_sessions import sessions_in_file

# A Thursday, a Friday, a Saturday, a Monday without a usable price, and a Tuesday.
LONG = """Date,Symbol,Close
2020-01-02,AAA,10
2020-01-02,BBB,20
2020-01-03,AAA,
2020-01-03,BBB,21
2020-01-04,AAA,11
2020-01-06,AAA,-1
2020-01-06,BBB,n/a
2020-01-07,AAA,12
"""
WIDE = "date,AAA,BBB\n2020-01-02,10,20\n2020-01-03,,21\n2020-01-06,,\n2020-01-07,12,\n"
PRICED = {date(2020, 1, 2), date(2020, 1, 3), date(2020, 1, 7)}


@pytest.mark.parametrize("text", [LONG, WIDE])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_sessions_are_those_with_a_price_above_zero(text: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(text)
    if ending == "parquet":
        table = pyarrow.csv.read_csv(path)
        path = tmp_path / "prices.parquet"
        pyarrow.parquet.write_table(table, path)
    assert sessions_in_file(path, "XNYS") == PRICED


def test_a_file_is_read_once_until_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(LONG)
    reads = []
    read = file_sessions.read_source
    monkeypatch.setattr(file_sessions, "read_source", lambda p: reads.append(p) or read(p))
    for _ in range(2):
        assert sessions_in_file(path, "XNYS") == PRICED
    assert len(reads) == 1
    path.write_text(LONG + "2020-01-08,AAA,13\n")
    assert sessions_in_file(path, "XNYS") == PRICED | {date(2020, 1, 8)}
    os.utime(path, (1, 1))
    sessions_in_file(path, "XNYS")
    assert len(reads) == 3


@pytest.mark.parametrize("content", [None, "", "a,b\n1,2\n"])
def test_a_file_that_cannot_be_read_has_no_session(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    if content is not None:
        path.write_text(content)
    assert sessions_in_file(path, "XNYS") == frozenset()
