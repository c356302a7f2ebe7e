"""The bundled sample is what its SOURCE.md says, and reads as a price file."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from quant_mlops.market.bundled import sample_prices
from quant_mlops.market.calendar import trading_calendar
from quant_mlops.market.price_files import PriceBatch, read_price_file

TICKERS = "AAPL AMD BAC BBY CVX GE HD JNJ JPM KO LLY MRK MSFT PEP PFE PG RRC UNH WMT XOM"


@pytest.fixture(scope="module")
def batch() -> PriceBatch:
    with sample_prices() as path:
        return read_price_file(path, calendar=trading_calendar("XNYS"))


def test_the_file_is_compact_and_plainly_typed() -> None:
    with sample_prices() as path:
        assert path.stat().st_size < 500_000
        schema = pq.read_schema(path)
    assert schema.names == ["date", "ticker", "close"]
    assert schema.field("date").type == pa.date32()
    assert schema.field("close").type == pa.float64()


def test_every_price_is_a_bar_of_a_session(batch: PriceBatch) -> None:
    assert batch.rows_read == batch.bars.num_rows == 166_260 == 20 * 8_313
    assert batch.rejected.num_rows == 0
    assert batch.gaps == {}
    assert " ".join(pc.unique(batch.bars["ticker"]).to_pylist()) == TICKERS
    span = pc.min_max(batch.bars["session"]).as_py()
    assert span == {"min": date(1990, 1, 2), "max": date(2022, 12, 28)}
    assert not pc.any(batch.bars["availability_observed"]).as_py()


@pytest.mark.parametrize(
    ("ticker", "day", "close"),
    [("AAPL", date(1990, 1, 2), 0.264), ("PG", date(1990, 1, 2), 3.86)],
)
def test_values_are_those_of_the_source(
    batch: PriceBatch, ticker: str, day: date, close: float
) -> None:
    where = (pc.field("ticker") == ticker) & (pc.field("session") == day)
    assert batch.bars.filter(where)["close"].to_pylist() == [close]


def test_moves_of_more_than_half_are_the_four_known_ones(batch: PriceBatch) -> None:
    found = [(row["ticker"], row["date"]) for row in batch.flagged.to_pylist()]
    assert sorted(found) == [
        ("AAPL", "2000-09-29"),
        ("AMD", "2016-04-22"),
        ("RRC", "1990-04-10"),
        ("RRC", "1998-10-19"),
    ]
    assert dict(batch.summary) == {"large_move": 4}


def test_licence_and_origin_lie_beside_the_prices() -> None:
    with sample_prices() as path:
        licence = path.with_name("LICENSE").read_text("utf-8")
        origin = path.with_name("SOURCE.md").read_text("utf-8")
    assert "BSD 3-Clause License" in licence
    assert "skfolio" in licence
    assert "skfolio-1.12.2" in origin
    assert "testing and examples only" in origin
