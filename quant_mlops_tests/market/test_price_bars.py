from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant_mlops.database import Database
from quant_mlops.errors import ConflictingValueError, MarketDataError
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.foreign_restatements import ForeignRestatement
from quant_mlops.market.large_restatements import LargeRestatement
from quant_mlops.market.panel import Panel
from quant_mlops.market.price_bars import read_panel, write_bars

INSTANT = pa.timestamp("us", tz="UTC")
DAYS = [date(2024, 1, 16), date(2024, 1, 17), date(2024, 1, 18)]
NOW = datetime(2024, 6, 1, tzinfo=UTC)
PRICES = ("open", "high", "low", "close", "adj_close", "volume")


def close_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 21, tzinfo=UTC)


def bar(ticker: str, day: date, close: float, *, known: datetime | None = None, **more: Any):
    return {
        "ticker": ticker,
        "session": day,
        "event_time": close_of(day),
        "ingest_time": known or close_of(day) + timedelta(minutes=15),
        **dict.fromkeys(PRICES),
        "close": close,
        "availability_observed": known is not None,
        **more,
    }


def table(*bars: dict[str, Any]) -> pa.Table:
    schema = pa.schema(
        [("ticker", pa.string()), ("session", pa.date32())]
        + [(name, INSTANT) for name in ("event_time", "ingest_time")]
        + [(name, pa.float64()) for name in PRICES]
        + [("availability_observed", pa.bool_())]
    )
    return pa.Table.from_pylist(list(bars), schema=schema)


def read(
    database: Database, calendar: TradingCalendar, as_of: datetime = NOW, **more: Any
) -> Panel:
    return read_panel(database, calendar, first=DAYS[0], last=DAYS[-1], as_of=as_of, **more)


def closes(database: Database, calendar: TradingCalendar, as_of: datetime = NOW) -> dict[str, Any]:
    panel = read(database, calendar, as_of)
    return dict(zip(panel.tickers, panel.close.T.tolist(), strict=True))


def count(database: Database) -> int:
    return len(database.fetch_all("SELECT FROM price_bars"))


def test_a_restated_bar_is_read_as_it_was_known_at_each_time(
    database: Database, calendar: TradingCalendar
) -> None:
    original = [bar("A", day, 10.0 + n) for n, day in enumerate(DAYS)]
    assert write_bars(database, table(*original), source="vendor").stored == 3
    restated_at = datetime(2024, 2, 1, 12, tzinfo=UTC)
    again = [bar("A", DAYS[1], 99.0, known=restated_at), bar("A", DAYS[2], 12.0, known=restated_at)]
    result = write_bars(database, table(*again), source="vendor")
    assert (result.offered, result.stored, result.repeated) == (2, 1, 1)

    instant = timedelta(microseconds=1)
    assert closes(database, calendar, restated_at - instant) == {"A": [10.0, 11.0, 12.0]}
    assert closes(database, calendar, restated_at) == {"A": [10.0, 99.0, 12.0]}
    panel = read(database, calendar)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert panel.known_at[1, 0] == (restated_at - epoch) // instant
    assert panel.known_at[2, 0] == (close_of(DAYS[2]) + timedelta(minutes=15) - epoch) // instant


def test_a_bar_is_not_read_before_it_is_known(
    database: Database, calendar: TradingCalendar
) -> None:
    write_bars(database, table(*(bar("A", day, 10.0) for day in DAYS)), source="vendor")
    known = close_of(DAYS[1]) + timedelta(minutes=15)
    before = read(database, calendar, known - timedelta(microseconds=1))
    np.testing.assert_array_equal(before.close[:, 0], [10.0, np.nan, np.nan])
    np.testing.assert_array_equal(before.known_at[1:, 0], [0, 0])
    after = read(database, calendar, known)
    np.testing.assert_array_equal(after.close[:, 0], [10.0, 10.0, np.nan])


def test_nothing_of_the_future_is_read_whatever_time_is_asked_for(
    database: Database, calendar: TradingCalendar
) -> None:
    future = datetime.now(UTC) + timedelta(days=3)
    bars = [bar("A", DAYS[0], 10.0), bar("A", DAYS[0], 11.0, known=future)]
    write_bars(database, table(*bars), source="vendor")
    panel = read(database, calendar, future + timedelta(days=1))
    assert panel.close[0, 0] == 10.0


def test_loading_the_same_bars_again_stores_nothing(
    database: Database, calendar: TradingCalendar
) -> None:
    full = {"open": 9.0, "high": 11.0, "low": 8.0, "adj_close": 5.0, "volume": 100.0}
    bars = table(bar("A", DAYS[0], 10.0, **full), bar("A", DAYS[1], 10.0), bar("B", DAYS[0], 3.0))
    for stored in (3, 0):
        result = write_bars(database, bars, source="vendor")
        assert (result.offered, result.stored, result.repeated) == (3, stored, 3 - stored)
    more = pa.concat_tables([table(bar("B", DAYS[1], 4.0), bar("C", DAYS[2], 5.0)), bars])
    assert write_bars(database, more, source="another name of the file").stored == 2
    assert count(database) == 5


