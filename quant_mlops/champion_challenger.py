"""The champion and a challenger, judged on the test split of one snapshot."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quant_mlops.registry.training_runs import trained_until
from quant_mlops.serving.live_models import ModelLoader, ServedModel
from quant_mlops.strategy_context import StrategyContext
from quant_mlops.training.comparison import Comparison, compare_models
from quant_mlops.training.decision_features import features_as_known
from quant_mlops.training.evaluation import backtest_returns, daily_information_coefficients
from quant_mlops.training.matrices import TrainingRows, training_rows
from quant_mlops.training.snapshot_files import Snapshot, read_snapshot
from quant_mlops.training.splits import split_sessions

Floats = npt.NDArray[np.float64]


def compare_on_snapshot(
    context: StrategyContext, snapshot: Snapshot, *, champion: UUID, challenger: UUID
) -> Comparison:
    """Compare two models on the test split of a snapshot, on which the challenger was not trained.

    Neither was the champion, if it is older and the sizes of the splits have not changed since;
    the comparison says how many of its sessions the champion's fit had seen all the same.

    Parameters
    ----------
    context : StrategyContext
    snapshot : Snapshot
        What the challenger was trained on.
    champion, challenger : UUID
    """
    strategy = context.strategy
    table = _test_split(context, read_snapshot(snapshot))
    loader = ModelLoader(context.registry)
    coefficients, earned = [], []
    for model_id in (champion, challenger):
        model = loader.load(model_id)
        rows = training_rows(_with_features(context, snapshot, table, model), list(model.features))
        signals = _signals(model, rows)
        coefficients.append(daily_information_coefficients(rows, signals, strategy.evaluation))
        earned.append(backtest_returns(rows, signals, strategy.evaluation).net)
    return compare_models(
        coefficients[0],
        coefficients[1],
        lag=strategy.horizon - 1,
        gate=strategy.promotion_gate,
        champion_returns=earned[0],
        challenger_returns=earned[1],
    ).over(
        np.unique(table["session"].to_numpy().astype("datetime64[D]")),
        champion_trained_until=trained_until(context.database, champion),
    )


def _signals(model: ServedModel, rows: TrainingRows) -> Floats:
    """Return a model's predictions, NaN where it lacks a feature."""
    complete = np.asarray(np.isfinite(rows.features).all(axis=1))
    signals = np.full(len(rows.label), np.nan)
    signals[complete] = model.predict(rows.features[complete])
    return signals


def _test_split(context: StrategyContext, table: pa.Table) -> pa.Table:
    session = table["session"].to_numpy().astype("datetime64[D]")
    splits = split_sessions(
        np.unique(session), context.strategy.split_sizes, horizon=context.strategy.horizon
    )
    return table.filter(pa.array(np.isin(session, splits.test)))


def _with_features(
    context: StrategyContext, snapshot: Snapshot, table: pa.Table, model: ServedModel
) -> pa.Table:
    """Return the rows with the versions of features that a model was trained on.

    A champion may be older than the strategy's present features: what the snapshot does not hold
    in its version, or with its limit of age, is looked up as it was known at each decision.
    """
    held, ages = snapshot.feature_versions, snapshot.max_ages
    others = {
        name: version
        for name, version in model.features.items()
        if held.get(name) != version or ages.get(name) != model.max_ages.get(name)
    }
    if not others:
        return table
    spine = pa.table({"entity_key": table["entity_key"], "time": table["decision_time"]})
    known = features_as_known(
        context.store,
        context.calendar,
        spine,
        others,
        knowledge_time=snapshot.knowledge_time,
        max_ages=model.max_ages,
    )
    table = table.drop_columns([name for name in others if name in table.column_names])
    for name in others:
        table = table.append_column(name, known[name])
    return table
