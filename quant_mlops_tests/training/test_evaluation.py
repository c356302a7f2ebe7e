"""Metrics of signals against explicit loops in pandas."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

from quant_mlops.statistics import (
    newey_west_standard_error,
    probabilistic_sharpe_from_moments,
    sharpe_ratio,
)
from quant_mlops.training.evaluation import (
    EvaluationSettings,
    backtest_metrics,
    backtest_returns,
    daily_information_coefficients,
    signal_metrics,
)
from quant_mlops.training.matrices import TrainingRows, training_rows
from quant_mlops.training.portfolio import universe_returns

SETTINGS = EvaluationSettings(horizon=5, min_names=4, cost_per_turnover=0.001)


@pytest.fixture
def frame() -> pd.DataFrame:
    random = np.random.default_rng(8)
    days = pd.bdate_range("2024-01-01", periods=30).date
    rows = [
        {
            "session": day,
            "entity_key": f"T{name}",
            "x": random.normal(),
            "label": random.choice([-0.01, 0.0, 0.01]) + random.normal(0, 0.01),
            "next_session_return": random.normal(0, 0.01) if random.random() > 0.1 else None,
            "signal": random.choice([0.0, 0.1, 0.2, 0.3]),
        }
        for day in days
        for name in range(7)
        if random.random() > (0.6 if day == days[3] else 0.1)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def rows(frame: pd.DataFrame) -> TrainingRows:
    return training_rows(pa.Table.from_pandas(frame, preserve_index=False), ["x"])


def test_rows_are_arranged_by_session_and_name(frame: pd.DataFrame, rows: TrainingRows) -> None:
    expected = frame.pivot(index="session", columns="entity_key", values="label")
    found = pd.DataFrame(rows.by_session(rows.label), columns=list(rows.entities))
    np.testing.assert_array_equal(found[expected.columns], expected)
    chosen = rows.within(rows.sessions[5:7])
    part = frame[frame["session"].isin(rows.sessions[5:7].tolist())]
    np.testing.assert_array_equal(chosen.features[:, 0], part["x"])
    np.testing.assert_array_equal(chosen.sessions, rows.sessions[5:7])


def test_the_excess_label_is_the_label_less_its_session_mean(
    frame: pd.DataFrame, rows: TrainingRows
) -> None:
    expected = frame["label"] - frame.groupby("session")["label"].transform("mean")
    np.testing.assert_allclose(rows.excess_label(), expected, atol=1e-17)


def test_signal_metrics_are_those_of_a_loop_over_sessions(
    frame: pd.DataFrame, rows: TrainingRows
) -> None:
    signals = frame["signal"].to_numpy()
    daily = [
        group["signal"].corr(group["label"], method="spearman")
        if len(group) >= 4 and group["signal"].nunique() > 1
        else np.nan
        for _, group in frame.groupby("session")
    ]
    np.testing.assert_allclose(
        daily_information_coefficients(rows, signals, SETTINGS), daily, atol=1e-15
    )
    known = pd.Series(daily).dropna()
    assert len(known) < len(daily)
    found = signal_metrics(rows, signals, SETTINGS)
    assert found["ic_mean"] == pytest.approx(known.mean())
    assert found["ic_std"] == pytest.approx(known.std())
    assert found["icir"] == pytest.approx(known.mean() / known.std())
    assert found["ic_sessions"] == len(known)
    assert found["ic_mean_se"] == pytest.approx(newey_west_standard_error(known.to_numpy(), lag=4))
    excess = frame["label"] - frame.groupby("session")["label"].transform("mean")
    hits = [
        (s - signals.mean() > 0) == (e > 0) for s, e in zip(signals, excess, strict=True) if e != 0
    ]
    assert found["hit_rate"] == pytest.approx(sum(hits) / len(hits))


def test_a_backtest_is_a_loop_that_holds_centred_ranks(
    frame: pd.DataFrame, rows: TrainingRows
) -> None:
    held: dict[str, float] = {}
    net, universe, turnovers = [], [], []
    for _, group in frame.groupby("session"):
        target = {}
        if len(group) >= 4:
            centred = group["signal"].rank() - (len(group) + 1) / 2
            if centred.abs().sum() > 0:
                target = dict(zip(group["entity_key"], centred / centred.abs().sum(), strict=True))
        target = {name: weight for name, weight in target.items() if weight != 0}
        turnover = sum(abs(target.get(n, 0) - held.get(n, 0)) for n in target.keys() | held.keys())
        turnovers.append(turnover)
        if target:
            earned = group.set_index("entity_key")["next_session_return"].fillna(0.0)
            net.append(sum(w * earned[n] for n, w in target.items()) - 0.001 * turnover)
            universe.append(group["next_session_return"].mean())
        held = target
    found = backtest_metrics(rows, frame["signal"].to_numpy(), SETTINGS)
    assert len(net) < len(turnovers)
    assert found["sessions"] == len(net)
    assert found["sharpe_ratio"] == pytest.approx(np.mean(net) / np.std(net, ddof=1) * 252**0.5)
    assert found["total_return"] == pytest.approx(np.prod([1 + r for r in net]) - 1)
    wealth = np.cumprod([1.0] + [1 + r for r in net])
    assert found["max_drawdown"] == pytest.approx(
        min(w / max(wealth[: i + 1]) - 1 for i, w in enumerate(wealth))
    )
    assert found["turnover"] == pytest.approx(np.mean(turnovers))
    active = np.array(net) - np.array(universe)
    assert found["information_ratio"] == pytest.approx(sharpe_ratio(active))


def test_the_quantile_spread_is_that_of_a_loop_over_sessions(
    frame: pd.DataFrame, rows: TrainingRows
) -> None:
    spreads = []
    for _, group in frame.groupby("session"):
        if len(group) < 4 or group["signal"].nunique() == 1:
            continue
        parts = max(2, len(group) // 2)
        place = (group["signal"].rank() - 0.5) / len(group)
        bottom, top = (place <= place.min()), (place >= place.max())
        # A tie may lie on an edge, which is no part of the group.
        bottom |= place < 1 / parts - 1e-12
        top |= place > 1 - 1 / parts + 1e-12
        spreads.append(group["label"][top].mean() - group["label"][bottom].mean())
    found = signal_metrics(rows, frame["signal"].to_numpy(), SETTINGS)
    assert 20 < found["quantile_spread_sessions"] == len(spreads) < 30
    assert found["quantile_spread"] == pytest.approx(np.mean(spreads))
    error = newey_west_standard_error(np.array(spreads), lag=4)
    assert found["quantile_spread_se"] == pytest.approx(error)


def test_signal_turnover_is_what_is_bought_and_sold_between_sessions_with_positions(
    frame: pd.DataFrame, rows: TrainingRows
) -> None:
    weights: list[pd.Series | None] = []
    for _, group in frame.groupby("session"):
        centred = group["signal"].rank() - (len(group) + 1) / 2
        size = centred.abs().sum()
        usable = len(group) >= 4 and size > 0
        weights.append(pd.Series((centred / size).array, group["entity_key"]) if usable else None)
    assert any(weight is None for weight in weights)
    changes = [
        after.sub(before, fill_value=0.0).abs().sum()
        for before, after in pairwise(weights)
        if before is not None and after is not None
    ]
    found = signal_metrics(rows, frame["signal"].to_numpy(), SETTINGS)["signal_turnover"]
    assert found == pytest.approx(np.mean(changes))


def test_an_order_that_stays_trades_nothing_and_one_turned_over_trades_twice_the_capital() -> None:
    signal = np.arange(6.0)
    steady, turning = np.tile(signal, 4), np.r_[signal, -signal, signal, -signal]
    day = np.repeat(np.arange(4).astype("datetime64[D]"), 6)
    zero = np.zeros(24)
    rows = TrainingRows(zero[:, None], zero, zero, day, np.tile(np.arange(6), 4), tuple("abcdef"))
    assert signal_metrics(rows, steady, SETTINGS)["signal_turnover"] == 0.0
    assert signal_metrics(rows, turning, SETTINGS)["signal_turnover"] == pytest.approx(2.0)


def test_the_shape_of_the_returns_gives_their_probabilistic_sharpe_back(
    frame: pd.DataFrame, rows: TrainingRows
) -> None:
    signals = frame["signal"].to_numpy()
    net = backtest_returns(rows, signals, SETTINGS).net
    net = net[np.isfinite(net)]
    found = backtest_metrics(rows, signals, SETTINGS)
    assert found["sharpe_skewness"] == pytest.approx(stats.skew(net))
    assert found["sharpe_kurtosis"] == pytest.approx(stats.kurtosis(net, fisher=False))
    again = probabilistic_sharpe_from_moments(
        found["sharpe_ratio"] / 252**0.5, benchmark=0.0, observations=int(found["sessions"]),
        skewness=found["sharpe_skewness"], kurtosis=found["sharpe_kurtosis"],
    )  # fmt: skip
    assert again == pytest.approx(found["probabilistic_sharpe"])


def test_the_universe_is_every_row_of_the_session_with_a_return(
    frame: pd.DataFrame, rows: TrainingRows
) -> None:
    found = universe_returns(rows.by_session(rows.next_return))
    np.testing.assert_allclose(found, frame.groupby("session")["next_session_return"].mean())
    assert np.isnan(universe_returns(np.full((1, 3), np.nan))).all()


def test_signals_without_an_opinion_have_undefined_metrics_and_none_is_zero(
    rows: TrainingRows,
) -> None:
    flat = np.zeros(len(rows.label))
    found = signal_metrics(rows, flat, SETTINGS) | backtest_metrics(rows, flat, SETTINGS)
    assert found["ic_sessions"] == found["sessions"] == 0
    undefined = {
        "ic_mean", "ic_mean_se", "icir", "sharpe_ratio", "total_return", "sharpe_skewness",
        "sharpe_kurtosis", "information_ratio", "quantile_spread", "quantile_spread_se",
        "signal_turnover",
    }  # fmt: skip
    assert all(np.isnan(found[name]) for name in undefined)


def test_a_day_of_the_table_is_a_day(rows: TrainingRows) -> None:
    assert rows.sessions[0].item() == date(2024, 1, 1)
