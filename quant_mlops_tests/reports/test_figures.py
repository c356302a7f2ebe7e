"""Figures show what is there, leave gaps where nothing is, and never fail on poor data."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from uuid import UUID
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from quant_mlops.reports.alert_figure import RETRAIN_MARKS
from quant_mlops.reports.drawing import (
    SEVERITY,
    broken,
    day_number,
    draw_line,
    isolated,
    plain,
)
from quant_mlops.reports.figures import (
    alerts_figure,
    cumulative_return_figure,
    information_coefficient_figure,
    png,
    prediction_distribution_figure,
    psi_figure,
    svg,
)
from quant_mlops.reports.learner_figure import learner_figure
from quant_mlops.reports.records import AlertEpisode, Deployment, Levels, Onset, Retrain

NAN = float("nan")
SMALL = 72


def weekdays(count: int, first: str = "2024-01-02") -> np.ndarray:
    return np.busday_offset(first, np.arange(count), roll="forward")


def text_of(figure: Figure) -> str:
    return " ".join(ElementTree.fromstring(svg(figure)).itertext())


def line_labelled(axes: Axes, label: str) -> np.ndarray:
    (line,) = [line for line in axes.get_lines() if str(line.get_label()).startswith(label)]
    return np.asarray(line.get_ydata(), dtype=float)


def episode(rule: str, severity: str, opened: date, closed: date | None) -> AlertEpisode:
    return AlertEpisode(1, rule, severity, "watch", "text", opened, opened, closed, None, None)


def retrain(status: str, session: date) -> Retrain:
    return Retrain(1, session, None, "anna", True, status, None, None, None)


FIGURES: list[Callable[[np.ndarray, np.ndarray], Figure]] = [
    lambda sessions, values: information_coefficient_figure(
        sessions, values, rolling_mean=values, rolling_error=np.abs(values)
    ),
    lambda sessions, values: psi_figure(
        sessions, {"rsi_14": np.abs(values)}, aggregate=np.abs(values)
    ),
    lambda sessions, values: cumulative_return_figure(
        sessions, values, market_returns=values, position_scale=np.ones(len(values))
    ),
    lambda _, values: prediction_distribution_figure(values),
]


def every_figure(values: np.ndarray) -> list[Figure]:
    return [make(weekdays(len(values)), values) for make in FIGURES]


@pytest.mark.parametrize("values", [np.array([]), np.full(30, NAN), np.full(3, np.inf)])
def test_without_a_value_every_figure_says_there_is_nothing_yet(values: np.ndarray) -> None:
    for figure in every_figure(values):
        assert "nothing to show yet" in text_of(figure)
    nothing = alerts_figure([], [], first=date(2024, 1, 2), last=date(2024, 1, 2))
    assert "nothing to show yet" in text_of(nothing)


def test_one_session_is_drawn() -> None:
    for figure in every_figure(np.array([0.03])):
        assert "nothing to show yet" not in text_of(figure)
        assert png(figure, dots_per_inch=SMALL).startswith(b"\x89PNG")


@pytest.mark.parametrize("make", FIGURES, ids=["ic", "psi", "return", "predictions"])
@settings(max_examples=8, deadline=None)
@given(
    values=st.lists(
        st.none() | st.floats(-0.5, 0.5) | st.sampled_from([np.inf, -np.inf]), max_size=40
    )
)
def test_any_series_with_gaps_becomes_a_wellformed_figure(
    make: Callable[[np.ndarray, np.ndarray], Figure], values: list[float | None]
) -> None:
    figure = make(weekdays(len(values)), np.array(values, dtype=np.float64))
    assert ElementTree.fromstring(svg(figure)).tag.endswith("svg")


def test_the_same_arrays_give_the_same_bytes_without_a_date() -> None:
    values = np.sin(np.arange(90.0)) / 20
    for once, again in zip(every_figure(values), every_figure(values), strict=True):
        text, picture = svg(once), png(once, dots_per_inch=SMALL)
        # The other way round, as what was drawn before must not count either.
        assert (png(again, dots_per_inch=SMALL), svg(again)) == (picture, text)
        assert "metadata" not in text
        assert b"tEXt" not in picture


def test_matplotlib_settings_of_the_user_change_nothing() -> None:
    values = np.sin(np.arange(90.0)) / 20
    expected = [svg(figure) for figure in every_figure(values)]
    with mpl.rc_context({"font.size": 30, "svg.hashsalt": "other", "text.parse_math": True}):
        assert [svg(figure) for figure in every_figure(values)] == expected


def test_reports_do_not_touch_pyplot() -> None:
    code = "import sys, quant_mlops.reports.html; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_a_missing_value_and_a_long_closure_break_the_line_but_a_long_weekend_does_not() -> None:
    sessions = np.array(
        ["2024-03-27", "2024-03-28", "2024-04-02", "2024-04-03", "2024-04-20"], "datetime64[D]"
    )
    days, (values,) = broken(sessions, np.array([1.0, 2.0, 3.0, NAN, 5.0]))
    np.testing.assert_array_equal(values, [1.0, 2.0, 3.0, NAN, NAN, 5.0])
    np.testing.assert_array_equal(np.isnan(days), [False, False, False, False, True, False])


def test_a_value_between_two_gaps_is_marked() -> None:
    values = np.array([1.0, NAN, 3.0, NAN, 5.0, 6.0])
    np.testing.assert_array_equal(isolated(values), [1.0, NAN, 3.0, NAN, NAN, NAN])
    axes = Figure().add_subplot()
    draw_line(axes, weekdays(6), values, color="#0072b2")
    assert [line.get_marker() for line in axes.get_lines()] == ["None", "o"]


def test_curves_compound_the_returns_and_a_paused_strategy_stands_still() -> None:
    net = np.array([0.10, -0.05, 0.20, NAN, 0.01])
    scale = np.array([1.0, 0.5, 0.0, 0.0, 1.0])
    figure = cumulative_return_figure(
        weekdays(5), net, market_returns=np.full(5, NAN), position_scale=scale
    )
    axes = figure.axes[0]
    np.testing.assert_allclose(
        line_labelled(axes, "model"), [0.10, 0.045, 0.254, NAN, 1.254 * 1.01 - 1]
    )
    flat = 1.10 * 0.975 - 1
    np.testing.assert_allclose(
        line_labelled(axes, "as traded"), [0.10, flat, flat, NAN, (1 + flat) * 1.01 - 1]
    )
    assert not [line for line in axes.get_lines() if line.get_label() == "market"]
    assert "model +26.7%" in axes.get_title(loc="left")


def test_versions_are_marked_where_they_went_live_and_the_first_at_the_start() -> None:
    sessions = weekdays(60)
    model_id = UUID(int=1)
    changed = datetime.combine(sessions[20].item(), time(14, 30), UTC)
    later = datetime(2030, 1, 1, tzinfo=UTC)
    live = [
        Deployment(model_id, "m", 7, None, changed, "anna", "first"),
        Deployment(model_id, "m", 8, changed, later, "anna", "better"),
        Deployment(model_id, "m", 9, later, None, "anna", "after the last session"),
    ]
    figure = cumulative_return_figure(
        sessions, np.full(60, 0.001), market_returns=np.zeros(60), position_scale=np.ones(60),
        deployments=live,
    )  # fmt: skip
    words = text_of(figure)
    assert "v7" in words
    assert "v8" in words
    assert "v9" not in words


def test_one_giant_psi_does_not_hide_the_bands() -> None:
    sessions = weekdays(50)
    giant = np.where(np.arange(50) == 25, 15.0, 0.02)
    figure = psi_figure(sessions, {"calm": np.full(50, 0.05), "giant": giant}, aggregate=giant / 2)
    png(figure)
    axes = figure.axes[0]
    heights = axes.transAxes.inverted().transform(
        axes.transData.transform([(0, 0.05), (0, 0.10), (0, 0.25), (0, 15.0)])
    )[:, 1]
    assert 0.04 < heights[0] < heights[1] - 0.04 < heights[2] - 0.1 < heights[3] < 1.0
    assert "1 of 2 features went above 0.25, giant furthest (15.00)" in axes.get_title(loc="left")


@pytest.mark.parametrize(
    ("levels", "marked"),
    [
        (Levels(), {"mild above 0.10", "severe above 0.25"}),
        (Levels(psi_warning=0.2, psi_severe=0.6), {"mild above 0.20", "severe above 0.60"}),
        # Far above everything, it would press the lines flat.
        (Levels(psi_warning=0.15, psi_severe=99.0), {"mild above 0.15"}),
        (Levels(psi_severe=NAN), {"mild above 0.10"}),
        (Levels(psi_warning=NAN, psi_severe=NAN), set()),
        (Levels(psi_warning=-1.0, psi_severe=0.0), {"severe above 0.00"}),
    ],
)
def test_psi_is_drawn_with_the_limits_of_its_strategy(levels: Levels, marked: set[str]) -> None:
    sessions = weekdays(30)
    psi = np.linspace(0.0, 0.3, 30)
    figure = psi_figure(sessions, {"a": psi}, aggregate=psi, levels=levels)
    png(figure, dots_per_inch=SMALL)
    axes = figure.axes[0]
    assert {text.get_text() for text in axes.texts} == marked
    assert axes.get_ylim()[1] < 2.0
    assert ("went above" in axes.get_title(loc="left")) == np.isfinite(levels.psi_severe)


@pytest.mark.parametrize(("limit", "words"), [(0.035, "0.035 warning"), (0.04, "0.04 warning")])
def test_the_ic_is_drawn_with_the_limit_of_its_strategy(limit: float, words: str) -> None:
    values = np.linspace(-0.1, 0.1, 30)
    drawn, bare = (
        information_coefficient_figure(
            weekdays(30), values, rolling_mean=values, rolling_error=np.abs(values),
            levels=Levels(ic_warning=level),
        )
        for level in (limit, NAN)
    )  # fmt: skip
    assert words in text_of(drawn)
    assert "warning" not in text_of(bare)
    lines = [[len(axes.get_lines()) for axes in figure.axes] for figure in (bare, drawn)]
    assert lines[1] == [count + 1 for count in lines[0]]


def test_every_feature_is_drawn_but_only_the_highest_are_named() -> None:
    sessions = weekdays(30)
    psi = {f"feature_{i:02d}": np.full(30, 0.001 * (i + 1)) for i in range(40)}
    axes = psi_figure(sessions, psi, aggregate=np.full(30, 0.02)).axes[0]
    assert len(axes.get_lines()) == 41
    legend = axes.get_legend()
    assert legend is not None
    named = [text.get_text() for text in legend.get_texts()]
    assert named[:2] == ["aggregate", "feature_39"]
    assert "feature_00" not in named


def test_drift_of_the_signals_is_a_line_of_its_own_and_may_be_all_there_is() -> None:
    sessions, signals = weekdays(30), np.full(30, 0.4)
    calm = {"calm": np.full(30, 0.02)}
    axes = psi_figure(sessions, calm, aggregate=calm["calm"], signals=signals).axes[0]
    assert [line.get_label() for line in axes.get_lines()] == ["calm", "aggregate", "signals"]
    drawn = axes.get_lines()[-1].get_ydata()
    assert np.asarray(drawn, dtype=float).tolist() == signals.tolist()
    assert axes.get_ylim()[1] > 0.4
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["aggregate", "signals", "calm"]
    none = np.full(30, np.nan)
    alone = psi_figure(sessions, {}, aggregate=none, signals=signals).axes[0]
    assert "signals" in [line.get_label() for line in alone.get_lines()]
    assert "signals" not in text_of(psi_figure(sessions, calm, aggregate=none, signals=none))


def test_names_are_shown_as_they_are_and_never_read_as_formulas() -> None:
    hostile = ["_private", r"$\frac{$", "</svg><script>alert(1)</script>", "two\nlines\x01", "動量"]
    sessions = weekdays(10)
    figure = psi_figure(
        sessions, {name: np.full(10, 0.1) for name in hostile}, aggregate=np.full(10, 0.1)
    )
    words = text_of(figure)
    for shown in ("_private", r"$\frac{$", "<script>", "two lines", "動量"):
        assert shown in words
    assert "<script>" not in svg(figure)
    assert png(figure)


def test_labels_are_cut_to_a_length() -> None:
    assert plain("x" * 41) == "x" * 39 + "…"
    assert plain("x" * 40) == "x" * 40


def test_alerts_have_a_lane_per_rule_with_the_gravest_on_top() -> None:
    first, last = date(2024, 1, 2), date(2024, 6, 28)
    alerts = [
        episode("psi_mild", "warning", date(2024, 2, 1), date(2024, 2, 9)),
        episode("ic_negative", "critical", date(2024, 3, 1), None),
        episode("psi_mild", "warning", date(2024, 5, 1), date(2024, 5, 2)),
    ]
    figure = alerts_figure(alerts, [retrain("promoted", date(2024, 3, 4))], first=first, last=last)
    axes = figure.axes[0]
    lanes = [label.get_text() for label in axes.get_yticklabels()]
    assert lanes == ["ic negative", "psi mild", "retrains"]
    assert len(axes.patches) == 3
    title = axes.get_title(loc="left")
    assert title == "3 alerts: 1 critical, 2 warning; 1 still open"
    words = text_of(figure)
    assert all(word in words for word in ("critical", "still open", "retrain promoted"))


def test_an_open_alert_runs_to_the_last_session_and_an_old_one_is_cut_off_at_the_first() -> None:
    first, last = date(2024, 3, 1), date(2024, 6, 28)
    figure = alerts_figure(
        [episode("psi_mild", "warning", date(2020, 1, 1), None)], [], first=first, last=last
    )
    axes = figure.axes[0]
    (bar,) = axes.patches
    extents = bar.get_extents().transformed(axes.transData.inverted())
    left, _ = axes.get_xlim()
    assert extents.x0 == pytest.approx(left)
    assert extents.x1 == pytest.approx(float(np.datetime64(last).astype(int)))


@pytest.mark.parametrize(
    "rule", ["psi_mild", "a_rule_with_a_name_too_long_for_a_label_of_a_figure"]
)
def test_a_long_legend_is_folded_until_the_figure_holds_it(rule: str) -> None:
    first, last = date(2024, 1, 2), date(2024, 6, 28)
    alerts = [episode(rule, severity, first, None) for severity in SEVERITY]
    figure = alerts_figure(
        alerts, [retrain(status, first) for status in RETRAIN_MARKS], first=first, last=last
    )
    figure.draw_without_rendering()
    axes = figure.axes[0]
    legend = axes.get_legend()
    assert legend is not None
    assert len(legend.get_texts()) == len(SEVERITY) + 1 + len(RETRAIN_MARKS)
    box = legend.get_window_extent()
    assert box.x1 < figure.bbox.x1
    assert box.y0 > figure.bbox.y0
    assert box.y1 < axes.xaxis.label.get_window_extent().y0
    assert axes.bbox.width > figure.bbox.width / 2


@pytest.mark.parametrize("status", list(RETRAIN_MARKS))
def test_every_outcome_of_a_retrain_has_a_mark(status: str) -> None:
    day = date(2024, 1, 2)
    figure = alerts_figure([], [retrain(status, day)], first=day, last=day)
    assert f"retrain {status}" in text_of(figure)


def test_the_histogram_counts_every_prediction_once() -> None:
    signals = np.concatenate([np.linspace(-1, 1, 99), [NAN, np.inf, 0.0]]).reshape(2, 51)
    axes = prediction_distribution_figure(signals).axes[0]
    assert sum(bar.get_height() for bar in axes.patches) == 100
    assert "100 predictions" in axes.get_title(loc="left")
    assert "2 without a value" in axes.get_title(loc="left")


def test_the_interval_of_an_onset_is_shaded_in_both_panels() -> None:
    sessions = weekdays(60)
    first, session, last = (sessions[i].item() for i in (20, 30, 34))
    onset = Onset("ic", session, first, last, 0.95, 0.01, 0.05, 0.0, 0.1, 60, 30, 0, 1)
    values = np.sin(np.arange(60.0)) / 20
    unmarked, marked = (
        information_coefficient_figure(
            sessions, values, rolling_mean=values, rolling_error=np.abs(values), onset=found
        )
        for found in (None, onset)
    )
    for before, after in zip(unmarked.axes, marked.axes, strict=True):
        assert len(after.patches) == len(before.patches) + 1
        left, _, width, _ = after.patches[-1].get_bbox().bounds
        assert (left, left + width) == (day_number(first), day_number(last))
        assert len(after.get_lines()) == len(before.get_lines()) + 1


def test_learners_stand_in_rows_with_a_mark_and_its_error_for_each_split() -> None:
    means = {"train": np.array([0.05, 0.02]), "test": np.array([0.01, NAN])}
    errors = {"train": np.array([0.01, 0.01]), "test": np.array([0.02, NAN])}
    figure = learner_figure(["small_ridge v1", "_x v2"], means, errors=errors)
    assert "Mean information coefficient of 2 models by split" in text_of(figure)
    (axes,) = figure.get_axes()
    train, test = axes.containers
    assert list(train.lines[0].get_xdata()) == [0.05, 0.02]
    assert np.array_equal(test.lines[0].get_xdata(), [0.01, NAN], equal_nan=True)
    (bars,) = test.lines[2]
    assert np.allclose(bars.get_segments()[0][:, 0], [-0.03, 0.05])
    labels = [label.get_text().strip() for label in axes.get_yticklabels()]
    assert labels == ["small_ridge v1", "_x v2"]
    small = png(figure, dots_per_inch=SMALL)
    assert small.startswith(b"\x89PNG")
    assert len(small) < len(png(figure)) / 2


@pytest.mark.parametrize("labels", [[], ["small_ridge v1"]])
def test_learners_without_a_metric_give_an_empty_figure(labels: list[str]) -> None:
    values = np.full(len(labels), NAN)
    figure = learner_figure(labels, {"test": values}, errors={"test": values})
    assert "nothing to show yet" in text_of(figure)
