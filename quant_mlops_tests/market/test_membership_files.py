"""A membership file becomes rows with the time each could be known, or is refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quant_mlops.errors import MembershipFileError
from quant_mlops.market.calendar import trading_calendar
from quant_mlops.market.membership import MEMBERSHIP_SCHEMA
from quant_mlops.market.membership_files import MembershipFile, read_membership_file

HEADER = "ticker,start_date,end_date\n"
OBSERVED = "ticker,start_date,end_date,known_at\n"
Put = Callable[[str], Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    def put(content: str) -> Path:
        (tmp_path / "index.csv").write_text(content, "utf-8")
        return tmp_path / "index.csv"

    return put


def read(path: Path, exchange: str = "XNYS") -> MembershipFile:
    return read_membership_file(path, calendar=trading_calendar(exchange))


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


SPELLS = [("B", date(2020, 3, 2), date(2020, 7, 15)), ("A", date(2020, 1, 6), None)]
ROWS = [
    ("A", date(2020, 1, 6), None, utc(2020, 1, 6, 5)),
    ("B", date(2020, 3, 2), None, utc(2020, 3, 2, 5)),
    ("B", date(2020, 3, 2), date(2020, 7, 15), utc(2020, 7, 16, 4)),
]


def found(file: MembershipFile) -> list[tuple[Any, ...]]:
    assert file.rows.schema == MEMBERSHIP_SCHEMA
    return [tuple(row.values()) for row in file.rows.to_pylist()]


def test_a_start_is_known_as_its_day_begins_and_an_end_once_the_last_day_is_over(
    put: Put,
) -> None:
    file = read(put(HEADER + "B,2020-03-02,2020-07-15\n A ,2020-01-06,\n"))
    assert found(file) == ROWS
    assert (file.lines, file.spells, file.source, file.notes) == (2, 2, "index.csv", ())


def test_midnight_is_that_of_the_market_and_where_there_is_none_the_first_instant(
    put: Put,
) -> None:
    # Clocks in São Paulo went from 23:59 to 1:00 as the first of these days began.
    file = read(put(HEADER + "A,2018-11-04,2018-12-03\n"), "BVMF")
    assert [row[3] for row in found(file)] == [utc(2018, 11, 4, 3), utc(2018, 12, 4, 2)]


@pytest.mark.parametrize("text", ["plain", "large", "dictionary"])
@pytest.mark.parametrize("day", ["date", "timestamp", "text"])
def test_parquet_of_any_kind_of_text_and_day_is_read_alike(
    tmp_path: Path, text: str, day: str
) -> None:
    tickers = pa.array([row[0] for row in SPELLS])
    kinds = {"plain": pa.string(), "large": pa.large_string()}
    tickers = tickers.dictionary_encode() if text == "dictionary" else tickers.cast(kinds[text])
    columns = []
    for place in (1, 2):
        days = pa.array([row[place] for row in SPELLS], pa.date32())
        if day == "timestamp":
            days = days.cast(pa.timestamp("ns"))
        columns.append(days.cast(pa.string()) if day == "text" else days)
    path = tmp_path / "index.parquet"
    pq.write_table(pa.table([tickers, *columns], names=["Ticker", "start_date", "END_DATE"]), path)
    assert found(read(path)) == ROWS


def test_an_end_column_without_any_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    days = pa.array([date(2020, 1, 6)], pa.date32())
    pq.write_table(pa.table({"ticker": ["A"], "start_date": days, "end_date": pa.nulls(1)}), path)
    assert found(read(path)) == ROWS[:1]


def test_with_known_at_each_line_is_a_row_as_observed(put: Put) -> None:
    file = read(
        put(
            OBSERVED
            + "A,2020-01-06,2020-06-30,2020-06-01T12:00:00Z\n"
            + "A,2020-01-06,,2020-01-03\n"
            + "B,2020-02-03,,2020-02-03T09:00\n"
            + "B,2020-02-03,2020-02-02,2020-02-04T09:00-05:00\n"
            + "A,2020-07-01,,2020-06-30T12:00Z\n"
        )
    )
    assert found(file) == [
        ("A", date(2020, 1, 6), None, datetime(2020, 1, 4, 4, 59, 59, 999_999, UTC)),
        ("A", date(2020, 1, 6), date(2020, 6, 30), utc(2020, 6, 1, 12)),
        ("A", date(2020, 7, 1), None, utc(2020, 6, 30, 12)),
        ("B", date(2020, 2, 3), None, utc(2020, 2, 3, 14)),
        ("B", date(2020, 2, 3), date(2020, 2, 2), utc(2020, 2, 4, 14)),
    ]
    assert (file.lines, file.spells) == (5, 3)
    assert "read in America/New_York" in file.notes[0]


def test_a_moved_start_with_its_withdrawal_is_no_overlap(put: Put) -> None:
    moved = "A,2020-01-06,,2020-01-06\nA,2020-01-08,,2020-01-09\n"
    assert len(found(read(put(OBSERVED + moved + "A,2020-01-06,2020-01-05,2020-01-09\n")))) == 3
    with pytest.raises(MembershipFileError, match=r"row 2: .*which row 1 gives no end"):
        read(put(OBSERVED + moved))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "index.csv is empty"),
        (HEADER, "no rows"),
        ("ticker,start_date\nA,2020-01-06\n", "lacks 'end_date'"),
        ("ticker,start_date,end_date,weight\nA,2020-01-06,,1\n", "has also 'weight'"),
        ("ticker,ticker,start_date,end_date\nA,A,2020-01-06,\n", "repeats 'ticker'"),
        (HEADER + "A,2020-01-06,\n,2020-01-06,\n", "row 2: there is no ticker"),
        (HEADER + "A,2020-01-06,\nB,2020-01-06\n", "row 2: the line has more or fewer cells"),
        (HEADER + "A,2020-01-06,\n\nB,,\nC,,\n", r"row 3: start_date '' .*for 1 further rows"),
        (HEADER + "A,2020-01-06,soon\n", "row 1: end_date 'soon' cannot be read"),
        (HEADER + "A,2020-01-06,2020-13-01\n", "row 1: end_date '2020-13-01' cannot be read"),
        (HEADER + "A,06/01/2020,2020-02-01\n", "days in more than one way"),
        (HEADER + "A,2020-01-06,9999-12-31\n", "row 1: end_date 9999-12-31 .*leave end_date empty"),
        (HEADER + "A,1066-10-14,\n", "row 1: start_date 1066-10-14 is not between"),
        (HEADER + "A,2020-01-06,2020-01-05\n", "from 2020-01-06 ends on 2020-01-05, before it"),
        (HEADER + "A,2020-01-06,\nB,2020-01-06,\nA,2020-01-06,\n", "row 3: .*is there twice"),
        (
            HEADER + "A,2020-03-02,\nA,2020-01-06,2020-03-02\n",
            "row 1: the spell of A from 2020-03-02 begins within that from 2020-01-06, which row 2",
        ),
        (OBSERVED + "A,2020-01-06,,2020-01-06\nB,2020-01-06,,\n", "row 2: known_at '' cannot"),
        (OBSERVED + "A,2020-01-06,,yesterday\n", "row 1: known_at 'yesterday' cannot be read"),
        (OBSERVED + "A,2020-01-06,2020-01-04,2020-01-06\n", "ends on 2020-01-04, before it begins"),
        (
            OBSERVED + "A,2020-01-06,,2020-01-06\nA,2020-01-06,2020-02-01,2020-01-06\n",
            "row 2: the spell of A from 2020-01-06 is there twice as known at one time",
        ),
    ],
)
def test_a_file_that_cannot_be_true_is_refused_with_row_and_reason(
    put: Put, content: str, said: str
) -> None:
    with pytest.raises(MembershipFileError, match=said) as caught:
        read(put(content))
    assert "\n" not in str(caught.value)


def test_spells_that_touch_and_rows_of_other_tickers_are_no_overlap(put: Put) -> None:
    lines = "A,2020-01-06,2020-03-02\nA,2020-03-03,\nB,2020-01-06,\nNA,2020-02-03,\n"
    assert read(put(HEADER + lines)).rows["entity_key"].to_pylist() == ["A", "A", "A", "B", "NA"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MembershipFileError, match=r"no file .*none\.csv"):
        read(tmp_path / "none.csv")