def test_bars_in_any_order_are_stored_once_each(
    database: Database, calendar: TradingCalendar
) -> None:
    bars = table(*(bar(ticker, day, 10.0) for day in DAYS for ticker in "BAC"))
    for stored in (9, 0):
        assert write_bars(database, bars, source="vendor").stored == stored
    assert read(database, calendar).tickers == ("A", "B", "C")


@pytest.mark.parametrize(
    ("field", "value"), [("close", 11.0), ("volume", 5.0), ("adj_close", 9.0), ("open", 10.5)]
)
def test_two_accounts_of_one_bar_known_at_one_time_are_a_conflict(
    database: Database, field: str, value: float
) -> None:
    first, other = bar("A", DAYS[1], 10.0), bar("A", DAYS[1], 10.0) | {field: value}
    before = "missing" if first[field] is None else str(first[field])
    said = f"the {field} of A on 2024-01-17 was"
    with pytest.raises(ConflictingValueError) as caught:
        write_bars(database, table(bar("A", DAYS[0], 1.0), first, other), source="new")
    (one, another) = sorted([before, str(value)])
    assert re.search(rf"{said} ({one}, and also says {another}|{another}, and also says {one}), ",
                     str(caught.value))  # fmt: skip
    assert count(database) == 0
    write_bars(database, table(first), source="old")
    for source, by in (("new", "old, as stored,"), ("old", "what was stored of it")):
        with pytest.raises(ConflictingValueError) as caught:
            write_bars(database, table(bar("A", DAYS[0], 1.0), other), source=source)
        assert f"{source} says that {said} {value}, and {by} says {before}, " in str(caught.value)
    assert count(database) == 1


@pytest.mark.parametrize("later", [True, False])
def test_what_restates_another_source_is_counted_with_an_example(
    database: Database, later: bool
) -> None:
    times = [close_of(DAYS[1]) + timedelta(hours=hours) for hours in (1, 2)]
    stored, offered = times if later else times[::-1]
    write_bars(
        database,
        table(*(bar(ticker, day, 10.0, known=stored) for ticker in "AB" for day in DAYS[:2])),
        source="one.csv",
    )
    equal = write_bars(
        database, table(bar("A", DAYS[0], 10.0, known=offered)), source="renamed.csv"
    )
    assert equal.foreign is None
    other = [
        bar("A", DAYS[0], 10.5, known=offered + timedelta(minutes=1)),
        bar("B", DAYS[1], 11.0, known=offered),
        bar("B", DAYS[2], 12.0, known=close_of(DAYS[2])),
        bar("C", DAYS[1], 13.0, known=offered),
    ]
    found = write_bars(database, table(*other), source="two.csv").foreign
    assert found == ForeignRestatement(2, "B", DAYS[1], 10.0, "one.csv", 11.0, "two.csv")
    assert found.describe().startswith(
        "2 bars restate those of another source, such as B on 2024-01-17 with a close of 10.0 in "
        "one.csv and 11.0 in two.csv, and all strategies"
    )
    assert write_bars(database, table(*other), source="two.csv").foreign is None


def test_a_correction_by_the_same_source_restates_no_other(database: Database) -> None:
    day = DAYS[0]
    write_bars(database, table(bar("A", day, 10.0)), source="one.csv")
    corrected = table(bar("A", day, 10.5, known=close_of(DAYS[1])))
    written = write_bars(database, corrected, source="one.csv")
    assert (written.stored, written.foreign) == (1, None)


def test_what_changes_a_close_much_is_counted_with_the_largest_change(database: Database) -> None:
    def known(hours: int) -> datetime:
        return close_of(DAYS[2]) + timedelta(hours=hours)

    prints = [bar("A", day, 14.91, known=known(2)) for day in DAYS]
    write_bars(database, table(*prints, bar("A", DAYS[0], 30.0, known=known(4))), source="vendor")
    loads = [
        ([bar("A", DAYS[0], 30.0, known=known(3)), bar("A", DAYS[1], 22.0, known=known(3)),
          bar("A", DAYS[2], 50.0, known=known(3)), bar("B", DAYS[2], 50.0)],
         LargeRestatement(2, "A", DAYS[2], 14.91, 50.0)),
        ([bar("A", DAYS[2], 14.91, known=known(5)), bar("A", DAYS[0], 29.0, known=known(5))],
         LargeRestatement(1, "A", DAYS[2], 50.0, 14.91)),
        ([bar("A", DAYS[1], 5.0, known=known(1))], LargeRestatement(1, "A", DAYS[1], 14.91, 5.0)),
        ([bar("A", DAYS[1], 22.5, known=known(6), volume=1.0)], None),
    ]  # fmt: skip
    for bars, found in loads:
        written = write_bars(database, table(*bars), source="vendor")
        assert (written.stored, written.large) == (len(bars), found)
        assert written.warnings == ([found.describe()] if found else [])
        assert write_bars(database, table(*bars), source="vendor").warnings == []


