"""`drift feature`: one feature beside the rows that the live model was trained on."""

from __future__ import annotations

import os
from datetime import date
from typing import Any

import pytest

from quant_mlops.database import Database


def test_a_feature_is_compared_as_the_daily_psi_compares_it(
    desk: Any, sessions: list[date]
) -> None:
    day = sessions[-2]
    found = desk("drift", "feature", "ret_5d", "--session", day, "--json").document
    with Database(os.environ["QUANT_MLOPS_DATABASE_URL"]) as database:
        (stored,) = database.fetch_all(
            "SELECT psi, psi_no_drift_95, n_reference, n_current, window_sessions "
            "FROM feature_drift WHERE feature_name = 'ret_5d' AND session = %s",
            [day],
        )
    measures = found["measures"]
    names = ("psi", "psi_no_drift_95", "n_reference", "n_current")
    assert [measures[name] for name in names] == pytest.approx(stored[:4], rel=1e-12)
    assert found["current_first"] == sessions[-1 - stored[4]].isoformat()
    assert found["current_last"] == day.isoformat()
    assert found["reference_last"] < found["current_first"]
    assert 0 < measures["ks_statistic"] < 1
    assert measures["wasserstein"] > 0
    assert found["note"] == ""
    short = desk("drift", "feature", "ret_5d", "--session", day, "--window", 5, "--json").document
    assert short["measures"]["n_current"] == 60


def test_a_person_sees_it_in_a_terminal(
    desk: Any, sessions: list[date], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = desk("drift", "feature", "vol_20d", "--session", sessions[-2]).stdout
    assert max(map(len, shown.splitlines())) <= 80
    for part in ("vol_20d@1 of small_", "PSI", "KS", "Wasserstein"):
        assert part in shown


def test_a_feature_or_a_session_without_a_model_is_refused_in_a_sentence(
    desk: Any, sessions: list[date]
) -> None:
    unknown = desk.fails("drift", "feature", "nothing", "--session", sessions[-2])
    assert "does not use 'nothing'; its features are ret_5d" in unknown
    with Database(os.environ["QUANT_MLOPS_DATABASE_URL"]) as database:
        begins = database.fetch_one("SELECT min(session) FROM predictions")
    assert begins is not None
    before = max(day for day in sessions if day < begins[0])
    assert "no model of small was live at the open of" in desk.fails(
        "drift", "feature", "ret_5d", "--session", before
    )
