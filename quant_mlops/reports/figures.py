"""Figures of a strategy's monitoring, from arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from quant_mlops.reports.alert_figure import alerts_figure
from quant_mlops.reports.drawing import (
    AMBER,
    BLUE,
    GREEN,
    GRID,
    INK,
    MUTED,
    PURPLE,
    SKY,
    VERMILLION,
    broken,
    day_number,
    day_numbers,
    draw_line,
    empty_figure,
    house_style,
    isolated,
    last_finite,
    legend_below,
    new_figure,
    plain,
    png,
    session_axis,
    set_title,
    svg,
)
from quant_mlops.reports.records import PUBLISHED, Days, Floats, Levels, Onset
from quant_mlops.reports.return_figure import cumulative_return_figure
from quant_mlops.wording import counted, level_text

__all__ = [
    "alerts_figure",
    "cumulative_return_figure",
    "information_coefficient_figure",
    "png",
    "prediction_distribution_figure",
    "psi_figure",
    "svg",
]

# Where no limit says it, PSI is drawn linear up to here.
PSI_LINEAR = 0.25
# A limit further above all values than so many times would press them flat, and is left out.
IN_SIGHT = 4.0
PSI_TICKS = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
FEATURE_COLOURS = (BLUE, AMBER, GREEN, PURPLE, SKY, VERMILLION)
FEATURE_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
FEATURES_NAMED = len(FEATURE_COLOURS) * len(FEATURE_DASHES)


@house_style()
def information_coefficient_figure(
    sessions: Days, ic: Floats, *, rolling_mean: Floats, rolling_error: Floats,
    levels: Levels = PUBLISHED, onset: Onset | None = None,
) -> Figure:  # fmt: skip
    """Draw the rolling mean of the information coefficient above its daily values.

    Parameters
    ----------
    sessions, ic
        Shape (sessions,), ascending; NaN where the coefficient is undefined.
    rolling_mean, rolling_error
        Shape (sessions,): mean over the last 20 sessions and its Newey-West standard error. The
        band is twice the error either side; with an error that ignores overlapping labels it
        comes out too narrow and noise looks like skill.
    onset
        A change of the coefficient: its interval is shaded, its most likely session a line.

    Returns
    -------
    Figure
        Two panels over the same sessions, with 0 and the limit of the warning drawn in both.

    """
    ic, mean, error = (
        np.where(np.isfinite(values), values, np.nan)
        for values in (ic, rolling_mean, rolling_error)
    )
    if np.isnan(ic).all() and np.isnan(mean).all():
        return empty_figure("Information coefficient")
    title = _ic_title(ic, mean, error)
    figure, upper = new_figure(4.6, title=title)
    figure.delaxes(upper)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    set_title(upper, title)
    days, (middle, low, high) = broken(sessions, mean, mean - 2 * error, mean + 2 * error)
    upper.fill_between(days, low, high, color=BLUE, alpha=0.18, linewidth=0)
    alone = np.isfinite(isolated(middle))
    upper.vlines(days[alone], low[alone], high[alone], color=BLUE, alpha=0.4, linewidth=2)
    draw_line(upper, sessions, mean, color=BLUE, linewidth=1.6)
    upper.set_ylabel("20-session mean\n± 2 standard errors")

    present = np.isfinite(ic)
    width = float(np.clip(500.0 / max(len(sessions), 1), 0.7, 6.0))
    colours = np.where(ic[present] < 0, VERMILLION, BLUE).tolist()
    lower.vlines(day_numbers(sessions[present]), 0, ic[present], color=colours, linewidth=width)
    lower.set_ylabel("daily rank IC")
    for axes in (upper, lower):
        axes.axhline(0.0, color=INK, linewidth=0.8)
        if np.isfinite(levels.ic_warning):
            axes.axhline(levels.ic_warning, color=VERMILLION, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.margins(y=0.12)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        if onset is not None:
            axes.axvspan(
                day_number(onset.first), day_number(onset.last), color=PURPLE, alpha=0.16,
                linewidth=0,
            )  # fmt: skip
            axes.axvline(day_number(onset.session), color=PURPLE, linewidth=1.2)
    if np.isfinite(levels.ic_warning):
        _mark_level(upper, levels.ic_warning, f"{level_text(levels.ic_warning)} warning")
    session_axis(lower, sessions[0], sessions[-1])
    return figure


def _ic_title(ic: Floats, mean: Floats, error: Floats) -> str:
    known = ic[~np.isnan(ic)]
    parts = []
    if not np.isnan(mean).all():
        newest = np.flatnonzero(~np.isnan(mean))[-1]
        band = "" if np.isnan(error[newest]) else f" ± {2 * error[newest]:.3f} (2 s.e.)"
        parts.append(f"20-session mean IC {mean[newest]:+.3f}{band}")
    if len(known):
        parts.append(f"mean of {counted(len(known), 'session')} {known.mean():+.3f}")
    return "; ".join(parts).replace("-0", "\N{MINUS SIGN}0")


@house_style()
def psi_figure(
    sessions: Days, psi: Mapping[str, Floats], *, aggregate: Floats,
    signals: Floats | None = None, levels: Levels = PUBLISHED,
) -> Figure:  # fmt: skip
    """Draw the population stability index of every feature, and the aggregate thicker.

    Parameters
    ----------
    sessions
        Shape (sessions,), ascending.
    psi
        By feature, each of shape (sessions,); the features with the highest peaks are named, and
        beyond that the others are thin grey lines.
    aggregate
        Shape (sessions,): the value that the rules judge.
    signals
        Shape (sessions,): the index of the model's own signals, dotted; it is in no aggregate.
    levels
        Limits of the rules on the aggregate.

    Returns
    -------
    Figure
        Linear up to the severe limit and logarithmic above it, so that one giant does not
        press the others flat.

    """
    peaks = {
        name: float(np.max(values[np.isfinite(values)]))
        for name, values in psi.items()
        if np.isfinite(values).any()
    }
    if signals is None:
        signals = np.full(len(sessions), np.nan)
    judged = np.concatenate([aggregate, signals])
    judged = judged[np.isfinite(judged)]
    if not peaks and not len(judged):
        return empty_figure("Population stability index")
    mild, severe = levels.psi_warning, levels.psi_severe
    linear = severe if np.isfinite(severe) and severe > 0 else PSI_LINEAR
    highest = max([*peaks.values(), *judged, PSI_LINEAR])
    top = max(highest, min(linear * 1.25, highest * IN_SIGHT)) * 1.15
    ranked = sorted(peaks, key=lambda name: (-peaks[name], name))
    figure, axes = new_figure(4.2, title=_psi_title(peaks, aggregate, severe))
    axes.set_yscale("symlog", linthresh=linear, linscale=1.6)
    axes.set_ylim(0.0, top)
    for low, high, colour, alpha, word in (
        (mild, severe if severe < top else top, AMBER, 0.13, "mild"),
        (severe, top, VERMILLION, 0.10, "severe"),
    ):
        if 0 <= low < top:
            axes.axhspan(low, high, color=colour, alpha=alpha, linewidth=0)
            _mark_level(axes, low, f"{word} above {level_text(low)}")
    for name in ranked[FEATURES_NAMED:]:
        draw_line(axes, sessions, psi[name], color=MUTED, linewidth=0.6, alpha=0.5)
    for i, name in enumerate(ranked[:FEATURES_NAMED]):
        draw_line(
            axes, sessions, psi[name], color=FEATURE_COLOURS[i % len(FEATURE_COLOURS)],
            linestyle=FEATURE_DASHES[i // len(FEATURE_COLOURS)], linewidth=1.0, label=plain(name),
        )  # fmt: skip
    draw_line(axes, sessions, aggregate, color=INK, linewidth=2.2, label="aggregate")
    if np.isfinite(signals).any():
        draw_line(
            axes, sessions, signals, color=INK, linestyle=(0, (1, 1.2)), linewidth=1.8,
            label="signals",
        )  # fmt: skip
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in PSI_TICKS if tick <= top]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylabel(f"PSI (log scale above {level_text(linear)})" if linear < top else "PSI")
    session_axis(axes, sessions[0], sessions[-1])
    handles = axes.get_legend_handles_labels()[0]
    named = len(ranked[:FEATURES_NAMED])
    legend_below(axes, [*handles[named:], *handles[:named]], columns=6)
    return figure


def _psi_title(peaks: Mapping[str, float], aggregate: Floats, severe: float) -> str:
    stands = f"Aggregate PSI {last_finite(aggregate):.3f}"
    if not np.isfinite(aggregate).any():
        stands = "No aggregate PSI"
    if not peaks:
        return stands
    worst = max(peaks, key=lambda name: (peaks[name], name))
    furthest = f"{plain(worst).strip()} furthest ({peaks[worst]:.2f})"
    if not np.isfinite(severe):
        return f"{stands}; of {counted(len(peaks), 'feature')} {furthest}"
    beyond = sum(peak > severe for peak in peaks.values())
    return (
        f"{stands}; {beyond} of {counted(len(peaks), 'feature')} went above "
        f"{level_text(severe)}, {furthest}"
    )


@house_style()
def prediction_distribution_figure(signals: Floats) -> Figure:
    """Draw the histogram of predictions; NaNs and infinities are counted in the title only.

    Parameters
    ----------
    signals
        Any shape, in the model's own unit.

    """
    present = np.ravel(signals)[np.isfinite(np.ravel(signals))]
    if len(present) == 0:
        return empty_figure("Predictions")
    low, median, high = np.quantile(present, (0.025, 0.5, 0.975))
    left_out = np.size(signals) - len(present)
    suffix = f"; {left_out:,} without a value" if left_out else ""
    title = (
        f"{counted(len(present), 'prediction')}: median {median:.3g}, "
        f"95% between {low:.3g} and {high:.3g}, {np.mean(present > 0):.0%} above zero{suffix}"
    )
    figure, axes = new_figure(3.4, title=title)
    bins = int(np.clip(2 * np.cbrt(len(present)), 8, 60))
    axes.hist(present, bins=bins, color=BLUE, alpha=0.75, edgecolor="#ffffff", linewidth=0.5)
    axes.axvline(median, color=INK, linewidth=1.4, label="median")
    axes.axvline(0.0, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), label="zero")
    axes.set_xlabel("signal (unit of the model)")
    axes.set_ylabel("predictions")
    legend_below(axes, axes.get_legend_handles_labels()[0], columns=2)
    return figure


def _mark_level(axes: Axes, level: float, text: str) -> None:
    """Name a horizontal level outside the axes, at its right end."""
    axes.annotate(
        text, (1.0, level), xycoords=axes.get_yaxis_transform(), xytext=(5, 0),
        textcoords="offset points", va="center", fontsize=8, color=MUTED, annotation_clip=False,
    )  # fmt: skip
