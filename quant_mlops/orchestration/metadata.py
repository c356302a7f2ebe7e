"""What a materialisation shows in Dagster's UI: numbers, Markdown tables and inline plots."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOT_DOTS_PER_INCH = 72
# What an asset returns that stores its data itself.
Materialized = dg.MaterializeResult[None]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> dg.MetadataValue:
    """Return rows as a Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return dg.MetadataValue.md("\n".join(lines))


def inline_plot(figure: Figure, title: str) -> dg.MetadataValue:
    """Return a figure as Markdown that carries the picture itself, some tens of kilobytes."""
    # Matplotlib takes half a second to import, and what loads the definitions draws nothing.
    from quant_mlops.reports.figures import png

    data = base64.b64encode(png(figure, dots_per_inch=PLOT_DOTS_PER_INCH)).decode()
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{data})")


def shown_on_newest(
    context: dg.AssetExecutionContext, metadata: Mapping[str, dg.MetadataValue]
) -> None:
    """Attach metadata to the newest partition of a run alone.

    What an asset returns is stored with each partition, and a year's run would store each
    picture 252 times.
    """
    context.add_asset_metadata(dict(metadata), partition_key=context.partition_keys[-1])


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value).replace("|", "\\|")
