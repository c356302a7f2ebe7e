"""Price files in every accepted shape become the same bars; other files are refused clearly."""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from quant_mlops.errors import PriceFileError
from quant_mlops.market.calendar import trading_calendar
from quant_mlops.market.price_files import BARS_SCHEMA, PriceBatch, read_price_file
from quant_mlops.market.quarantine import write_quarantine

XNYS = trading_calendar("XNYS")
NOW = datetime(2025, 6, 2, 17, tzinfo=UTC)
LONG = "date,ticker,close\n2020-01-02,AAA,10\n2020-01-03,AAA,11\n2020-01-02,BBB,20\n"
Put = Callable[[str, str | bytes], Path]
DATA = Path(
    os.environ.get("QUANT_MLOPS_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data")
)


@pytest.fixture
def put(tmp_path: Path) -> Put:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def read(path: Path) -> PriceBatch:
    return read_price_file(path, calendar=XNYS, now=NOW)


def closes(batch: PriceBatch) -> list[tuple[str, date, float]]:
    columns = (batch.bars[name].to_pylist() for name in ("ticker", "session", "close"))
    return list(zip(*columns, strict=True))


EXPECTED = [
    ("AAA", date(2020, 1, 2), 10.0),
    ("AAA", date(2020, 1, 3), 11.0),
    ("BBB", date(2020, 1, 2), 20.0),
]


def test_bars_have_the_declared_columns_sorted_by_ticker_and_time(put: Put) -> None:
    path = put("long.csv", LONG)
    batch = read(path)
    assert batch.bars.schema.equals(BARS_SCHEMA)
    assert batch.bars.schema.names[:3] == ["ticker", "session", "open"]
    assert batch.bars.schema.field("event_time").type == pa.timestamp("us", "UTC")
    assert closes(batch) == EXPECTED
    assert batch.source == "long.csv"
    assert batch.sha256 == hashlib.sha256(LONG.encode()).hexdigest()
    assert (batch.layout, batch.rows_read, batch.empty_cells) == ("long", 3, 0)


def test_event_time_is_the_close_and_ingest_time_adds_the_lag(put: Put) -> None:
    path = put("half.csv", "date,ticker,close\n2020-11-27,AAA,10\n")
    close = datetime(2020, 11, 27, 18, tzinfo=UTC)
    assert read(path).bars["event_time"][0].as_py() == close
    assert read(path).bars["ingest_time"][0].as_py() == close + timedelta(minutes=15)
    later = read_price_file(path, calendar=XNYS, availability_lag=timedelta(hours=3), now=NOW)
    assert later.bars["ingest_time"][0].as_py() == close + timedelta(hours=3)
    with pytest.raises(PriceFileError, match="known before they exist"):
        read_price_file(path, calendar=XNYS, availability_lag=timedelta(seconds=-1))


def test_sessions_and_closes_are_those_of_the_calendar_given(put: Put) -> None:
    path = put("coin.csv", "date,ticker,close\n2020-12-25,BTC,24000\n2020-12-26,BTC,26000\n")
    batch = read_price_file(path, calendar=trading_calendar("24/7"), now=NOW)
    assert batch.bars["event_time"][0].as_py() == datetime(2020, 12, 26, tzinfo=UTC)
    with pytest.raises(PriceFileError, match=r"all 2 were rejected \(not_a_session 2\)"):
        read(path)


@pytest.mark.parametrize(
    "text",
    [
        "DATE,Ticker,CLOSE\n2020-01-03,AAA,11\n2020-01-02,BBB,20\n2020-01-02,AAA,10\n",
        "\ufeff" + LONG.replace("\n", "\r\n"),
        LONG.replace(",", ";"),
        LONG.replace(",", "\t"),
        "\n".join(",".join(f'"{c}"' for c in line.split(",")) for line in LONG.split()),
        LONG.replace("2020-01-02", "2020-01-02T00:00:00").replace("-03,", "-03 00:00:00-05:00,"),
        LONG.replace("2020-01-0", "2020010"),
        LONG.replace("2020-01-0", "2020/1/"),
        LONG.replace("2020-01-02", "02-Jan-2020").replace("2020-01-03", "03-Jan-2020"),
        LONG.replace("AAA", " AAA ").replace("10", " 10.0 ").replace("11", "+1.1e1"),
    ],
)
def test_variants_of_one_csv_file_give_the_same_bars(put: Put, text: str) -> None:
    assert closes(read(put("variant.csv", text))) == EXPECTED


