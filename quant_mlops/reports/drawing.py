"""How every figure looks: palette, session axis, lines that break where data are missing."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from quant_mlops.reports.records import Days, Floats

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

INK = "#1c2530"
MUTED = "#5b6673"
GRID = "#e3e7eb"
PAPER = "#ffffff"
# Okabe and Ito (2008), "Color Universal Design", and for the darkest step wine of Paul Tol.
BLUE = "#0072b2"
SKY = "#56b4e9"
GREEN = "#009e73"
AMBER = "#e69f00"
VERMILLION = "#d55e00"
PURPLE = "#cc79a7"
WINE = "#882255"
SEVERITY = {"info": SKY, "warning": AMBER, "severe": VERMILLION, "critical": WINE}

WIDTH = 11.0
NOTHING = "nothing to show yet"
LONGEST_LABEL = 40
# Longer than any long weekend: what is missing in between was not a holiday.
LONGEST_CLOSURE = np.timedelta64(7, "D")
FEWEST_DAYS_SHOWN = 8.0

STYLE: dict[RcKeyType, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlepad": 10.0,
    "axes.axisbelow": True,
    "axes.facecolor": PAPER,
    "axes.grid": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.solid_capstyle": "round",
    "savefig.bbox": None,
    "svg.fonttype": "none",
    "svg.hashsalt": "quant_mlops",
}


@contextmanager
def house_style() -> Iterator[None]:
    """Apply the style to what is built inside, whatever the user's own matplotlib settings."""
    with matplotlib.rc_context(STYLE):
        yield


def new_figure(height: float, *, title: str) -> tuple[Figure, Axes]:
    """Return a figure of the report's width with one titled set of axes."""
    figure = Figure(figsize=(WIDTH, height), dpi=100, layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    return figure, axes


@house_style()
def empty_figure(title: str) -> Figure:
    """Return a figure that says there is nothing to show yet."""
    figure, axes = new_figure(1.2, title=title)
    axes.set_axis_off()
    axes.text(0.5, 0.5, NOTHING, ha="center", va="center", color=MUTED, fontsize=11)
    return figure


def png(figure: Figure, *, dots_per_inch: int = 200) -> bytes:
    """Return a figure as PNG; the same figure gives the same bytes."""
    return _saved(figure, format="png", dpi=dots_per_inch, metadata={"Software": None})


def svg(figure: Figure) -> str:
    """Return a figure as a standalone SVG document, its text kept as text.

    It carries no date and no version, so the same figure gives the same text.
    """
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    return _saved(figure, format="svg", metadata=metadata).decode()


@house_style()
def _saved(figure: Figure, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A name in another script is measured with a substitute glyph; browsers have the real one.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, **options)
    return buffer.getvalue()


def plain(text: str, *, longest: int = LONGEST_LABEL) -> str:
    """Return text fit for a label: one line, no control characters, cut to a length."""
    cleaned = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    # matplotlib leaves labels that begin with an underscore out of a legend.
    cleaned = f" {cleaned}" if cleaned.startswith("_") else cleaned
    return cleaned if len(cleaned) <= longest else cleaned[: longest - 1] + "…"


def day_number(day: date | np.datetime64) -> float:
    """Return where a day, or an instant, is on a session axis."""
    return float(date2num(day))  # type: ignore[no-untyped-call]


def day_numbers(days: Days) -> Floats:
    """Return where days are on a session axis."""
    return np.asarray(date2num(days), dtype=np.float64)  # type: ignore[no-untyped-call]


def session_axis(axes: Axes, first: date | np.datetime64, last: date | np.datetime64) -> None:
    """Let the horizontal axis run over sessions, at least a week wide."""
    left, right = day_number(first), day_number(last)
    margin = max(0.01 * (right - left), (FEWEST_DAYS_SHOWN - (right - left)) / 2, 1.0)
    axes.set_xlim(left - margin, right + margin)
    locator = AutoDateLocator(minticks=3, maxticks=12)  # type: ignore[no-untyped-call]
    formatter = ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(formatter)
    axes.set_xlabel("session")


def broken(sessions: Days, *series: Floats) -> tuple[Floats, list[Floats]]:
    """Return day numbers and series with a NaN put where no session is known for over a week."""
    breaks = np.flatnonzero(np.diff(sessions) > LONGEST_CLOSURE) + 1
    days = np.insert(day_numbers(sessions), breaks, np.nan)
    finite = [np.where(np.isfinite(values), values, np.nan) for values in series]
    return days, [np.insert(values, breaks, np.nan) for values in finite]


def isolated(values: Floats) -> Floats:
    """Keep the values between two gaps, which a line alone would not show."""
    padded = np.concatenate([[np.nan], values, [np.nan]])
    return np.where(np.isnan(padded[:-2]) & np.isnan(padded[2:]), values, np.nan)


def draw_line(axes: Axes, sessions: Days, values: Floats, **style: Any) -> None:
    """Draw a series over sessions: gaps stay gaps, and a single value is a dot."""
    days, (heights,) = broken(sessions, values)
    axes.plot(days, heights, **style)
    marks = {key: style[key] for key in ("color", "zorder", "alpha") if key in style}
    alone = isolated(heights)
    if np.isfinite(alone).any():
        axes.plot(days, alone, linestyle="none", marker="o", markersize=3.5, **marks)


def last_finite(values: Floats) -> float:
    """Return the newest value that is there, or NaN."""
    present = values[np.isfinite(values)]
    return float(present[-1]) if len(present) else float("nan")


def signed_percent(fraction: float) -> str:
    """Return a fraction as a percentage with its sign."""
    return f"{fraction:+.1%}".replace("-", "\N{MINUS SIGN}")


def legend_below(axes: Axes, handles: Sequence[Any], *, columns: int) -> None:
    """Put a legend under the axes, where it hides nothing."""
    if handles:
        axes.legend(
            handles=handles, loc="upper left", bbox_to_anchor=(0.0, -0.16), ncols=columns,
            borderaxespad=0.0, handlelength=1.8, columnspacing=1.6,
        )  # fmt: skip
