"""Snapshots by command: built, found, verified against file and database, compared."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from quant_mlops.database import Database
from quant_mlops.features.store import FeatureStore
from quant_mlops.market.calendar import trading_calendar


def test_a_snapshot_is_built_found_and_verified(desk: Any) -> None:
    built = desk("snapshot", "build", "--as-of", "2022-03-01T22:00+00:00", "--json").document
    listed = desk("snapshot", "list", "--json").document
    assert built["snapshot_id"] in [snapshot["snapshot_id"] for snapshot in listed]
    shown = desk("snapshot", "show", built["snapshot_id"], "--json").document
    assert shown["fingerprint"] == built["fingerprint"]
    verified = desk("snapshot", "verify", built["snapshot_id"], "--json").document
    assert verified["intact"] is True
    assert verified["rows"] == built["row_count"]


def test_a_tampered_file_is_told_from_a_changed_database(desk: Any, stock: Any) -> None:
    built = desk("snapshot", "build", "--as-of", "2022-03-08T22:00+00:00", "--json").document
    file = Path(built["uri"].removeprefix("file://")) / "data.parquet"
    assert stock.home in file.parents
    table = pq.read_table(file)
    values = table["ret_5d"].to_pylist()
    values[7] += 0.25
    changed = table.set_column(table.column_names.index("ret_5d"), "ret_5d", pa.array(values))
    pq.write_table(changed, file)
    found = desk("snapshot", "verify", built["snapshot_id"], "--json")
    assert found.status == 1
    assert (found.document["intact"], found.document["reproducible"]) == (False, True)
    assert "SHA-256" in found.document["file_problem"]
    (cell,) = found.document["differences"]["cells"]
    assert (cell["column"], cell["before"]) == ("ret_5d", values[7])
    assert cell["entity_key"] == table["entity_key"][7].as_py()
    for_a_person = desk("snapshot", "verify", built["snapshot_id"])
    assert for_a_person.status == 1
    assert "TAMPERED" in for_a_person.stdout
    assert "the same again" in for_a_person.stdout
    assert cell["entity_key"] in for_a_person.stdout


def test_a_revision_leaves_a_snapshot_verified_and_the_diff_names_its_cells(
    desk: Any, sessions: list[date]
) -> None:
    snapshot = desk("snapshot", "list", "--json").document[0]
    unrevised = desk("snapshot", "diff", snapshot["snapshot_id"], "--json").document
    assert (unrevised["identical"], unrevised["cells_changed"]) == (True, 0)
    last = date.fromisoformat(snapshot["last_session"])
    event = trading_calendar("XNYS").close_time(sessions[sessions.index(last) - 1])
    with Database(os.environ["QUANT_MLOPS_DATABASE_URL"]) as database:
        FeatureStore(database).write_features("T04", event, {"vol_20d": 7.5})
    assert desk("snapshot", "verify", snapshot["snapshot_id"]).status == 0
    found = desk("snapshot", "diff", snapshot["snapshot_id"], "--json").document
    (cell,) = found["cells"]
    assert (cell["session"], cell["entity_key"], cell["column"], cell["after"]) == (
        last.isoformat(), "T04", "vol_20d", 7.5,
    )  # fmt: skip
    assert found["columns"]["vol_20d"]["cells"] == 1
    shown = desk("snapshot", "diff", snapshot["snapshot_id"]).stdout
    assert "T04" in shown
    assert "today" in shown


def test_two_snapshots_are_compared(desk: Any) -> None:
    one, other = (
        desk("snapshot", "build", "--as-of", f"2022-03-0{day}T22:00+00:00", "--json").document
        for day in (1, 2)
    )
    found = desk("snapshot", "diff", one["snapshot_id"], other["snapshot_id"], "--json").document
    assert not found["identical"]
    assert (found["rows_before"], found["rows_after"]) == (one["row_count"], other["row_count"])
    # A day later the window has moved by one session, and nothing of the rest is another.
    assert (found["rows_gone"], found["rows_new"], found["cells_changed"]) == (12, 12, 0)


def test_a_snapshot_is_found_by_the_fingerprint_that_is_printed(desk: Any) -> None:
    first, *_ = desk("snapshot", "list", "--json").document
    digits = first["fingerprint"]
    for key in (digits[:8], digits[:16].upper(), digits[:32], digits):
        assert desk("snapshot", "show", key, "--json").document == first
        verified = desk("snapshot", "verify", key, "--json").document
        assert verified["snapshot_id"] == first["snapshot_id"]
    unknown = "".join("0" if digit != "0" else "1" for digit in digits[:12])
    sentence = desk.fails("snapshot", "verify", unknown)
    assert f"no snapshot with a fingerprint {unknown}" in sentence
    assert "quant-mlops snapshot list" in sentence


def test_the_same_rows_known_at_two_times_need_the_uuid(desk: Any) -> None:
    built = [
        desk("snapshot", "build", "--as-of", f"2022-03-01T{hour}:00", "--json").document
        for hour in ("06", "07")
    ]
    assert built[0]["fingerprint"] == built[1]["fingerprint"]
    sentence = desk.fails("snapshot", "show", built[0]["fingerprint"][:10])
    assert all(snapshot["snapshot_id"] in sentence for snapshot in built)
    assert "give the UUID" in sentence
