"""The label: close over close, known with the later of the two."""

from __future__ import annotations

from datetime import date
from types import MappingProxyType

import numpy as np
import pytest

from quant_mlops.errors import TrainingError
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.panel import FIELDS, Panel
from quant_mlops.training.label import LabelDefinition, forward_returns


def make_panel(calendar: TradingCalendar, close: np.ndarray, known_at: np.ndarray) -> Panel:
    sessions = calendar.sessions(date(2024, 1, 2), date(2024, 3, 1))[: len(close)]
    return Panel(
        sessions=sessions,
        event_times=calendar.closes(sessions),
        tickers=tuple(f"T{i}" for i in range(close.shape[1])),
        fields=MappingProxyType(dict.fromkeys(FIELDS, close)),
        known_at=known_at,
    )


@pytest.mark.parametrize("horizon", [1, 4, 11, 12, 30])
def test_a_label_is_the_ratio_of_two_closes_and_as_late_as_both(
    calendar: TradingCalendar, horizon: int
) -> None:
    random = np.random.default_rng(0)
    close = random.uniform(50, 150, size=(12, 3))
    close[random.random(close.shape) < 0.2] = np.nan
    known_at = np.where(np.isnan(close), 0, random.integers(1, 10**6, close.shape))
    returns, known = forward_returns(make_panel(calendar, close, known_at), horizon)
    for t in range(12):
        for n in range(3):
            there = t + horizon < 12 and not np.isnan(close[[t, t + horizon % 12], n]).any()
            if there:
                assert returns[t, n] == close[t + horizon, n] / close[t, n] - 1
                assert known[t, n] == max(known_at[t, n], known_at[t + horizon, n])
            else:
                assert np.isnan(returns[t, n])
                assert known[t, n] == 0


def test_a_label_that_looks_at_the_past_is_refused() -> None:
    with pytest.raises(TrainingError, match="0 sessions looks at the past"):
        LabelDefinition(0)
    assert LabelDefinition(5).describe() == {
        "kind": "forward_return",
        "horizon": 5,
        "calendar": "XNYS",
    }
