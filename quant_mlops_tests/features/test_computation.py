from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pytest

from quant_mlops.database import Database
from quant_mlops.errors import FeatureLogicChangedError, FeatureStoreError
from quant_mlops.features import FeatureStore, builtin, feature
from quant_mlops.features.computation import compute_feature, write_computed_features
from quant_mlops.features.definition import definitions_in
from quant_mlops.features.rolling import lagged
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.panel import FIELDS, Panel
from quant_mlops.market.price_bars import write_bars

INSTANT = pa.timestamp("us", tz="UTC")
FIRST, LAST = date(2018, 1, 2), date(2019, 6, 28)
NOW = datetime(2024, 1, 1, tzinfo=UTC)
LAG = 15 * 60 * 10**6
DEFINITIONS = tuple(definitions_in(builtin).values())
TICKERS = ("A", "B", "C")


@pytest.fixture(scope="module")
def bars(calendar: TradingCalendar) -> pa.Table:
    """Give random prices with gaps: B pauses for a month, C is listed late, single bars lack."""
    random = np.random.default_rng(3)
    sessions = calendar.sessions(FIRST, LAST)
    parts = []
    for number, ticker in enumerate(TICKERS):
        present = random.random(len(sessions)) > 0.01
        if ticker == "B":
            present[200:222] = False
        if ticker == "C":
            present[:70] = False
        close = 50 * np.exp(np.cumsum(random.normal(0, 0.02, len(sessions)))) + number
        days = sessions[present]
        closes = calendar.closes(days)
        missing = np.full(len(days), np.nan)
        parts.append(
            pa.table(
                {
                    "ticker": pa.repeat(ticker, len(days)),
                    "session": pa.array(days),
                    "event_time": pa.array(closes).cast(INSTANT),
                    "ingest_time": pa.array(closes + LAG).cast(INSTANT),
                    **{n: pa.array(missing, mask=missing != 0) for n in ("open", "high", "low")},
                    "close": pa.array(close[present]),
                    "adj_close": pa.nulls(len(days), pa.float64()),
                    "volume": pa.array(random.lognormal(12, 1, len(days))),
                    "availability_observed": pa.array(np.zeros(len(days), dtype=bool)),
                }
            )
        )
    return pa.concat_tables(parts)


def compute(
    store: FeatureStore,
    calendar: TradingCalendar,
    first: date,
    last: date,
    *,
    definitions=DEFINITIONS,
    as_of: datetime = NOW,
) -> dict[str, int]:
    written = write_computed_features(
        store, calendar, definitions, first=first, last=last, as_of=as_of
    )
    return {part.feature: part.result.stored for part in written}


def contents(database: Database) -> list[tuple[object, ...]]:
    return database.fetch_all(
        "SELECT entity_key, feature_name, event_time, ingest_time, float8send(value_double)"
        " FROM feature_events ORDER BY 1, 2, 3, 4"
    )


def test_the_daily_run_stores_bit_for_bit_what_the_backfill_stores(
    database: Database, calendar: TradingCalendar, bars: pa.Table
) -> None:
    write_bars(database, bars, source="test")
    store = FeatureStore(database, "daily")
    days = calendar.sessions(FIRST, LAST)[215:237]  # B is back on the eighth of them
    for day in days.tolist():
        known = calendar.close_time(day) + timedelta(hours=1)
        compute(store, calendar, day, day, as_of=known)
    daily = contents(database)
    short = {d.name for d in DEFINITIONS if d.lookback < 252}
    assert {row[1] for row in daily} == short
    assert {row[0] for row in daily} == set(TICKERS)

    backfill = compute(store, calendar, days[0].item(), days[-1].item())
    assert set(backfill.values()) == {0}
    assert contents(database) == daily
    compute(store, calendar, FIRST, LAST)
    start, end = (calendar.close_time(day.item()) for day in days[[0, -1]])
    everything = contents(database)
    assert [row for row in everything if start <= row[2] <= end] == daily
    assert len(everything) > 10 * len(daily)


