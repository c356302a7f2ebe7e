"""What a learner was worth over a long stretch that none of its fits had seen."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from quant_mlops.training.evaluation import EvaluationSettings, backtest_metrics, signal_metrics
from quant_mlops.training.learners import LearnerConfig, learner_named
from quant_mlops.training.matrices import training_rows
from quant_mlops.training.walk_forward import WalkForwardSizes, walk_forward

PREFIX = "walk_forward_"


def walk_forward_metrics(
    table: pa.Table,
    feature_names: list[str],
    *,
    config: LearnerConfig,
    sizes: WalkForwardSizes,
    evaluation: EvaluationSettings,
) -> dict[str, float]:
    """Fit a learner again in each fold, and judge its predictions over all test windows as one.

    One test window is one market: a Sharpe ratio over 252 sessions has a standard error near 1.
    The same learner fitted along the way is judged on several, and pays for the turnover when a
    new fit takes the place of the old.

    Parameters
    ----------
    table : pyarrow.Table
        A verified snapshot.
    feature_names : list of str
        Columns to learn from, in this order.
    config : LearnerConfig
    sizes : WalkForwardSizes
    evaluation : EvaluationSettings

    Returns
    -------
    dict
        The metrics of `signal_metrics` and `backtest_metrics` over the joined test windows, each
        under its name behind `walk_forward_`. They judge the recipe (learner, parameters,
        features), not one set of weights.

    Raises
    ------
    TrainingError
        The snapshot is too short for the folds.
    """
    rows = training_rows(table, feature_names)
    signals, tested = np.zeros(len(rows.label)), np.zeros(len(rows.label), dtype=np.bool_)
    for fold in walk_forward(rows.sessions, sizes, horizon=evaluation.horizon):
        train, val, test = (rows.within(part) for part in fold.named().values())
        model = learner_named(config.name).fit(train.example(), val.example(), config)
        predicted = model.predict(test.features)
        there = np.isin(rows.session, fold.test)
        # Fits differ in level as well as in order, and a level is not an opinion about a name.
        signals[there] = predicted - predicted.mean()
        tested |= there
    stretch = rows.within(np.unique(rows.session[tested]))
    found = {
        **signal_metrics(stretch, signals[tested], evaluation),
        **backtest_metrics(stretch, signals[tested], evaluation),
    }
    return {f"{PREFIX}{name}": value for name, value in found.items()}
