"""A training set of an index holds its members alone, and counts who was left out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from quant_mlops.database import Database
from quant_mlops.errors import EmptySnapshotError, MarketDataError
from quant_mlops.features.store import FeatureStore
from quant_mlops.market.membership import MEMBERSHIP_SCHEMA, write_memberships
from quant_mlops.market.universe import decision_spine
from quant_mlops.training.label import LabelDefinition
from quant_mlops.training.snapshot import SnapshotBlock, SnapshotDefinition, collect_snapshot

After = Callable[..., datetime]
FATES = ("label open", "label without a price", "feature missing")
OUTSIDE = "not in the universe"


def collect(database: Database, market: Any, known_at: datetime, **changes: Any) -> SnapshotBlock:
    definition = SnapshotDefinition(
        features=dict.fromkeys(market.features, 1),
        label=LabelDefinition(3),
        first=market.sessions[1],
        last=market.sessions[-1],
        knowledge_time=known_at,
        **changes,
    )
    return collect_snapshot(FeatureStore(database), market.calendar, definition)


def memberships(market: Any) -> tuple[pa.Table, Callable[[str, date], bool]]:
    """Return memberships of all tickers but the last, and whether one is in at a session."""
    days, opens = market.sessions, market.calendar.open_time
    leaves, late, returns, *others = market.tickers[:-1]
    rows = [
        (leaves, days[0], None, opens(days[0])),
        (leaves, days[0], days[20], opens(days[15])),
        # A member from the fifth session on, which nobody knew before the tenth was open.
        (late, days[4], None, opens(days[9]) + timedelta(microseconds=1)),
        (returns, days[0], days[8], opens(days[0])),
        (returns, days[25], None, opens(days[0])),
        *((ticker, days[0], None, opens(days[0])) for ticker in others),
    ]
    names = MEMBERSHIP_SCHEMA.names
    table = pa.Table.from_pylist(
        [dict(zip(names, row, strict=True)) for row in rows], schema=MEMBERSHIP_SCHEMA
    )

    def belongs(ticker: str, session: date) -> bool:
        if ticker == leaves:
            return session <= days[20]
        if ticker == late:
            return session >= days[10]
        if ticker == returns:
            return session <= days[8] or session >= days[25]
        return ticker in others

    return table, belongs


def test_rows_are_of_members_and_the_others_are_counted(
    database: Database, make_market: Any, instant_after: After
) -> None:
    market = make_market(seed=3)
    market.load(database)
    table, belongs = memberships(market)
    write_memberships(database, table, universe="index", source="test")
    known_at = instant_after(market.sessions[-7])
    everyone = collect(database, market, known_at)
    members = collect(database, market, known_at, universe="index")
    kept = [r for r in everyone.table.to_pylist() if belongs(r["entity_key"], r["session"])]
    assert members.table.to_pylist() == kept
    assert OUTSIDE not in everyone.left_out
    spine = decision_spine(
        database,
        market.calendar,
        np.array(market.sessions[1:], dtype="datetime64[D]"),
        knowledge_time=known_at,
    ).table.to_pylist()
    outside = sum(not belongs(row["entity_key"], row["session"]) for row in spine)
    assert members.left_out[OUTSIDE] == outside > 0
    for content in (everyone, members):
        assert content.table.num_rows + sum(content.left_out.values()) == len(spine)
    assert list(members.left_out) == [*FATES, OUTSIDE]


def test_a_membership_that_becomes_known_later_leaves_an_earlier_snapshot_as_it_was(
    database: Database, make_market: Any, instant_after: After
) -> None:
    market = make_market(seed=3)
    market.load(database)
    table, _ = memberships(market)
    known_at = instant_after(market.sessions[12])
    then = table.filter(pa.compute.less_equal(table["ingest_time"], pa.scalar(known_at)))
    assert then.num_rows < table.num_rows
    write_memberships(database, then, universe="index", source="test")
    before = collect(database, market, known_at, universe="index")
    write_memberships(database, table, universe="index", source="test")
    after = collect(database, market, known_at, universe="index")
    assert after.table.equals(before.table)
    assert after.left_out == before.left_out


def test_an_index_without_any_member_of_the_market_says_so(
    database: Database, make_market: Any, instant_after: After
) -> None:
    market = make_market()
    market.load(database)
    known_at = instant_after(market.sessions[-1])
    with pytest.raises(MarketDataError, match="nothing is stored of a universe 'index'"):
        collect(database, market, known_at, universe="index")
    row = ("elsewhere", market.sessions[0], None, known_at - timedelta(days=9))
    stranger = dict(zip(MEMBERSHIP_SCHEMA.names, row, strict=True))
    write_memberships(
        database,
        pa.Table.from_pylist([stranger], schema=MEMBERSHIP_SCHEMA),
        universe="index",
        source="test",
    )
    with pytest.raises(EmptySnapshotError, match=r'"not in the universe": [1-9]'):
        collect(database, market, known_at, universe="index")
