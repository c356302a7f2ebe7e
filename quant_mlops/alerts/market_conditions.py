"""The market around an alert beside that of the period its model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import UUID

import numpy as np

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import MarketDataError
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.price_bars import read_panel

RECENT_SESSIONS = 20


@dataclass(frozen=True)
class MarketReader:
    """Daily return and volatility of the market, each training period read once.

    The market's return of a session is the mean over all tickers with a price on it and on the
    session before, which is the same before and after the model went live, whatever it traded.

    Attributes
    ----------
    tickers : sequence of str, optional
        The market; every ticker by default.
    """

    database: Database
    calendar: TradingCalendar
    tickers: Sequence[str] | None = None
    _periods: dict[UUID, dict[str, Any]] = field(default_factory=dict)

    def conditions(
        self, session: date, model_id: UUID | None, *, as_of: datetime
    ) -> dict[str, Any]:
        """Return the market of the last 20 sessions and of the model's training, as plain values.

        Parameters
        ----------
        session : date
        model_id : UUID or None
            Without a model, or for one without a training run, there is no period to compare.
        as_of : datetime
            When the session was judged; the training period is read as known to the training.
        """
        first = self.calendar.previous(session, RECENT_SESSIONS)
        recent = self._moments(first, session, as_of)
        found = {"sessions": RECENT_SESSIONS, **{f"recent_{k}": v for k, v in recent.items()}}
        if model_id is None:
            return found
        if model_id not in self._periods:
            self._periods[model_id] = self._training(model_id, as_of)
        return found | self._periods[model_id]

    def _training(self, model_id: UUID, as_of: datetime) -> dict[str, Any]:
        row = self.database.fetch_one(query("select_training_period"), [model_id])
        if row is None:
            return {}
        first, last, known = row
        moments = self._moments(first, last, known or as_of)
        return {
            "training_first": first.isoformat(),
            "training_last": last.isoformat(),
            **{f"training_{name}": value for name, value in moments.items()},
        }

    def _moments(self, first: date, last: date, as_of: datetime) -> dict[str, float | None]:
        """Return mean and standard deviation of the daily return, None where there is none."""
        try:
            panel = read_panel(
                self.database, self.calendar,
                first=first, last=last, as_of=as_of, tickers=self.tickers,
            )  # fmt: skip
        except MarketDataError:
            return {"mean_daily_return": None, "daily_volatility": None}
        returns = panel.close[1:] / panel.close[:-1] - 1.0
        priced = np.isfinite(returns)
        count = priced.sum(axis=1)
        market = np.where(priced, returns, 0.0).sum(axis=1)[count > 0] / count[count > 0]
        return {
            "mean_daily_return": float(market.mean()) if len(market) else None,
            "daily_volatility": float(market.std(ddof=1)) if len(market) > 1 else None,
        }