def test_a_feature_of_a_year_is_the_same_on_a_day_and_in_a_backfill(
    database: Database, calendar: TradingCalendar, bars: pa.Table
) -> None:
    write_bars(database, bars, source="test")
    store = FeatureStore(database, "daily")
    days = calendar.sessions(FIRST, LAST)[300:306]
    year = [builtin.momentum_12_1, builtin.rsi_14]
    for day in days.tolist():
        compute(store, calendar, day, day, definitions=year)
    daily = contents(database)
    assert {row[1] for row in daily} == {"momentum_12_1", "rsi_14"}
    backfill = compute(store, calendar, days[0].item(), days[-1].item(), definitions=year)
    assert set(backfill.values()) == {0}
    assert contents(database) == daily


def test_a_value_becomes_known_with_the_newest_bar_of_its_window(
    database: Database, calendar: TradingCalendar, bars: pa.Table
) -> None:
    write_bars(database, bars, source="test")
    day, restated_day = date(2019, 3, 15), date(2019, 3, 8)
    restated_at = datetime(2019, 5, 1, 12, tzinfo=UTC)
    one = bars.filter(
        pa.compute.and_(
            pa.compute.equal(bars["ticker"], "A"),
            pa.compute.equal(bars["session"], pa.scalar(restated_day)),
        )
    )
    assert one.num_rows == 1
    restated = one.set_column(
        one.column_names.index("ingest_time"), "ingest_time", pa.array([restated_at], INSTANT)
    ).set_column(one.column_names.index("close"), "close", pa.array([999.0]))
    write_bars(database, restated, source="vendor's correction")

    @feature("lagged_minute", lookback=0, availability_lag=timedelta(minutes=1))
    def lagged_minute(panel):
        return panel.close

    store = FeatureStore(database, "test")
    definitions = [builtin.ret_5d, builtin.reversal_1d, lagged_minute]
    before = datetime(2019, 4, 1, tzinfo=UTC)
    assert compute(store, calendar, day, day, definitions=definitions, as_of=before)["ret_5d@1"] > 0
    stored = compute(store, calendar, day, day, definitions=definitions)
    assert stored == {"ret_5d@1": 1, "reversal_1d@1": 0, "lagged_minute@1": 0}
    close = calendar.close_time(day)
    revisions = store.history("A", "ret_5d", close)
    assert [v.ingest_time for v in revisions] == [close + timedelta(minutes=15), restated_at]
    assert revisions[1].value == pytest.approx(revisions[0].value, abs=2)
    assert revisions[1].value != revisions[0].value
    (unrelated,) = store.history("A", "lagged_minute", close)
    assert unrelated.ingest_time == close + timedelta(minutes=16)


def test_an_undefined_value_is_no_row_or_known_to_be_missing_as_declared(
    database: Database, calendar: TradingCalendar, bars: pa.Table
) -> None:
    write_bars(database, bars, source="test")

    @feature("gap", lookback=0)
    def gap(panel):
        return np.where(panel.close > 45, panel.close, np.nan)

    @feature("missing", lookback=0, allows_missing=True)
    def missing(panel):
        return np.where(panel.close > 45, panel.close, np.nan)

    store = FeatureStore(database, "test")
    stored = compute(store, calendar, FIRST, LAST, definitions=[gap, missing])
    assert stored["missing@1"] == bars.num_rows > stored["gap@1"] > 0
    assert set(compute(store, calendar, FIRST, LAST, definitions=[gap, missing]).values()) == {0}


def test_a_feature_whose_field_no_source_has_is_left_out(
    database: Database, calendar: TradingCalendar, bars: pa.Table
) -> None:
    position = bars.column_names.index("volume")
    silent = bars.set_column(position, "volume", pa.nulls(bars.num_rows, pa.float64()))
    write_bars(database, silent, source="test")
    stored = compute(FeatureStore(database, "test"), calendar, LAST, LAST)
    assert "volume_ratio@1" not in stored
    assert len(stored) == len(DEFINITIONS) - 1


