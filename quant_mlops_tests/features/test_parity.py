"""Defects planted into served values of the bundled sample, around Thanksgiving of 2022."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from psycopg.conninfo import conninfo_to_dict

from quant_mlops.database import Database
from quant_mlops.errors import FeatureStoreError, MarketDataError, NotASessionError
from quant_mlops.features import FeatureStore, builtin, feature, recomputation
from quant_mlops.features.computation import write_computed_features
from quant_mlops.features.definition import FeatureDefinition
from quant_mlops.features.discrepancy import Explanation
from quant_mlops.features.parity import FeatureParity, parity_check
from quant_mlops.features.parity_windows import parity_of_windows
from quant_mlops.features.recomputation import recomputed_values
from quant_mlops.features.rolling import lagged
from quant_mlops.instants import from_microseconds, to_microseconds
from quant_mlops.market.calendar import TradingCalendar, trading_calendar
from quant_mlops.market.panel import Panel
from quant_mlops.market.price_bars import read_panel, write_bars

pytestmark = pytest.mark.shared

INSTANT = pa.timestamp("us", tz="UTC")
LAG = timedelta(minutes=15)
HISTORY = date(2021, 9, 1)
# The exchange is closed on the 24th, closes early on the 25th, and a weekend follows.
FIRST, EVE, HALF_DAY, LAST = (
    date(2022, 11, 7),
    date(2022, 11, 23),
    date(2022, 11, 25),
    date(2022, 12, 9),
)
LOADED = datetime(2023, 1, 1, tzinfo=UTC)
DEFINITIONS = (builtin.rsi_14, builtin.ret_5d, builtin.momentum_20d)

Planted = Mapping[str, float]
Plant = Callable[..., None]


def days(*sessions: date) -> np.ndarray:
    return np.array(sessions, dtype="datetime64[D]")


def bars_of(
    panel: Panel, calendar: TradingCalendar, first: date, last: date, *, lag: timedelta = LAG
) -> pa.Table:
    """Give the bars of a range of sessions, known a while after their close."""
    rows = slice(*np.searchsorted(panel.sessions, days(first, last + timedelta(days=1))))
    sessions = panel.sessions[rows]
    count, width = len(sessions), len(panel.tickers)
    closes = np.tile(calendar.closes(sessions), width)
    nothing = pa.nulls(count * width, pa.float64())
    return pa.table(
        {
            "ticker": np.repeat(panel.tickers, count),
            "session": pa.array(np.tile(sessions, width)),
            "event_time": pa.array(closes).cast(INSTANT),
            "ingest_time": pa.array(closes + lag // timedelta(microseconds=1)).cast(INSTANT),
            **dict.fromkeys(("open", "high", "low"), nothing),
            "close": panel.close[rows].T.ravel(),
            "adj_close": nothing,
            "volume": nothing,
            "availability_observed": np.zeros(count * width, dtype=bool),
        }
    )


def one_bar(
    calendar: TradingCalendar,
    ticker: str,
    session: date,
    close: float,
    known: datetime,
    *,
    adj_close: float | None = None,
) -> pa.Table:
    return pa.table(
        {
            "ticker": [ticker],
            "session": pa.array([session]),
            "event_time": pa.array([calendar.close_time(session)], INSTANT),
            "ingest_time": pa.array([known], INSTANT),
            **dict.fromkeys(("open", "high", "low", "volume"), pa.nulls(1, pa.float64())),
            "close": [close],
            "adj_close": pa.array([adj_close], pa.float64()),
            "availability_observed": [True],
        }
    )


@pytest.fixture(scope="module")
def prices(
    clone: Any, template: str, calendar: TradingCalendar, sample_panel: Panel
) -> Iterator[str]:
    """Give the name of a database with the prices, to be copied."""
    with clone(template) as conninfo:
        with Database(conninfo) as database:
            write_bars(database, bars_of(sample_panel, calendar, HISTORY, LAST), source="sample")
        yield conninfo_to_dict(conninfo)["dbname"]


@pytest.fixture(scope="module")
def prices_and_features(clone: Any, prices: str, calendar: TradingCalendar) -> Iterator[str]:
    """Give the name of a database that was served right in all sessions, to be copied."""
    with clone(prices) as conninfo:
        with Database(conninfo) as database:
            compute(store_on(database), calendar, FIRST, LAST)
        yield conninfo_to_dict(conninfo)["dbname"]


@pytest.fixture
def priced(clone: Any, prices: str) -> Iterator[FeatureStore]:
    """Give a store with prices and nothing served."""
    with clone(prices) as conninfo, Database(conninfo) as database:
        yield store_on(database)


@pytest.fixture
def served(clone: Any, prices_and_features: str) -> Iterator[FeatureStore]:
    """Give a store that was served right in all sessions."""
    with clone(prices_and_features) as conninfo, Database(conninfo) as database:
        yield store_on(database)


def store_on(database: Database) -> FeatureStore:
    return FeatureStore(database, "test", producer_version="7", run_id="run")


def compute(
    store: FeatureStore,
    calendar: TradingCalendar,
    first: date,
    last: date,
    *,
    definitions=DEFINITIONS,
    as_of: datetime = LOADED,
    tickers=None,
) -> None:
    for _ in write_computed_features(
        store, calendar, definitions, first=first, last=last, as_of=as_of, tickers=tickers
    ):
        pass


def right(panel: Panel, definition: FeatureDefinition, session: date, shift: int = 0) -> Planted:
    """Give the values of a session, or of one that many sessions before, without a database."""
    row = int(np.searchsorted(panel.sessions, days(session))[0]) - shift
    start = row - definition.lookback
    piece = replace(
        panel,
        sessions=panel.sessions[start : row + 1],
        event_times=panel.event_times[start : row + 1],
        fields={name: values[start : row + 1] for name, values in panel.fields.items()},
        known_at=panel.known_at[start : row + 1],
    )
    return dict(zip(panel.tickers, definition.function(piece)[-1].tolist(), strict=True))


@pytest.fixture
def plant(calendar: TradingCalendar) -> Plant:
    """Give a function that stores values about a session, known a while after its close."""
    return partial(store_values, calendar)


def store_values(
    calendar: TradingCalendar,
    store: FeatureStore,
    session: date,
    values: Planted,
    *,
    name: str = "rsi_14",
    after: timedelta = timedelta(minutes=20),
) -> None:
    close = calendar.close_time(session)
    count = len(values)
    store.write_frame(
        pa.table(
            {
                "entity_key": list(values),
                "feature_name": [name] * count,
                "event_time": pa.array([close] * count, INSTANT),
                "ingest_time": pa.array([close + after] * count, INSTANT),
                "value": list(values.values()),
            }
        )
    )


def check(store: FeatureStore, calendar: TradingCalendar, *sessions: date, **options):
    """Check the three features and give them by name."""
    definitions = options.pop("definitions", DEFINITIONS)
    found = parity_check(store, calendar, definitions, sessions=days(*sessions), **options)
    assert [(f.feature_name, f.feature_version) for f in found] == [
        (d.name, d.version) for d in definitions
    ]
    return {f.feature_name: f for f in found}


def all_sessions(calendar: TradingCalendar) -> list[date]:
    return calendar.sessions(FIRST, LAST).tolist()


def assert_right(found: FeatureParity, *, compared: int) -> None:
    assert found.agrees
    assert found.compared == compared
    assert (found.mismatches, found.mismatch_share) == (0, 0.0)
    assert (found.first_mismatch, found.explanation.kind) == (None, "identical")


def test_what_was_served_right_is_identical(
    served: FeatureStore, calendar: TradingCalendar
) -> None:
    sessions = all_sessions(calendar)
    for found in check(served, calendar, *sessions).values():
        assert_right(found, compared=20 * len(sessions))
        assert (found.largest_difference, found.largest_entity) == (0.0, None)
        assert found.largest_session is None


@pytest.mark.parametrize("in_the_first_place", [True, False])
@pytest.mark.parametrize("session", [EVE, HALF_DAY, date(2022, 11, 28)])
def test_an_rsi_one_session_old_is_named_on_its_first_day(
    priced: FeatureStore,
    calendar: TradingCalendar,
    sample_panel: Panel,
    plant: Plant,
    session: date,
    in_the_first_place: bool,
) -> None:
    compute(priced, calendar, FIRST, calendar.previous(session))
    others = DEFINITIONS[1:] if in_the_first_place else DEFINITIONS
    compute(priced, calendar, session, session, definitions=others)
    old = right(sample_panel, builtin.rsi_14, session, 1)
    plant(priced, session, old)

    found = check(priced, calendar, session)
    rsi = found["rsi_14"]
    assert rsi.explanation == Explanation("shift", 20, explained=20, shift=1)
    assert (rsi.compared, rsi.mismatches, rsi.mismatch_share) == (20, 20, 1.0)
    assert (rsi.not_served, rsi.not_recomputable) == (0, 0)
    assert rsi.first_mismatch == rsi.largest_session == session
    assert not rsi.agrees
    now = right(sample_panel, builtin.rsi_14, session)
    furthest = max(now, key=lambda ticker: abs(now[ticker] - old[ticker]))
    assert rsi.largest_entity == furthest
    assert rsi.largest_difference == pytest.approx(abs(now[furthest] - old[furthest]))
    for name in ("ret_5d", "momentum_20d"):
        assert_right(found[name], compared=20)
    assert_right(check(priced, calendar, calendar.previous(session))["rsi_14"], compared=20)


@pytest.mark.parametrize("shift", [-1, 3, -5])
def test_other_shifts_are_named_too(
    served: FeatureStore,
    calendar: TradingCalendar,
    sample_panel: Panel,
    plant: Plant,
    shift: int,
) -> None:
    plant(served, HALF_DAY, right(sample_panel, builtin.rsi_14, HALF_DAY, shift))
    found = check(served, calendar, HALF_DAY)["rsi_14"]
    assert found.explanation == Explanation("shift", 20, explained=20, shift=shift)
    shallow = check(served, calendar, HALF_DAY, max_shift=abs(shift) - 1)["rsi_14"]
    assert shallow.explanation == Explanation("none", 20)


def test_the_first_session_of_a_defect_is_found_in_a_range(
    served: FeatureStore, calendar: TradingCalendar, sample_panel: Panel, plant: Plant
) -> None:
    for session in calendar.sessions(EVE, LAST).tolist():
        old = right(sample_panel, builtin.momentum_20d, session, 1)
        plant(served, session, old, name="momentum_20d")
    sessions = all_sessions(calendar)
    found = check(served, calendar, *sessions)["momentum_20d"]
    wrong = 20 * len(calendar.sessions(EVE, LAST))
    assert found.explanation == Explanation("shift", wrong, explained=wrong, shift=1)
    assert found.first_mismatch == EVE
    assert found.compared == 20 * len(sessions)
    assert found.mismatch_share == wrong / found.compared


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        (-1.0, Explanation("sign", 20, explained=20)),
        (100.0, Explanation("scale", 20, explained=20, factor=pytest.approx(100.0))),
    ],
)
def test_a_flipped_sign_and_a_scale_are_named(
    served: FeatureStore,
    calendar: TradingCalendar,
    sample_panel: Panel,
    plant: Plant,
    factor: float,
    expected: Explanation,
) -> None:
    values = right(sample_panel, builtin.ret_5d, EVE)
    plant(served, EVE, {t: factor * v for t, v in values.items()}, name="ret_5d")
    found = check(served, calendar, EVE)
    assert found["ret_5d"].explanation == expected
    assert_right(found["rsi_14"], compared=20)


def test_another_version_is_named(
    served: FeatureStore, calendar: TradingCalendar, sample_panel: Panel, plant: Plant
) -> None:
    @feature("ret_5d", version=2, lookback=5)
    def logarithmic(panel):
        return np.log(panel.close / lagged(panel.close, 5))

    @feature("momentum_20d", version=3, lookback=5)
    def unrelated(panel):
        return np.log(panel.close / lagged(panel.close, 5))

    plant(served, EVE, right(sample_panel, logarithmic, EVE), name="ret_5d")
    versions = {"other_definitions": [unrelated, logarithmic]}
    found = check(served, calendar, EVE, **versions)
    assert found["ret_5d"].explanation == Explanation("version", 20, explained=20, version=2)
    assert_right(found["momentum_20d"], compared=20)
    assert check(served, calendar, EVE)["ret_5d"].explanation == Explanation("none", 20)
    # Definitions that are checked themselves serve as versions of each other.
    both = parity_check(served, calendar, [logarithmic, builtin.ret_5d], sessions=days(EVE))
    assert [f.explanation.version for f in both] == [None, 2]
    assert (both[0].compared, both[0].not_served) == (0, 20)


def test_noise_is_a_mismatch_without_an_explanation(
    served: FeatureStore, calendar: TradingCalendar, sample_panel: Panel, plant: Plant
) -> None:
    noise = np.random.default_rng(1).normal(0, 1, 20)
    values = right(sample_panel, builtin.rsi_14, EVE)
    plant(served, EVE, {t: v + e for (t, v), e in zip(values.items(), noise, strict=True)})
    found = check(served, calendar, EVE)["rsi_14"]
    assert found.explanation == Explanation("none", 20)
    assert found.largest_difference == pytest.approx(np.abs(noise).max())
    loose = check(served, calendar, EVE, tolerance=1.0)["rsi_14"]
    assert_right(loose, compared=20)
    assert loose.largest_difference == found.largest_difference


def test_a_value_that_was_not_served_is_counted_and_no_mismatch(
    priced: FeatureStore, calendar: TradingCalendar, sample_panel: Panel
) -> None:
    compute(priced, calendar, EVE, EVE, tickers=[t for t in sample_panel.tickers if t != "AAPL"])
    found = check(priced, calendar, EVE)["rsi_14"]
    assert (found.compared, found.not_served, found.not_recomputable) == (19, 1, 0)
    assert (found.mismatches, found.explanation.kind) == (0, "identical")
    assert not found.agrees
    nothing = check(priced, calendar, HALF_DAY)["rsi_14"]
    assert (nothing.compared, nothing.not_served) == (0, 20)
    assert nothing.explanation == Explanation("none", 0)
    assert math.isnan(nothing.mismatch_share)
    assert math.isnan(nothing.largest_difference)


def test_a_value_served_without_prices_is_counted(
    served: FeatureStore, calendar: TradingCalendar, plant: Plant
) -> None:
    plant(served, EVE, {"DELISTED": 50.0, "ZOMBIE": 51.0})
    found = check(served, calendar, EVE)["rsi_14"]
    assert (found.compared, found.not_served, found.not_recomputable) == (20, 0, 2)
    assert not found.agrees
    for ticker in ("DELISTED", "NEVER SEEN"):
        alone = check(served, calendar, EVE, tickers=[ticker])["rsi_14"]
        assert (alone.compared, alone.not_served) == (0, 0)
        assert alone.not_recomputable == (ticker == "DELISTED")


def test_what_became_known_after_the_decision_was_not_served(
    served: FeatureStore, calendar: TradingCalendar, plant: Plant
) -> None:
    opening = calendar.open_time(date(2022, 11, 28)) - calendar.close_time(HALF_DAY)
    moment = timedelta(microseconds=1)
    plant(served, HALF_DAY, {"AAPL": 1.0}, after=opening + moment)
    assert_right(check(served, calendar, HALF_DAY)["rsi_14"], compared=20)
    # On Saturday, and at the open itself.
    plant(served, HALF_DAY, {"MSFT": 1.0}, after=timedelta(days=1))
    plant(served, HALF_DAY, {"MSFT": 2.0, "GE": 3.0}, after=opening)
    found = check(served, calendar, HALF_DAY)["rsi_14"]
    assert found.mismatches == 2
    assert found.largest_entity in ("MSFT", "GE")


def test_a_bar_restated_after_the_decision_is_no_mismatch(
    priced: FeatureStore, calendar: TradingCalendar
) -> None:
    compute(priced, calendar, FIRST, EVE)
    after = calendar.open_time(HALF_DAY) + timedelta(minutes=1)
    restated = one_bar(calendar, "AAPL", date(2022, 11, 22), 999.0, after)
    write_bars(priced.database, restated, source="vendor")
    sessions = all_sessions(calendar)
    before = [s for s in sessions if s <= EVE]
    for found in check(priced, calendar, *before).values():
        assert_right(found, compared=20 * len(before))
    # Also when the values have been revised since, and among sessions that saw the new bar.
    compute(priced, calendar, FIRST, LAST)
    for found in check(priced, calendar, *sessions).values():
        assert_right(found, compared=20 * len(sessions))


def test_a_ticker_that_becomes_adjusted_after_the_decision_is_no_mismatch(
    priced: FeatureStore, calendar: TradingCalendar
) -> None:
    compute(priced, calendar, FIRST, EVE)
    after = calendar.open_time(HALF_DAY) + timedelta(minutes=1)
    # No bar in the window of a checked session changes, and all of the ticker's others go.
    adjusted = one_bar(calendar, "AAPL", HISTORY, 150.0, after, adj_close=75.0)
    write_bars(priced.database, adjusted, source="vendor")
    sessions = [s for s in all_sessions(calendar) if s <= EVE]
    for found in check(priced, calendar, *sessions).values():
        assert_right(found, compared=20 * len(sessions))
    compute(priced, calendar, HALF_DAY, LAST)
    for found in check(priced, calendar, *all_sessions(calendar)[len(sessions) :]).values():
        assert_right(found, compared=19 * (len(all_sessions(calendar)) - len(sessions)))


def test_a_restatement_before_the_decision_that_was_ignored_is_a_mismatch(
    served: FeatureStore, calendar: TradingCalendar
) -> None:
    night = calendar.open_time(HALF_DAY) - timedelta(hours=3)
    restated = one_bar(calendar, "AAPL", EVE, 999.0, night)
    write_bars(served.database, restated, source="vendor")
    cause = Explanation("late_prices", 1, explained=1, ticker="AAPL", session=EVE)
    for found in check(served, calendar, EVE).values():
        assert (found.compared, found.mismatches) == (20, 1)
        assert (found.largest_entity, found.first_mismatch) == ("AAPL", EVE)
        assert found.explanation == cause
    assert str(cause) == (
        "1 of 1 mismatching values were computed before prices loaded later with an earlier "
        "known_at (such as AAPL 2022-11-23)"
    )
    assert_right(check(served, calendar, EVE, tickers=["GE"])["rsi_14"], compared=1)


def test_late_prices_are_told_from_noise_by_the_window_of_each_value(
    served: FeatureStore, calendar: TradingCalendar, plant: Plant
) -> None:
    sixth_before = calendar.previous(EVE, 6)
    known = calendar.close_time(EVE) - timedelta(hours=5)
    # In the window of rsi_14; ret_5d does not reach that far back.
    write_bars(
        served.database, one_bar(calendar, "AAPL", sixth_before, 150.0, known), source="vendor"
    )
    plant(served, EVE, {"GE": 1e3, "MSFT": 2e3})
    plant(served, EVE, {"GE": 1e3, "AAPL": 2e3}, name="ret_5d")
    found = check(served, calendar, EVE)
    assert found["rsi_14"].explanation == Explanation(
        "late_prices", 3, explained=1, ticker="AAPL", session=sixth_before
    )
    assert found["ret_5d"].explanation == Explanation("none", 2)


def test_a_single_ticker_is_enough(
    served: FeatureStore, calendar: TradingCalendar, sample_panel: Panel, plant: Plant
) -> None:
    plant(served, EVE, {"GE": right(sample_panel, builtin.rsi_14, EVE, 1)["GE"]})
    found = check(served, calendar, EVE, tickers=["GE", "GE"])["rsi_14"]
    assert (found.compared, found.largest_entity) == (1, "GE")
    assert found.explanation == Explanation("shift", 1, explained=1, shift=1)
    assert check(served, calendar, EVE)["rsi_14"].explanation == found.explanation


def test_a_lag_decides_what_could_be_known(
    priced: FeatureStore, calendar: TradingCalendar, sample_panel: Panel
) -> None:
    @feature("day_late", lookback=5, availability_lag=timedelta(hours=24))
    def day_late(panel):
        return panel.close / lagged(panel.close, 5)

    compute(priced, calendar, FIRST, LAST, definitions=[day_late])
    sessions = all_sessions(calendar)
    found = check(priced, calendar, *sessions, definitions=[day_late])["day_late"]
    # Within a week nothing is known by the next open; over a holiday and the weekends it is.
    pauses = sum(
        calendar.open_time(calendar.next(s)) - calendar.close_time(s) > timedelta(hours=25)
        for s in sessions
    )
    assert 0 < pauses < len(sessions)
    assert_right(found, compared=20 * pauses)


def test_a_value_known_to_be_missing_counts_as_none(
    priced: FeatureStore, calendar: TradingCalendar
) -> None:
    @feature("risen", lookback=1, allows_missing=True)
    def risen(panel):
        change = panel.close / lagged(panel.close, 1)
        return np.where(change > 1, change, np.nan)

    compute(priced, calendar, EVE, EVE, definitions=[risen])
    found = check(priced, calendar, EVE, definitions=[risen])["risen"]
    assert 0 < found.compared < 20
    assert_right(found, compared=found.compared)


def test_a_feature_without_its_field_agrees_about_nothing(
    served: FeatureStore, calendar: TradingCalendar
) -> None:
    found = check(served, calendar, EVE, definitions=[builtin.volume_ratio])["volume_ratio"]
    assert found.agrees
    assert (found.compared, found.explanation) == (0, Explanation("none", 0))


def test_the_newest_session_can_be_checked_before_the_next_one_opens(
    store: FeatureStore, sample_panel: Panel
) -> None:
    now = datetime.now(UTC)
    # One of the two exchanges is closed at any time, and for an hour at least.
    exchanges = [trading_calendar(name) for name in ("XNYS", "XTKS")]
    opening, calendar = max(
        ((c.open_time(c.next(c.session_of(now))), c) for c in exchanges), key=lambda pair: pair[0]
    )
    newest = calendar.session_of(now)
    sessions = calendar.sessions(calendar.previous(newest, 40), newest)
    panel = replace(
        sample_panel,
        sessions=sessions,
        event_times=calendar.closes(sessions),
        fields={name: values[-41:] for name, values in sample_panel.fields.items()},
        known_at=sample_panel.known_at[-41:],
    )
    bars = bars_of(panel, calendar, sessions[0].item(), newest, lag=timedelta(0))
    write_bars(store.database, bars, source="sample")
    definitions = [builtin.ret_5d, builtin.momentum_20d]
    compute(store, calendar, newest, newest, definitions=definitions, as_of=now)
    restated = one_bar(calendar, "GE", newest, 999.0, opening)
    write_bars(store.database, restated, source="vendor")
    wait = opening - calendar.close_time(newest)
    store_values(calendar, store, newest, {"GE": 9.0}, name="ret_5d", after=wait)
    assert opening > now
    for found in check(store, calendar, newest, definitions=definitions).values():
        assert_right(found, compared=20)


@pytest.mark.parametrize("seed", range(4))
def test_recomputed_values_are_those_of_one_read_for_each_decision(
    database: Database, calendar: TradingCalendar, sample_panel: Panel, seed: int
) -> None:
    random = np.random.default_rng(seed)
    panel = replace(
        sample_panel,
        tickers=sample_panel.tickers[:4],
        fields={name: values[:, :4] for name, values in sample_panel.fields.items()},
    )
    sessions = calendar.sessions(date(2022, 10, 3), LAST)
    write_bars(database, changing_bars(panel, calendar, sessions, random), source="vendor")

    @feature("price", lookback=0)
    def price(panel):
        return panel.close

    @feature("excess", lookback=4, availability_lag=timedelta(minutes=45))
    def excess(panel):
        change = panel.close / lagged(panel.close, 4)
        return change - np.where(np.isnan(change), 0.0, change).sum(axis=1, keepdims=True)

    @feature("skipping", lookback=10, availability_lag=timedelta(hours=60))
    def skipping(panel):
        return lagged(panel.close, 2) / lagged(panel.close, 10)

    definitions = [price, excess, skipping]
    checked = sessions[3:]
    decisions = calendar.opens([calendar.next(s) for s in checked.tolist()])
    found = recomputed_values(
        database,
        calendar,
        definitions,
        sessions=checked,
        decisions=decisions,
        tickers=panel.tickers,
    )
    for definition, values in zip(definitions, found, strict=True):
        expected = np.full_like(values, np.nan)
        for row, (session, decision) in enumerate(zip(checked.tolist(), decisions, strict=True)):
            known_by = from_microseconds(decision) - definition.availability_lag
            if known_by < calendar.close_time(session):
                continue
            try:
                read = read_panel(
                    database,
                    calendar,
                    first=calendar.previous(session, definition.lookback or 1),
                    last=session,
                    as_of=known_by,
                )
            except MarketDataError:
                continue
            columns = np.searchsorted(panel.tickers, read.tickers)
            expected[row, columns] = definition.function(read)[-1]
        assert 0.05 < np.isfinite(expected).mean() < 1.0
        np.testing.assert_array_equal(values, expected)


def changing_bars(
    panel: Panel, calendar: TradingCalendar, sessions: np.ndarray, random: np.random.Generator
) -> pa.Table:
    """Give bars of which some are late, some restated, and those of one ticker become adjusted."""
    bars = bars_of(panel, calendar, sessions[0].item(), sessions[-1].item())
    late = random.random(bars.num_rows) < 0.1
    known = bars["ingest_time"].cast(pa.int64()).to_numpy()
    known = known + late * random.integers(1, 10 * 86_400, bars.num_rows) * 10**6
    bars = bars.set_column(3, "ingest_time", pa.array(known).cast(INSTANT))
    again = bars.filter(pa.array(random.random(bars.num_rows) < 0.1))
    later = again["ingest_time"].cast(pa.int64()).to_numpy()
    later = later + random.integers(1, 20 * 86_400, again.num_rows) * 10**6
    # Some at an open itself, which is the last moment that a decision sees.
    opens = calendar.opens(sessions)
    at_open = opens[np.minimum(np.searchsorted(opens, later), len(opens) - 1)]
    later = np.where(random.random(again.num_rows) < 0.5, np.maximum(at_open, later), later)
    again = again.set_column(3, "ingest_time", pa.array(later).cast(INSTANT))
    again = again.set_column(7, "close", pa.array(random.lognormal(3, 1, again.num_rows)))
    adjusted = bars.filter(pa.compute.equal(bars["ticker"], panel.tickers[1]))
    halfway = to_microseconds(calendar.close_time(sessions[len(sessions) // 2].item()))
    moment = np.maximum(adjusted["ingest_time"].cast(pa.int64()).to_numpy(), halfway) + 1
    adjusted = adjusted.set_column(3, "ingest_time", pa.array(moment).cast(INSTANT))
    adjusted = adjusted.set_column(8, "adj_close", pa.compute.multiply(adjusted["close"], 0.5))
    return pa.concat_tables([bars, again, adjusted])


def test_prices_are_read_once_for_each_of_their_states(
    served: FeatureStore, calendar: TradingCalendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[datetime] = []

    def counted(*positional, as_of: datetime, **options):
        reads.append(as_of)
        return read_panel(*positional, as_of=as_of, **options)

    monkeypatch.setattr(recomputation, "read_panel", counted)
    sessions = all_sessions(calendar)
    check(served, calendar, *sessions)
    assert len(reads) == 1
    for number, session in enumerate((date(2022, 11, 14), date(2022, 11, 28))):
        after = calendar.open_time(calendar.next(session)) + timedelta(minutes=1)
        restated = one_bar(calendar, "GE", session, 100.0 + number, after)
        write_bars(served.database, restated, source="vendor")
    reads.clear()
    check(served, calendar, *sessions)
    assert len(reads) == 3
    assert reads == sorted(reads)


def test_windows_reach_to_the_start_of_the_calendar(
    store: FeatureStore, calendar: TradingCalendar, sample_panel: Panel
) -> None:
    opening = calendar.sessions(calendar.first_day, date(1990, 4, 2))
    first, last = opening[0].item(), opening[-1].item()
    write_bars(store.database, bars_of(sample_panel, calendar, first, last), source="sample")
    compute(store, calendar, first, last)
    late = calendar.open_time(opening[41].item()) + timedelta(minutes=1)
    restated = one_bar(calendar, "GE", opening[30].item(), 100.0, late)
    write_bars(store.database, restated, source="vendor")
    sessions = opening[:36].tolist()
    found = check(store, calendar, *sessions)
    assert found["rsi_14"].agrees
    assert found["rsi_14"].compared == found["momentum_20d"].compared + 6 * 20 > 0


def test_sessions_that_are_no_unbroken_run_or_not_over_are_refused(
    store: FeatureStore, calendar: TradingCalendar
) -> None:
    def ask(*sessions: date, **options) -> None:
        parity_check(store, calendar, DEFINITIONS, sessions=days(*sessions), **options)

    with pytest.raises(FeatureStoreError, match="0 sessions, which is not one unbroken run"):
        ask()
    with pytest.raises(FeatureStoreError, match=r"2022-11-22 to 2022-11-25.*all sessions"):
        ask(date(2022, 11, 22), HALF_DAY)
    with pytest.raises(FeatureStoreError, match="unbroken run"):
        ask(HALF_DAY, EVE)
    with pytest.raises(NotASessionError, match="Thursday"):
        ask(EVE, date(2022, 11, 24), HALF_DAY)
    future = calendar.next(datetime.now(UTC).date(), 3)
    with pytest.raises(FeatureStoreError, match=f"{future} is not over yet.*up to 20"):
        ask(future)
    for tolerance in (-1.0, math.nan):
        with pytest.raises(FeatureStoreError, match=f"tolerance {tolerance}"):
            ask(EVE, tolerance=tolerance)
    with pytest.raises(FeatureStoreError, match="max_shift -2"):
        ask(EVE, max_shift=-2)


def test_windows_checked_together_say_what_each_says_alone_on_its_own_morning(
    served: FeatureStore, calendar: TradingCalendar, sample_panel: Panel, plant: Plant
) -> None:
    database = served.database
    # What only the close after it can say, in time to be served.
    plant(served, HALF_DAY, right(sample_panel, DEFINITIONS[0], HALF_DAY, shift=-1))
    spans = [(FIRST, EVE), (EVE, HALF_DAY), (HALF_DAY, calendar.next(HALF_DAY)), (FIRST, LAST)]
    windows = [calendar.sessions(*span) for span in spans]
    together = parity_of_windows(database, calendar, DEFINITIONS, windows)
    alone = [parity_of_windows(database, calendar, DEFINITIONS, [w])[0] for w in windows]
    # Undefined numbers are equal when they are written alike.
    assert repr(together) == repr(alone)
    clean, newest, seen, whole = (found[0] for found in together)
    assert clean.agrees
    assert (newest.mismatches, newest.explanation.kind) == (20, "none")
    assert newest.first_mismatch == HALF_DAY
    for later in (seen, whole):
        assert (later.explanation.kind, later.explanation.shift) == ("shift", -1)
    hindsight = parity_check(served, calendar, DEFINITIONS, sessions=windows[1])[0]
    assert (hindsight.explanation.kind, hindsight.explanation.shift) == ("shift", -1)
    assert parity_of_windows(database, calendar, DEFINITIONS, []) == []
