"""What a materialisation shows in Dagster's UI: numbers, tables and inline plots."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A figure of eleven inches fills the dialog in which the UI shows it, at a size that can be read.
PLOT_DOTS_PER_INCH = 96
# What an asset returns that stores its data itself.
Materialized = dg.MaterializeResult[None]


def shown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> dg.TableMetadataValue:
    """Return rows as a table, which the UI shows on the page; Markdown it hides behind a click."""
    columns = [dg.TableColumn(name, type="") for name in header]
    records = [dg.TableRecord(dict(zip(header, map(_cell, row), strict=True))) for row in rows]
    return dg.MetadataValue.table(records, dg.TableSchema(columns))


def shown_number(value: float) -> float | None:
    """Return a number as the UI can show it: six significant digits, None where it is undefined."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


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


def _cell(value: object) -> str | int:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "NULL" if math.isnan(value) else f"{value:.4g}"
    return value if isinstance(value, int) else "" if value is None else str(value)