@pytest.mark.parametrize(("a", "b"), [("14/01/2020", "15/01/2020"), ("01/14/2020", "01/15/2020")])
def test_day_and_month_are_told_apart_by_the_days_of_the_file(put: Put, a: str, b: str) -> None:
    batch = read(put("order.csv", f"date,ticker,close\n{a},AAA,10\n{b},AAA,11\n"))
    assert batch.bars["session"].to_pylist() == [date(2020, 1, 14), date(2020, 1, 15)]
    assert any("is above 12" in note for note in batch.notes)


def test_gzipped_csv_and_parquet_give_the_same_bars(put: Put, tmp_path: Path) -> None:
    assert closes(read(put("a.csv.gz", gzip.compress(LONG.encode())))) == EXPECTED
    table = {"date": ["2020-01-02", "2020-01-03", "2020-01-02"], "ticker": ["AAA", "AAA", "BBB"]}
    frame = pl.DataFrame({**table, "close": [10, 11, 20]})
    for name, column in {
        "text": pl.col("date"),
        "day": pl.col("date").str.to_date(),
        "ns": pl.col("date").str.to_date().cast(pl.Datetime("ns")),
        "zoned": pl.col("date").str.to_datetime(time_zone="America/New_York"),
        "number": pl.col("date").str.replace_all("-", "").cast(pl.Int64),
    }.items():
        path = tmp_path / f"{name}.PARQUET"
        frame.with_columns(column, pl.col("ticker").cast(pl.Categorical)).write_parquet(path)
        assert closes(read(path)) == EXPECTED, name


def test_wide_files_are_closes_and_empty_cells_no_prices(put: Put, tmp_path: Path) -> None:
    text = "Date,BBB,AAA\n2020-01-02,20,10\n2020-01-03,,11\n"
    batch = read(put("wide.csv", text))
    assert closes(batch) == EXPECTED
    assert (batch.layout, batch.rows_read, batch.empty_cells) == ("wide", 3, 1)
    frame = pd.read_csv(put("again.csv", text), index_col=0, parse_dates=True)
    frame.to_parquet(tmp_path / "named.parquet")
    frame.rename_axis(None).to_parquet(tmp_path / "unnamed.parquet")
    frame.rename_axis(None).to_csv(tmp_path / "unnamed.csv")
    for name in ("named.parquet", "unnamed.parquet", "unnamed.csv"):
        assert closes(read(tmp_path / name)) == EXPECTED, name


def test_a_wide_defect_is_reported_by_file_row_and_ticker(put: Put) -> None:
    text = "date,LOW,BRK.B\n2020-01-02,10,x\n2020-01-04,10,\n2020-01-06,11,2\n2020-01-07,0,3\n"
    batch = read(put("wide.csv", text))
    found = [(r["row_number"], r["ticker"], r["reason"]) for r in batch.rejected.to_pylist()]
    assert found == [
        (1, "BRK.B", "unreadable_close"),
        (2, "LOW", "not_a_session"),
        (4, "LOW", "close_not_positive"),
    ]
    assert batch.rows_read == 7
    assert batch.empty_cells == 1


def test_columns_under_other_names_are_taken_and_reported(put: Put) -> None:
    text = "timestamp,Symbol,Adj Close,Price,sector\n2020-01-02,AAA,9,10,tech\n"
    batch = read(put("synonyms.csv", text))
    assert batch.bars["close"].to_pylist() == [10]
    assert batch.bars["adj_close"].to_pylist() == [9]
    assert batch.notes[:2] == (
        "Columns read under another name: 'timestamp' as date, 'Symbol' as ticker, "
        "'Price' as close, 'Adj Close' as adj_close.",
        "Columns not used: 'sector'.",
    )


def test_tickers_that_look_like_nothing_or_like_numbers_stay_tickers(put: Put) -> None:
    batch = read(put("na.csv", "date,ticker,close\n2020-01-02,NA,10\n2020-01-02,0005,20\n"))
    assert batch.bars["ticker"].to_pylist() == ["0005", "NA"]


def test_tickers_that_differ_only_in_case_are_kept_apart_and_noted(put: Put) -> None:
    batch = read(put("case.csv", "date,ticker,close\n2020-01-02,aa,10\n2020-01-02,AA,20\n"))
    assert batch.bars["ticker"].to_pylist() == ["AA", "aa"]
    assert any("differ only in case" in note for note in batch.notes)


