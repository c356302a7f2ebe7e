"""The figure of what learners achieve on each split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from quant_mlops.reports.drawing import (
    AMBER,
    BLUE,
    GREEN,
    GRID,
    INK,
    empty_figure,
    house_style,
    legend_below,
    new_figure,
    plain,
)
from quant_mlops.reports.records import Floats
from quant_mlops.wording import counted

SPLIT_COLOURS = (BLUE, AMBER, GREEN)
SPREAD = 0.22


@house_style()
def learner_figure(
    labels: Sequence[str], means: Mapping[str, Floats], *, errors: Mapping[str, Floats]
) -> Figure:
    """Draw the mean information coefficient of each model on each split.

    Parameters
    ----------
    labels
        Names of the models, shape (models,).
    means
        By split, each of shape (models,); NaN where it is undefined.
    errors
        By split, standard errors of the same shapes; a bar is twice the error either side. With
        errors that ignore overlapping labels, noise on the test split looks like skill.

    Returns
    -------
    Figure
        One row a model; what is far better on train than on test has learnt noise.

    """
    known = {
        split: np.where(np.isfinite(values), values, np.nan) for split, values in means.items()
    }
    if not labels or all(np.isnan(values).all() for values in known.values()):
        return empty_figure("Mean information coefficient by split")
    figure, axes = new_figure(
        1.6 + 0.6 * len(labels),
        title=f"Mean information coefficient of {counted(len(labels), 'model')} by split",
    )
    rows = np.arange(len(labels), dtype=np.float64)
    offsets = np.linspace(-SPREAD, SPREAD, len(known)) if len(known) > 1 else np.zeros(1)
    for nth, (split, values) in enumerate(known.items()):
        spread = np.nan_to_num(2 * errors[split], nan=0.0, posinf=0.0)
        axes.errorbar(
            values, rows + offsets[nth], xerr=spread, fmt="o", capsize=2.5, markersize=5,
            color=SPLIT_COLOURS[nth % len(SPLIT_COLOURS)], label=f"{split} (bar: 2 s.e.)",
        )  # fmt: skip
    axes.axvline(0.0, color=INK, linewidth=0.8)
    axes.set_yticks(rows, [plain(label) for label in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_xlabel("mean daily rank IC", loc="right")
    legend_below(axes, axes.get_legend_handles_labels()[0], columns=3)
    return figure
