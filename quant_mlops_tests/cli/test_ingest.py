"""`ingest prices`: what is wrong with a file is said, and nothing of it is half-stored."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quant_mlops.database import Database
from quant_mlops.demonstration import bundled_strategies
from quant_mlops.market.strategy_tickers import traded_tickers

HEADER = "date,ticker,open,high,low,close,volume\n"
GOOD = [
    "2022-03-01,AAA,10.0,11.0,9.5,10.5,1000",
    "2022-03-01,BBB,20.0,21.0,19.5,20.5,1000",
    "2022-03-02,AAA,10.5,11.5,10.0,11.0,1000",
    "2022-03-02,BBB,20.5,21.5,20.0,21.0,1000",
]


@pytest.fixture
def bars(database: Database) -> Callable[[], int]:
    def count() -> int:
        row = database.fetch_one("SELECT count(*) FROM price_bars")
        assert row is not None
        return int(row[0])

    return count


def write(path: Path, rows: list[str], header: str = HEADER) -> Path:
    path.write_text(header + "\n".join(rows) + "\n")
    return path


def test_a_clean_file_is_stored_once(empty: Any, bars: Callable[[], int], tmp_path: Path) -> None:
    path = write(tmp_path / "good.csv", GOOD)
    document = empty("ingest", "prices", path, "--json").document
    assert (document["rows_read"], document["bars"], document["stored"]) == (4, 4, 4)
    assert document["defects"] == []
    assert document["quarantine"] is None
    again = empty("ingest", "prices", path, "--json").document
    assert (again["stored"], again["repeated"]) == (0, 4)
    assert bars() == 4


def test_a_person_is_told_the_same(empty: Any, tmp_path: Path) -> None:
    found = empty("ingest", "prices", write(tmp_path / "good.csv", GOOD))
    assert found.status == 0
    assert "good.csv" in found.stdout


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", b"", "empty.csv"),
        ("header.csv", HEADER.encode(), "header.csv"),
        ("text.parquet", b"date,ticker,close\n2022-03-01,AAA,1.0\n", "text.parquet"),
        ("empty.parquet", b"", "empty.parquet"),
        ("binary.csv", bytes(range(256)) * 8, "binary.csv"),
        ("columns.csv", b"day,colour,size\n2022-03-01,red,5\n", "columns.csv"),
        ("dates.csv", b"date,ticker,close\nnever,AAA,1.0\nsoon,BBB,2.0\n", "dates.csv"),
    ],
)
def test_a_file_that_holds_no_prices_is_refused_in_a_sentence(
    empty: Any, bars: Callable[[], int], tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert message in empty.fails("ingest", "prices", path)
    assert bars() == 0
    assert message in empty.fails("ingest", "prices", path, "--json")


def test_a_missing_file_and_a_folder_are_refused_in_a_sentence(empty: Any, tmp_path: Path) -> None:
    assert "nowhere.csv" in empty.fails("ingest", "prices", tmp_path / "nowhere.csv")
    assert str(tmp_path) in empty.fails("ingest", "prices", tmp_path)


def test_an_unknown_calendar_is_refused_in_a_sentence(empty: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "good.csv", GOOD)
    assert "'NOWHERE'" in empty.fails("ingest", "prices", path, "--calendar", "NOWHERE")


DEFECTS = {
    "zero price": "2022-03-03,AAA,10.0,11.0,9.5,0,1000",
    "negative price": "2022-03-03,AAA,10.0,11.0,9.5,-1.0,1000",
    "high below low": "2022-03-03,AAA,10.0,9.0,11.0,10.0,1000",
    "infinity": "2022-03-03,AAA,10.0,inf,9.5,10.0,1000",
    "infinite close": "2022-03-03,AAA,10.0,11.0,9.5,inf,1000",
    "no number": "2022-03-03,AAA,10.0,11.0,9.5,abc,1000",
    "a holiday": "2022-02-21,AAA,10.0,11.0,9.5,10.0,1000",
    "no ticker": "2022-03-03,,10.0,11.0,9.5,10.0,1000",
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defective_row_is_quarantined_with_its_number_or_refuses_the_file(
    empty: Any, bars: Callable[[], int], tmp_path: Path, defect: str
) -> None:
    path = write(tmp_path / "bad.csv", [*GOOD, DEFECTS[defect]])
    found = empty("ingest", "prices", path, "--json")
    if found.status == 1:
        assert found.stderr.startswith("error: ")
        assert len(found.stderr.strip().splitlines()) == 1
        assert bars() == 0
        return
    assert found.status == 0
    assert sum(entry["rows"] for entry in found.document["defects"]) >= 1
    assert bars() == found.document["stored"] <= 5
    with Path(found.document["quarantine"]).open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["row_number"] == "5"
    assert row["detail"]


def test_duplicate_rows_are_stored_once_and_said(
    empty: Any, bars: Callable[[], int], tmp_path: Path
) -> None:
    found = empty("ingest", "prices", write(tmp_path / "twice.csv", [*GOOD, GOOD[0]]), "--json")
    assert found.status in (0, 1)
    if found.status == 0:
        assert bars() == 4
        assert found.document["defects"]
    else:
        assert bars() == 0


def test_two_prices_for_one_day_are_not_chosen_between_in_silence(
    empty: Any, bars: Callable[[], int], tmp_path: Path
) -> None:
    other = GOOD[0].replace("10.5", "10.6")
    found = empty("ingest", "prices", write(tmp_path / "two.csv", [*GOOD, other]), "--json")
    assert found.status in (0, 1)
    assert bars() in (0, 3, 4)
    if found.status == 0:
        assert found.document["defects"]
        assert found.document["quarantine"]


def test_dates_of_two_formats_are_refused_or_read_as_the_days_they_are(
    empty: Any, database: Database, tmp_path: Path
) -> None:
    rows = ["2022-03-01,AAA,1,1,1,1,1", "03/02/2022,AAA,1,1,1,1,1", "17.03.2022,AAA,1,1,1,1,1"]
    found = empty("ingest", "prices", write(tmp_path / "mixed.csv", rows), "--json")
    stored = {day for (day,) in database.fetch_all("SELECT session FROM price_bars")}
    assert stored <= {date(2022, 3, 1), date(2022, 3, 2), date(2022, 3, 17)}
    if found.status == 1:
        assert stored == set()
    else:
        rejected = sum(entry["rows"] for entry in found.document["defects"])
        assert len(stored) + rejected >= 3


def test_a_conflicting_file_leaves_the_table_as_it_was(
    empty: Any, bars: Callable[[], int], tmp_path: Path
) -> None:
    assert empty("ingest", "prices", write(tmp_path / "good.csv", GOOD)).status == 0
    changed = [row.replace(",10.5,1000", ",10.7,1000") for row in GOOD]
    new = "2022-03-04,CCC,5.0,6.0,4.0,5.5,1000"
    sentence = empty.fails("ingest", "prices", write(tmp_path / "later.csv", [new, *changed]))
    assert "AAA" in sentence
    assert bars() == 4


def test_infinities_of_a_parquet_file_do_not_reach_the_table(
    empty: Any, database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "wide.parquet"
    table = {
        "date": pa.array([date(2022, 3, 1), date(2022, 3, 2)]),
        "AAA": [1.0, np.inf],
        "BBB": [np.nan, 2.0],
    }
    pq.write_table(pa.table(table), path)
    found = empty("ingest", "prices", path, "--json")
    assert found.status == 0
    closes = [close for (close,) in database.fetch_all("SELECT close FROM price_bars")]
    assert sorted(closes) == [1.0, 2.0]
    assert found.document["defects"]


KNOWN = "date,ticker,close,known_at\n"
STRATEGY = bundled_strategies() / "momentum.toml"


def write_strategy(home: Path, name: str, prices: Path) -> None:
    text = STRATEGY.read_text("utf-8").replace('"momentum"', f'"{name}"', 1)
    folder = home / "strategies"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.toml").write_text(text.replace("bundled:sample", str(prices)), "utf-8")


def test_a_file_is_ingested_for_the_strategies_that_name_it_or_are_named(
    empty: Any, database: Database, tmp_path: Path
) -> None:
    own, more = write(tmp_path / "own.csv", GOOD), tmp_path / "more.csv"
    write(more, ["2022-03-01,CCC,10.0,11.0,9.5,10.5,1000"])
    write_strategy(tmp_path / "home", "one", own)
    write_strategy(tmp_path / "home", "two", tmp_path / "away.csv")
    assert empty("ingest", "prices", own, "--json").document["strategies"] == ["one"]
    assert empty("ingest", "prices", more, "--json").document["strategies"] == []
    assert traded_tickers(database, "one") == ["AAA", "BBB"]
    named = empty("ingest", "prices", more, "--strategy", "one", "--strategy", "two", "--json")
    assert (named.document["strategies"], named.document["stored"]) == (["one", "two"], 0)
    assert traded_tickers(database, "one") == ["AAA", "BBB", "CCC"]
    assert traded_tickers(database, "two") == ["CCC"]
    assert "'three' is none of them" in empty.fails("ingest", "prices", more, "--strategy", "three")


def test_prices_of_another_source_are_a_warning_with_the_way_out(
    empty: Any, tmp_path: Path
) -> None:
    row = "2022-03-01,AAA,{},2022-03-01T{}:00Z"
    empty("ingest", "prices", write(tmp_path / "one.csv", [row.format(10.5, "22:00")], KNOWN))
    found = empty(
        "ingest",
        "prices",
        write(tmp_path / "two.csv", [row.format(10.7, "23:00")], KNOWN),
        "--json",
    )
    sentence = found.document["notes"][-1]
    assert sentence.startswith("1 bar restates one of another source, such as AAA on 2022-03-01")
    assert "QUANT_MLOPS_HOME" in sentence
    assert f"warning: {sentence}" in found.stderr


def test_a_close_that_is_restated_by_more_than_half_is_a_warning(
    empty: Any, bars: Callable[[], int], tmp_path: Path
) -> None:
    rows = [
        "2022-03-01,AAA,14.91,2022-03-01T22:00:00Z",
        "2022-03-01,AAA,50.00,2022-03-02T10:00:00Z",
    ]
    path = write(tmp_path / "prices.csv", rows[:1], KNOWN)
    assert empty("ingest", "prices", path, "--json").stderr == ""
    found = empty("ingest", "prices", write(path, rows, KNOWN), "--json")
    sentence = found.document["notes"][-1]
    assert sentence.startswith(
        "1 bar restates a stored close by more than 50%, such as AAA on 2022-03-01 from 14.91 to "
        "50.0; it is kept"
    )
    assert found.stderr == f"warning: {sentence}\n"
    assert bars() == 2


def test_the_doctor_warns_of_files_that_share_tickers(empty: Any, tmp_path: Path) -> None:
    for name, rows in (("one", GOOD), ("two", GOOD[:1]), ("three", [])):
        rows = rows or ["2022-03-01,CCC,10.0,11.0,9.5,10.5,1000"]
        write_strategy(tmp_path / "home", name, write(tmp_path / f"{name}.csv", rows))
    found = empty("doctor", "--json")
    assert found.status == 0
    check = found.document["prices"]
    assert check["status"] == "warning"
    assert check["detail"].startswith(
        "strategies one and two take the prices of 1 ticker, such as "
    )
    assert "three" not in check["detail"]
    write_strategy(tmp_path / "home", "two", tmp_path / "one.csv")
    assert empty("doctor", "--json").document["prices"]["status"] == "ok"
