"""What the model earned, what was traded of it, and the market, compounded over sessions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from quant_mlops.reports.drawing import (
    AMBER,
    BLUE,
    GREEN,
    INK,
    MUTED,
    PURPLE,
    VERMILLION,
    day_number,
    draw_line,
    empty_figure,
    house_style,
    last_finite,
    legend_below,
    new_figure,
    session_axis,
    signed_percent,
)
from quant_mlops.reports.records import Days, Deployment, Floats
from quant_mlops.wording import counted

LABEL_SPACING = 0.022


@dataclass(frozen=True, eq=False)
class _Line:
    name: str
    label: str
    returns: Floats
    colour: str
    width: float


@house_style()
def cumulative_return_figure(
    sessions: Days, net_returns: Floats, *, market_returns: Floats, position_scale: Floats,
    deployments: Sequence[Deployment] = (),
) -> Figure:  # fmt: skip
    """Draw the compounded return of the model, of what was traded of it, and of the market.

    Parameters
    ----------
    sessions
        Shape (sessions,), ascending.
    net_returns, market_returns
        Shape (sessions,), fractions; a NaN is a gap in the line and earns nothing.
    position_scale
        Shape (sessions,), between 0 and 1, in force during the session. Sessions below 1 are
        shaded, darker when it is 0. One shifted by a session claims returns nobody had.
    deployments
        Where versions went live; the one live at the start is labelled there.

    """
    # The last is drawn on top.
    lines = (
        _Line("market", "market", market_returns, MUTED, 1.2),
        _Line("model", "model, net of cost", net_returns, BLUE, 1.4),
        _Line(
            "traded",
            "as traded (model times position scale)",
            net_returns * position_scale,
            GREEN,
            2.0,
        ),
    )
    drawn = [line for line in lines if np.isfinite(line.returns).any()]
    if not drawn:
        return empty_figure("Cumulative return")
    ends = [(line.name, last_finite(_compounded(line.returns))) for line in reversed(drawn)]
    words = [f"{name} {signed_percent(end)}" for name, end in ends]
    spans = counted(int(np.isfinite(net_returns).sum()), "session")
    figure, axes = new_figure(4.2, title=f"Over {spans}: {', '.join(words)}")
    _shade_scale(axes, sessions, position_scale)
    for line in drawn:
        curve = _compounded(line.returns)
        draw_line(axes, sessions, curve, color=line.colour, linewidth=line.width, label=line.label)
    axes.axhline(0.0, color=INK, linewidth=0.8, zorder=1)
    axes.margins(y=0.10)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.set_ylabel("cumulative return")
    session_axis(axes, sessions[0], sessions[-1])
    _mark_versions(axes, deployments)
    legend_below(axes, axes.get_legend_handles_labels()[0][::-1], columns=6)
    return figure


def _compounded(returns: Floats) -> Floats:
    finite = np.isfinite(returns)
    wealth = np.cumprod(1.0 + np.where(finite, returns, 0.0))
    return np.where(finite, wealth - 1.0, np.nan)


def _shade_scale(axes: Axes, sessions: Days, scale: Floats) -> None:
    """Shade runs of sessions traded below full scale; a missing one is held like the one before."""
    known = np.maximum.accumulate(np.where(np.isfinite(scale), np.arange(len(scale)), -1))
    held = np.where(known < 0, 1.0, scale[known])
    starts = np.flatnonzero(np.diff(held, prepend=np.nan) != 0)
    labelled = set()
    for start, stop in zip(starts, [*starts[1:], len(held)], strict=True):
        if held[start] >= 1.0:
            continue
        paused = held[start] == 0.0
        label = "paused" if paused else "reduced"
        left, right = day_number(sessions[start]) - 1.0, day_number(sessions[stop - 1])
        axes.axvspan(
            left, right, color=VERMILLION if paused else AMBER, alpha=0.22 if paused else 0.16,
            linewidth=0, zorder=0, label=None if label in labelled else label,
        )  # fmt: skip
        labelled.add(label)


def _mark_versions(axes: Axes, deployments: Sequence[Deployment]) -> None:
    left, right = axes.get_xlim()
    labelled_to = -np.inf
    for deployment in deployments:
        began = -np.inf if deployment.live_from is None else day_number(deployment.live_from)
        if began > right:
            continue
        day = max(float(began), left)
        axes.axvline(day, color=PURPLE, linewidth=1.0, linestyle=(0, (3, 2)), zorder=1)
        if day - labelled_to > LABEL_SPACING * (right - left):
            axes.annotate(
                f"v{deployment.version}", (day, 1.0), xycoords=axes.get_xaxis_transform(),
                xytext=(3, -1), textcoords="offset points", va="top", fontsize=8, color=MUTED,
            )  # fmt: skip
            labelled_to = day
