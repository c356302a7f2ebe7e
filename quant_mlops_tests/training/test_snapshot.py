"""A training set, row by row, against what was known by brute force."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from quant_mlops.database import Database
from quant_mlops.database.migrations import migrate
from quant_mlops.errors import EmptySnapshotError
from quant_mlops.features.store import FeatureStore
from quant_mlops.training.fingerprint import fingerprint
from quant_mlops.training.label import LabelDefinition
from quant_mlops.training.snapshot import (
    SnapshotBlock,
    SnapshotDefinition,
    collect_snapshot,
    snapshot_blocks,
)

HORIZON = 3
After = Callable[..., datetime]


@pytest.fixture
def second_database(empty_database: Database) -> Database:
    migrate(empty_database)
    return empty_database


def definition(market: Any, known_at: datetime, **changes: Any) -> SnapshotDefinition:
    values: dict[str, Any] = {
        "features": dict.fromkeys(market.features, 1),
        "label": LabelDefinition(HORIZON),
        "first": market.sessions[1],
        "last": market.sessions[-1],
        "knowledge_time": known_at,
    }
    return SnapshotDefinition(**(values | changes))


def collect(database: Database, market: Any, known_at: datetime, **changes: Any) -> SnapshotBlock:
    wanted = definition(market, known_at, **changes)
    return collect_snapshot(FeatureStore(database), market.calendar, wanted)


def rows_by_hand(
    market: Any, known_at: datetime, max_ages: Mapping[str, int]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what becomes of each row of the spine, in order, with the row."""
    calendar = market.calendar
    for session in market.sessions[1:]:
        opens = calendar.open_time(session)
        end = calendar.offset(session, HORIZON)
        for ticker in sorted(market.tickers):
            yesterday = calendar.previous(session)
            if market.close_known(ticker, yesterday, min(opens, known_at)) is None:
                continue
            bars = [
                market.close_known(ticker, day, known_at)
                for day in (session, end, calendar.next(session))
            ]
            row = {
                "session": session,
                "entity_key": ticker,
                "decision_time": opens,
                **{
                    name: market.feature_known(ticker, name, opens, max_age=max_ages.get(name))
                    for name in market.features
                },
            }
            start, finish, following = bars
            if start is None or finish is None:
                is_open = calendar.close_time(end) > known_at
                yield "label open" if is_open else "label without a price", row
                continue
            row["label"] = finish.close / start.close - 1
            row["label_known_at"] = max(start.ingest_time, finish.ingest_time)
            row["next_session_return"] = (
                None if following is None else following.close / start.close - 1
            )
            missing = any(row[name] is None for name in market.features)
            yield "feature missing" if missing else "kept", row


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("back", "max_ages"), [(0, {}), (6, {"slow": 1}), (21, {}), (0, {"fast": 0, "slow": 2})]
)
def test_every_row_is_what_brute_force_finds(
    database: Database,
    make_market: Any,
    instant_after: After,
    seed: int,
    back: int,
    max_ages: dict[str, int],
) -> None:
    market = make_market(seed=seed)
    market.load(database)
    known_at = instant_after(market.sessions[-1 - back])
    content = collect(database, market, known_at, max_ages=max_ages)
    expected = list(rows_by_hand(market, known_at, max_ages))
    assert content.table.to_pylist() == [row for fate, row in expected if fate == "kept"]
    fates = [fate for fate, _ in expected]
    assert content.left_out == {
        reason: fates.count(reason)
        for reason in ("label open", "label without a price", "feature missing")
    }
    assert content.table.num_rows + sum(content.left_out.values()) == len(expected)
    assert min(content.left_out.values()) > 0


def test_nothing_in_a_snapshot_was_known_later_than_it_says(
    database: Database, make_market: Any, instant_after: After
) -> None:
    market = make_market()
    market.load(database)
    known_at = instant_after(market.sessions[-5])
    table = collect(database, market, known_at).table
    for row in table.select(["session", "decision_time", "label_known_at"]).to_pylist():
        assert row["label_known_at"] <= known_at
        assert row["decision_time"] == market.calendar.open_time(row["session"])
    # Shifting every feature to just after the open it served empties the column.
    values = {row["slow"] for row in table.to_pylist()}
    served = {e.value for e in market.events if e.ingest_time <= table["decision_time"][-1].as_py()}
    assert values <= served


def test_a_feature_known_a_microsecond_after_the_open_waits_for_the_next_session(
    database: Database, make_market: Any, instant_after: After
) -> None:
    market = make_market()
    market.load(database)
    session = market.sessions[10]
    opens = market.calendar.open_time(session)
    store = FeatureStore(database)
    before = {r["entity_key"]: r["slow"] for r in _of_session(database, market, session)}
    ticker = sorted(before)[0]
    lag = opens - market.calendar.close_time(market.sessions[9])
    store.write_features(
        ticker, market.calendar.close_time(market.sessions[9]), {"slow": 77.0},
        availability_lag=lag + timedelta(microseconds=1),
    )  # fmt: skip
    assert {r["entity_key"]: r["slow"] for r in _of_session(database, market, session)} == before
    store.write_features(
        ticker, market.calendar.close_time(market.sessions[9]), {"slow": 78.0},
        availability_lag=lag,
    )  # fmt: skip
    after = {r["entity_key"]: r["slow"] for r in _of_session(database, market, session)}
    assert after == before | {ticker: 78.0}


def _of_session(database: Database, market: Any, session: Any) -> list[dict[str, Any]]:
    known_at = market.calendar.close_time(market.sessions[-1]) + timedelta(days=30)
    rows = collect(database, market, known_at, first=session, last=session).table.to_pylist()
    assert rows
    return rows


