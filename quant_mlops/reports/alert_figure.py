"""Alert episodes and retrains on one time axis, a lane for each rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from quant_mlops.reports.drawing import (
    BLUE,
    GRID,
    INK,
    MUTED,
    PAPER,
    SEVERITY,
    day_number,
    empty_figure,
    house_style,
    legend_below,
    new_figure,
    plain,
    session_axis,
)
from quant_mlops.reports.records import AlertEpisode, Retrain
from quant_mlops.wording import counted

NARROWEST_BAR = 0.004
LANE_HEIGHT = 0.36
BAR_HEIGHT = 0.56
RETRAIN_LANE = "retrains"
# Marker and whether it is filled: the shape tells without colour.
RETRAIN_MARKS = {
    "promoted": ("D", True),
    "prepared": ("D", False),
    "rejected": ("s", False),
    "failed": ("X", True),
    "coalesced": (".", True),
    "open": ("o", False),
}


@house_style()
def alerts_figure(
    alerts: Sequence[AlertEpisode], retrains: Sequence[Retrain], *, first: date, last: date
) -> Figure:
    """Draw each rule's episodes as bars in a lane of its own, coloured by severity.

    Parameters
    ----------
    alerts
        A bar runs from the session that opened the episode to the one that closed it. An episode
        that is still open runs to `last` and ends in an arrow.
    retrains
        Marks in the lowest lane; the shape says what became of the request.
    first, last
        The sessions shown, both included; bars that begin earlier are cut off there.

    """
    if not alerts and not retrains:
        return empty_figure("Alerts")
    lanes = _lanes(alerts)
    labels = [plain(rule.replace("_", " ")) for rule in lanes]
    if retrains:
        labels.append(RETRAIN_LANE)
    figure, axes = new_figure(1.5 + LANE_HEIGHT * len(labels), title=_title(alerts))
    axes.grid(visible=False, axis="y")
    session_axis(axes, first, last)
    for i in range(len(labels)):
        axes.axhline(i, color=GRID, linewidth=0.8, zorder=0)
    for alert in alerts:
        _draw_episode(axes, alert, lane=lanes.index(alert.rule), last=last)
    for retrain in retrains:
        marker, filled = RETRAIN_MARKS[retrain.status]
        axes.plot(
            day_number(retrain.session), len(labels) - 1, marker=marker, markersize=6,
            markerfacecolor=BLUE if filled else PAPER, markeredgecolor=BLUE, color=BLUE,
        )  # fmt: skip
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    legend_below(axes, _legend(alerts, retrains), columns=6)
    return figure


def _lanes(alerts: Sequence[AlertEpisode]) -> list[str]:
    """Rules from the gravest down, by name where they are equally grave."""
    order = list(SEVERITY)
    gravest: dict[str, int] = {}
    for alert in alerts:
        gravest[alert.rule] = max(gravest.get(alert.rule, 0), order.index(alert.severity))
    return sorted(gravest, key=lambda rule: (-gravest[rule], rule))


def _title(alerts: Sequence[AlertEpisode]) -> str:
    if not alerts:
        return "No alert was raised"
    by_severity = Counter(alert.severity for alert in alerts)
    parts = [f"{by_severity[name]} {name}" for name in reversed(SEVERITY) if by_severity[name]]
    still_open = sum(alert.closed_session is None for alert in alerts)
    ending = f"; {still_open} still open" if still_open else "; none still open"
    return f"{counted(len(alerts), 'alert')}: {', '.join(parts)}{ending}"


def _draw_episode(axes: Axes, alert: AlertEpisode, *, lane: int, last: date) -> None:
    left, right = axes.get_xlim()
    start = max(day_number(alert.opened_session), left)
    stop = min(day_number(alert.closed_session or last), right)
    width = max(stop - start, NARROWEST_BAR * (right - left))
    colour = SEVERITY[alert.severity]
    axes.barh(lane, width, left=start, height=BAR_HEIGHT, color=colour, linewidth=0, zorder=2)
    if alert.closed_session is None:
        axes.plot(
            start + width, lane, marker=">", markersize=11, color=colour, clip_on=False, zorder=3,
        )  # fmt: skip


def _legend(alerts: Sequence[AlertEpisode], retrains: Sequence[Retrain]) -> list[Patch | Line2D]:
    severities = {alert.severity for alert in alerts}
    handles: list[Patch | Line2D] = [
        Patch(color=colour, label=name)
        for name, colour in reversed(SEVERITY.items())
        if name in severities
    ]
    if any(alert.closed_session is None for alert in alerts):
        handles.append(
            Line2D([], [], linestyle="none", marker=">", color=MUTED, label="still open")
        )
    statuses = {retrain.status for retrain in retrains}
    for status, (marker, filled) in RETRAIN_MARKS.items():
        if status in statuses:
            handles.append(
                Line2D(
                    [],
                    [],
                    linestyle="none",
                    marker=marker,
                    markersize=6,
                    markeredgecolor=BLUE,
                    markerfacecolor=BLUE if filled else PAPER,
                    label=f"retrain {status}",
                )
            )
    return handles
