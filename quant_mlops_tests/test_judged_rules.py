"""What is said of rules beside their rates."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from quant_mlops.drift.error_rates import ErrorRate
from quant_mlops.drift.rules import AlertConfig, Calibration
from quant_mlops.judged_rules import missed_rate

STATED = Calibration(0.5, date(2020, 1, 2), date(2020, 12, 31), 252, paths=500, seed=1)
WRITTEN = AlertConfig().rules()[4]


def rate(found: float, calibration: Calibration | None) -> ErrorRate:
    return ErrorRate(replace(WRITTEN, calibration=calibration), found, 0.05, 10.0, 1.0, 0.1)


@pytest.mark.parametrize(
    ("found", "calibration", "reason"),
    [
        (0.29, STATED, None),
        (0.71, STATED, None),
        (0.28, STATED, "too few values"),
        (0.72, STATED, "other healthy years"),
        (0.1, replace(STATED, beyond="psi_mild"), "moved beyond that of psi_mild"),
        (9.0, None, None),
    ],
)
def test_a_calibrated_rate_is_told_where_it_misses_by_more_than_the_simulations_allow(
    found: float, calibration: Calibration | None, reason: str | None
) -> None:
    notes = missed_rate(rate(found, calibration), paths=500)
    if reason is None:
        assert notes == []
    else:
        (note,) = notes
        assert f"psi_severe, calibrated, has {found:.2f}" in note
        assert "where 0.5 are stated" in note
        assert reason in note
