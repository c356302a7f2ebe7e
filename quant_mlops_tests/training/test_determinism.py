"""The same facts give the same training set and the same weights, however they were loaded."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quant_mlops.database import Database
from quant_mlops.features import FeatureStore
from quant_mlops.features.builtin import ret_5d, reversal_1d, vol_20d
from quant_mlops.features.computation import write_computed_features
from quant_mlops.market.bundled import sample_prices
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.price_bars import write_bars
from quant_mlops.market.price_files import read_price_file
from quant_mlops.training.code_version import CodeVersion
from quant_mlops.training.evaluation import EvaluationSettings
from quant_mlops.training.fitting import fit_model
from quant_mlops.training.label import LabelDefinition
from quant_mlops.training.learners import LearnerConfig
from quant_mlops.training.recipe import Recipe
from quant_mlops.training.snapshot import SnapshotDefinition, snapshot_blocks
from quant_mlops.training.snapshot_files import read_snapshot
from quant_mlops.training.snapshot_writing import store_snapshot
from quant_mlops.training.splits import SplitSizes

NOW = datetime(2023, 1, 3, tzinfo=UTC)
FIRST, LAST = date(2021, 7, 1), date(2022, 9, 30)
DEFINITIONS = (ret_5d, reversal_1d, vol_20d)
LEARNERS = (
    LearnerConfig("xgboost", {"max_depth": 3, "rounds": 20, "subsample": 0.8}),
    LearnerConfig("ridge"),
)


@dataclass(frozen=True)
class Facts:
    """Price rows and feature rows, as one load of them stored them."""

    prices: pa.Table
    features: pa.Table


@dataclass(frozen=True)
class Loading:
    """How facts are brought in.

    Attributes
    ----------
    order : int
        Seed of the order of the rows.
    """

    order: int
    writers: int
    row_group_size: int

    def shuffled(self, table: pa.Table, path: Path) -> pa.Table:
        """Return the rows of a table in another order, by way of a file."""
        order = np.random.default_rng(self.order).permutation(table.num_rows)
        pq.write_table(table.take(pa.array(order)), path, row_group_size=self.row_group_size)
        return pq.read_table(path)


def results(
    database: Database, calendar: TradingCalendar, folder: Path, *, block_rows: int
) -> dict[str, str]:
    """Return the fingerprint of a training set and the digests of what is fitted to it."""
    definition = SnapshotDefinition(
        features={d.name: d.version for d in DEFINITIONS},
        label=LabelDefinition(5),
        first=date(2021, 9, 1),
        last=LAST,
        knowledge_time=calendar.close_time(LAST) + timedelta(hours=4),
    )
    snapshot = store_snapshot(
        database,
        definition,
        snapshot_blocks(FeatureStore(database), calendar, definition, block_rows=block_rows),
        strategy_id="momentum",
        folder=folder,
        logic_hashes={d.name: d.logic_hash for d in DEFINITIONS},
        code=CodeVersion("git 1234", dirty=False),
    )
    assert snapshot.row_count > 4_000
    found = {"fingerprint": snapshot.fingerprint}
    for config in LEARNERS:
        recipe = Recipe(
            config,
            tuple(snapshot.feature_names),
            SplitSizes(40, 40, 5),
            EvaluationSettings(5, 5, 0.0005),
        )
        trained = fit_model(read_snapshot(snapshot), recipe)
        for name, data in trained.artifacts.items():
            found[f"{config.name}/{name}"] = hashlib.sha256(data).hexdigest()
    return found


@pytest.fixture(scope="module")
def facts(
    module_database: Database, calendar: TradingCalendar, tmp_path_factory: pytest.TempPathFactory
) -> Facts:
    with sample_prices() as path:
        prices = pq.read_table(
            path, columns=["date", "ticker", "close"], filters=[("date", ">=", FIRST)]
        )
    given = tmp_path_factory.mktemp("facts") / "prices.parquet"
    pq.write_table(prices, given)
    batch = read_price_file(given, calendar=calendar, availability_lag=timedelta(minutes=15))
    write_bars(module_database, batch.bars, source="sample")
    for _ in write_computed_features(
        FeatureStore(module_database),
        calendar,
        DEFINITIONS,
        first=calendar.next(FIRST),
        last=LAST,
        as_of=NOW,
    ):
        pass
    rows = module_database.fetch_all(
        "SELECT entity_key, feature_name, event_time, ingest_time, value_double AS value "
        "FROM feature_events"
    )  # fmt: skip
    names = ("entity_key", "feature_name", "event_time", "ingest_time", "value")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    return Facts(prices, pa.table({name: list(values) for name, values in columns.items()}))


@pytest.fixture(scope="module")
def expected(
    facts: Facts,
    module_database: Database,
    calendar: TradingCalendar,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    del facts
    return results(
        module_database, calendar, tmp_path_factory.mktemp("expected"), block_rows=1_000_000
    )


@pytest.mark.parametrize(
    "loading",
    [Loading(1, 1, 100_000), Loading(2, 2, 1_000), Loading(3, 4, 77)],
    ids=lambda loading: f"{loading.writers} writers",
)
def test_order_writers_and_row_groups_do_not_show(
    database: Database,
    calendar: TradingCalendar,
    facts: Facts,
    expected: dict[str, str],
    loading: Loading,
    tmp_path: Path,
) -> None:
    loading.shuffled(facts.prices, tmp_path / "prices.parquet")
    batch = read_price_file(
        tmp_path / "prices.parquet", calendar=calendar, availability_lag=timedelta(minutes=15)
    )
    bars = loading.shuffled(batch.bars, tmp_path / "bars.parquet")
    features = loading.shuffled(facts.features, tmp_path / "features.parquet")
    store = FeatureStore(database)
    with ThreadPoolExecutor(loading.writers) as writers:
        # Rows of one series fall to several writers.
        part = np.arange(bars.num_rows) % loading.writers
        parts = [bars.filter(pa.array(part == i)) for i in range(loading.writers)]
        written = list(writers.map(lambda rows: write_bars(database, rows, source="sample"), parts))
        assert sum(each.stored for each in written) == bars.num_rows
        part = np.arange(features.num_rows) % loading.writers
        parts = [features.filter(pa.array(part == i)) for i in range(loading.writers)]
        stored = list(writers.map(lambda rows: store.write_frame(rows).stored, parts))
        assert sum(stored) == features.num_rows
    found = results(database, calendar, tmp_path, block_rows=1_500 * loading.writers)
    assert found == expected
    assert len(set(found.values())) == len(found) == 6
