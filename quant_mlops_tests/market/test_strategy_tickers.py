"""Which tickers count as a strategy's: those ingested for it, and in older homes all there are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from quant_mlops.database import Database
from quant_mlops.database.migrations import migrate, read_migrations
from quant_mlops.errors import MarketDataError
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.price_bars import write_bars
from quant_mlops.market.price_files import BARS_SCHEMA
from quant_mlops.market.strategy_tickers import TickerListing, traded_tickers

DAY = date(2024, 1, 16)
HAS_RUN = "INSERT INTO feature_corrections (strategy_id, applied_until) VALUES (%s, now())"


@pytest.fixture
def bars_of(calendar: TradingCalendar) -> Callable[..., pa.Table]:
    def bars_of(*tickers: str, close: float = 10.0) -> pa.Table:
        moment = calendar.close_time(DAY)
        rows = [
            {
                "ticker": ticker,
                "session": DAY,
                "event_time": moment,
                "ingest_time": moment,
                "close": close,
                "availability_observed": True,
            }
            for ticker in tickers
        ]
        return pa.Table.from_pylist(rows, schema=BARS_SCHEMA)

    return bars_of


def test_a_strategy_trades_what_was_ingested_for_it(
    database: Database, bars_of: Callable[..., pa.Table]
) -> None:
    write_bars(database, bars_of("c", "B"), source="x", listing=TickerListing(["one"], ["c", "B"]))
    write_bars(database, bars_of("d"), source="y", listing=TickerListing(["two"], ["d", "c"]))
    assert traded_tickers(database, "one") == ["B", "c"]
    assert traded_tickers(database, "two") == ["c", "d"]
    assert traded_tickers(database, "one", universe="index") is None
    assert traded_tickers(database, "three") is None
    assert traded_tickers(database, None) is None
    before = database.now()
    write_bars(database, bars_of("e"), source="x", listing=TickerListing(["one"], ["e"]))
    assert traded_tickers(database, "one") == ["B", "c", "e"]
    assert traded_tickers(database, "one", recorded_by=before) == ["B", "c"]


def test_known_bars_are_recorded_for_a_further_strategy_and_nothing_is_ever_removed(
    database: Database, bars_of: Callable[..., pa.Table]
) -> None:
    write_bars(database, bars_of("a", "b"), source="x")
    assert traded_tickers(database, "one") is None
    for tickers in (["a"], ["b"], ["a"]):
        write_bars(database, bars_of("a"), source="x", listing=TickerListing(["one"], tickers))
    assert traded_tickers(database, "one") == ["a", "b"]
    write_bars(database, bars_of(), source="x", listing=TickerListing(["two"], ["a"]))
    assert traded_tickers(database, "two") == ["a"]
    with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
        database.execute("DELETE FROM strategy_tickers")


def test_a_load_that_fails_records_nothing(
    database: Database, bars_of: Callable[..., pa.Table]
) -> None:
    with pytest.raises(MarketDataError, match="refused a bar"):
        write_bars(
            database, bars_of("a", close=-1.0), source="x", listing=TickerListing(["one"], ["a"])
        )
    assert traded_tickers(database, "one") is None


def test_a_strategy_that_ran_on_every_ticker_keeps_them_when_it_is_first_ingested_for(
    database: Database, bars_of: Callable[..., pa.Table]
) -> None:
    write_bars(database, bars_of("a", "b"), source="x")
    database.execute(HAS_RUN, ["ran"])
    listing = TickerListing(["ran", "new"], ["c"])
    write_bars(database, bars_of("c"), source="y", listing=listing)
    write_bars(database, bars_of("d"), source="z")
    write_bars(database, bars_of("c"), source="y", listing=listing)
    assert traded_tickers(database, "ran") == ["a", "b", "c"]
    assert traded_tickers(database, "new") == ["c"]


def test_strategies_of_an_older_home_go_on_with_every_ticker(
    empty_database: Database, bars_of: Callable[..., pa.Table], tmp_path: Path
) -> None:
    for migration in read_migrations():
        if migration.number < 14:
            name = f"{migration.number:03d}_{migration.name}.sql"
            (tmp_path / name).write_text(migration.text, "utf-8")
    migrate(empty_database, folder=tmp_path)
    write_bars(empty_database, bars_of("a", "b"), source="x")
    empty_database.execute(HAS_RUN, ["corrected"])
    empty_database.execute(
        "INSERT INTO predictions (strategy_id, entity_key, event_time, session, model_id, signal, "
        "feature_digest) VALUES ('predicting', 'a', now(), %s, gen_random_uuid(), 0, '')",
        [DAY],
    )
    migrate(empty_database)
    write_bars(empty_database, bars_of("c"), source="y", listing=TickerListing(["later"], ["c"]))
    for strategy in ("corrected", "predicting"):
        assert traded_tickers(empty_database, strategy) == ["a", "b"]
    assert traded_tickers(empty_database, "later") == ["c"]