def test_row_numbers_count_blank_and_broken_lines(put: Put) -> None:
    text = "date,ticker,close\n2020-01-02,AAA,10\n\n2020-01-03,AAA\n,,\n  \n2020-01-06,AAA,-1\n"
    batch = read(put("lines.csv", text))
    found = [(row["row_number"], row["reason"]) for row in batch.rejected.to_pylist()]
    assert found == [(3, "broken_line"), (6, "close_not_positive")]
    assert batch.rows_read == 3
    assert "Blank lines passed over: 3." in batch.notes


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("zero.csv", "", r"zero.csv is empty \(0 bytes\)"),
        ("zero.parquet", "", r"zero.parquet is empty \(0 bytes\)"),
        ("zero.csv.gz", gzip.compress(b"", mtime=0), "empty once decompressed"),
        ("header.csv", "date,ticker,close\n", "column names and no rows"),
        ("header.csv", "date,ticker,close", "column names and no rows"),
        ("blanks.csv", "date,ticker,close\n\n,,\n", "column names and no rows"),
        ("first.csv", "\ndate,ticker,close\n", "begins with a blank line"),
        ("text.parquet", LONG, "named .parquet but does not begin like one.*text"),
        ("cut.parquet", b"PAR1" + b"0" * 64, "read as Parquet and is damaged"),
        ("text.csv.gz", LONG, "could not be decompressed"),
        (
            "zipped.csv",
            gzip.compress(b"x", mtime=0),
            "holds .csv.gz data; give it the ending .csv.gz",
        ),
        ("table.csv", b"PAR1" + b"0" * 64, "holds .parquet data"),
        ("excel.csv", LONG.encode("utf-16"), "is not UTF-8 text"),
        ("latin.csv", (LONG + "2020-01-06,\xe9,1\n").encode("latin-1"), "byte .* is not; save"),
        ("book.xlsx", b"PK", r"the ending .xlsx.*allowed are .csv, .csv.gz and .parquet"),
        ("prices", LONG, "has no ending"),
        ("quote.csv", LONG + '2020-01-06,"AAA,1\n', "opens a quotation mark on line 5"),
        ("two.csv", "date,ticker,Close,close\n", "no rows"),
        ("two.csv", "date,ticker,Close,close\n2020-01-02,A,1,2\n", "2 columns that read as close"),
        (
            "one.csv",
            "date,open,close\n2020-01-02,1,1\n",
            "has the columns 'date', 'open', 'close' and lacks ticker; needed are date, ticker",
        ),
        ("bare.csv", "2020-01-02,AAA,1\n2020-01-03,AAA,1\n", "lacks date, ticker, close"),
        ("mixed.csv", "date,AAA,sector\n2020-01-02,1,tech\n", "'sector' is not numeric"),
        ("void.csv", "date,AAA,BBB\n2020-01-02,,\n", "dates and no prices"),
        (
            "wide.csv",
            "date,AAA,BBB, AAA\n2020-01-02,1,2,1\n",
            "more than one column of 'AAA'; keep one",
        ),
        (
            "days.csv",
            "date,ticker,close\nsoon,AAA,1\n,AAA,1\n",
            r"no date that can be read \(found: 'soon'\)",
        ),
        (
            "ways.csv",
            LONG + "02/01/2020,AAA,1\n",
            "more than one way, '2020-01-02' in row 1 and '02/01/2020' in row 4",
        ),
        (
            "ways.csv",
            "date,ticker,close\n13/01/2020,A,1\n01/14/2020,A,1\n",
            "'13/01/2020' in row 1 and '01/14/2020' in row 2",
        ),
        (
            "order.csv",
            "date,ticker,close\n02/01/2020,AAA,1\n03/01/2020,AAA,1\n",
            "'02/01/2020' in row 1, where day and month cannot be told apart",
        ),
        (
            "intraday.csv",
            "date,ticker,close\n2020-01-02 15:30:00,AAA,1\n",
            "without a time of day",
        ),
        (
            "none.csv",
            "date,ticker,close\n2020-01-04,A,1\n2020-01-02,A,-1\n2020-01-05,A,1\n",
            r"all 3 were rejected \(not_a_session 2, close_not_positive 1\).*row 1 \(",
        ),
    ],
)
def test_a_file_that_is_no_price_file_is_refused_in_one_sentence(
    put: Put, name: str, content: str | bytes, said: str
) -> None:
    with pytest.raises(PriceFileError, match=said) as caught:
        read(put(name, content))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PriceFileError, match="there is no file"):
        read(tmp_path / "absent.csv")
    with pytest.raises(PriceFileError, match="is a folder"):
        read(tmp_path)


