"""Training never sees a price of what it is judged on."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_mlops.errors import TrainingError
from quant_mlops.market.calendar import trading_calendar
from quant_mlops.training.splits import SplitSizes, split_sessions

SESSIONS = trading_calendar("XNYS").sessions(date(2019, 1, 2), date(2020, 12, 31))


@given(
    missing=st.sets(st.integers(0, 299), max_size=80),
    val=st.integers(1, 40),
    test=st.integers(1, 40),
    embargo=st.integers(0, 6),
    horizon=st.integers(1, 25),
)
def test_no_label_window_reaches_into_a_later_split(
    missing: set[int], val: int, test: int, embargo: int, horizon: int
) -> None:
    calendar = SESSIONS[:300]
    present = np.array([day for i, day in enumerate(calendar) if i not in missing])
    splits = split_sessions(present, SplitSizes(val, test, embargo), horizon=horizon)
    for earlier, later in ((splits.train, splits.val), (splits.val, splits.test)):
        label_ends = np.searchsorted(calendar, earlier[-1]) + horizon
        assert label_ends + embargo < np.searchsorted(calendar, later[0])
    assert (len(splits.val), len(splits.test)) == (val, test)
    assert splits.test[-1] == present[-1]
    assert splits.train[0] == present[0]
    together = np.concatenate(list(splits.named().values()))
    assert (np.diff(together) > np.timedelta64(0, "D")).all()


def test_as_much_is_trained_on_as_the_gaps_allow() -> None:
    splits = split_sessions(SESSIONS[:21], SplitSizes(3, 4, 1), horizon=2)
    assert splits.train.tolist() == SESSIONS[:8].tolist()
    assert splits.val.tolist() == SESSIONS[11:14].tolist()
    assert splits.test.tolist() == SESSIONS[17:21].tolist()


@pytest.mark.parametrize(("count", "enough"), [(13, False), (14, True)])
def test_too_few_sessions_are_refused_with_the_number_needed(count: int, enough: bool) -> None:
    sizes = SplitSizes(3, 4, 1)
    if enough:
        assert len(split_sessions(SESSIONS[:count], sizes, horizon=2).train) == 1
    else:
        with pytest.raises(TrainingError, match=r"13 sessions.*two gaps of 3 need at least 14"):
            split_sessions(SESSIONS[:count], sizes, horizon=2)
