"""The label: the return from a session's close to the close some sessions later."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quant_mlops.errors import TrainingError
from quant_mlops.market.panel import Panel

Floats = npt.NDArray[np.float64]
Instants = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LabelDefinition:
    """What a model learns to predict.

    Attributes
    ----------
    horizon : int
        Sessions from the close of the decision's session to the close that ends the label.
    calendar : str
        Exchange whose sessions are counted.
    """

    horizon: int
    calendar: str = "XNYS"

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise TrainingError(f"a label horizon of {self.horizon} sessions looks at the past")

    def describe(self) -> dict[str, Any]:
        """Return the definition as plain values, for manifests and tables."""
        return {"kind": "forward_return", **asdict(self)}


def forward_returns(panel: Panel, horizon: int) -> tuple[Floats, Instants]:
    """Return the label of each session and ticker, and when it became known.

    Parameters
    ----------
    panel : Panel
        Prices as known at some instant: what was not known then has no label.
    horizon : int
        Sessions ahead.

    Returns
    -------
    returns : ndarray of float64, shape (S, N)
        C(t + horizon) / C(t) - 1, NaN where either close is missing or lies ahead.
    known_at : ndarray of int64, shape (S, N)
        Microseconds UTC; 0 where there is no return.
    """
    returns = np.full(panel.shape, np.nan)
    known_at = np.zeros(panel.shape, dtype=np.int64)
    if horizon < len(panel.sessions):
        returns[:-horizon] = panel.close[horizon:] / panel.close[:-horizon] - 1.0
        known_at[:-horizon] = np.maximum(panel.known_at[horizon:], panel.known_at[:-horizon])
    known_at[np.isnan(returns)] = 0
    return returns, known_at
