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
from matplotlib.layout_engine import LayoutEngine, TightLayoutEngine
from matplotlib.transforms import ScaledTranslation

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
# Inches around the axes until their texts are measured: near what most figures need, so that the
# ticks that fit between are seldom others afterwards.
LEFT, RIGHT, BOTTOM, TOP = 0.7, 0.2, 0.8, 0.35
PANEL_GAP = 0.1
# Inches again: how far under the axes a legend begins, and how wide it and what is in it may be.
LEGEND_DROP = 0.5
LEGEND_WIDTH, LEGEND_MARK, LEGEND_CHARACTER = 10.0, 0.5, 0.067
POINTS_PER_INCH = 72
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
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,
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
    figure = Figure(figsize=(WIDTH, height), dpi=100, facecolor=PAPER)
    FigureCanvasAgg(figure)
    # In font sizes. A constrained layout measures each text four times, a tight one within a
    # rectangle twice.
    engine = TightLayoutEngine(pad=0.4, h_pad=0.6, rect=None)  # type: ignore[arg-type]
    figure.set_layout_engine(engine)
    axes = figure.add_subplot()
    set_title(axes, title)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    return figure, axes


def set_title(axes: Axes, title: str) -> None:
    """Give axes a title, at a height that is not searched for anew on every drawing."""
    axes.set_title(title, y=1.0)


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
    return _saved(figure, format="svg", dpi=POINTS_PER_INCH, metadata=metadata).decode()


@house_style()
def _saved(figure: Figure, *, dpi: float, **options: Any) -> bytes:
    buffer = io.BytesIO()
    engine, usual_dpi = figure.get_layout_engine(), figure.dpi
    # What is measured for the layout is kept for the drawing, if both are as fine.
    figure.dpi = dpi
    with warnings.catch_warnings():
        # A name in another script is measured with a substitute glyph; browsers have the real one.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        try:
            if engine is not None:
                _lay_out(figure, engine)
            # With a layout still to do, `savefig` would go through the whole drawing twice.
            figure.set_layout_engine(None)
            figure.savefig(buffer, dpi=dpi, **options)
        finally:
            figure.set_layout_engine(engine)
            figure.dpi = usual_dpi
    return buffer.getvalue()


def _lay_out(figure: Figure, engine: LayoutEngine) -> None:
    """Make room for the texts, and again where axes of another size have other ticks.

    It begins from the same margins each time, as the result depends on them by a hair.
    """
    width, height = figure.get_size_inches()
    figure.subplots_adjust(
        left=LEFT / width, right=1 - RIGHT / width, bottom=BOTTOM / height, top=1 - TOP / height,
        hspace=PANEL_GAP,
    )  # fmt: skip
    ticks = _ticks(figure)
    for _ in range(3):
        engine.execute(figure)
        before, ticks = ticks, _ticks(figure)
        if ticks == before:
            break


def _ticks(figure: Figure) -> list[list[float]]:
    return [axes.get_yticks().tolist() for axes in figure.axes]


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
    """Put a legend under the axes, where it hides nothing, in at most so many columns."""
    if not handles:
        return
    below = ScaledTranslation(0.0, -LEGEND_DROP, axes.figure.dpi_scale_trans)
    axes.legend(
        handles=handles, loc="upper left", ncols=_fitting_columns(handles, columns),
        bbox_to_anchor=(0.0, 0.0), bbox_transform=axes.transAxes + below,
        borderaxespad=0.0, handlelength=1.8, columnspacing=1.6,
    )  # fmt: skip


def _fitting_columns(handles: Sequence[Any], most: int) -> int:
    widths = [LEGEND_MARK + LEGEND_CHARACTER * len(handle.get_label()) for handle in handles]
    for columns in range(min(most, len(widths)), 1, -1):
        if sum(max(column) for column in np.array_split(widths, columns)) <= LEGEND_WIDTH:
            return columns
    return 1
