"""A snapshot is checked against its file and against the database at its knowledge time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quant_mlops.database import Database
from quant_mlops.database.retention import Expiry, OldChunk, record_retention
from quant_mlops.features.store import FeatureStore
from quant_mlops.market.membership import MEMBERSHIP_SCHEMA, write_memberships
from quant_mlops.market.strategy_tickers import TickerListing, record_listing
from quant_mlops.registry import ModelRegistry
from quant_mlops.training.code_version import CodeVersion
from quant_mlops.training.label import LabelDefinition
from quant_mlops.training.lost_training_sets import LostTrainingSet, lost_training_sets
from quant_mlops.training.snapshot import SnapshotDefinition, snapshot_blocks
from quant_mlops.training.snapshot_files import Snapshot
from quant_mlops.training.snapshot_verification import revisions_since, verify_snapshot
from quant_mlops.training.snapshot_writing import store_snapshot


@pytest.fixture
def market(make_market: Any, database: Database) -> Any:
    market = make_market()
    market.load(database)
    return market


@pytest.fixture
def known_at(market: Any, instant_after: Callable[..., datetime]) -> datetime:
    return instant_after(market.sessions[-8])


@pytest.fixture
def snapshot(database: Database, market: Any, known_at: datetime, tmp_path: Path) -> Snapshot:
    # Without it, one stock would be in that is no member.
    members = pa.Table.from_pylist(
        [
            {
                "entity_key": ticker,
                "first_session": market.sessions[0],
                "last_session": None,
                "ingest_time": market.calendar.close_time(market.sessions[0]),
            }
            for ticker in market.tickers[1:]
        ],
        schema=MEMBERSHIP_SCHEMA,
    )
    write_memberships(database, members, universe="index", source="test")
    return stored(database, market, known_at, tmp_path, universe="index")


def stored(
    database: Database, market: Any, known_at: datetime, folder: Path, **changes: Any
) -> Snapshot:
    definition = SnapshotDefinition(
        # In an order that JSON in PostgreSQL does not keep.
        features={"slow": 1, "fast": 1},
        label=LabelDefinition(3),
        first=market.sessions[1],
        last=market.sessions[-1],
        knowledge_time=known_at,
        **changes,
    )
    return store_snapshot(
        database,
        definition,
        snapshot_blocks(FeatureStore(database), market.calendar, definition, block_rows=30),
        strategy_id="momentum",
        folder=folder,
        logic_hashes={},
        code=CodeVersion("git 1234", dirty=False),
    )


def newest_used(database: Database, snapshot: Snapshot) -> dict[str, Any]:
    """Return the last row of a snapshot, and when the event of its slow feature was."""
    row = pq.read_table(snapshot.data_file).slice(snapshot.row_count - 1).to_pylist()[0]
    value = FeatureStore(database).get_latest(
        row["entity_key"], ["slow"], as_of=row["decision_time"]
    )
    return row | {"event_time": value["slow"].event_time}


def test_what_was_written_is_intact_and_the_database_gives_it_again(
    database: Database, snapshot: Snapshot
) -> None:
    verdict = verify_snapshot(FeatureStore(database), snapshot)
    assert (verdict.intact, verdict.reproducible, verdict.differences) == (True, True, None)
    assert verdict.rebuilt_fingerprint == snapshot.fingerprint


def test_limits_of_age_are_kept_and_rebuilt_with(
    database: Database, market: Any, known_at: datetime, tmp_path: Path
) -> None:
    unlimited = stored(database, market, known_at, tmp_path)
    limited = stored(database, market, known_at, tmp_path, max_ages={"slow": 0})
    assert (unlimited.max_ages, limited.max_ages) == ({}, {"slow": 0})
    assert limited.row_count < unlimited.row_count
    assert limited.left_out["feature missing"] > unlimited.left_out["feature missing"]
    # Ages are sessions of the label's exchange, whatever the calendar of the store that reads.
    for snapshot in (unlimited, limited):
        verdict = verify_snapshot(FeatureStore(database, calendar="XLON"), snapshot)
        assert (verdict.intact, verdict.reproducible) == (True, True)


def test_a_limit_without_effect_makes_another_fingerprint(
    database: Database, market: Any, known_at: datetime, tmp_path: Path
) -> None:
    unlimited = stored(database, market, known_at, tmp_path)
    limited = stored(database, market, known_at, tmp_path, max_ages={"slow": 1000})
    assert limited.row_count == unlimited.row_count
    assert limited.fingerprint != unlimited.fingerprint
    # What two models were trained on is the same, and what they may be served is not.
    assert pq.read_table(limited.data_file).equals(pq.read_table(unlimited.data_file))


def test_a_revision_known_later_leaves_it_verified_and_the_diff_names_its_cells(
    database: Database, snapshot: Snapshot
) -> None:
    store = FeatureStore(database)
    used = newest_used(database, snapshot)
    before = revisions_since(store, snapshot, now=database.now(), cells=10_000)
    store.write_features(used["entity_key"], used["event_time"], {"slow": 1234.5})
    assert verify_snapshot(store, snapshot).reproducible
    after = revisions_since(store, snapshot, now=database.now(), cells=10_000)
    was_revised = {(c.session, c.entity_key, c.column) for c in before.cells}
    new = [
        cell
        for cell in after.cells
        if (cell.session, cell.entity_key, cell.column) not in was_revised or cell.after == 1234.5
    ]
    assert new
    assert {(cell.entity_key, cell.column, cell.after) for cell in new} == {
        (used["entity_key"], "slow", 1234.5)
    }
    assert used["session"] in {cell.session for cell in new}
    assert {c.before for c in new if c.session == used["session"]} == {used["slow"]}


def test_revisions_are_those_that_the_market_had_after_the_decisions(
    database: Database, snapshot: Snapshot, market: Any
) -> None:
    now = max(e.ingest_time for e in market.events) + timedelta(days=1)
    found = revisions_since(FeatureStore(database), snapshot, now=now, cells=100_000)
    rows = {
        (r["session"], r["entity_key"]): r for r in pq.read_table(snapshot.data_file).to_pylist()
    }
    listed = {(c.session, c.entity_key, c.column): c.after for c in found.cells}
    expected = {}
    for key, row in rows.items():
        for name in ("slow", "fast"):
            known = [
                e
                for e in market.events
                if (e.entity, e.name) == (row["entity_key"], name)
                and e.event_time <= row["decision_time"]
            ]
            newest = max(known, key=lambda e: (e.event_time, e.ingest_time))
            if newest.value != row[name]:
                expected[(*key, name)] = newest.value
    assert {k: v for k, v in listed.items() if k[2] in ("slow", "fast")} == expected
    assert len(expected) > 5


def test_tickers_ingested_for_the_strategy_later_leave_it_verified(
    database: Database, market: Any, known_at: datetime, tmp_path: Path
) -> None:
    first, *others = market.tickers
    with database.transaction() as connection:
        record_listing(connection, TickerListing(["momentum"], others))
    snapshot = stored(database, market, known_at, tmp_path, strategy_id="momentum")
    assert first not in pq.read_table(snapshot.data_file)["entity_key"].unique().to_pylist()
    with database.transaction() as connection:
        record_listing(connection, TickerListing(["momentum"], [first]))
    assert verify_snapshot(FeatureStore(database), snapshot).reproducible
    newer = stored(database, market, known_at, tmp_path / "newer", strategy_id="momentum")
    assert first in pq.read_table(newer.data_file)["entity_key"].unique().to_pylist()


def test_a_flipped_cell_is_tampering_and_is_named(database: Database, snapshot: Snapshot) -> None:
    rows = pq.read_table(snapshot.data_file)
    values = rows["fast"].to_pylist()
    values[5] += 1e-9
    place = rows.column_names.index("fast")
    snapshot.data_file.unlink()
    pq.write_table(rows.set_column(place, "fast", pa.array(values)), snapshot.data_file)
    verdict = verify_snapshot(FeatureStore(database), snapshot)
    assert not verdict.intact
    assert "tampered" in str(verdict.file_problem)
    assert verdict.reproducible
    assert verdict.differences is not None
    (cell,) = verdict.differences.cells
    assert (cell.column, cell.before, cell.after) == ("fast", values[5], rows["fast"][5].as_py())
    assert cell.session == rows["session"][5].as_py()


def test_a_damaged_file_is_tampering_and_nothing_is_compared(
    database: Database, snapshot: Snapshot
) -> None:
    snapshot.data_file.write_bytes(b"not a Parquet file")
    verdict = verify_snapshot(FeatureStore(database), snapshot)
    assert (verdict.intact, verdict.reproducible, verdict.differences) == (False, True, None)


def test_a_changed_manifest_is_tampering(database: Database, snapshot: Snapshot) -> None:
    path = snapshot.folder / "manifest.json"
    path.write_text(path.read_text("utf-8").replace('"horizon": 3', '"horizon": 4'), "utf-8")
    verdict = verify_snapshot(FeatureStore(database), snapshot)
    assert "has label" in str(verdict.file_problem)


def test_a_row_written_with_an_old_ingest_time_is_found_in_the_database(
    database: Database, snapshot: Snapshot
) -> None:
    used = newest_used(database, snapshot)
    lag = used["decision_time"] - used["event_time"]
    FeatureStore(database).write_features(
        used["entity_key"], used["event_time"], {"slow": -5.5}, availability_lag=lag
    )
    verdict = verify_snapshot(FeatureStore(database), snapshot)
    assert verdict.intact
    assert snapshot.fingerprint in str(verdict.database_problem)
    assert verdict.differences is not None
    assert {(c.entity_key, c.column, c.after) for c in verdict.differences.cells} == {
        (used["entity_key"], "slow", -5.5)
    }


def test_a_database_without_its_rows_cannot_give_it_again(
    other_database: Database, snapshot: Snapshot
) -> None:
    verdict = verify_snapshot(FeatureStore(other_database), snapshot)
    assert (verdict.intact, verdict.rebuilt_fingerprint) == (True, None)
    assert "no price bar" in str(verdict.database_problem)


def drop_before(
    database: Database, forge: Any, snapshot: Snapshot, table: str, until: datetime
) -> list[LostTrainingSet]:
    """Drop rows as a retention does, whose chunks only a server with TimescaleDB has."""
    lost = lost_training_sets(database, table, until=until)
    chunk = OldChunk("chunk", until - timedelta(days=365), until, True, 0)
    with database.transaction() as connection:
        record_retention(
            connection,
            Expiry(table, [chunk], 1),
            by="ann",
            snapshot_ids=[each.snapshot.snapshot_id for each in lost],
        )
    if table == "price_bars":
        forge(database, "DELETE FROM price_bars WHERE event_time < %s", [until])
    else:
        forge(database, "DELETE FROM feature_events WHERE event_time < %s", [until])
    return lost


@pytest.mark.parametrize("table", ["price_bars", "feature_events"])
def test_rows_that_retention_dropped_are_missing_by_whose_doing_and_not_tampered_with(
    database: Database, snapshot: Snapshot, market: Any, forge: Any, table: str
) -> None:
    ModelRegistry(database).register_model("old", snapshot_id=snapshot.snapshot_id)
    middle = pq.read_table(snapshot.data_file)["session"][snapshot.row_count // 2].as_py()
    until = market.calendar.close_time(middle)
    (lost,) = drop_before(database, forge, snapshot, table, until)
    assert (lost.snapshot, lost.models) == (snapshot, ("old v1",))
    verdict = verify_snapshot(FeatureStore(database), snapshot)
    assert (verdict.intact, verdict.reproducible, verdict.database_problem) == (True, False, None)
    today = database.now().date()
    assert verdict.database_words == (
        f"rows of {table} before {middle} were dropped by retention on {today} by ann; the file is "
        f"its record"
    )
    used = newest_used(database, snapshot)
    FeatureStore(database).write_features(
        used["entity_key"], used["event_time"], {"slow": -5.5},
        availability_lag=used["decision_time"] - used["event_time"],
    )  # fmt: skip
    changed = verify_snapshot(FeatureStore(database), snapshot)
    assert snapshot.fingerprint in str(changed.database_problem)
    assert "by ann" in changed.database_words


def test_what_was_dropped_before_a_training_set_begins_takes_nothing_from_it(
    database: Database, snapshot: Snapshot, market: Any
) -> None:
    calendar = market.calendar
    first_price = calendar.close_time(calendar.previous(snapshot.first_session))
    assert lost_training_sets(database, "price_bars", until=first_price) == []
    just_after = first_price + timedelta(seconds=1)
    assert len(lost_training_sets(database, "price_bars", until=just_after)) == 1
    assert lost_training_sets(database, "predictions", until=database.now()) == []
    assert lost_training_sets(database, "feature_events", until=None) == []


def test_a_training_set_without_a_single_price_left_says_who_dropped_them(
    database: Database, snapshot: Snapshot, forge: Any
) -> None:
    drop_before(database, forge, snapshot, "price_bars", database.now())
    verdict = verify_snapshot(FeatureStore(database), snapshot)
    assert (verdict.rebuilt_fingerprint, verdict.database_problem) == (None, None)
    assert "dropped by retention" in verdict.database_words