def test_a_bar_that_is_no_news_still_contradicts_another_of_its_key(database: Database) -> None:
    write_bars(database, table(bar("A", DAYS[0], 10.0)), source="vendor")
    later = [bar("A", DAYS[0], close, known=NOW) for close in (10.0, 11.0)]
    with pytest.raises(ConflictingValueError):
        write_bars(database, table(*later), source="vendor")
    assert count(database) == 1


def test_the_same_bar_twice_in_one_load_is_stored_once(database: Database) -> None:
    twice = table(bar("A", DAYS[0], 10.0), bar("A", DAYS[0], 10.0))
    result = write_bars(database, twice, source="vendor")
    assert (result.stored, result.repeated) == (1, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"close": None}, "the database refused a bar of vendor: null value"),
        ({"close": -1.0}, "the database refused a bar of vendor: .*price_bars_close_check"),
        ({"ingest_time": close_of(DAYS[0])}, "violates check constraint"),
        ({"ticker": None}, "1 of 2 bars of vendor have no ticker"),
        ({"event_time": None}, "1 of 2 bars of vendor have no event_time"),
    ],
)
def test_a_bar_that_cannot_be_refuses_the_whole_load(
    database: Database, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(MarketDataError, match=message):
        write_bars(
            database,
            table(bar("A", DAYS[0], 1.0), bar("A", DAYS[1], 1.0) | change),
            source="vendor",
        )
    assert count(database) == 0


VALUES = st.sampled_from([None, 1.0, 2.0])
OFFERS = st.lists(
    st.tuples(st.sampled_from("AB"), st.integers(0, 1), st.integers(0, 3), VALUES), max_size=7
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(loads=st.lists(OFFERS, min_size=1, max_size=4))
def test_loads_follow_the_contract_one_by_one(module_database: Database, loads) -> None:
    name = f"T{count(module_database)}-"
    book: dict[tuple[str, int, int], float | None] = {}
    for offers in loads:
        said = dict(book)
        conflict = False
        for *key, volume in offers:
            conflict |= said.setdefault(tuple(key), volume) != volume
        bars = table(
            *(
                bar(name + ticker, DAYS[day], 7.0, volume=volume,
                    known=close_of(DAYS[day]) + timedelta(minutes=known))
                for ticker, day, known, volume in offers
            )
        )  # fmt: skip
        if conflict:
            with pytest.raises(ConflictingValueError):
                write_bars(module_database, bars, source="x")
        else:
            new = {}
            for key in said.keys() - book.keys():
                earlier = [k for k in said if k[:2] == key[:2] and k[2] < key[2]]
                if not earlier or said[max(earlier)] != said[key]:
                    new[key] = said[key]
            assert write_bars(module_database, bars, source="x").stored == len(new)
            book |= new
        rows = module_database.fetch_all(
            "SELECT ticker, session, ingest_time - event_time, volume FROM price_bars"
            " WHERE starts_with(ticker, %s)",
            [name],
        )
        minute = timedelta(minutes=1)
        found = {(t.removeprefix(name), DAYS.index(d), k // minute): v for t, d, k, v in rows}
        assert found == book


def test_prices_are_on_the_adjusted_scale_where_there_is_one(
    database: Database, calendar: TradingCalendar
) -> None:
    adjusted = bar("A", DAYS[0], 10.0, open=8.0, high=12.0, low=6.0, adj_close=5.0, volume=3.0)
    without = bar("A", DAYS[1], 10.0, open=8.0)
    write_bars(database, table(adjusted, without), source="vendor")
    panel = read(database, calendar)
    found = {name: field[:, 0].tolist() for name, field in panel.fields.items()}
    np.testing.assert_equal(
        found,
        {
            "open": [4.0, np.nan, np.nan],
            "high": [6.0, np.nan, np.nan],
            "low": [3.0, np.nan, np.nan],
            "close": [5.0, np.nan, np.nan],
            "volume": [3.0, np.nan, np.nan],
        },
    )


def test_rows_of_a_panel_are_the_sessions_and_columns_the_tickers_in_order(
    database: Database, calendar: TradingCalendar
) -> None:
    saturday = bar("only on a Saturday", date(2024, 1, 13), 1.0)
    tickers = ["b", "B", "a.1", "A", "Ä"]
    write_bars(database, table(saturday, *(bar(t, DAYS[1], 1.0) for t in tickers)), source="x")
    panel = read_panel(database, calendar, first=date(2024, 1, 12), last=DAYS[2], as_of=NOW)
    assert panel.tickers == ("A", "B", "a.1", "b", "Ä")
    assert panel.sessions.tolist() == [date(2024, 1, 12), *DAYS]
    assert panel.shape == (4, 5)
    np.testing.assert_array_equal(panel.event_times, calendar.closes(panel.sessions))
    few = read(database, calendar, tickers=["Ä", "b", "nobody"])
    assert few.tickers == ("b", "Ä")


def test_no_price_at_that_time_is_one_sentence(
    database: Database, calendar: TradingCalendar
) -> None:
    write_bars(database, table(bar("A", DAYS[0], 1.0)), source="x")
    with pytest.raises(
        MarketDataError, match="no price bar from 2024-01-16 to 2024-01-18 was known"
    ):
        read(database, calendar, close_of(DAYS[0]))
    with pytest.raises(MarketDataError, match="no price bar"):
        read_panel(database, calendar, first=date(2024, 1, 13), last=date(2024, 1, 14), as_of=NOW)
    with pytest.raises(MarketDataError, match="has no time zone"):
        read(database, calendar, NOW.replace(tzinfo=None))


def test_five_years_of_real_prices_are_read_as_they_are(
    database: Database, calendar: TradingCalendar, data_folder: Path
) -> None:
    prices = pq.read_table(data_folder / "sp500_5yr.parquet")
    prices = prices.filter(pc.is_in(prices["ticker"], pa.array(["AAPL", "MSFT", "XOM"])))
    days = prices["date"].to_numpy().astype("datetime64[D]")
    open_days = calendar.are_sessions(days)
    prices, days = prices.filter(pa.array(open_days)), days[open_days]
    event = calendar.closes(days)
    bars = pa.table(
        {
            "ticker": prices["ticker"].cast(pa.string()),
            "session": pa.array(days),
            "event_time": pa.array(event).cast(INSTANT),
            "ingest_time": pa.array(event + 1).cast(INSTANT),
            "close": prices["close"].cast(pa.float64()),
            "volume": prices["volume"].cast(pa.float64()),
            "availability_observed": pa.array(np.zeros(len(days), dtype=bool)),
            **{n: pa.nulls(len(days), pa.float64()) for n in ("open", "high", "low", "adj_close")},
        }
    )
    for stored in (len(days), 0):
        assert write_bars(database, bars, source="kaggle").stored == stored
    first, last = days.min().item(), days.max().item()
    panel = read_panel(database, calendar, first=first, last=last, as_of=NOW)
    assert panel.tickers == ("AAPL", "MSFT", "XOM")
    row = np.searchsorted(panel.sessions, days)
    column = np.searchsorted(
        panel.tickers, prices["ticker"].to_numpy(zero_copy_only=False).astype(str)
    )
    np.testing.assert_array_equal(panel.close[row, column], prices["close"].to_numpy())
    assert np.isfinite(panel.close).sum() == len(days)


def test_a_ticker_with_adjusted_closes_is_never_read_on_two_scales(
    database: Database, calendar: TradingCalendar
) -> None:
    sessions = calendar.sessions(date(2024, 1, 2), date(2024, 1, 4))
    event = calendar.closes(sessions)
    bars = pa.table(
        {
            "ticker": ["SPLT"] * 3 + ["PLAIN"] * 3,
            "session": pa.array(np.tile(sessions, 2)).cast(pa.date32()),
            "event_time": pa.array(np.tile(event, 2)).cast(pa.timestamp("us", "UTC")),
            "ingest_time": pa.array(np.tile(event, 2)).cast(pa.timestamp("us", "UTC")),
            **{name: pa.nulls(6, pa.float64()) for name in ("open", "high", "low", "volume")},
            "close": [100.0, 101.0, 102.0, 10.0, 11.0, 12.0],
            "adj_close": pa.array([50.0, None, 51.0, None, None, None], pa.float64()),
            "availability_observed": [False] * 6,
        }
    )
    write_bars(database, bars, source="test")
    ends = {"first": date(2024, 1, 2), "last": date(2024, 1, 4)}
    panel = read_panel(database, calendar, **ends, as_of=datetime(2024, 2, 1, tzinfo=UTC))
    assert panel.tickers == ("PLAIN", "SPLT")
    np.testing.assert_array_equal(panel.close[:, 0], [10.0, 11.0, 12.0])
    np.testing.assert_array_equal(panel.close[:, 1], [50.0, np.nan, 51.0])
