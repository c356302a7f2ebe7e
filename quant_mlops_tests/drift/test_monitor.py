"""The metrics of a session, as its own evening knew them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import astuple, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quant_mlops.drift.monitor import DriftMetrics, DriftMonitor, MetricsWritten
from quant_mlops.errors import MonitoringError, NotASessionError
from quant_mlops.statistics import (
    newey_west_standard_error,
    probabilistic_sharpe_ratio,
    rolling_sharpe_evidence,
    sharpe_standard_error,
)

HORIZON = 3
MakeDesk = Callable[..., Any]


def values(metrics: DriftMetrics) -> tuple[object, ...]:
    """Return the fields with one kind of NaN, so that equal metrics compare equal."""
    return comparable(astuple(metrics))


def comparable(fields: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(
        comparable(v)
        if isinstance(v, tuple)
        else "NaN"
        if isinstance(v, float) and math.isnan(v)
        else v
        for v in fields
    )


def judged(desk: Any, first: int, last: int) -> list[DriftMetrics]:
    return desk.monitor.calculate_range(desk.sessions[first], desk.sessions[last])


def test_every_number_is_that_of_a_loop_in_pandas(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.signals[40:43] = np.nan
    desk.signals[50, :5] = np.nan
    desk.signals[60] = 0.5
    desk.net[55] = np.nan
    desk.psi[45], desk.psi[46, 0] = np.nan, np.nan
    desk.store_all(0, 90)
    ic = []
    for i in range(90):
        label = pd.Series(desk.closes[i] / desk.closes[i - HORIZON] - 1 if i >= HORIZON else np.nan)
        signal = pd.Series(desk.signals[i - HORIZON]) if i >= HORIZON else pd.Series([np.nan] * 7)
        enough = signal.notna().sum() >= 4 and signal.nunique() > 1
        ic.append(signal.corr(label, method="spearman") if enough else np.nan)
    net = pd.Series(desk.net)
    for i, found in enumerate(judged(desk, 0, 89)):
        assert found.date == desk.sessions[i]
        assert found.evaluation_time == desk.calendar.close_time(found.date) + timedelta(hours=4)
        recent = pd.Series(ic[max(i - 4, 0) : i + 1]).dropna()
        month = pd.Series(ic[max(i - 19, 0) : i + 1]).dropna().to_numpy()
        full = len(month) == 20
        year = net[max(i - 59, 0) : i + 1]
        psi = desk.psi[i][~np.isnan(desk.psi[i])]
        expected = {
            "ic": ic[i],
            "ic_5d_avg": recent.mean() if len(recent) >= 3 else np.nan,
            "ic_20d_mean": month.mean() if full else np.nan,
            "ic_20d_se": newey_west_standard_error(month, lag=2) if full else np.nan,
            "psi": psi.mean() if len(psi) else np.nan,
            "psi_max": psi.max() if len(psi) else np.nan,
            **{
                f"sharpe_{w}d": net.rolling(w).mean()[i] / net.rolling(w).std()[i] * 252**0.5
                for w in (5, 20, 60)
            },
            **{
                f"sharpe_{w}d_se": sharpe_standard_error(stretch.to_numpy())
                if (stretch := net[max(i - w + 1, 0) : i + 1]).notna().sum() == w
                else np.nan
                for w in (5, 20, 60)
            },
            "probabilistic_sharpe_60d": probabilistic_sharpe_ratio(year.to_numpy())
            if year.notna().sum() == 60
            else np.nan,
        }
        for name, value in expected.items():
            np.testing.assert_allclose(getattr(found, name), value, rtol=1e-9, err_msg=name)
        names = np.isfinite(desk.signals[i - HORIZON]).sum() if i >= HORIZON else 0
        assert found.ic_names == names
        assert found.ic_session == (desk.sessions[i - HORIZON] if names else None)
        if len(psi):
            assert found.psi_max_feature == ("alpha", "beta")[int(np.nanargmax(desk.psi[i]))]


def test_a_range_is_its_days(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.signals[30] = np.nan
    desk.store_all(0, 90)
    desk.store_prices(20, 60, factor=1.01, lag=timedelta(hours=30))
    whole = judged(desk, 10, 80)
    for i, metrics in enumerate(whole):
        alone = desk.monitor.calculate_metrics(desk.sessions[10 + i])
        assert values(alone) == values(metrics)


def test_a_run_for_a_past_session_gives_what_that_evening_gave(make_desk: MakeDesk) -> None:
    desk = make_desk(count=40)
    random = np.random.default_rng(1)
    evenings = []
    for i, day in enumerate(desk.sessions):
        desk.store_all(i, i + 1)
        evenings.append(values(desk.monitor.calculate_metrics(day)))
        # Known to no evening before the next one, which sees it as the close of yesterday.
        desk.closes[i] *= random.uniform(0.9, 1.1, desk.closes.shape[1])
        desk.store_prices(i, i + 1, lag=timedelta(hours=4, microseconds=1))
    assert [values(metrics) for metrics in judged(desk, 0, 39)] == evenings
    assert np.isfinite([evening[6] for evening in evenings[HORIZON:]]).all()


@pytest.mark.parametrize("later", [timedelta(hours=4, microseconds=1), timedelta(days=200)])
def test_restatements_known_later_do_not_reach_back(make_desk: MakeDesk, later: timedelta) -> None:
    desk = make_desk()
    desk.store_all(0, 50)
    before = [values(m) for m in judged(desk, 5, 49)]
    desk.store_all(50, 90)
    # Sessions 49 on are restated after the evening of session 49.
    desk.closes = desk.closes * np.random.default_rng(1).uniform(0.9, 1.1, desk.closes.shape)
    desk.store_prices(49, 90, lag=later)
    if later > timedelta(days=1):
        desk.store_prices(0, 49, lag=later)
    assert [values(m) for m in judged(desk, 5, 49)] == before


def test_an_undefined_ic_is_null_raises_no_alert_and_is_reported_as_no_data(
    make_desk: MakeDesk,
) -> None:
    desk = make_desk()
    desk.signals[30] = 0.7
    desk.store_all(0, 60)
    found = desk.monitor.run_daily(desk.sessions[30 + HORIZON])
    assert math.isnan(found.ic)
    assert found.ic_alert is None
    assert found.no_data
    assert (found.ic_names, found.ic_session) == (7, desk.sessions[30])
    row = desk.database.fetch_one("SELECT ic, ic_alert, no_data, ic_5d_avg FROM drift_metrics")
    assert row[:3] == (None, None, True)
    assert row[3] == pytest.approx(found.ic_5d_avg)
    assert found.ic_5d_avg is not None
    assert np.isfinite(found.ic_5d_avg)


def test_only_what_was_expected_is_missing(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.signals[0] = np.nan  # the model is live from the close of session 0 on
    desk.net[:2] = np.nan
    desk.psi[0] = np.nan
    desk.store_all(0, 60)
    assert [m.no_data for m in judged(desk, 0, 59)] == [False] * 60


@pytest.mark.parametrize("what", ["closes", "signals", "psi", "net"])
def test_a_gap_in_the_data_is_reported_where_it_shows(make_desk: MakeDesk, what: str) -> None:
    desk = make_desk()
    getattr(desk, what)[20:22] = np.nan
    desk.store_all(0, 60)
    metrics = judged(desk, 0, 59)
    missing = {i for i, m in enumerate(metrics) if m.no_data}
    assert metrics[20].missing == {
        "closes": ("prices", "the IC"),
        "signals": ("predictions",),
        "psi": ("feature drift",),
        "net": ("the return",),
    }[what]  # fmt: skip
    labels = {20 + HORIZON, 21 + HORIZON}
    assert (
        missing - {1, 2, 3}
        == {
            "closes": {20, 21} | labels,
            "signals": {20, 21} | labels,
            "psi": {20, 21},
            "net": {20, 21},
        }[what]
    )


def test_without_a_live_model_nothing_is_expected(make_desk: MakeDesk) -> None:
    desk = make_desk(live=False)
    desk.store_prices(0, 30)
    metrics = judged(desk, 10, 20)
    assert not any(m.no_data for m in metrics)
    assert all(math.isnan(m.ic) and m.ic_alert is None for m in metrics)
    assert {m.model_id for m in metrics} == {None}


def test_a_live_model_without_any_data_is_reported(make_desk: MakeDesk) -> None:
    desk = make_desk()
    assert [m.no_data for m in judged(desk, 0, 5)] == [False] + [True] * 5


def test_levels_follow_the_metrics(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.store_all(0, 90)
    config = desk.monitor.config
    seen = set()
    for m in judged(desk, 10, 80):
        assert m.ic_alert == config.level("ic", m.ic)
        assert m.psi_alert == config.level("psi", m.psi)
        assert m.sharpe_alert == config.level("sharpe_5d", m.sharpe_5d)
        seen |= {m.ic_alert, m.psi_alert, m.sharpe_alert}
    assert seen == {None, "warning", "severe", "critical"}


def test_each_horizon_has_the_ic_of_the_newest_label_that_is_known(make_desk: MakeDesk) -> None:
    desk = make_desk(count=60)
    desk.signals[40] = np.nan
    desk.monitor = DriftMonitor(
        desk.database, "momentum", horizon=HORIZON, min_names=4, ic_horizons=(10, 1)
    )
    desk.store_all(0, 60)
    closes, signals = pd.DataFrame(desk.closes), pd.DataFrame(desk.signals)
    expected = {
        h: pd.Series(
            [
                signals.loc[i - h].corr(closes.loc[i] / closes.loc[i - h] - 1, method="spearman")
                if i >= h
                else np.nan
                for i in range(60)
            ]
        )
        for h in (1, 3, 10)
    }
    for i, metrics in enumerate(judged(desk, 0, 59)):
        assert [found.horizon for found in metrics.ic_by_horizon] == [1, 3, 10]
        for found in metrics.ic_by_horizon:
            h = found.horizon
            np.testing.assert_allclose(found.ic, expected[h][i], rtol=1e-9)
            known = i >= h and i - h != 40
            assert (found.session, found.names) == (
                (desk.sessions[i - h], 7) if known else (None, 0)
            )
            month = expected[h][max(i - 19, 0) : i + 1]
            full = month.notna().sum() == 20
            error = newey_west_standard_error(month.to_numpy(), lag=h - 1) if full else np.nan
            mean = month.mean() if full else np.nan
            np.testing.assert_allclose(found.ic_20d_mean, mean, rtol=1e-9)
            np.testing.assert_allclose(found.ic_20d_se, error, rtol=1e-9)
        primary = metrics.ic_by_horizon[1]
        assert comparable((primary.ic, primary.ic_20d_mean)) == comparable(
            (metrics.ic, metrics.ic_20d_mean)
        )


def test_a_long_label_that_is_open_costs_no_short_horizon_its_newest_session(
    make_desk: MakeDesk,
) -> None:
    desk = make_desk(count=30)
    # Predictions begin on session 20, so that no label of 20 sessions has ended by session 29.
    desk.signals[:20] = np.nan
    desk.monitor = DriftMonitor(desk.database, "momentum", min_names=4, ic_horizons=(20,))
    desk.store_all(0, 30)
    short, long = judged(desk, 29, 29)[0].ic_by_horizon
    assert (short.horizon, short.session) == (1, desk.sessions[28])
    assert np.isfinite(short.ic)
    assert (long.horizon, long.session, long.names) == (20, None, 0)
    desk.monitor.run_daily(desk.sessions[29])
    ((stored,),) = desk.database.fetch_all("SELECT ic_by_horizon FROM drift_metrics")
    assert stored[0] == {
        "horizon": 1,
        "session": desk.sessions[28].isoformat(),
        "names": 7,
        "ic": short.ic,
        "ic_20d_mean": None,
        "ic_20d_se": None,
    }
    assert (stored[1]["horizon"], stored[1]["ic"]) == (20, None)


def test_a_horizon_below_one_session_is_refused(make_desk: MakeDesk) -> None:
    with pytest.raises(MonitoringError, match="a horizon of -2 sessions was asked for"):
        DriftMonitor(make_desk().database, "momentum", ic_horizons=(-2,))


def test_evidence_of_sharpe_ratios_is_that_of_each_window() -> None:
    random = np.random.default_rng(8)
    returns = random.standard_t(4, 90) / 100
    returns[10], returns[20:25], returns[40] = np.nan, 0.001, np.inf
    for window in (2, 5, 20):
        found = rolling_sharpe_evidence(returns, window=window)
        for end in range(90):
            stretch = returns[end - window + 1 : end + 1] if end >= window - 1 else np.array([])
            whole = len(stretch) == window and np.isfinite(stretch).all()
            error = sharpe_standard_error(stretch) if whole else np.nan
            chance = probabilistic_sharpe_ratio(stretch) if whole else np.nan
            np.testing.assert_allclose(found.standard_error[end], error, rtol=1e-9)
            np.testing.assert_allclose(found.probability[end], chance, rtol=1e-9)
    with pytest.raises(ValueError, match="window is 1"):
        rolling_sharpe_evidence(returns, window=1)
    with pytest.raises(ValueError, match="one axis"):
        rolling_sharpe_evidence([[0.1]], window=5)


def test_the_psi_of_signals_is_stored_and_no_part_of_the_aggregate(make_desk: MakeDesk) -> None:
    desk = make_desk(count=30)
    desk.store_all(0, 30)
    desk.database.execute(
        "INSERT INTO prediction_drift (strategy_id, event_time, session, model_id, day_counts, "
        "window_sessions, n_reference, n_current, psi) "
        "VALUES ('momentum', %s, %s, %s, '{1}', 60, 1, 1, 7.5)",
        [desk.calendar.close_time(desk.sessions[20]), desk.sessions[20], desk.model_id],
    )
    before, with_one = judged(desk, 19, 20)
    assert math.isnan(before.prediction_psi)
    assert with_one.prediction_psi == 7.5
    assert with_one.psi == pytest.approx(desk.psi[20].mean())
    assert with_one.psi_max < 7.5
    desk.monitor.save_range([before, with_one])
    stored = desk.database.fetch_all("SELECT prediction_psi FROM drift_metrics ORDER BY date")
    assert stored == [(None,), (7.5,)]


def test_storing_the_same_again_stores_nothing(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.store_all(0, 90)
    metrics = judged(desk, 5, 60)
    assert desk.monitor.save_range(metrics) == MetricsWritten(56, 56)
    assert desk.monitor.save_range(metrics) == MetricsWritten(56, 0)
    assert desk.monitor.save_range([]) == MetricsWritten(0, 0)
    assert desk.database.fetch_all("SELECT count(*) FROM drift_metrics_history") == [(0,)]


def test_a_number_that_changes_leaves_the_earlier_row_in_the_history(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.store_all(0, 90)
    metrics = desk.monitor.calculate_metrics(desk.sessions[40])
    desk.monitor.save_metrics(metrics)
    changed = replace(metrics, ic=metrics.ic + 0.01, psi_max=math.nan, prediction_psi=0.3)
    assert desk.monitor.save_metrics(changed) == MetricsWritten(1, 1)
    now = desk.database.fetch_all("SELECT ic, psi_max, recorded_at FROM drift_metrics")
    then = desk.database.fetch_all(
        "SELECT ic, psi_max, recorded_at, believed_until FROM drift_metrics_history"
    )
    assert now[0][:2] == (changed.ic, None)
    assert then[0][:2] == (metrics.ic, metrics.psi_max)
    assert then[0][2] < then[0][3] <= now[0][2]
    # Back to what it was: the second belief goes to the history as well.
    desk.monitor.save_metrics(metrics)
    assert desk.database.fetch_all("SELECT count(*) FROM drift_metrics_history") == [(2,)]


def test_a_day_off_has_no_metrics(make_desk: MakeDesk) -> None:
    desk = make_desk()
    thanksgiving = date(2023, 11, 23)
    with pytest.raises(NotASessionError, match=r"2023-11-23, a Thursday, is not a session"):
        desk.monitor.run_daily(thanksgiving)
    weekend = desk.monitor.calculate_range(date(2023, 11, 25), date(2023, 11, 26))
    assert weekend == []


def test_the_newest_session_that_can_be_judged_is_judged_by_default(make_desk: MakeDesk) -> None:
    desk = make_desk()
    (now,) = desk.database.fetch_one("SELECT clock_timestamp()")
    found = desk.monitor.run_daily()
    assert found.evaluation_time <= now
    following = desk.calendar.next(found.date)
    assert desk.monitor.evaluation_time(following) > now
