"""Built-in features against formulas written down a second time, in pandas or as loops."""

from __future__ import annotations

import math
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest

from quant_mlops.features import FeatureDefinition, builtin
from quant_mlops.features.definition import definitions_in
from quant_mlops.market.panel import Panel

DEFINITIONS = definitions_in(builtin)
NAMES = sorted(DEFINITIONS)
SESSIONS = 900


@pytest.fixture(scope="module")
def panel(sample_panel: Panel) -> Panel:
    """Give a few hundred sessions with gaps, a late listing, a flat price and made-up volume."""
    part = cut(sample_panel, 3_000, 3_000 + SESSIONS)
    random = np.random.default_rng(11)
    close = part.close.copy()
    close[random.random(close.shape) < 0.003] = np.nan
    close[:400, 3] = np.nan
    close[500:540, 4] = np.nan
    close[600:660, 5] = 12.34
    volume = random.lognormal(13, 1, close.shape)
    volume[np.isnan(close)] = np.nan
    volume[700:730, 6] = 0.0
    known = np.where(np.isnan(close), 0, part.known_at)
    fields = part.fields | {"close": close, "volume": volume}
    return replace(part, fields=MappingProxyType(dict(fields)), known_at=known)


def cut(panel: Panel, start: int, stop: int) -> Panel:
    rows = slice(start, stop)
    return Panel(
        sessions=panel.sessions[rows],
        event_times=panel.event_times[rows],
        tickers=panel.tickers,
        fields=MappingProxyType(
            {name: np.ascontiguousarray(field[rows]) for name, field in panel.fields.items()}
        ),
        known_at=np.ascontiguousarray(panel.known_at[rows]),
    )


def whole(series: pd.Series, window: int):
    return series.rolling(window, min_periods=window)


def wilder(close: np.ndarray) -> np.ndarray:
    """Follow the recursion of the book from the first price on, and again after each gap."""
    rsi = np.full(len(close), np.nan)
    gains: list[float] = []
    losses: list[float] = []
    gain = loss = 0.0
    for t in range(1, len(close)):
        change = close[t] - close[t - 1]
        if math.isnan(change):
            gains, losses = [], []
            continue
        gains.append(max(change, 0.0))
        losses.append(max(-change, 0.0))
        if len(gains) < 14:
            continue
        if len(gains) == 14:
            gain, loss = sum(gains) / 14, sum(losses) / 14
        else:
            gain, loss = (13 * gain + gains[-1]) / 14, (13 * loss + losses[-1]) / 14
        rsi[t] = 50.0 if gain + loss == 0 else 100 - 100 / (1 + gain / loss) if loss else 100.0
    return rsi


def expected(name: str, close: pd.Series, volume: pd.Series) -> pd.Series:
    log_return = np.log(close).diff()
    match name:
        case "ret_5d":
            return close.pct_change(5, fill_method=None)
        case "ret_20d":
            return close.pct_change(20, fill_method=None)
        case "momentum_5d":
            return np.log(close / close.shift(5))
        case "momentum_20d":
            return np.log(close / close.shift(20))
        case "momentum_12_1":
            return close.shift(21) / close.shift(252) - 1
        case "vol_20d":
            return whole(log_return, 20).std(ddof=1) * math.sqrt(252)
        case "rsi_14":
            return pd.Series(wilder(close.to_numpy()))
        case "volume_ratio":
            usual = whole(volume.shift(1), 20).mean()
            return volume / usual.where(usual > 1e-9)
        case "reversal_1d":
            return -close.pct_change(fill_method=None)
        case "zscore_20d":
            deviation = whole(close, 20).std(ddof=1)
            score = (close - whole(close, 20).mean()) / deviation
            return score.where(deviation > 1e-9 * close)
    raise AssertionError(f"no formula for {name}")


