"""Features that know the future are refused before anything is trained, on real prices."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from quant_mlops.database import Database
from quant_mlops.errors import LookAheadError
from quant_mlops.features import FeatureStore
from quant_mlops.features.builtin import (
    momentum_20d,
    ret_5d,
    reversal_1d,
    rsi_14,
    vol_20d,
    zscore_20d,
)
from quant_mlops.features.computation import write_computed_features
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.panel import Panel
from quant_mlops.market.price_bars import read_panel, write_bars
from quant_mlops.market.price_files import read_price_file
from quant_mlops.retraining import train_models
from quant_mlops.settings import Settings
from quant_mlops.strategy import Strategy
from quant_mlops.strategy_context import StrategyContext
from quant_mlops.training.code_version import CodeVersion
from quant_mlops.training.label import forward_returns
from quant_mlops.training.look_ahead import measure_foresight, refuse_look_ahead
from quant_mlops.training.matrices import TrainingRows
from quant_mlops.training.snapshot import SnapshotDefinition, snapshot_blocks
from quant_mlops.training.snapshot_files import Snapshot
from quant_mlops.training.snapshot_writing import store_snapshot

HONEST = (ret_5d, momentum_20d, reversal_1d, rsi_14, vol_20d, zscore_20d)
FIRST, LAST = date(2014, 1, 2), date(2015, 6, 30)
KNOWN_AT = datetime(2015, 7, 1, tzinfo=UTC)
NAMES = 60


@pytest.fixture(scope="module")
def market(
    module_database: Database,
    calendar: TradingCalendar,
    data_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Panel:
    """Give the panel of some stocks of the S&P 500, stored with honest features."""
    table = pq.read_table(
        data_folder / "sp500_5yr.parquet",
        columns=["date", "ticker", "close"],
        filters=[("date", ">=", FIRST), ("date", "<=", LAST)],
    )
    tickers = sorted(pc.unique(table["ticker"].cast(pa.string())).to_pylist())[:NAMES]
    chosen = table.filter(pc.is_in(table["ticker"].cast(pa.string()), pa.array(tickers)))
    path = tmp_path_factory.mktemp("prices") / "prices.parquet"
    pq.write_table(chosen, path)
    batch = read_price_file(path, calendar=calendar)
    write_bars(module_database, batch.bars, source="test")
    for _ in write_computed_features(
        FeatureStore(module_database), calendar, HONEST,
        first=calendar.next(FIRST), last=LAST, as_of=KNOWN_AT,
    ):  # fmt: skip
        pass
    return read_panel(module_database, calendar, first=FIRST, last=LAST, as_of=KNOWN_AT)


def shifted_label(panel: Panel, horizon: int, shift: int) -> np.ndarray:
    """Return, for the decision of each session, the label of `shift` sessions earlier."""
    labels, _ = forward_returns(panel, horizon)
    moved = np.full_like(labels, np.nan)
    moved[shift:] = labels[: len(labels) - shift]
    return moved


def rows_of(panel: Panel, horizon: int, feature: np.ndarray) -> TrainingRows:
    labels, _ = forward_returns(panel, horizon)
    following, _ = forward_returns(panel, 1)
    usable = np.isfinite(labels) & np.isfinite(feature)
    session, entity = np.nonzero(usable)
    return TrainingRows(
        features=feature[usable][:, None],
        label=labels[usable],
        next_return=following[usable],
        session=panel.sessions[session],
        entity=entity,
        entities=panel.tickers,
    )


@pytest.mark.parametrize(
    ("horizon", "shift"), [(1, 0), (1, 1), *((5, shift) for shift in range(6)), (20, 0), (20, 20)]
)
def test_a_label_shifted_into_the_features_is_caught(
    market: Panel, horizon: int, shift: int
) -> None:
    rows = rows_of(market, horizon, shifted_label(market, horizon, shift))
    with pytest.raises(LookAheadError, match=r"nothing was trained.*planted has a mean IC of \+"):
        refuse_look_ahead(rows, ["planted"], horizon=horizon, min_names=5)
    # The same values as they were known, a session after the window had closed, are honest.
    known = rows_of(market, horizon, shifted_label(market, horizon, horizon + 1))
    refuse_look_ahead(known, ["known"], horizon=horizon, min_names=5)


def test_noise_is_not_suspect_even_with_few_names_and_sessions() -> None:
    random = np.random.default_rng(5)
    for sessions in (20, 60):
        days = np.datetime64("2024-01-01") + np.arange(sessions)
        rows = TrainingRows(
            features=random.normal(size=(sessions * 5, 30)),
            label=random.normal(size=sessions * 5),
            next_return=random.normal(size=sessions * 5),
            session=np.repeat(days, 5),
            entity=np.tile(np.arange(5), sessions),
            entities=tuple("abcde"),
        )
        names = [f"f{i}" for i in range(30)]
        found = measure_foresight(rows, names, horizon=1, min_names=5)
        assert len(found) == 30
        # Chance alone goes beyond the limit; the errors tell it from knowledge.
        assert not any(each.suspect for each in found)
        if sessions == 20:
            assert max(abs(each.ic_mean) for each in found) > 0.15


@pytest.mark.parametrize("horizon", [1, 5])
def test_nothing_is_trained_on_a_planted_feature_and_honest_ones_pass(
    market: Panel,
    module_database: Database,
    calendar: TradingCalendar,
    horizon: int,
    tmp_path: Path,
) -> None:
    context = _context(module_database, tmp_path, horizon)
    # Stored as a vendor would deliver it: about yesterday's close and said to be known by then.
    planted = shifted_label(market, horizon, 0)[1:]
    session, entity = np.nonzero(np.isfinite(planted))
    closes = market.event_times[:-1][session]
    name = f"planted_{horizon}"
    context.store.write_frame(
        pa.table(
            {
                "entity_key": [market.tickers[i] for i in entity],
                "feature_name": pa.repeat(name, len(entity)),
                "event_time": pa.array(closes).cast(pa.timestamp("us", tz="UTC")),
                "value": planted[session, entity],
            }
        ),
        availability_lag=timedelta(minutes=15),
    )
    honest = {d.name: d.version for d in HONEST}
    models = train_models(context, _snapshot(context, honest))
    assert [m.model.name for m in models] == [f"planted_{horizon}_ridge"]
    models_before = module_database.fetch_one("SELECT count(*) FROM models")
    with pytest.raises(LookAheadError, match=rf"{name} has a mean IC of \+1\.00.*training\.max"):
        train_models(context, _snapshot(context, {**honest, name: 1}))
    assert module_database.fetch_one("SELECT count(*) FROM models") == models_before
    newest = context.registry.training_runs(strategy_id=f"planted_{horizon}")[0]
    assert newest.status == "failed"
    assert "seems to know the future" in str(newest.error)


def _context(database: Database, folder: Path, horizon: int) -> StrategyContext:
    strategy = Strategy.model_validate(
        {
            "name": f"planted_{horizon}",
            "horizon": horizon,
            "prices": {"file": "bundled:sample"},
            "features": {"names": ["ret_5d"]},
            "training": {
                "window_sessions": 200, "val_sessions": 40, "test_sessions": 40,
                "learners": [{"name": "ridge"}],
            },
            "monitoring": {"first_session": LAST},
        }
    )  # fmt: skip
    return StrategyContext(database, Settings(home=folder), strategy)


def _snapshot(context: StrategyContext, features: dict[str, int]) -> Snapshot:
    definition = SnapshotDefinition(
        features=features,
        label=context.strategy.label,
        first=date(2014, 3, 3),
        last=date(2015, 6, 1),
        knowledge_time=KNOWN_AT,
    )
    return store_snapshot(
        context.database,
        definition,
        snapshot_blocks(context.store, context.calendar, definition),
        strategy_id=context.strategy.name,
        folder=context.settings.snapshots_folder,
        logic_hashes={},
        code=CodeVersion("git 1234", dirty=False),
    )