@pytest.mark.parametrize("orders", [(0, 1), (2, 5)])
def test_databases_loaded_in_another_order_give_the_same_fingerprint(
    database: Database,
    second_database: Database,
    make_market: Any,
    instant_after: After,
    orders: tuple[int, int],
) -> None:
    market = make_market()
    found = set()
    for each, order in zip((database, second_database), orders, strict=True):
        market.load(each, order=order)
        known_at = instant_after(market.sessions[-1])
        table = collect(each, market, known_at).table
        found.add(fingerprint(table, definition(market, known_at).meaning()))
    assert len(found) == 1


@pytest.mark.parametrize("block_rows", [1, 40, 10_000])
def test_blocks_of_any_size_hold_the_same_rows(
    database: Database, make_market: Any, instant_after: After, block_rows: int
) -> None:
    market = make_market()
    market.load(database)
    known_at = instant_after(market.sessions[-1])
    whole = collect(database, market, known_at)
    blocks = list(
        snapshot_blocks(
            FeatureStore(database), market.calendar, definition(market, known_at),
            block_rows=block_rows,
        )
    )  # fmt: skip
    assert len(blocks) == {1: len(market.sessions) - 1, 10_000: 1}.get(block_rows, len(blocks))
    assert (len(blocks) > 1) == (block_rows < 10_000)
    assert pa.concat_tables(block.table for block in blocks).equals(whole.table)
    for reason, count in whole.left_out.items():
        assert sum(block.left_out[reason] for block in blocks) == count


def test_what_becomes_known_later_leaves_an_earlier_snapshot_as_it_was(
    database: Database, second_database: Database, make_market: Any, instant_after: After
) -> None:
    market = make_market()
    known_at = instant_after(market.sessions[-9])
    market.load(database)
    only_then = type(market)(
        market.calendar, market.sessions, market.tickers, market.features,
        [bar for bar in market.bars if bar.ingest_time <= known_at],
        [event for event in market.events if event.ingest_time <= known_at],
    )  # fmt: skip
    assert len(only_then.bars) < len(market.bars)
    only_then.load(second_database)
    today, then = (collect(each, market, known_at) for each in (database, second_database))
    assert today.table.equals(then.table)


def test_the_order_of_the_features_is_the_order_of_the_columns(
    database: Database, make_market: Any, instant_after: After
) -> None:
    market = make_market()
    market.load(database)
    known_at = instant_after(market.sessions[-1])
    one = collect(database, market, known_at, features={"slow": 1, "fast": 1})
    other = collect(database, market, known_at, features={"fast": 1, "slow": 1})
    assert one.table.select(other.table.column_names).equals(other.table)
    assert fingerprint(one.table, {}) != fingerprint(other.table, {})


def test_a_value_that_is_too_old_leaves_rows_out_and_is_part_of_the_meaning(
    database: Database, make_market: Any, instant_after: After
) -> None:
    market = make_market()
    market.load(database)
    known_at = instant_after(market.sessions[-1])
    counts, meanings = [], set()
    for max_ages in ({}, {"slow": 100}, {"slow": 1}, {"slow": 0}, {"slow": 0, "fast": 0}):
        counts.append(collect(database, market, known_at, max_ages=max_ages).table.num_rows)
        meanings.add(str(definition(market, known_at, max_ages=max_ages).meaning()))
    assert counts[0] == counts[1] >= counts[2] > counts[3] > counts[4] > 0
    assert len(meanings) == len(counts)


def test_a_document_counts_as_missing(
    database: Database, make_market: Any, instant_after: After
) -> None:
    market = make_market()
    market.load(database)
    known_at = instant_after(market.sessions[-1])
    before = collect(database, market, known_at)
    row = before.table.slice(10, 1).to_pylist()[0]
    yesterday = market.calendar.close_time(market.calendar.previous(row["session"]))
    FeatureStore(database).write_features(
        row["entity_key"], yesterday, {"slow": {"a": 1}},
        availability_lag=row["decision_time"] - yesterday,
    )  # fmt: skip
    after = collect(database, market, known_at)
    assert after.table["slow"].type == pa.float64()
    gone = [r for r in before.table.to_pylist() if r not in after.table.to_pylist()]
    assert row in gone
    assert after.left_out["feature missing"] == before.left_out["feature missing"] + len(gone)
    assert {(r["session"], r["entity_key"]) for r in gone} == {(row["session"], row["entity_key"])}


def test_a_snapshot_without_rows_says_why(
    database: Database, make_market: Any, instant_after: After
) -> None:
    market = make_market()
    market.load(database)
    with pytest.raises(EmptySnapshotError, match=r"no training row.*\"label open\": [1-9]"):
        collect(database, market, instant_after(market.sessions[2]), last=market.sessions[2])
    FeatureStore(database).write_features("Q", instant_after(market.sessions[0]), {"rare": 1.0})
    with pytest.raises(EmptySnapshotError, match=r"missing\": [1-9].*, missing rare in [1-9]"):
        collect(
            database, market, instant_after(market.sessions[-1]), features={"slow": 1, "rare": 1}
        )


def test_labels_at_the_end_of_the_calendar_are_open(
    database: Database, make_market: Any, instant_after: After
) -> None:
    market = make_market()
    market.load(database)
    content = collect(
        database, market, instant_after(market.sessions[-1]), label=LabelDefinition(10)
    )
    newest = max(row["session"] for row in content.table.to_pylist())
    assert newest <= market.sessions[-11]
    assert np.isfinite(content.table["label"].to_numpy()).all()
