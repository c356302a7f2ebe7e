"""Restated and late prices: what was known at any time, and what a correction adds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant_mlops.database import Database
from quant_mlops.features import FeatureStore, feature
from quant_mlops.features.builtin import momentum_5d, ret_5d, reversal_1d, vol_20d
from quant_mlops.features.computation import write_computed_features
from quant_mlops.features.corrections import changed_bars, write_revised_features
from quant_mlops.features.definition import FeatureDefinition
from quant_mlops.features.rolling import lagged
from quant_mlops.instants import from_microseconds, to_microseconds
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.price_bars import read_panel, write_bars
from quant_mlops.market.price_files import read_price_file

pytestmark = pytest.mark.shared

INSTANT = pa.timestamp("us", tz="UTC")
FIRST, LAST = date(2024, 1, 2), date(2024, 1, 31)
NOW = datetime(2024, 6, 1, tzinfo=UTC)
START = datetime(1990, 1, 1, tzinfo=UTC)
HOUR = 3_600_000_000


@feature("mean_3d", lookback=2)
def mean_3d(panel):
    """Mean of the last three closes."""
    return (panel.close + lagged(panel.close, 1) + lagged(panel.close, 2)) / 3.0


@dataclass(frozen=True)
class Print:
    """A bar as it became known: hours after its close, and the close it gives."""

    ticker: str
    session: int
    hours: int
    close: float


PRINTS = st.lists(
    st.builds(
        Print,
        st.sampled_from(["A", "B"]),
        st.integers(0, 7),
        st.sampled_from([0, 0, 0, 1, 20, 30, 60, 200]),
        st.integers(1, 9).map(float),
    ),
    min_size=1,
    max_size=30,
    unique_by=lambda p: (p.ticker, p.session, p.hours),
)


def bars_of(prints: list[Print], calendar: TradingCalendar) -> pa.Table:
    sessions = calendar.sessions(FIRST, LAST)
    closes = calendar.closes(sessions)
    event = np.array([closes[p.session] for p in prints])
    ingest = event + np.array([p.hours for p in prints]) * HOUR
    nothing = pa.nulls(len(prints), pa.float64())
    return pa.table(
        {
            "ticker": [p.ticker for p in prints],
            "session": pa.array(sessions[[p.session for p in prints]]),
            "event_time": pa.array(event).cast(INSTANT),
            "ingest_time": pa.array(ingest).cast(INSTANT),
            **{name: nothing for name in ("open", "high", "low")},
            "close": [p.close for p in prints],
            **{name: nothing for name in ("adj_close", "volume")},
            "availability_observed": [True] * len(prints),
        }
    )


def store_of(database: Database) -> FeatureStore:
    return FeatureStore(database, "test")


def compute(
    database: Database,
    calendar: TradingCalendar,
    *definitions: FeatureDefinition,
    last: date = LAST,
    first: date = FIRST,
    as_of: datetime = NOW,
) -> None:
    for _ in write_computed_features(
        store_of(database), calendar, definitions, first=first, last=last, as_of=as_of
    ):
        pass


def contents(database: Database) -> list[tuple[object, ...]]:
    return database.fetch_all(
        "SELECT entity_key, feature_name, event_time, ingest_time, value_double"
        " FROM feature_events ORDER BY 1, 2, 3, 4"
    )


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(prints=PRINTS)
def test_at_any_time_the_value_is_that_of_the_prices_known_then(
    database: Database, calendar: TradingCalendar, prints: list[Print]
) -> None:
    database.execute("DROP TRIGGER IF EXISTS price_bars_no_truncate ON price_bars")
    database.execute("DROP TRIGGER IF EXISTS feature_events_no_truncate ON feature_events")
    database.execute("TRUNCATE price_bars")
    database.execute("TRUNCATE feature_events")
    write_bars(database, bars_of(prints, calendar), source="test")
    compute(database, calendar, mean_3d)
    sessions = calendar.sessions(FIRST, LAST)
    closes = calendar.closes(sessions)
    moments = sorted({int(closes[p.session]) + p.hours * HOUR for p in prints})
    stored = {
        (entity, to_microseconds(event), to_microseconds(ingest)): value
        for entity, _, event, ingest, value in contents(database)
    }
    assert {ingest for _, _, ingest in stored} <= set(moments)
    kept: dict[tuple[str, int], float] = {}
    for moment in moments:
        panel = read_panel(
            database, calendar, first=FIRST, last=LAST, as_of=from_microseconds(moment)
        )
        values = mean_3d.function(panel)
        for (row, column), value in np.ndenumerate(values):
            entity, event = panel.tickers[column], int(closes[row])
            if np.isfinite(value):
                kept[entity, event] = float(value)
        for (entity, event), value in kept.items():
            prints_of = [i for e, v, i in stored if (e, v) == (entity, event) and i <= moment]
            assert prints_of, (entity, event, moment)
            assert stored[entity, event, max(prints_of)] == value


def test_a_restated_bar_revises_the_sessions_it_touches_and_no_other(
    database: Database, calendar: TradingCalendar
) -> None:
    days = 20
    sessions = calendar.sessions(FIRST, LAST)[:days]
    prints = [Print(t, s, 0, 10.0 + s + k) for k, t in enumerate("AB") for s in range(days)]
    write_bars(database, bars_of(prints, calendar), source="test")
    compute(database, calendar, mean_3d, ret_5d)
    before = contents(database)
    since = database.now()
    write_bars(database, bars_of([Print("A", 10, 50, 99.0)], calendar), source="test")
    (change,) = changed_bars(database, since=since, as_of=NOW)
    assert (change.first, change.last, change.tickers) == (
        sessions[10].item(), sessions[10].item(), ("A",),
    )  # fmt: skip
    store = store_of(database)
    done = list(write_revised_features(store, calendar, [mean_3d, ret_5d], since=since, as_of=NOW))
    assert {d.feature: d.result.stored for d in done} == {"mean_3d@1": 3, "ret_5d@1": 2}
    added = [row for row in contents(database) if row not in set(before)]
    closes = [from_microseconds(close) for close in calendar.closes(sessions)]
    known = closes[10] + timedelta(hours=50)
    assert [(entity, name, event) for entity, name, event, _, _ in added] == [
        *(("A", "mean_3d", closes[s]) for s in (10, 11, 12)),
        *(("A", "ret_5d", closes[s]) for s in (10, 15)),
    ]
    # What had been stored without it cannot be changed, and is revised as of now.
    assert [ingest for *_, ingest, _ in added] == [
        known if event < known else NOW for _, _, event, _, _ in added
    ]
    again = list(write_revised_features(store, calendar, [mean_3d, ret_5d], since=since, as_of=NOW))
    assert sum(d.result.stored for d in again) == 0


def test_a_bar_that_comes_late_is_a_change_and_a_new_session_is_none(
    database: Database, calendar: TradingCalendar
) -> None:
    write_bars(
        database, bars_of([Print("A", s, 0, 5.0) for s in (0, 1, 3)], calendar), source="test"
    )
    since = database.now()
    write_bars(database, bars_of([Print("A", 4, 0, 5.0)], calendar), source="test")
    assert changed_bars(database, since=since, as_of=NOW) == []
    write_bars(database, bars_of([Print("A", 2, 100, 6.0)], calendar), source="test")
    (change,) = changed_bars(database, since=since, as_of=NOW)
    assert change.first == calendar.sessions(FIRST, LAST)[2].item()
    assert changed_bars(database, since=since, as_of=NOW, tickers=["B"]) == []


@pytest.fixture(scope="module")
def crawled(data_folder: Path, calendar: TradingCalendar) -> pa.Table:
    """Give a year of 40 tickers crawled day by day, restatements included."""
    path = data_folder / "us_pit_sp500.parquet"
    if not path.exists():
        pytest.skip(f"{path.name} is not in {data_folder}; set QUANT_MLOPS_TEST_DATA to its folder")
    table = pq.read_table(path)
    tickers = sorted(set(table["ticker"].to_pylist()))[::14]
    bars = read_price_file(path, calendar=calendar).bars
    wanted = pc.and_(
        pc.is_in(bars["ticker"], value_set=pa.array(tickers)),
        pc.less(bars["session"], pa.scalar(date(2016, 6, 1))),
    )
    return bars.filter(wanted)


CRAWLED = (reversal_1d, momentum_5d, vol_20d)


def test_real_restatements_are_known_when_their_crawl_was_published(
    database: Database, calendar: TradingCalendar, crawled: pa.Table
) -> None:
    write_bars(database, crawled, source="crawl")
    first, last = pc.min(crawled["session"]).as_py(), pc.max(crawled["session"]).as_py()
    compute(database, calendar, *CRAWLED, first=first, last=last)
    store = store_of(database)
    moments = np.random.default_rng(2).choice(
        crawled["ingest_time"].cast(pa.int64()).to_numpy(), 25, replace=False
    )
    compared = 0
    for moment in sorted(moments):
        as_of = from_microseconds(int(moment))
        panel = read_panel(database, calendar, first=first, last=last, as_of=as_of)
        spine = pa.table(
            {
                "entity_key": list(panel.tickers),
                "time": pa.array([as_of] * len(panel.tickers), INSTANT),
            }
        )
        found = store.point_in_time_table(spine, [d.name for d in CRAWLED], vintage="as_known")
        history = {
            d.name: {
                v.entity_key: v
                for v in store.get_point_in_time([(t, as_of) for t in panel.tickers], [d.name])
            }
            for d in CRAWLED
        }
        for definition in CRAWLED:
            values = definition.function(panel)
            for column, ticker in enumerate(panel.tickers):
                answer = history[definition.name].get(ticker)
                assert found[definition.name][column].as_py() == (answer and answer.value)
                if answer is None:
                    continue
                row = np.searchsorted(panel.event_times, to_microseconds(answer.event_time))
                # Where the prices known now no longer give a value, the last one known stays.
                if np.isfinite(values[row, column]):
                    assert answer.value == values[row, column]
                    compared += 1
                finite = np.flatnonzero(np.isfinite(values[:, column]))
                assert row >= finite.max(initial=-1)
    assert compared > 1_000


def test_day_by_day_with_corrections_is_what_one_backfill_gives(
    database: Database, other_database: Database, calendar: TradingCalendar, crawled: pa.Table
) -> None:
    part = crawled.filter(pc.less(crawled["session"], pa.scalar(date(2015, 5, 20))))
    first, last = pc.min(part["session"]).as_py(), pc.max(part["session"]).as_py()
    write_bars(database, part, source="crawl")
    compute(database, calendar, *CRAWLED, first=first, last=last)
    published = part["ingest_time"].cast(pa.int64()).to_numpy()
    store = store_of(other_database)
    for day in np.unique(published // (24 * HOUR)):
        since = other_database.now()
        news = part.filter(pa.array(published // (24 * HOUR) == day))
        write_bars(other_database, news, source="crawl")
        as_of = from_microseconds(int((day + 1) * 24 * HOUR))
        sessions = pc.unique(news["session"]).to_pylist()
        compute(
            other_database, calendar, *CRAWLED, first=max(sessions), last=max(sessions), as_of=as_of
        )
        for _ in write_revised_features(store, calendar, CRAWLED, since=since, as_of=as_of):
            pass
    assert contents(other_database) == contents(database)
