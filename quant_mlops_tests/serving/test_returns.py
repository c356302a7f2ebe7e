"""What a strategy earned, against a loop over sessions in plain Python."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pytest

from quant_mlops.database import Database
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.serving.returns import PortfolioRules, ReturnsWritten, write_strategy_returns

COST = 0.001
MODEL = uuid.uuid4()
STORED = (
    "SELECT session, names, gross_return, turnover, cost, net_return, market_return "
    "FROM strategy_returns ORDER BY session"
)
Write = Callable[..., ReturnsWritten]


@pytest.fixture
def write(database: Database, calendar: TradingCalendar, sessions: list[date]) -> Write:
    def write(first: int, last: int) -> ReturnsWritten:
        return write_strategy_returns(
            database,
            calendar,
            strategy_id="momentum",
            sessions=np.array(sessions[first:last], dtype="datetime64[D]"),
            rules=PortfolioRules(min_names=4, cost_per_turnover=COST),
            evaluation_lag=timedelta(hours=4),
        )

    return write


@pytest.fixture
def signals(
    database: Database, calendar: TradingCalendar, sessions: list[date], market: dict[str, object]
) -> dict[date, dict[str, float]]:
    """Store predictions of sessions 8 to 24, some names missing and one session thin."""
    random = np.random.default_rng(6)
    found: dict[date, dict[str, float]] = {}
    for i in range(8, 25):
        names = [t for t in sorted(market) if random.random() > 0.1]
        if i == 16:
            names = names[:3]
        found[sessions[i]] = {name: float(random.integers(0, 4)) for name in names}
        for name, signal in found[sessions[i]].items():
            database.execute(
                "INSERT INTO predictions (strategy_id, entity_key, event_time, session, model_id,"
                " signal, feature_digest) VALUES ('momentum', %s, %s, %s, %s, %s, 'x')",
                [name, calendar.open_time(sessions[i]), sessions[i], MODEL, signal],
            )
    return found


def weights_by_hand(signals: dict[str, float]) -> dict[str, float]:
    if len(signals) < 4:
        return {}
    values = list(signals.values())
    ranks = {
        name: sum(v < mine for v in values) + (sum(v == mine for v in values) + 1) / 2
        for name, mine in signals.items()
    }
    centred = {name: rank - (len(values) + 1) / 2 for name, rank in ranks.items()}
    size = sum(abs(w) for w in centred.values())
    return {name: w / size for name, w in centred.items() if w != 0} if size else {}


def expected_rows(
    sessions: list[date],
    signals: dict[date, dict[str, float]],
    closes: dict[str, np.ndarray],
    first: int,
    last: int,
) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for i in range(first, last):
        held = weights_by_hand(signals.get(sessions[i - 1], {}))
        before = weights_by_hand(signals.get(sessions[i - 2], {}))
        if not held:
            continue
        turnover = sum(abs(held.get(n, 0) - before.get(n, 0)) for n in held.keys() | before.keys())
        earned = {n: closes[n][i] / closes[n][i - 1] - 1 for n in held}
        gross = sum(w * earned[n] for n, w in held.items())
        market = sum(earned.values()) / len(held)
        cost = turnover * COST
        rows.append((sessions[i], len(held), gross, turnover, cost, gross - cost, market))
    return rows


def assert_rows(found: list[tuple[object, ...]], expected: list[tuple[object, ...]]) -> None:
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    np.testing.assert_allclose(
        [row[2:] for row in found], [row[2:] for row in expected], rtol=1e-12, atol=1e-15
    )


def test_returns_are_those_of_a_loop(
    database: Database,
    sessions: list[date],
    market: dict[str, np.ndarray],
    signals: dict[date, dict[str, float]],
    write: Write,
) -> None:
    written = write(6, 30)
    expected = expected_rows(sessions, signals, market, 6, 30)
    assert written == ReturnsWritten(len(expected), len(expected))
    assert len(expected) == 16
    assert_rows(database.fetch_all(STORED), expected)
    models = database.fetch_all("SELECT DISTINCT model_id FROM strategy_returns")
    assert models == [(MODEL,)]


def test_a_return_before_whose_positions_others_are_found_is_restated_and_the_earlier_one_kept(
    database: Database,
    sessions: list[date],
    market: dict[str, np.ndarray],
    signals: dict[date, dict[str, float]],
    write: Write,
) -> None:
    # Without what was held before, all of the position seems to be bought anew.
    rows = database.fetch_all("SELECT * FROM predictions WHERE session = %s", [sessions[12]])
    with database.transaction() as connection:
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("DELETE FROM predictions WHERE session = %s", [sessions[12]])
    write(6, 30)
    before = dict(database.fetch_all("SELECT session, turnover FROM strategy_returns"))
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO predictions VALUES (" + ", ".join(["%s"] * len(rows[0])) + ")", rows
        )
    # The return of the session after it is new, that of the one after that has another cost.
    assert write(6, 30).stored == 2
    assert_rows(database.fetch_all(STORED), expected_rows(sessions, signals, market, 6, 30))
    kept = database.fetch_all("SELECT session, turnover FROM strategy_returns_history")
    assert kept == [(sessions[14], before[sessions[14]])]
    assert kept[0][1] == pytest.approx(1.0)
    assert write(6, 30).stored == 0


@pytest.mark.parametrize("cut", [9, 10, 15, 18])
def test_a_range_in_two_calls_is_the_range_in_one(
    database: Database, signals: dict[date, dict[str, float]], write: Write, cut: int
) -> None:
    write(6, 28)
    whole = database.fetch_all(STORED)
    database.execute("DELETE FROM strategy_returns")
    write(cut, 28)
    write(6, cut)
    assert database.fetch_all(STORED) == whole
    assert write(6, 28).stored == 0


def test_a_price_restated_later_leaves_past_returns_as_they_were(
    database: Database,
    sessions: list[date],
    market: dict[str, np.ndarray],
    signals: dict[date, dict[str, float]],
    store_bars: Callable[..., None],
    write: Write,
) -> None:
    write(6, 28)
    before = database.fetch_all(STORED)
    database.execute("DELETE FROM strategy_returns")
    # Session 12 doubles four hours and a microsecond after its close: too late for its own
    # return, in time for the return of the session after it.
    restated = {name: [closes[12] * 2] for name, closes in market.items()}
    store_bars([sessions[12]], restated, lag=timedelta(hours=4, microseconds=1))
    write(6, 28)
    after = database.fetch_all(STORED)
    changed = [a[0] for a, b in zip(before, after, strict=True) if a != b]
    assert changed == [sessions[13]]
    halved = {n: np.where(np.arange(30) == 12, c * 2, c) for n, c in market.items()}
    assert_rows(
        [row for row in after if row[0] == sessions[13]],
        expected_rows(sessions, signals, halved, 13, 14),
    )


def test_a_session_without_any_price_has_no_return_and_gets_it_when_prices_arrive(
    database: Database,
    calendar: TradingCalendar,
    sessions: list[date],
    store_bars: Callable[..., None],
    write: Write,
) -> None:
    tickers = ["A", "B", "C", "D"]
    store_bars(sessions[:2], {name: [10.0, 11.0] for name in tickers})
    for i in (0, 1):
        for signal, name in enumerate(tickers):
            database.execute(
                "INSERT INTO predictions (strategy_id, entity_key, event_time, session, model_id,"
                " signal, feature_digest) VALUES ('momentum', %s, %s, %s, %s, %s, 'x')",
                [name, calendar.open_time(sessions[i]), sessions[i], MODEL, float(signal)],
            )
    assert write(1, 3) == ReturnsWritten(1, 1)
    store_bars([sessions[2]], {name: [12.0] for name in tickers})
    assert write(1, 3) == ReturnsWritten(2, 1)


def test_a_halted_name_earns_nothing_while_the_others_trade(
    database: Database, sessions: list[date], store_bars: Callable[..., None], write: Write,
    calendar: TradingCalendar,
) -> None:  # fmt: skip
    closes = {"A": [10.0, np.nan], "B": [10.0, 10.0], "C": [10.0, 10.0], "D": [10.0, 11.0]}
    store_bars(sessions[:2], closes)
    for signal, name in enumerate("ABCD"):
        database.execute(
            "INSERT INTO predictions (strategy_id, entity_key, event_time, session, model_id,"
            " signal, feature_digest) VALUES ('momentum', %s, %s, %s, %s, %s, 'x')",
            [name, calendar.open_time(sessions[0]), sessions[0], MODEL, float(signal)],
        )
    write(1, 2)
    ((_, names, gross, turnover, _, _, market),) = database.fetch_all(STORED)
    assert (names, turnover) == (4, pytest.approx(1.0))
    assert gross == pytest.approx(0.375 * 0.1)
    assert market == pytest.approx(0.1 / 4)


def test_a_range_of_no_sessions_has_no_returns(write: Write) -> None:
    assert write(5, 5) == ReturnsWritten(0, 0)
