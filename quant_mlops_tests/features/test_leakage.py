"""The audit against leaks of known size, planted in the store."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import spearmanr

from quant_mlops.database import Database
from quant_mlops.errors import FeatureStoreError, MarketDataError, UnknownFeatureError
from quant_mlops.features import FeatureStore, builtin, feature
from quant_mlops.features.catalog import register_definitions
from quant_mlops.features.leakage import FeatureLeakage, audit_leakage
from quant_mlops.features.rolling import lagged
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.price_bars import write_bars

INSTANT = pa.timestamp("us", tz="UTC")
LAG = timedelta(minutes=15)
NAMES = tuple(f"N{number:02}" for number in range(12))
FIRST, LAST = date(2023, 3, 1), date(2023, 5, 31)


@pytest.fixture(scope="module")
def sessions(calendar: TradingCalendar) -> list[date]:
    return calendar.sessions(FIRST, LAST).tolist()


@pytest.fixture(scope="module")
def spine(calendar: TradingCalendar, sessions: list[date]) -> pa.Table:
    """Give a decision an hour after each close for each name, with a random outcome."""
    random = np.random.default_rng(1)
    count = len(sessions) * len(NAMES)
    times = [calendar.close_time(day) + timedelta(hours=1) for day in sessions for _ in NAMES]
    return pa.table(
        {
            "entity_key": list(NAMES) * len(sessions),
            "time": pa.array(times, INSTANT),
            "outcome": random.normal(size=count),
        }
    )


Write = Callable[[str, list[tuple[str, datetime, datetime, float]]], None]


@pytest.fixture
def write(store: FeatureStore) -> Write:
    """Give a function that stores rows of (entity, event time, ingest time, value)."""

    def write(name: str, rows: list[tuple[str, datetime, datetime, float]]) -> None:
        entity, event, ingest, value = zip(*rows, strict=True)
        frame = {
            "entity_key": list(entity),
            "feature_name": [name] * len(rows),
            "event_time": pa.array(event, INSTANT),
            "ingest_time": pa.array(ingest, INSTANT),
            "value": pa.array(value, pa.float64()),
        }
        store.write_frame(pa.table(frame))

    return write


def one(*arguments: object, **options: object) -> FeatureLeakage:
    (found,) = audit_leakage(*arguments, **options)
    return found


@pytest.fixture
def revised(write: Write, calendar: TradingCalendar, sessions: list[date]):
    """Store a feature some of whose values come late, are revised, or never come at all."""
    random = np.random.default_rng(2)
    rows = []
    for day in sessions:
        close = calendar.close_time(day)
        for entity in NAMES:
            kind = random.random()
            if kind < 0.1:
                continue
            late = timedelta(days=5) if kind < 0.2 else LAG
            rows.append((entity, close, close + late, float(random.normal())))
            if kind > 0.7:
                lag = timedelta(days=float(random.uniform(0, 40)))
                rows.append((entity, close, close + late + lag, float(random.normal())))
    write("revised", rows)
    return rows


def search(rows, entity: str, time: datetime, *, cut: datetime, hindsight: bool):
    """Return event time and value of what was known, or is known with hindsight."""
    seen = [
        (event, ingest, value)
        for name, event, ingest, value in rows
        if name == entity and event <= time and ingest <= (cut if hindsight else min(cut, time))
    ]
    return (max(seen)[0], max(seen)[2]) if seen else None


@pytest.mark.parametrize(
    "cut", [datetime(2024, 1, 1, tzinfo=UTC), datetime(2023, 5, 1, tzinfo=UTC)]
)
@pytest.mark.parametrize("age", [None, timedelta(days=2), 1])
def test_the_share_of_differing_cells_is_that_of_a_count(
    store: FeatureStore,
    calendar: TradingCalendar,
    sessions: list[date],
    spine: pa.Table,
    revised,
    cut: datetime,
    age: timedelta | int | None,
) -> None:
    found = one(store, spine, ["revised"], knowledge_time=cut, max_age=age)
    closed = [calendar.close_time(day) for day in sessions]

    def young(event: datetime, time: datetime) -> bool:
        if isinstance(age, int):
            return sum(event < close <= time for close in closed) <= age
        return age is None or time - event <= age

    pairs = []
    for cell in spine.to_pylist():
        entity, time = cell["entity_key"], cell["time"]
        answers = [
            search(revised, entity, time, cut=cut, hindsight=hindsight)
            for hindsight in (False, True)
        ]
        pairs.append([a[1] if a and young(a[0], time) else None for a in answers])
    differing = [(a, b) for a, b in pairs if a != b]
    sizes = [abs(a - b) for a, b in differing if a is not None and b is not None]
    assert 10 < len(sizes) < len(differing)
    assert found.cells == spine.num_rows
    assert found.known == sum(a is not None or b is not None for a, b in pairs)
    assert found.share_differing == len(differing) / len(pairs)
    assert found.largest_difference == max(sizes)


def test_a_feature_that_was_never_revised_differs_nowhere(
    store: FeatureStore, spine: pa.Table, write: Write
) -> None:
    rows = [(c["entity_key"], c["time"], c["time"], c["outcome"]) for c in spine.to_pylist()]
    write("steady", rows)
    found = one(store, spine, ["steady"], label="outcome")
    assert (found.share_differing, found.largest_difference) == (0.0, 0.0)
    assert found.ic_difference == 0.0
    assert found.truncation is None


def test_a_feature_that_only_hindsight_has_differs_in_every_cell(
    store: FeatureStore, spine: pa.Table, write: Write
) -> None:
    late = datetime(2023, 8, 1, tzinfo=UTC)
    rows = [(c["entity_key"], c["time"], late, c["outcome"]) for c in spine.to_pylist()]
    write("backfilled", rows)
    found = one(store, spine, ["backfilled"], label="outcome")
    assert found.share_differing == 1.0
    assert found.ic_latest == 1.0
    # There is no IC to compare with, and no size of a difference from nothing.
    assert all(map(math.isnan, (found.ic_as_known, found.ic_difference, found.largest_difference)))


@pytest.fixture
def leaking(write: Write, spine: pa.Table) -> dict[tuple[str, datetime], float]:
    """Store a feature whose first prints are noise and whose revisions are the outcome."""
    random = np.random.default_rng(3)
    rows, prints = [], {}
    for cell in spine.to_pylist():
        entity, event = cell["entity_key"], cell["time"] - timedelta(hours=1)
        prints[entity, cell["time"]] = first = float(random.normal())
        rows.append((entity, event, event + LAG, first))
        rows.append((entity, event, event + timedelta(days=20), cell["outcome"]))
    write("leaking", rows)
    return prints


def test_a_feature_revised_to_the_outcome_has_its_ic_in_hindsight_only(
    store: FeatureStore, spine: pa.Table, leaking
) -> None:
    found = one(store, spine, ["leaking"], label="outcome")
    assert found.ic_latest == pytest.approx(1.0, abs=1e-12)
    assert abs(found.ic_as_known) < 0.1
    assert found.ic_difference == found.ic_latest - found.ic_as_known
    assert found.share_differing == 1.0

    cells = spine.to_pylist()
    daily = []
    for time in sorted({cell["time"] for cell in cells}):
        of_time = [cell for cell in cells if cell["time"] == time]
        signals = [leaking[cell["entity_key"], time] for cell in of_time]
        daily.append(spearmanr(signals, [cell["outcome"] for cell in of_time]).statistic)
    assert found.ic_as_known == pytest.approx(np.mean(daily), abs=1e-12)


def test_the_ic_does_not_depend_on_the_order_of_the_spine_and_leaves_out_open_outcomes(
    store: FeatureStore, spine: pa.Table, leaking
) -> None:
    missing = np.random.default_rng(4).random(spine.num_rows) < 0.4
    labels = pa.array(spine["outcome"].to_numpy(), mask=missing)
    partly = spine.set_column(2, "outcome", labels)
    kept = spine.filter(pa.array(~missing))
    shuffled = partly.take(np.random.default_rng(5).permutation(spine.num_rows))
    expected = one(store, kept, ["leaking"], label="outcome", min_names=6)
    for given in (partly, shuffled):
        found = one(store, given, ["leaking"], label="outcome", min_names=6)
        assert found.ic_as_known == pytest.approx(expected.ic_as_known, abs=1e-14)
        assert found.ic_latest == pytest.approx(1.0, abs=1e-12)


def test_an_ic_that_cannot_be_computed_is_nan(
    store: FeatureStore, spine: pa.Table, leaking
) -> None:
    unlabelled = one(store, spine, ["leaking"])
    thin = one(store, spine, ["leaking"], label="outcome", min_names=len(NAMES) + 1)
    opened = spine.set_column(2, "outcome", pa.nulls(spine.num_rows))
    unknown = one(store, opened, ["leaking"], label="outcome")
    for found in (unlabelled, thin, unknown):
        assert all(map(math.isnan, (found.ic_as_known, found.ic_latest, found.ic_difference)))
        assert found.share_differing == 1.0


def test_the_share_of_assumed_availability_is_exact(
    store: FeatureStore, spine: pa.Table, write: Write
) -> None:
    now, day = datetime.now(UTC), timedelta(days=1)
    last = max(spine["time"].to_pylist())
    delays = [0.2, 0.5, 0.9, 1.5, 3.0, 30.0, 31.0]
    rows = [
        (entity, last - timedelta(days=nth), now - delay * day, 1.0)
        for nth, delay in enumerate(delays)
        for entity in NAMES[:2]
    ]
    elsewhere = [
        ("not of the spine", last, now - 9 * day, 1.0),
        (NAMES[0], last + timedelta(seconds=1), now - 9 * day, 1.0),  # after every decision
        (NAMES[0], last - timedelta(days=400), now - 9 * day, 1.0),  # within no one's max_age
    ]
    write("delayed", rows + elsewhere)
    store.write_features(
        NAMES[0], last, {"delayed": 1.0}, feature_version=2, availability_lag=timedelta(0)
    )
    pinned = {"feature_versions": {"delayed": 1}, "max_age": timedelta(days=300)}
    found = one(store, spine, ["delayed"], **pinned)
    assert (found.key, found.stored_rows, found.share_assumed) == ("delayed@1", 14, 4 / 7)
    found = one(store, spine, ["delayed"], **pinned, assumed_after=timedelta(hours=8))
    assert found.share_assumed == 6 / 7
    found = one(store, spine, ["delayed"], **pinned, knowledge_time=now - 2 * day)
    assert (found.stored_rows, found.share_assumed) == (6, 1.0)
    found = one(store, spine, ["delayed"], **pinned, knowledge_time=now - 99 * day)
    assert found.stored_rows == 0
    assert math.isnan(found.share_assumed)
    unbounded = one(store, spine, ["delayed"], feature_versions={"delayed": 1})
    assert (unbounded.stored_rows, unbounded.share_assumed) == (15, 9 / 15)
    aged = one(store, spine, ["delayed"], **pinned | {"max_age": timedelta.max})
    assert aged.stored_rows == 15
    assert one(store, spine, ["delayed"]).key == "delayed@2"


def test_rows_that_are_not_known_yet_are_no_part_of_any_number(
    store: FeatureStore, spine: pa.Table, write: Write
) -> None:
    ahead = datetime.now(UTC) + timedelta(days=2)
    cell = spine.slice(0, 1)
    (entity,), (time,) = cell["entity_key"].to_pylist(), cell["time"].to_pylist()
    write("scheduled", [(entity, time, ahead, 1.0)])
    found = one(store, cell, ["scheduled"], knowledge_time=ahead + timedelta(days=2))
    assert (found.known, found.share_differing, found.stored_rows) == (0, 0.0, 0)


def test_features_come_in_the_order_asked_for_whatever_else_the_spine_holds(
    store: FeatureStore, spine: pa.Table, revised, leaking
) -> None:
    names = ["revised", "leaking"]
    found = audit_leakage(store, spine, names, label="outcome")
    assert [leakage.feature_name for leakage in found] == names
    full = spine.append_column("leaking", spine["outcome"])
    assert audit_leakage(store, full, names, label="outcome") == found
    wall = spine["time"].cast(pa.timestamp("us", tz="America/New_York")).to_pandas()
    naive = spine.to_pandas().assign(time=wall.dt.tz_localize(None))
    assert audit_leakage(store, naive, names, label="outcome") == found


def bars(calendar: TradingCalendar, *, first: date, last: date) -> pa.Table:
    """Give random closes and volumes of the names."""
    random = np.random.default_rng(6)
    days = calendar.sessions(first, last)
    closes = calendar.closes(days)
    parts = []
    for name in NAMES:
        nothing = pa.nulls(len(days), pa.float64())
        parts.append(
            pa.table(
                {
                    "ticker": pa.repeat(name, len(days)),
                    "session": pa.array(days),
                    "event_time": pa.array(closes).cast(INSTANT),
                    "ingest_time": pa.array(closes + LAG // timedelta(microseconds=1)).cast(
                        INSTANT
                    ),
                    **dict.fromkeys(("open", "high", "low"), nothing),
                    "close": 50 * np.exp(np.cumsum(random.normal(0, 0.02, len(days)))),
                    "adj_close": nothing,
                    "volume": random.lognormal(12, 1, len(days)),
                    "availability_observed": pa.array(np.zeros(len(days), dtype=bool)),
                }
            )
        )
    return pa.concat_tables(parts)


@feature("tomorrow", lookback=0)
def tomorrow(panel):
    ahead = np.full_like(panel.close, np.nan)
    ahead[:-1] = panel.close[1:]
    return ahead


@feature("understated", lookback=5)
def understated(panel):
    return panel.close / lagged(panel.close, 20) - 1.0


def test_definitions_are_put_to_the_truncation_test_on_stored_prices(
    database: Database, store: FeatureStore, calendar: TradingCalendar, spine: pa.Table
) -> None:
    write_bars(database, bars(calendar, first=date(2021, 6, 1), last=LAST), source="test")
    definitions = [builtin.rsi_14, builtin.volume_ratio, tomorrow, understated]
    register_definitions(database, [*definitions, builtin.ret_5d])
    names = [*(d.name for d in definitions), "ret_5d"]
    found = audit_leakage(
        store, spine, names, definitions=[*definitions, builtin.vol_20d], calendar=calendar
    )
    findings = {f.feature_name: f.truncation and f.truncation.findings for f in found}
    assert findings == {
        "rsi_14": (),
        "volume_ratio": (),
        "tomorrow": ("look_ahead",),
        "understated": ("short_lookback",),
        "ret_5d": None,
    }
    rsi = found[0].truncation
    assert rsi is not None
    assert rsi.look_ahead.found is rsi.short_lookback.found is False
    assert (rsi.look_ahead.sessions, rsi.short_lookback.sessions) == (24, 25)
    # A single decision suffices to see that a feature reads further back than it says.
    single = one(store, spine.slice(0, 1), ["understated"], definitions=[understated])
    assert single.truncation is not None
    assert single.truncation.short_lookback.found
    assert (single.known, single.share_differing) == (0, 0.0)


def test_prices_are_those_known_at_the_knowledge_time(
    database: Database,
    store: FeatureStore,
    calendar: TradingCalendar,
    spine: pa.Table,
    sessions: list[date],
) -> None:
    prices = bars(calendar, first=date(2021, 6, 1), last=date(2023, 6, 30))
    write_bars(database, prices, source="test")
    restated_at = datetime(2023, 7, 1, tzinfo=UTC)
    column = prices.column_names.index("ingest_time")
    later = pa.array([restated_at] * prices.num_rows, INSTANT)
    restated = prices.set_column(column, "ingest_time", later)
    column = prices.column_names.index("close")
    restated = restated.set_column(column, "close", pa.array(np.full(prices.num_rows, 7.0)))
    write_bars(database, restated, source="vendor's correction")
    panels = []

    @feature("watched", lookback=3)
    def watched(panel):
        panels.append(panel)
        return panel.close

    register_definitions(database, [watched])
    some = spine.filter(pa.compute.is_in(spine["entity_key"], pa.array(NAMES[:4])))
    for known_by in (restated_at - timedelta(days=1), restated_at):
        one(store, some, ["watched"], definitions=[watched], knowledge_time=known_by)
        whole = panels[0]
        panels.clear()
        assert whole.tickers == NAMES[:4]
        assert whole.sessions[-1] == np.datetime64(sessions[-1])
        assert whole.sessions[-len(sessions) - 3 - 252] == whole.sessions[0]
        assert (whole.close == 7.0).all() == (known_by == restated_at)
        assert np.isfinite(whole.close).all()
    # What was decided later than the knowledge time rests on no session after it.
    half = calendar.close_time(sessions[30]) + timedelta(hours=1)
    one(store, some, ["watched"], definitions=[watched], knowledge_time=half)
    assert panels[0].sessions[-1] == np.datetime64(sessions[30])


def test_what_cannot_be_audited_is_refused_with_the_way_out(
    store: FeatureStore, spine: pa.Table, leaking
) -> None:
    def refused(given: object, *arguments: object, **options: object) -> None:
        audit_leakage(store, given, *arguments, **options)

    with pytest.raises(FeatureStoreError, match="the label 'return_5d' as a column"):
        refused(spine, ["leaking"], label="return_5d")
    with pytest.raises(FeatureStoreError, match="lacks 'time'"):
        refused(spine.drop_columns("time"), ["leaking"])
    with pytest.raises(FeatureStoreError, match="the spine has 0 rows"):
        refused(spine.slice(0, 0), ["leaking"])
    with pytest.raises(FeatureStoreError, match="'entity_key' holds string and not numbers"):
        refused(spine, ["leaking"], label="entity_key")
    store.write_features(
        NAMES[0], spine["time"][0].as_py(), {"document": {"a": 1}}, availability_lag=timedelta(0)
    )
    with pytest.raises(FeatureStoreError, match="'document' holds string and not numbers"):
        refused(spine, ["document"])
    with pytest.raises(FeatureStoreError, match="a list is not a frame"):
        refused([("N00", FIRST)], ["leaking"])
    with pytest.raises(UnknownFeatureError, match="feature leeking is not in the store"):
        refused(spine, ["leeking"])
    with pytest.raises(UnknownFeatureError, match="feature leaking@2"):
        refused(spine, ["leaking"], feature_versions={"leaking": 2})

    @feature("leaking", version=2, lookback=0)
    def newer(panel):
        return panel.close

    with pytest.raises(FeatureStoreError, match=r"leaking@1 is audited and .* is leaking@2"):
        refused(spine, ["leaking"], definitions=[newer])

    @feature("leaking", lookback=0)
    def audited(panel):
        return panel.close

    with pytest.raises(MarketDataError, match="no price bar from"):
        refused(spine, ["leaking"], definitions=[newer, audited])
