"""Every rule on prices finds the rows that break it, and no others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_mlops.market.calendar import trading_calendar
from quant_mlops.market.price_checks import RULES
from quant_mlops.market.price_files import PriceBatch, read_price_file

XNYS = trading_calendar("XNYS")
NOW = datetime(2025, 6, 2, 17, tzinfo=UTC)  # a Monday, during the session
BAR = "date,ticker,open,high,low,close,volume\n"
GOOD = "2020-01-02,AAA,10,11,9,10.5,100\n"
Read = Callable[[str], PriceBatch]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def from_text(text: str) -> PriceBatch:
        path = tmp_path / "prices.csv"
        path.write_text(text, "utf-8")
        return read_price_file(path, calendar=XNYS, now=NOW)

    return from_text


def rejections(batch: PriceBatch) -> list[tuple[int, str]]:
    return [(row["row_number"], row["reason"]) for row in batch.rejected.to_pylist()]


def flags(batch: PriceBatch) -> list[tuple[int, str]]:
    return [(row["row_number"], row["reason"]) for row in batch.flagged.to_pylist()]


def test_every_rule_states_itself_in_one_sentence() -> None:
    for rule in RULES:
        assert rule.sentence[0].isupper()
        assert rule.sentence.endswith(".")
        assert ". " not in rule.sentence
        assert rule.severity in ("reject", "omit", "flag")


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        (",AAA,10,11,9,10,1", "missing_date", "the date is empty"),
        ("soon,AAA,10,11,9,10,1", "unreadable_date", "soon is not a day"),
        ("2020-02-30,AAA,10,11,9,10,1", "unreadable_date", "2020-02-30 is not a day"),
        ("2020-01-03 16:00,AAA,10,11,9,10,1", "unreadable_date", "2020-01-03 16:00 is not a day"),
        ("2020-01-03, ,10,11,9,10,1", "missing_ticker", "the ticker is empty"),
        ("2020-01-03,AAA,10,11,9,,1", "missing_close", "the close is empty"),
        ("2020-01-03,AAA,10,11,9,n/a,1", "missing_close", "the close is empty"),
        ("2020-01-03,AAA,10,11,9,ten,1", "unreadable_close", "the close ten is not a number"),
        ("2020-01-03,AAA,10,11,9,inf,1", "infinite_value", "a field of the row is infinite"),
        ("2020-01-03,AAA,10,1e999,9,10,1", "infinite_value", "a field of the row is infinite"),
        ("2020-01-03,AAA,10,11,9,0,1", "close_not_positive", "the close is 0"),
        ("2020-01-03,AAA,10,11,9,-4.5,1", "close_not_positive", "the close is -4.5"),
        ("2020-01-03,AAA,10,9,11,10,1", "high_below_low", "the high 9 is below the low 11"),
        ("2020-01-04,AAA,10,11,9,10,1", "not_a_session", "2020-01-04 is not a session"),
        ("2020-07-03,AAA,10,11,9,10,1", "not_a_session", "2020-07-03 is not a session"),
        ("1989-12-29,AAA,10,11,9,10,1", "outside_calendar", "1989-12-29 lies outside"),
        ("2025-06-02,AAA,10,11,9,10,1", "date_in_future", "the session 2025-06-02 had not closed"),
        ("2199-01-02,AAA,10,11,9,10,1", "date_in_future", "the session 2199-01-02 had not closed"),
        ("2020-01-03,AAA,10,11,9", "broken_line", "does not have as many cells"),
        ("2020-01-03,AAA,10,11,9,10,1,2", "broken_line", "does not have as many cells"),
    ],
)
def test_a_row_that_breaks_a_rule_is_rejected_by_number_and_reason(
    read: Read, row: str, reason: str, detail: str
) -> None:
    batch = read(BAR + GOOD + row + "\n" + GOOD.replace("AAA", "BBB"))
    assert rejections(batch) == [(2, reason)]
    assert detail in batch.rejected["detail"][0].as_py()
    assert batch.bars.num_rows == 2
    assert batch.rows_read == 3
    assert flags(batch) == []


def test_a_row_with_several_defects_is_rejected_once_for_the_first(read: Read) -> None:
    batch = read(BAR + GOOD + "2020-01-04,,10,9,11,-1,1\n")
    assert rejections(batch) == [(2, "missing_ticker")]


def test_the_rejected_date_is_the_text_of_the_file(read: Read) -> None:
    batch = read(BAR + GOOD + "2020-13-45,AAA,10,11,9,10,1\n")
    assert batch.rejected["date"].to_pylist() == ["2020-13-45"]


@pytest.mark.parametrize(
    ("row", "reasons", "field", "value"),
    [
        ("2020-01-03,AAA,,11,9,10,1", ["missing_open"], "open", None),
        ("2020-01-03,AAA,10,,9,10,1", ["missing_high"], "high", None),
        ("2020-01-03,AAA,10,11,NaN,10,1", ["missing_low"], "low", None),
        ("2020-01-03,AAA,10,11,9,10,", ["missing_volume"], "volume", None),
        ("2020-01-03,AAA,0,11,9,10,1", ["field_nulled"], "open", None),
        ("2020-01-03,AAA,10,11,-9,10,1", ["field_nulled"], "low", None),
        ("2020-01-03,AAA,10,high,9,10,1", ["field_nulled"], "high", None),
        ("2020-01-03,AAA,10,11,9,10,many", ["field_nulled"], "volume", None),
        ("2020-01-03,AAA,10,11,9,10,-7", ["negative_volume"], "volume", None),
        ("2020-01-03,AAA,10,11,9,10,0", ["zero_volume"], "volume", 0.0),
        ("2020-01-03,AAA,10,11,9,11.01,1", ["close_outside_range"], "close", 11.01),
        ("2020-01-03,AAA,8.99,11,9,10,1", ["open_outside_range"], "open", 8.99),
        ("2020-01-03,AAA,10,11,9,11.000000001,1", [], "close", 11.000000001),
        ("2020-01-03,AAA,10,22,9,21.5,1", ["large_move"], "close", 21.5),
        ("2020-01-03,AAA,5,11,4,5.2,1", ["large_move"], "close", 5.2),
        ("2020-01-03,AAA,5,11,4,5.25,1", [], "close", 5.25),
    ],
)
def test_a_doubtful_row_is_kept_and_flagged(
    read: Read, row: str, reasons: list[str], field: str, value: float | None
) -> None:
    batch = read(BAR + GOOD + row + "\n")
    assert flags(batch) == [(2, reason) for reason in reasons]
    assert rejections(batch) == []
    assert batch.bars[field].to_pylist()[1] == value


def test_columns_that_the_file_does_not_have_are_not_missed(read: Read) -> None:
    batch = read("date,ticker,close\n2020-01-02,AAA,10\n")
    assert flags(batch) == []
    assert batch.bars["open"].to_pylist() == [None]


def test_a_large_move_is_between_neighbouring_sessions_of_one_ticker(read: Read) -> None:
    batch = read(
        "date,ticker,close\n2020-01-02,AAA,10\n2020-01-06,AAA,30\n2020-01-07,BBB,90\n"
        "2020-01-07,AAA,90\n"
    )
    assert flags(batch) == [(4, "large_move")]
    assert batch.flagged["detail"].to_pylist() == ["moved by +200% since the session before"]


def test_an_adjusted_close_that_is_given_must_be_usable(read: Read) -> None:
    batch = read(
        "date,ticker,close,adj_close\n2020-01-02,AAA,10,9\n2020-01-03,AAA,10,0\n"
        "2020-01-06,AAA,10,x\n2020-01-07,AAA,10,\n"
    )
    assert rejections(batch) == [(2, "unusable_adj_close"), (3, "unusable_adj_close")]
    assert flags(batch) == [(4, "missing_adj_close")]
    assert batch.bars["close"].to_pylist() == [10, 10]
    assert batch.bars["adj_close"].to_pylist() == [9, None]


def test_adjusted_closes_decide_what_a_large_move_is(read: Read) -> None:
    batch = read(
        "date,ticker,close,adj_close\n2020-01-02,AAA,100,50\n2020-01-03,AAA,50,50\n"
        "2020-01-06,AAA,50,20\n"
    )
    assert flags(batch) == [(3, "large_move")]


def test_of_exact_duplicates_the_first_is_kept(read: Read) -> None:
    batch = read(BAR + GOOD + GOOD.replace("AAA", "BBB") + GOOD + GOOD)
    assert rejections(batch) == [(3, "exact_duplicate"), (4, "exact_duplicate")]
    assert batch.bars["ticker"].to_pylist() == ["AAA", "BBB"]


def test_duplicates_that_lack_the_same_field_are_exact(read: Read) -> None:
    row = GOOD.replace(",10,11", ",,11")
    assert rejections(read(BAR + row + row)) == [(2, "exact_duplicate")]


def test_of_conflicting_duplicates_none_is_kept_though_two_of_them_agree(read: Read) -> None:
    other = GOOD.replace("10.5", "10.6")
    batch = read(BAR + GOOD + GOOD.replace("AAA", "BBB") + other + GOOD)
    assert rejections(batch) == [(n, "conflicting_duplicate") for n in (1, 3, 4)]
    assert batch.bars["ticker"].to_pylist() == ["BBB"]


def test_an_empty_field_conflicts_with_a_filled_one(read: Read) -> None:
    batch = read(BAR + GOOD.replace(",10,11", ",,11") + GOOD + GOOD.replace("AAA", "BBB"))
    assert rejections(batch) == [(1, "conflicting_duplicate"), (2, "conflicting_duplicate")]


def test_a_rejected_row_is_no_rival_of_a_good_one(read: Read) -> None:
    batch = read(BAR + GOOD + GOOD.replace("10.5", "-10.5"))
    assert rejections(batch) == [(2, "close_not_positive")]
    assert batch.bars["close"].to_pylist() == [10.5]


REVISED = "date,ticker,close,known_at\n"


def test_prints_with_different_times_known_are_revisions_in_order(read: Read) -> None:
    batch = read(
        REVISED
        + "2020-01-02,AAA,11,2020-01-04T08:00:00Z\n"
        + "2020-01-02,AAA,10,2020-01-03T08:00:00Z\n"
        + "2020-01-02,AAA,11,2020-01-05T08:00:00Z\n"
        + "2020-01-02,AAA,10,2020-01-06T08:00:00Z\n"
    )
    assert batch.bars["close"].to_pylist() == [10, 11, 10]
    assert [t.day for t in batch.bars["ingest_time"].to_pylist()] == [3, 4, 6]
    assert batch.unchanged == 1
    assert dict(batch.summary) == {"unchanged_restatement": 1}
    assert rejections(batch) == []


def test_one_time_known_with_two_contents_is_a_conflict(read: Read) -> None:
    batch = read(
        REVISED
        + "2020-01-02,AAA,11,2020-01-03T08:00:00Z\n"
        + "2020-01-02,AAA,12,2020-01-03 03:00:00\n"  # the same instant as New York wall time
        + "2020-01-02,AAA,13,2020-01-04T08:00:00Z\n"
    )
    assert rejections(batch) == [(1, "conflicting_duplicate"), (2, "conflicting_duplicate")]
    assert batch.bars["close"].to_pylist() == [13]


@pytest.mark.parametrize(
    ("known_at", "reason"),
    [
        ("2020-01-03T20:59:59Z", "known_before_close"),
        ("2020-01-03 15:59:59.999999", "known_before_close"),
        ("2025-06-02T17:00:01Z", "known_in_future"),
        ("later", "unreadable_known_at"),
        ("2020-03-08 02:30:00", "unreadable_known_at"),  # skipped by daylight saving time
        ("2020-11-01 01:30:00", "unreadable_known_at"),  # occurs twice
    ],
)
def test_a_time_known_that_cannot_be_rejects_the_row(
    read: Read, known_at: str, reason: str
) -> None:
    good = "2020-01-02,AAA,10,2020-01-02T21:00:00Z\n"
    batch = read(REVISED + good + f"2020-01-03,AAA,10,{known_at}\n")
    assert rejections(batch) == [(2, reason)]


def test_a_day_without_a_time_was_known_at_its_end(read: Read) -> None:
    batch = read(REVISED + "2020-01-02,AAA,10,2020-01-02\n")
    known = batch.bars["ingest_time"][0].as_py()
    assert known == datetime(2020, 1, 3, 4, 59, 59, 999999, tzinfo=UTC)
    assert any("end of that day" in note for note in batch.notes)


def test_a_row_without_time_known_is_assumed_and_says_so(read: Read) -> None:
    batch = read(REVISED + "2020-01-02,AAA,10,\n2020-01-03,AAA,10,2020-01-04T00:00:00Z\n")
    assert batch.bars["availability_observed"].to_pylist() == [False, True]
    assert batch.bars["ingest_time"][0].as_py() == datetime(2020, 1, 2, 21, 15, tzinfo=UTC)


def test_interior_gaps_are_counted_in_sessions(read: Read) -> None:
    batch = read(
        "date,ticker,close\n2020-07-01,AAA,10\n2020-07-08,AAA,10\n2020-07-01,BBB,1\n"
        "2020-07-02,BBB,1\n2020-07-06,BBB,1\n2020-07-08,CCC,1\n"
    )
    assert dict(batch.gaps) == {"AAA": 3}  # 2, 6 and 7 July; the 3rd was a holiday
    assert any("first and last of a ticker: 3 (AAA 3)" in note for note in batch.notes)


CELLS = {
    "date": ["2020-01-02", "2020-01-03", "2020-01-04", "", "junk"],
    "ticker": ["AAA", "BBB", ""],
    "high": ["11", "12", "", "-1", "x"],
    "low": ["9", "11.5", "", "0"],
    "close": ["10", "10.5", "", "0", "inf", "x"],
    "known_at": ["", "2020-01-03T22:00:00Z", "2020-01-06T22:00:00Z", "2020-01-01", "x"],
}


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(
        st.one_of(
            st.tuples(*(st.sampled_from(cells) for cells in CELLS.values())),
            st.just(("2020-01-02", "AAA", "11", "9", "10", "")),
            st.just(("cut", "short")),
        ),
        min_size=1,
        max_size=40,
    ),
    with_known_at=st.booleans(),
)
def test_bars_rejected_and_unchanged_rows_add_up_to_the_rows_read(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, ...]],
    with_known_at: bool,
) -> None:
    width = len(CELLS) if with_known_at else len(CELLS) - 1
    header = list(CELLS)[:width]
    rows = [("2020-01-06", "ZZZ", "11", "9", "10", ""), *rows]  # a file needs one good row
    path = tmp_path_factory.mktemp("sums") / "prices.csv"
    path.write_text("\n".join(",".join(row[:width]) for row in [header, *rows]) + "\n", "utf-8")
    batch = read_price_file(path, calendar=XNYS, now=NOW)
    bars, rejected = batch.bars, batch.rejected
    # A line of separators alone is passed over like an empty one.
    filled = sum(any(row[:width]) for row in rows)
    assert batch.rows_read == filled
    assert bars.num_rows + rejected.num_rows + batch.unchanged == filled
    assert len(set(rejected["row_number"].to_pylist())) == rejected.num_rows
    keys = list(
        zip(*(bars[k].to_pylist() for k in ("ticker", "event_time", "ingest_time")), strict=True)
    )
    assert keys == sorted(set(keys))
    assert all(event <= ingest for _, event, ingest in keys)
    assert with_known_at or batch.unchanged == 0
