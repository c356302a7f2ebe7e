"""The metrics that rules look at, by session, as they stand in the tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from uuid import UUID

import numpy as np
import numpy.typing as npt

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.drift.missing_data import SOMETHING, VERDICT
from quant_mlops.market.calendar import TradingCalendar

METRICS = (
    "ic", "psi", "sharpe_5d", "ic_names", "ic_20d_mean", "ic_20d_se", "sharpe_60d", "sharpe_60d_se",
)  # fmt: skip


@dataclass(frozen=True)
class MonitoredHistory:
    """Metrics of consecutive sessions, from the first ever judged to the newest asked for.

    Attributes
    ----------
    sessions : ndarray of datetime64[D], shape (S,)
    metrics : dict of str to ndarray, shape (S,)
        By column of `drift_metrics`; NaN where there is no value. With them `psi_no_drift_95`,
        the mean over the features, and `psi_rows`, the fewest rows of a feature.
    missing : list of tuple of str
        What each session should have had and did not, in words; of a session that was never
        judged, the verdict.
    model_ids : list of UUID or None
    """

    sessions: npt.NDArray[np.datetime64]
    metrics: dict[str, npt.NDArray[np.float64]]
    missing: list[tuple[str, ...]]
    model_ids: list[UUID | None]

    @property
    def no_data(self) -> npt.NDArray[np.float64]:
        """How many things are missing, by session, shape (S,)."""
        return np.array([len(names) for names in self.missing], dtype=np.float64)

    @property
    def restarts(self) -> list[int]:
        """Sessions from which another model is live than on the last that had one."""
        found, live = [], None
        for position, model_id in enumerate(self.model_ids):
            if model_id is not None:
                if live not in (None, model_id):
                    found.append(position)
                live = model_id
        return found

    def position(self, session: date) -> int:
        """Return the place of a session, or of where it would be."""
        return int(np.searchsorted(self.sessions, np.datetime64(session)))

    def model_at(self, position: int) -> UUID | None:
        """Return the model live on a session, or the last one before it."""
        live = (model for model in reversed(self.model_ids[: position + 1]) if model is not None)
        return next(live, None)


def read_history(
    database: Database, calendar: TradingCalendar, *, strategy_id: str, last: date
) -> MonitoredHistory | None:
    """Read the metrics of every session up to `last`; None if none was ever judged."""
    rows = database.fetch_all(query("select_rule_metrics"), [strategy_id, last])
    if not rows:
        return None
    sessions = calendar.sessions(rows[0][0], last)
    place = {session.item(): i for i, session in enumerate(sessions)}
    noise = ("psi_no_drift_95", "psi_rows")
    metrics = {name: np.full(len(sessions), np.nan) for name in (*METRICS, *noise)}
    missing: list[tuple[str, ...]] = [(VERDICT,)] * len(sessions)
    models: list[UUID | None] = [None] * len(sessions)
    for day, model_id, no_data, names, *values in rows:
        at = place[day]
        models[at], missing[at] = model_id, tuple(names) or (SOMETHING,) * no_data
        for name, value in zip(METRICS, values, strict=True):
            metrics[name][at] = np.nan if value is None else value
    for day, *values in database.fetch_all(
        query("select_psi_noise"), [strategy_id, rows[0][0], last]
    ):
        for name, value in zip(noise, values, strict=True):
            metrics[name][place[day]] = np.nan if value is None else value
    return MonitoredHistory(sessions, metrics, missing, models)
