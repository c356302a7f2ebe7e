"""The verdict on one session, as a row of `drift_metrics`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any
from uuid import UUID

import numpy as np
from psycopg.types.json import Jsonb

from quant_mlops.drift.horizon_ics import HorizonIC

Day = date


@dataclass(frozen=True)
class DriftMetrics:
    """The verdict on one session; NaN where a number cannot be computed.

    Attributes
    ----------
    date : date
        The session judged.
    evaluation_time : datetime
        Nothing known later counts.
    ic_session : date or None
        Newest session whose label was known: the one `ic` is about.
    ic_by_horizon : tuple of HorizonIC
        Shortest label first: each the IC of the newest session whose label of that length was
        known.
    psi, psi_max : float
        Mean and largest PSI over the features.
    prediction_psi : float
        PSI of the live model's signals, which is no part of `psi`; NaN as well for a model that
        was registered without a profile of its signals.
    sharpe_5d_se, sharpe_20d_se, sharpe_60d_se : float
        Standard errors of the Sharpe ratios.
    probabilistic_sharpe_60d : float
        Probability that the true Sharpe ratio behind the last 60 sessions is above zero.
    ic_alert, psi_alert, sharpe_alert : str or None
        Severity of the gravest rule whose threshold each is beyond; see `AlertConfig.level`.
    no_data : bool
        Prices, predictions or feature drift of the session are missing though a model was live,
        or an IC or a return that an earlier prediction should have led to cannot be computed.
    missing : tuple of str
        Which of them, in words.
    """

    date: date
    strategy_id: str
    evaluation_time: datetime
    model_id: UUID | None
    ic_session: Day | None
    ic_names: int
    ic: float
    ic_5d_avg: float
    ic_20d_mean: float
    ic_20d_se: float
    ic_by_horizon: tuple[HorizonIC, ...]
    psi: float
    psi_max: float
    psi_max_feature: str | None
    prediction_psi: float
    sharpe_5d: float
    sharpe_5d_se: float
    sharpe_20d: float
    sharpe_20d_se: float
    sharpe_60d: float
    sharpe_60d_se: float
    probabilistic_sharpe_60d: float
    ic_alert: str | None
    psi_alert: str | None
    sharpe_alert: str | None
    no_data: bool
    missing: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        """Return it by column of `drift_metrics`: what cannot be computed is None."""
        row = {field.name: _plain(getattr(self, field.name)) for field in fields(self)}
        ics = Jsonb([ic.to_json() for ic in self.ic_by_horizon])
        return row | {"ic_by_horizon": ics, "missing": list(self.missing)}


@dataclass(frozen=True)
class MetricsWritten:
    """Sessions judged, and those whose numbers were new or had changed."""

    offered: int
    stored: int


def _plain(value: Any) -> Any:
    """Return a value as the table holds it: what cannot be computed is NULL."""
    return None if isinstance(value, float) and not np.isfinite(value) else value
