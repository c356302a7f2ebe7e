"""An alert says since when, from what was known when it opened and no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from psycopg.types.json import Jsonb

from quant_mlops.alerts.onset import OnsetSettings
from quant_mlops.alerts.outbox import Alert
from quant_mlops.alerts.response import respond
from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.drift.rules import AlertConfig
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.reports.history import load_monitoring_history
from quant_mlops.statistics import change_interval, simulate_change

LAG = timedelta(hours=4)
BREAK = 120
ABSENT = (
    "model_id", "ic_session", "ic_names", "ic_5d_avg", "ic_20d_mean", "ic_20d_se", "psi_max",
    "psi_max_feature", "sharpe_20d", "sharpe_60d", "sharpe_60d_se", "ic_alert", "psi_alert",
    "sharpe_alert",
    "prediction_psi", "sharpe_5d_se", "sharpe_20d_se", "probabilistic_sharpe_60d",
)  # fmt: skip
Judged = Callable[..., list[date]]
Raised = Callable[..., dict[str, Alert]]


def drawn(kind: str, **values: Any) -> np.ndarray:
    given = {"shape": (1, 200), "position": BREAK, "deviation": 0.004, "seed": 6} | values
    series: np.ndarray = simulate_change(kind, **given)[0]  # type: ignore[arg-type]
    return series


@pytest.fixture
def judged(database: Database, calendar: TradingCalendar) -> Judged:
    """Give a function that stores consecutive sessions, healthy but for the series given."""

    def judged(**series: Sequence[float | None] | np.ndarray) -> list[date]:
        count = len(next(iter(series.values())))
        days: list[date] = calendar.sessions(date(2023, 1, 3), date(2024, 12, 31)).tolist()[:count]
        healthy: dict[str, Any] = {"ic": 0.05, "psi": 0.02, "sharpe_5d": 1.5}
        rows = []
        for i, day in enumerate(days):
            given = {
                name: None if values[i] is None or values[i] != values[i] else values[i]
                for name, values in series.items()
            }
            rows.append(
                dict.fromkeys(ABSENT)
                | {"evaluation_time": calendar.close_time(day) + LAG}
                | {"date": day, "strategy_id": "momentum", "no_data": False, "missing": []}
                | {"ic_by_horizon": Jsonb([])}
                | healthy
                | given
            )
        with database.transaction() as connection, connection.cursor() as cursor:
            cursor.executemany(query("insert_drift_metrics"), rows)
        return days

    return judged


@pytest.fixture
def raised(database: Database, calendar: TradingCalendar) -> Raised:
    def raised(last: date, onset: OnsetSettings | None = None) -> dict[str, Alert]:
        response = respond(
            database, calendar, strategy_id="momentum", config=AlertConfig(), last=last,
            evaluation_lag=LAG, cooldown_sessions=20, onset=onset or OnsetSettings(),
        )  # fmt: skip
        return {alert.rule: alert for alert in response.alerts}

    return raised


def test_an_ic_that_fell_is_dated_up_to_the_session_of_the_alert(
    database: Database, judged: Judged, raised: Raised
) -> None:
    ic = drawn("overlapping", before=0.05, after=0.025, lag=4)
    ic[BREAK + 15 :] = -0.01
    ic[[30, 31, BREAK - 2]] = np.nan
    days = judged(ic=ic)
    alert = raised(days[-1], OnsetSettings(horizon=5))["ic_severe"]
    opened = days.index(alert.opened_session)
    assert opened == BREAK + 15
    expected = change_interval(ic[: opened + 1], lag=4)
    assert expected is not None
    found = alert.evidence["onset"]
    assert found["series"] == "ic"
    assert found["session"] == days[expected.index].isoformat()
    assert found["first"] == days[expected.first].isoformat()
    assert found["last"] == days[expected.last].isoformat()
    assert found["p_value"] == pytest.approx(expected.p_value)
    assert found["mean_before"] == pytest.approx(expected.mean_before)
    assert found["mean_after"] == pytest.approx(expected.mean_after)
    assert found["deviation"] == pytest.approx(expected.deviation)
    assert (found["level"], found["lag"], found["known_after"]) == (0.95, 4, 5)
    assert found["observations"] == opened + 1 - 3
    assert found["last"] <= alert.opened_session.isoformat()
    (stored,) = (
        episode
        for episode in load_monitoring_history(database, "momentum").alerts
        if episode.rule == "ic_severe"
    )
    assert stored.onset is not None
    assert (stored.onset.session, stored.onset.last) == (days[expected.index], days[expected.last])


def test_a_later_session_does_not_change_what_an_alert_said(
    judged: Judged, raised: Raised, database: Database
) -> None:
    ic = drawn("independent", before=0.05, after=0.025, shape=(1, 160))
    ic[BREAK + 15 :] = -0.01
    days = judged(ic=ic)
    early = raised(days[BREAK + 15])["ic_severe"].evidence["onset"]
    assert raised(days[-1]).get("ic_severe") is None
    # Filed under another strategy, the alert counts as new once more.
    database.execute("UPDATE alerts SET strategy_id = 'other', dedupe_key = 'other' || alert_id")
    assert raised(days[-1])["ic_severe"].evidence["onset"] == early


def test_a_negative_sharpe_is_dated_in_the_returns_under_it(
    database: Database, calendar: TradingCalendar, judged: Judged, raised: Raised
) -> None:
    returns = drawn("heavy_tailed", before=0.001, after=-0.006)
    earned_by, _ = _models(database)
    days = judged(sharpe_5d=np.where(np.arange(200) < BREAK + 20, 1.5, -1.0))
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.executemany(
            query("insert_strategy_return"),
            [
                {
                    "strategy_id": "momentum", "session": day,
                    "event_time": calendar.close_time(day), "model_id": earned_by, "names": 20,
                    "gross_return": value, "turnover": 0.0, "cost": 0.0, "net_return": value,
                    "market_return": 0.0,
                }
                for day, value in zip(days, returns.tolist(), strict=True)
                if day != days[50]
            ],
        )  # fmt: skip
    alert = raised(days[-1], OnsetSettings(horizon=5))["sharpe_negative"]
    opened = days.index(alert.opened_session)
    returns[50] = np.nan
    expected = change_interval(returns[: opened + 1])
    assert expected is not None
    found = alert.evidence["onset"]
    assert (found["series"], found["lag"], found["known_after"]) == ("net_return", 0, 0)
    assert found["session"] == days[expected.index].isoformat()
    assert found["first"] <= days[BREAK].isoformat() <= found["last"]
    assert found["mean_after"] < 0.0 < found["mean_before"]


def test_a_pooled_psi_is_dated_as_far_back_as_its_window_reaches(
    judged: Judged, raised: Raised
) -> None:
    psi = drawn("stability", before=0.02, after=0.6, lag=19)
    days = judged(psi=psi)
    alert = raised(days[-1], OnsetSettings(horizon=5, psi_window=20))["psi_severe"]
    opened = days.index(alert.opened_session)
    found = alert.evidence["onset"]
    assert (found["series"], found["lag"], found["observations"]) == ("psi", 19, opened + 1)
    assert found["first"] <= days[BREAK].isoformat() <= found["last"]
    index = days.index(date.fromisoformat(found["session"]))
    assert found["mean_before"] == pytest.approx(psi[:index].mean())
    assert found["mean_after"] == pytest.approx(psi[index : opened + 1].mean())


def test_a_psi_against_another_reference_does_not_date_the_drift(
    database: Database, judged: Judged, raised: Raised
) -> None:
    days = judged(psi=drawn("stability", before=0.02, after=0.6, shape=(1, 140)))
    older, newer = _models(database)
    database.execute("UPDATE drift_metrics SET model_id = %s", [older])
    database.execute(
        "UPDATE drift_metrics SET model_id = %s WHERE date >= %s", [newer, days[BREAK - 30]]
    )
    alert = raised(days[-1])["psi_severe"]
    found = alert.evidence["onset"]
    assert found["observations"] == days.index(alert.opened_session) + 1 - (BREAK - 30)
    assert found["first"] > days[BREAK - 30].isoformat()


def test_where_nothing_can_be_dated_the_alert_says_nothing(judged: Judged, raised: Raised) -> None:
    days = judged(ic=[0.05, 0.05, -0.01], psi=[0.02, 0.5, 0.5], sharpe_5d=[-1.0] * 3)
    alerts = raised(days[-1])
    assert alerts
    assert all("onset" not in alert.evidence for alert in alerts.values())


def _models(database: Database) -> list[UUID]:
    ids = [uuid4(), uuid4()]
    for version, model_id in enumerate(ids, start=1):
        database.execute(
            "INSERT INTO models (model_id, name, version) VALUES (%s, 'ridge', %s)",
            [model_id, version],
        )
    return ids