def test_changed_logic_is_refused_before_anything_is_written(
    database: Database, calendar: TradingCalendar, bars: pa.Table
) -> None:
    write_bars(database, bars, source="test")
    store = FeatureStore(database, "test")

    def define(factor: float):
        @feature("scaled", lookback=0)
        def scaled(panel):
            return panel.close * factor

        return scaled

    compute(store, calendar, LAST, LAST, definitions=[define(1.0)])
    before = contents(database)
    with pytest.raises(FeatureLogicChangedError):
        compute(store, calendar, FIRST, LAST, definitions=[builtin.ret_5d, define(2.0)])
    assert contents(database) == before


def test_history_that_the_calendar_does_not_reach_is_no_error(
    database: Database, calendar: TradingCalendar, bars: pa.Table
) -> None:
    first = calendar.sessions(calendar.first_day, date(1990, 2, 1))[0]
    close = calendar.closes([first.item()])
    early = bars.slice(0, 1)
    for name, value in {
        "session": pa.array([first.item()]),
        "event_time": pa.array(close).cast(INSTANT),
        "ingest_time": pa.array(close + LAG).cast(INSTANT),
    }.items():
        early = early.set_column(early.column_names.index(name), name, value)
    write_bars(database, early, source="test")

    @feature("price", lookback=0)
    def price(panel):
        return panel.close

    store = FeatureStore(database, "test")
    stored = compute(
        store, calendar, calendar.first_day, first.item(), definitions=[price, builtin.ret_5d]
    )
    assert stored == {"price@1": 1, "ret_5d@1": 0}
    assert compute(store, calendar, FIRST, LAST, definitions=[]) == {}


def test_no_value_is_known_before_its_session_closed_even_where_the_bar_is_missing() -> None:
    sessions = np.arange("2020-01-01", "2021-04-01", dtype="datetime64[D]")
    events = sessions.astype("datetime64[us]").astype(np.int64)
    close = np.linspace(100.0, 200.0, len(sessions))[:, None]
    close[400] = np.nan
    known_at = np.where(np.isnan(close), 0, events[:, None] + 60_000_000)
    panel = Panel(
        sessions, events, ("GAP",), MappingProxyType(dict.fromkeys(FIELDS, close)), known_at
    )
    rows = compute_feature(panel, builtin.momentum_12_1, first=sessions[300])
    event, ingest = (
        rows[name].cast(pa.int64()).to_numpy() for name in ("event_time", "ingest_time")
    )
    assert events[400] in event
    assert (ingest >= event).all()


@feature("peeks", lookback=1)
def peeks(panel):
    """Return of the session to come."""
    ahead = np.full_like(panel.close, np.nan)
    ahead[:-1] = panel.close[1:] / panel.close[:-1] - 1.0
    return ahead


@feature("reaches", lookback=2)
def reaches(panel):
    """Return over five sessions, with a lookback of two."""
    return panel.close / lagged(panel.close, 5) - 1.0


@feature("fails", lookback=1)
def fails(panel):
    """Give values of another shape."""
    return panel.close[:, 0]


@feature("hides", lookback=0, allows_missing=True)
def hides(panel):
    """Written by another job, whose values would all be hidden."""
    return np.full_like(panel.close, np.nan)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (peeks, r"peeks@1 looks ahead: of \d+ values \d+ change"),
        (reaches, r"reaches@1 reads further back than its lookback of 2 sessions"),
        (fails, r"fails@1 gives values of shape"),
        (hides, r"hides@1 gives nothing but NaN.*leave out allows_missing"),
    ],
)
def test_a_definition_that_reads_what_it_must_not_is_refused_before_it_is_stored(
    database: Database, calendar: TradingCalendar, bars: pa.Table, definition, message: str
) -> None:
    write_bars(database, bars, source="test")
    with pytest.raises(FeatureStoreError, match=message):
        list(
            write_computed_features(
                FeatureStore(database, "test"), calendar, [builtin.ret_5d, definition],
                first=FIRST, last=LAST, as_of=NOW,
            )
        )  # fmt: skip
    assert database.fetch_all("SELECT 1 FROM feature_definitions") == []
    assert database.fetch_all("SELECT 1 FROM feature_events LIMIT 1") == []