def test_two_level_columns_are_refused(tmp_path: Path) -> None:
    columns = pd.MultiIndex.from_tuples([("Close", "AAA"), ("Close", "BBB")])
    index = pd.DatetimeIndex(["2020-01-02"], name="Date")
    pd.DataFrame([[1.0, 2.0]], index, columns).to_parquet(tmp_path / "levels.parquet")
    with pytest.raises(PriceFileError, match="two-level column names"):
        read(tmp_path / "levels.parquet")


def test_the_quarantine_file_holds_every_report_and_a_rerun_replaces_it(
    put: Put, tmp_path: Path
) -> None:
    batch = read(
        put("bad.csv", LONG + '2020-01-04,"A, B",1\n2020-01-06,AAA,0\n2020-01-03,BBB,99\n')
    )
    folder = tmp_path / "reports" / "quarantine"
    first = write_quarantine(batch, folder)
    assert first is not None
    assert first.name == f"bad.csv.{batch.sha256[:12]}.quarantine.csv"
    with first.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["outcome"], row["row_number"], row["reason"]) for row in rows] == [
        ("rejected", "4", "not_a_session"),
        ("rejected", "5", "close_not_positive"),
        ("flagged", "6", "large_move"),
    ]
    assert rows[0]["ticker"] == "A, B"
    content = first.read_bytes()
    assert write_quarantine(batch, folder) == first
    assert first.read_bytes() == content
    assert list(folder.iterdir()) == [first]


def test_nothing_to_report_writes_nothing(put: Put, tmp_path: Path) -> None:
    folder = tmp_path / "quarantine"
    assert write_quarantine(read(put("good.csv", LONG)), folder) is None
    assert not folder.exists()


def real(name: str) -> Path:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{name} is not in {DATA}; set QUANT_MLOPS_TEST_DATA to the folder with it")
    return path


def test_five_years_of_the_sp500_show_their_known_defects() -> None:
    path = real("sp500_5yr.parquet")
    raw = pq.read_table(path)
    outside = pc.or_(pc.less(raw["close"], raw["low"]), pc.greater(raw["close"], raw["high"]))
    assert pc.sum(outside).as_py() == 9
    assert raw["open"].null_count == 11
    batch = read_price_file(path, calendar=XNYS)
    assert batch.rows_read == 619_040
    assert batch.bars.num_rows == 619_039
    rejected = [(r["row_number"], r["ticker"], r["date"]) for r in batch.rejected.to_pylist()]
    assert rejected == [(153_941, "AOS", "2014-05-19")]
    # The row of AOS is one of the nine closes outside the range, and its loss is a seventh gap.
    assert dict(batch.summary) == {
        "high_below_low": 1,
        "missing_open": 11,
        "missing_high": 8,
        "missing_low": 8,
        "close_outside_range": 8,
        "open_outside_range": 3,
        "large_move": 7,
        "zero_volume": 4,
    }
    assert dict(batch.gaps) == {
        "AOS": 1,
        "BMY": 2,
        "DHR": 16,
        "ES": 10,
        "ICE": 5,
        "O": 16,
        "ORCL": 2,
    }
    assert not pc.any(batch.bars["availability_observed"]).as_py()


def test_prices_crawled_day_by_day_keep_their_revisions() -> None:
    path = real("us_pit_sp500.parquet")
    raw = pq.read_table(path).to_pandas()
    batch = read_price_file(path, calendar=XNYS)
    fields = ["open", "high", "low", "close", "volume", "adj_close"]
    ordered = raw.sort_values(["ticker", "date", "known_at"], kind="stable")
    key, content = ordered[["ticker", "date"]].astype(str), ordered[fields]
    unchanged = (key == key.shift()).all(axis=1) & (content == content.shift()).all(axis=1)
    assert batch.unchanged == int(unchanged.sum()) == 223_627
    assert batch.bars.num_rows == 305_982
    assert batch.rejected.num_rows == 0
    assert batch.rows_read == 529_609
    assert dict(batch.summary) == {
        "unchanged_restatement": 223_627,
        "large_move": 26,
        "zero_volume": 11,
    }
    bars = batch.bars.group_by(["ticker", "session"]).aggregate([])
    assert batch.bars.num_rows - bars.num_rows == 35_861
    assert pc.all(batch.bars["availability_observed"]).as_py()
    assert pc.all(pc.greater(batch.bars["ingest_time"], batch.bars["event_time"])).as_py()
