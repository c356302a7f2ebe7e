"""Features that look ahead, or further back than they say, against those that do neither."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest

from quant_mlops.errors import FeatureStoreError
from quant_mlops.features import FeatureDefinition, builtin, feature
from quant_mlops.features.definition import definitions_in
from quant_mlops.features.rolling import lagged, trailing_mean
from quant_mlops.features.truncation import truncation_test
from quant_mlops.market.panel import Panel

DEFINITIONS = definitions_in(builtin)


@pytest.fixture(scope="module")
def panel(sample_panel: Panel) -> Panel:
    """Give some hundred sessions with volume, single bars missing and a name listed late."""
    rows = slice(3_000, 3_700)
    random = np.random.default_rng(5)
    close = sample_panel.close[rows].copy()
    close[random.random(close.shape) < 0.003] = np.nan
    close[:300, 3] = np.nan
    volume = np.where(np.isnan(close), np.nan, random.lognormal(13, 1, close.shape))
    return Panel(
        sessions=sample_panel.sessions[rows],
        event_times=sample_panel.event_times[rows],
        tickers=sample_panel.tickers,
        fields=MappingProxyType(
            {name: field[rows] for name, field in sample_panel.fields.items()}
            | {"close": close, "volume": volume}
        ),
        known_at=np.where(np.isnan(close), 0, sample_panel.known_at[rows]),
    )


@feature("tomorrow", lookback=0)
def tomorrow(panel):
    """Use the close of the next session."""
    ahead = np.full_like(panel.close, np.nan)
    ahead[:-1] = panel.close[1:]
    return ahead / panel.close - 1.0


@feature("whole_sample_zscore", lookback=0)
def whole_sample_zscore(panel):
    """Standardise by the mean and deviation of all sessions, later ones included."""
    return (panel.close - np.nanmean(panel.close, axis=0)) / np.nanstd(panel.close, axis=0)


@feature("centred_mean", lookback=2)
def centred_mean(panel):
    """Average over two sessions on both sides."""
    padded = np.pad(panel.close, ((2, 2), (0, 0)), constant_values=np.nan)
    return np.nanmean([padded[k : k + len(panel.close)] for k in range(5)], axis=0)


@feature("filled_backward", lookback=0)
def filled_backward(panel):
    """Give a missing bar the next price that there is."""
    return pd.DataFrame(panel.close).bfill().to_numpy()


@feature("understated", lookback=5)
def understated(panel):
    """Read twenty sessions back and say five."""
    return panel.close / lagged(panel.close, 20) - 1.0


@feature("running_sum", lookback=19)
def running_sum(panel):
    """Average twenty sessions by a running sum, which carries rounding from the start."""
    return pd.DataFrame(panel.close).rolling(20).mean().to_numpy()


@pytest.mark.parametrize("name", sorted(DEFINITIONS))
def test_no_builtin_feature_looks_ahead_or_further_back_than_it_says(
    panel: Panel, name: str
) -> None:
    result = truncation_test(panel, DEFINITIONS[name])
    assert result.findings == ()
    for changes in (result.look_ahead, result.short_lookback):
        assert changes.found is False
        assert (changes.changed, changes.first_session, changes.largest) == (0, None, 0.0)
        assert changes.cells > 100


@pytest.mark.parametrize("name", sorted(set(DEFINITIONS) - {"volume_ratio"}))
def test_no_builtin_feature_looks_ahead_on_the_sample(sample_panel: Panel, name: str) -> None:
    result = truncation_test(sample_panel, DEFINITIONS[name], samples=6)
    assert result.findings == ()
    assert result.look_ahead.found is result.short_lookback.found is False
    assert (result.look_ahead.sessions, result.short_lookback.sessions) == (5, 6)


@pytest.mark.parametrize(
    ("planted", "findings"),
    [
        (tomorrow, ("look_ahead",)),
        (centred_mean, ("look_ahead",)),
        (filled_backward, ("look_ahead",)),
        (whole_sample_zscore, ("look_ahead", "short_lookback")),
        (understated, ("short_lookback",)),
        (running_sum, ("short_lookback",)),
    ],
    ids=lambda value: value.name if isinstance(value, FeatureDefinition) else "",
)
@pytest.mark.parametrize("samples", [10, 25, 100])
def test_what_is_wrong_with_a_feature_is_named(
    panel: Panel, planted: FeatureDefinition, findings: tuple[str, ...], samples: int
) -> None:
    assert truncation_test(panel, planted, samples=samples).findings == findings


def test_every_changed_cell_is_counted_where_all_sessions_are_tested(panel: Panel) -> None:
    result = truncation_test(panel, tomorrow, samples=len(panel.sessions))
    gained = np.isfinite(tomorrow.function(panel)).sum()
    assert result.look_ahead.sessions == len(panel.sessions) - 1
    assert result.look_ahead.cells == result.look_ahead.changed == gained
    assert result.look_ahead.first_session == panel.sessions[0].item()
    # Without a later session the value is missing, so no change has a size.
    assert math.isnan(result.look_ahead.largest)


def test_the_size_and_the_first_session_of_look_ahead_are_those_of_a_search(panel: Panel) -> None:
    @feature("peeks", lookback=0)
    def peeks(panel):
        values = panel.close.copy()
        values[400:-1] += 0.25  # of any session but the last, which a cut makes another one
        return values

    result = truncation_test(panel, peeks, samples=len(panel.sessions))
    assert result.look_ahead.first_session == panel.sessions[400].item()
    assert isinstance(result.look_ahead.first_session, date)
    assert result.look_ahead.largest == pytest.approx(0.25, abs=1e-12)
    assert result.look_ahead.changed == np.isfinite(panel.close[400:-1]).sum()


def test_a_lookback_is_enough_exactly_from_the_sessions_that_are_read(panel: Panel) -> None:
    def mean_of_20(lookback: int) -> FeatureDefinition:
        return feature("mean_20", lookback=lookback)(lambda panel: trailing_mean(panel.close, 20))

    assert truncation_test(panel, mean_of_20(19)).findings == ()
    short = truncation_test(panel, mean_of_20(18), samples=len(panel.sessions))
    assert short.findings == ("short_lookback",)
    assert short.look_ahead.changed == 0
    assert short.short_lookback.sessions == len(panel.sessions) - 19
    assert short.short_lookback.first_session == panel.sessions[19].item()
    assert short.short_lookback.changed == np.isfinite(trailing_mean(panel.close, 20)).sum()


def test_sessions_are_evenly_spaced_and_the_last_is_one_of_them(panel: Panel) -> None:
    seen: list[tuple[np.datetime64, int]] = []

    @feature("watched", lookback=3)
    def watched(panel):
        seen.append((panel.sessions[-1], len(panel.sessions)))
        return panel.close

    full = replace(
        panel,
        fields=MappingProxyType(dict.fromkeys(panel.fields, np.ones(panel.shape))),
        known_at=np.ones(panel.shape, dtype=np.int64),
    )
    result = truncation_test(full, watched, samples=7)
    sessions = full.sessions[99::100]
    assert len(sessions) == 7
    cut, recent = seen[1:8], seen[8:]
    assert [day for day, _ in cut] == [day for day, _ in recent] == list(sessions)
    assert [length for _, length in cut] == list(range(100, 701, 100))
    assert {length for _, length in recent} == {4}
    assert (result.look_ahead.sessions, result.short_lookback.sessions) == (6, 7)


@pytest.mark.parametrize("gap", [150, 333, 698])
def test_a_fill_from_the_future_is_found_at_the_only_gap(panel: Panel, gap: int) -> None:
    @feature("filled_once", lookback=0)
    def filled_once(panel):
        return pd.DataFrame(panel.close).bfill(limit=1).to_numpy()

    present = np.ones(panel.shape)
    present[gap - 2 : gap + 1, 7] = np.nan
    full = replace(
        panel,
        fields=MappingProxyType(dict.fromkeys(panel.fields, present)),
        known_at=np.where(np.isnan(present), 0, 1),
    )
    result = truncation_test(full, filled_once, samples=4)
    assert result.findings == ("look_ahead",)
    assert (result.look_ahead.sessions, result.look_ahead.changed) == (3, 1)
    assert result.look_ahead.first_session == full.sessions[gap].item()


def test_sessions_before_the_first_are_history_only(panel: Panel) -> None:
    last = panel.sessions[-1]
    result = truncation_test(panel, tomorrow, first=panel.sessions[690])
    assert result.look_ahead.sessions == 9
    assert result.look_ahead.first_session == panel.sessions[690].item()
    # Nothing follows the last session and could be cut off, which is no proof of anything.
    alone = truncation_test(panel, builtin.reversal_1d, first=last)
    assert (alone.look_ahead.found, alone.short_lookback.found) == (None, False)
    assert math.isnan(alone.look_ahead.largest)
    beyond = truncation_test(panel, tomorrow, first=last + np.timedelta64(1, "D"))
    assert (beyond.look_ahead.found, beyond.short_lookback.found) == (None, None)


def test_a_feature_without_a_single_value_was_not_tested(sample_panel: Panel) -> None:
    result = truncation_test(sample_panel, builtin.volume_ratio, samples=3)
    assert result.findings == ()
    assert (result.look_ahead.cells, result.look_ahead.found) == (0, None)
    assert math.isnan(result.look_ahead.largest)


def test_a_feature_that_writes_into_its_input_spoils_nothing(panel: Panel) -> None:
    @feature("writes", lookback=0)
    def writes(panel):
        panel.close[:] += 1.0
        return panel.close

    before = panel.close.copy()
    assert truncation_test(panel, writes).findings == ()
    np.testing.assert_array_equal(panel.close, before)


def test_a_change_of_sign_of_zero_is_a_change(panel: Panel) -> None:
    @feature("signed_zero", lookback=0)
    def signed_zero(panel):
        values = np.zeros_like(panel.close)
        values[:-1] *= -1.0
        return values

    result = truncation_test(panel, signed_zero)
    assert result.findings == ("look_ahead",)
    assert result.look_ahead.largest == 0.0


def test_a_feature_need_not_take_fewer_sessions_than_its_lookback(panel: Panel) -> None:
    @feature("strict", lookback=19)
    def strict(panel):
        windows = np.lib.stride_tricks.sliding_window_view(panel.close, 20, axis=0)
        values = np.full(panel.shape, np.nan)
        values[19:] = windows.max(axis=2)
        return values

    @feature("filled_start", lookback=19)
    def filled_start(panel):
        values = strict.function(panel)
        values[:19] = values[19]
        return values

    every = len(panel.sessions)
    assert truncation_test(panel, strict, samples=every).findings == ()
    # What it cannot give from the history alone it took from the future.
    filled = truncation_test(panel, filled_start, samples=every)
    assert filled.findings == ("look_ahead",)
    assert filled.look_ahead.first_session == panel.sessions[0].item()


def test_a_feature_that_fails_on_a_short_panel_is_named_with_the_panel(panel: Panel) -> None:
    @feature("fails", lookback=2)
    def fails(panel):
        return panel.close + 0 * panel.close[9]

    @feature("shrinks", lookback=2)
    def shrinks(panel):
        return panel.close[1:]

    with pytest.raises(
        FeatureStoreError, match=r"fails@1 fails on a panel of [3-9] sessions to .*: IndexError: "
    ):
        truncation_test(panel, fails)
    with pytest.raises(FeatureStoreError, match=r"shrinks@1 gives values of shape \(699, 20\)"):
        truncation_test(panel, shrinks)
    with pytest.raises(FeatureStoreError, match="samples is 0; give 1"):
        truncation_test(panel, tomorrow, samples=0)