@pytest.mark.parametrize("name", NAMES)
def test_a_feature_is_its_formula(panel: Panel, name: str) -> None:
    found = DEFINITIONS[name].function(panel)
    assert found.shape == panel.shape
    for column in range(len(panel.tickers)):
        close, volume = (pd.Series(panel.fields[f][:, column]) for f in ("close", "volume"))
        right = expected(name, close, volume).to_numpy()
        tolerance = {"rtol": 1e-9, "atol": 1e-10}
        if name == "rsi_14":
            tolerance = {"rtol": 0, "atol": 1e-5}
        if name == "zscore_20d":
            tolerance = {"rtol": 1e-7, "atol": 1e-7}
        np.testing.assert_allclose(found[:, column], right, **tolerance, equal_nan=True)
    assert np.isfinite(found).mean() > 0.5


def test_rsi_in_the_first_250_sessions_is_the_recursion_to_the_last_digits(
    sample_panel: Panel,
) -> None:
    start = cut(sample_panel, 0, 251)
    found = DEFINITIONS["rsi_14"].function(start)
    for column in range(len(start.tickers)):
        right = wilder(start.close[:, column])
        np.testing.assert_allclose(found[:, column], right, rtol=1e-12, equal_nan=True)
    assert np.isnan(found[:14]).all()
    assert np.isfinite(found[14:]).any()


@pytest.mark.parametrize(
    ("close", "rsi"),
    [(np.arange(1.0, 31.0), 100.0), (np.arange(30.0, 0.0, -1.0), 0.0), (np.full(30, 7.0), 50.0)],
    ids=["only rises", "only falls", "never moves"],
)
def test_rsi_of_one_direction_is_at_its_bound(panel: Panel, close: np.ndarray, rsi: float) -> None:
    small = cut(panel, 0, 30)
    fields = dict(small.fields) | {"close": np.repeat(close[:, None], 20, axis=1)}
    found = DEFINITIONS["rsi_14"].function(replace(small, fields=MappingProxyType(fields)))
    np.testing.assert_array_equal(found[14:], rsi)


def test_a_flat_price_has_no_score_and_no_volume_has_no_ratio(panel: Panel) -> None:
    assert np.isnan(DEFINITIONS["zscore_20d"].function(panel)[619:660, 5]).all()
    ratio = DEFINITIONS["volume_ratio"].function(panel)
    np.testing.assert_array_equal(ratio[700:720, 6][np.isfinite(ratio[700:720, 6])], 0.0)
    assert np.isnan(ratio[720:731, 6]).all()


@pytest.mark.parametrize("name", NAMES)
def test_no_feature_looks_ahead(panel: Panel, name: str) -> None:
    definition = DEFINITIONS[name]
    complete = definition.function(panel)
    for stop in (1, 2, 15, 21, 253, 420, 555, 701, SESSIONS - 1):
        np.testing.assert_array_equal(
            definition.function(cut(panel, 0, stop))[-1], complete[stop - 1]
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_day_computed_from_its_lookback_alone_is_bit_identical(panel: Panel, name: str) -> None:
    definition: FeatureDefinition = DEFINITIONS[name]
    complete = definition.function(panel)
    for t in [*range(definition.lookback, SESSIONS, 37), *range(500, 575, 5)]:
        if t < definition.lookback:
            continue
        day = cut(panel, t - definition.lookback, t + 1)
        np.testing.assert_array_equal(definition.function(day)[-1], complete[t])


@pytest.mark.parametrize("name", NAMES)
def test_the_other_tickers_of_a_panel_do_not_matter(panel: Panel, name: str) -> None:
    complete = DEFINITIONS[name].function(panel)
    few = replace(
        panel,
        tickers=panel.tickers[3:5],
        fields=MappingProxyType({f: panel.fields[f][:, 3:5] for f in panel.fields}),
        known_at=panel.known_at[:, 3:5],
    )
    np.testing.assert_array_equal(DEFINITIONS[name].function(few), complete[:, 3:5])


@pytest.mark.parametrize("name", NAMES)
def test_a_lookback_is_no_longer_than_the_feature_needs(panel: Panel, name: str) -> None:
    definition = DEFINITIONS[name]
    changed = {f: panel.fields[f].copy() for f in panel.fields}
    t = SESSIONS - 60
    for field in definition.fields:
        changed[field][t - definition.lookback] *= 1.7
    other = definition.function(replace(panel, fields=MappingProxyType(changed)))
    before = definition.function(panel)
    finite = np.isfinite(before[t]) & np.isfinite(other[t])
    assert (before[t][finite] != other[t][finite]).any()
