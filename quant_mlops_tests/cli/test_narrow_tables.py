"""What commands print can be read at 80 columns, and is complete at 160."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import pytest

from quant_mlops.cli.retention import print_expiry
from quant_mlops.cli.timescale import print_hypertables
from quant_mlops.database import Database
from quant_mlops.database.hypertables import Hypertable
from quant_mlops.database.retention import Expiry, OldChunk
from quant_mlops.features.store import FeatureStore

WIDTHS = ("80", "160")
WORD = r"[^\s:│]+"
LARGE = Hypertable("feature_events", 34, 33, 1_488_969, 98_765_432, 1_400_000, 45_000_000, 9 << 30)
FRESH = Hypertable("feature_drift", 2, 0, 12_345, 4_000_000, 0, 0, 0)


def words(text: str) -> str:
    """Return what a table says, without its lines."""
    return " ".join(re.sub("[^\\x00-\\x7f]", " ", text).split())


def refuse_torn(text: str, width: str, whole: Sequence[str]) -> None:
    """Check that no line is too wide and that each of some texts stands on a line of its own."""
    lines = text.splitlines()
    assert max(map(len, lines)) <= int(width)
    for part in whole:
        assert any(part in line for line in lines), (part, text)


@pytest.mark.parametrize("width", WIDTHS)
def test_alerts_have_their_message_in_one_column(
    desk: Any, monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    alerts = desk("alerts", "list", "--json").document["alerts"]
    desk("alerts", "ack", alerts[0]["alert_id"], "--by", "ann")
    monkeypatch.setenv("COLUMNS", width)
    shown = desk("alerts", "list").stdout
    refuse_torn(shown, width, [a["opened_session"] for a in alerts])
    refuse_torn(shown, width, [a["severity"] for a in alerts])
    assert "told by nobody yet, seen by ann" in shown
    said = set(re.findall(WORD, shown))
    for alert in alerts:
        assert alert["action"] in shown
        # The other columns stand between the lines of a message that is folded.
        assert set(re.findall(WORD, alert["message"])) <= said


@pytest.mark.parametrize("width", WIDTHS)
def test_values_have_both_their_times_and_their_writer(
    desk: Any, monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    ask = ("features", "latest", "T03")
    one = desk(*ask).stdout
    refuse_torn(one, width, ["reversal_1d@1 ", " 2022-04-07 20:00Z ", " 2022-04-07 20:15Z "])
    assert one.endswith("all of them by small\n")
    with Database(os.environ["QUANT_MLOPS_DATABASE_URL"]) as database:
        FeatureStore(database, "notebook").write_features(
            "T03", datetime(2022, 4, 7, 20, 0, 30, tzinfo=UTC), {"by_hand": {"of": [1, 2]}}
        )
    two = desk(*ask).stdout
    refuse_torn(two, width, ["by notebook", "by small", " 2022-04-07 20:00:30Z "])


@pytest.mark.parametrize("width", WIDTHS)
def test_runs_say_what_they_made_or_why_they_made_nothing(
    desk: Any, monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    with Database(os.environ["QUANT_MLOPS_DATABASE_URL"]) as database:
        database.execute(
            "INSERT INTO model_training_runs (run_id, training_key, params, snapshot_id, status, "
            "finished_at, error) SELECT gen_random_uuid(), 'k', '{}', snapshot_id, 'failed', "
            "clock_timestamp(), 'the learner was given a parameter that it does not know' "
            "FROM training_snapshots"
        )
    monkeypatch.setenv("COLUMNS", width)
    shown = desk("models", "runs").stdout
    refuse_torn(shown, width, ["small_ridge v1", "completed", "failed"])
    assert "the learner was given a parameter that it does not know" in words(shown)
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?Z", shown)
    live = desk("models", "live").stdout
    refuse_torn(live, width, ["small_ridge v1", "to now"])


@pytest.mark.parametrize("width", WIDTHS)
def test_the_ic_of_each_horizon_is_a_line(
    desk: Any, monkeypatch: pytest.MonkeyPatch, sessions: list[date], width: str
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    ask = ("drift", "run", "--session", sessions[-2])
    shown = desk(*ask).stdout
    assert "{" not in shown
    found = desk(*ask, "--json").document
    refuse_torn(shown, width, [each["session"] for each in found["ic_by_horizon"]])
    for each in found["ic_by_horizon"]:
        assert f"{each['ic']:.4g}" in shown
        assert f"{each['ic_20d_se']:.4g}" in shown
    assert f"{found['ic_20d_mean']:.4g}" in shown


@pytest.mark.parametrize("width", WIDTHS)
def test_hypertables_and_old_chunks_fit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    print_hypertables([LARGE, FRESH])
    shown = capsys.readouterr().out
    refuse_torn(
        shown,
        width,
        ["feature_events", "33 compressed", "1,488,969", "1,400,000", "98.8 MB", "45.0 MB",
         "66.33", "32.14", "12,345", "324"],
    )  # fmt: skip
    assert "0 compressed" not in shown
    chunk = OldChunk(
        "_hyper_12_345_chunk", datetime(2019, 1, 3, tzinfo=UTC), datetime(2020, 1, 3, tzinfo=UTC),
        True, 1_234_567_890,
    )  # fmt: skip
    print_expiry(Expiry("feature_events", [chunk], 9))
    refuse_torn(
        capsys.readouterr().out,
        width,
        ["_hyper_12_345_chunk", "2019-01-03", "2020-01-03", "yes", "1,234,567,890"],
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_the_status_fits(desk: Any, monkeypatch: pytest.MonkeyPatch, width: str) -> None:
    monkeypatch.setenv("COLUMNS", width)
    refuse_torn(desk("db", "status").stdout, width, ["3,828 rows, ", " 1 row, "])
