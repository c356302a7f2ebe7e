"""Every fold is blind to its own test window, and the windows tile the end of history."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_mlops.errors import TrainingError
from quant_mlops.market.calendar import TradingCalendar, trading_calendar
from quant_mlops.training.evaluation import EvaluationSettings, backtest_metrics, signal_metrics
from quant_mlops.training.fitting import fit_model
from quant_mlops.training.learners import Example, LearnerConfig, learner_named
from quant_mlops.training.matrices import training_rows
from quant_mlops.training.out_of_sample import walk_forward_metrics
from quant_mlops.training.recipe import Recipe
from quant_mlops.training.splits import Splits, SplitSizes, split_sessions
from quant_mlops.training.walk_forward import WalkForwardSizes, walk_forward

SESSIONS = trading_calendar("XNYS").sessions(date(2018, 1, 2), date(2019, 12, 31))
RIDGE = LearnerConfig("ridge", {"penalties": [0.01, 1.0]})
EVALUATION = EvaluationSettings(horizon=2, min_names=4, cost_per_turnover=0.001)


def labels_that_cross(splits: Splits, calendar: np.ndarray, horizon: int) -> int:
    """Count the sessions whose label window (t, t + horizon] reaches a later part."""
    place = {day: i for i, day in enumerate(calendar.tolist())}
    crossing = 0
    for earlier, later in (
        (splits.train, splits.val), (splits.train, splits.test), (splits.val, splits.test),
    ):  # fmt: skip
        first = place[later[0].item()]
        crossing += sum(place[day] + horizon >= first for day in earlier.tolist())
    return crossing


@given(
    missing=st.sets(st.integers(0, 399), max_size=80),
    val=st.integers(1, 30),
    test=st.integers(1, 30),
    folds=st.integers(1, 5),
    train=st.one_of(st.none(), st.integers(1, 40)),
    embargo=st.integers(0, 6),
    horizon=st.integers(1, 12),
)
def test_folds_tile_the_end_and_no_label_window_reaches_a_later_part(
    missing: set[int], val: int, test: int, folds: int, train: int | None, embargo: int,
    horizon: int,
) -> None:  # fmt: skip
    calendar = SESSIONS[:400]
    present = np.array([day for i, day in enumerate(calendar) if i not in missing])
    sizes = WalkForwardSizes(val, test, folds, train, embargo)
    found = walk_forward(present, sizes, horizon=horizon)
    tested = np.concatenate([fold.test for fold in found])
    assert tested.tolist() == present[len(present) - folds * test :].tolist()
    for fold in found:
        assert (len(fold.val), len(fold.test)) == (val, test)
        assert labels_that_cross(fold, calendar, horizon + embargo) == 0
        assert fold.test[-1] <= tested[-1]
        before = present[present <= fold.train[-1]]
        expected = before if train is None else before[-train:]
        assert fold.train.tolist() == expected.tolist()
        # As much as the gaps allow, and no less.
        ahead = np.searchsorted(present, fold.val[0]) - np.searchsorted(present, fold.train[-1])
        assert ahead == 1 + horizon + embargo


def test_one_fold_over_all_history_is_the_split_of_a_single_training() -> None:
    (fold,) = walk_forward(SESSIONS, WalkForwardSizes(20, 30, 1, None, 3), horizon=5)
    expected = split_sessions(SESSIONS, SplitSizes(20, 30, 3), horizon=5)
    for name, sessions in expected.named().items():
        np.testing.assert_array_equal(fold.named()[name], sessions)


def test_folds_by_hand() -> None:
    days = SESSIONS[:20]
    first, second = walk_forward(days, WalkForwardSizes(2, 3, 2, 4, 1), horizon=1)
    for fold, start in ((first, 0), (second, 3)):
        assert fold.train.tolist() == days[start + 4 : start + 8].tolist()
        assert fold.val.tolist() == days[start + 10 : start + 12].tolist()
        assert fold.test.tolist() == days[start + 14 : start + 17].tolist()


@pytest.mark.parametrize(("train", "needed"), [(None, 16), (4, 19)])
def test_too_few_sessions_are_refused_with_the_number_needed(
    train: int | None, needed: int
) -> None:
    sizes = WalkForwardSizes(3, 4, 2, train, 1)
    assert len(walk_forward(SESSIONS[:needed], sizes, horizon=1)[0].train) == (train or 1)
    with pytest.raises(
        TrainingError, match=rf"{needed - 1} sessions cannot be walked .* at least {needed}"
    ):
        walk_forward(SESSIONS[: needed - 1], sizes, horizon=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("folds", 0), ("val_sessions", 0), ("test_sessions", -1), ("train_sessions", 0),
     ("embargo_sessions", -1)],
)  # fmt: skip
def test_sizes_without_folds_are_refused(name: str, value: int) -> None:
    with pytest.raises(TrainingError, match=f"{name} = {value} has no folds; give at least"):
        replace(WalkForwardSizes(3, 4, 2), **{name: value})


@pytest.mark.parametrize("horizon", [1, 5])
def test_on_a_real_history_no_label_crosses_a_split(
    data_folder: Path, calendar: TradingCalendar, horizon: int
) -> None:
    table = pq.read_table(data_folder / "sp500_5yr.parquet", columns=["date"])
    present = np.unique(table["date"].to_numpy().astype("datetime64[D]"))
    sessions = calendar.sessions(present[0].item(), present[-1].item())
    assert len(present) > 1200
    assert set(present.tolist()) <= set(sessions.tolist())
    one = split_sessions(present, SplitSizes(252, 252, 0), horizon=horizon)
    rolling = WalkForwardSizes(63, 126, 6, 252, 0)
    folds = walk_forward(present, rolling, horizon=horizon)
    folds += walk_forward(present, replace(rolling, train_sessions=None), horizon=horizon)
    crossings = [labels_that_cross(splits, sessions, horizon) for splits in (one, *folds)]
    assert crossings == [0] * 13
    # The count sees a purge that is one session too short.
    short = split_sessions(present, SplitSizes(252, 252, 0), horizon=horizon - 1)
    assert labels_that_cross(short, sessions, horizon) == 2


@pytest.fixture(scope="module")
def table() -> pa.Table:
    random = np.random.default_rng(12)
    days = SESSIONS[:90]
    rows = [(day, name) for day in days for name in range(6) if random.random() > 0.1]
    features = random.normal(size=(len(rows), 2))
    # The weights turn over, so that a fit of one fold is no fit of another.
    turn = np.array([np.searchsorted(days, day) for day, _ in rows]) > 60
    pull = np.where(turn[:, None], [0.02, 0.01], [0.01, -0.02])
    return pa.table(
        {
            "session": pa.array([day.item() for day, _ in rows], pa.date32()),
            "entity_key": pa.array([f"T{name}" for _, name in rows]),
            "a": features[:, 0],
            "b": features[:, 1],
            "label": (features * pull).sum(axis=1) + random.normal(0, 0.01, len(rows)),
            "next_session_return": random.normal(0, 0.01, len(rows)),
        }
    )


@pytest.mark.parametrize("train", [None, 15])
@pytest.mark.parametrize(
    "config", [RIDGE, LearnerConfig("xgboost", {"rounds": 5})], ids=lambda c: c.name
)
def test_the_metrics_are_those_of_all_test_windows_each_predicted_by_a_fit_before_it(
    table: pa.Table, config: LearnerConfig, train: int | None
) -> None:
    sizes = WalkForwardSizes(8, 10, 4, train, 1)
    rows = training_rows(table, ["a", "b"])
    days = rows.sessions
    gap = EVALUATION.horizon + sizes.embargo_sessions
    predicted = []
    for start in range(len(days) - 40, len(days), 10):
        val = days[start - gap - 8 : start - gap]
        trained = days[: start - gap - 8 - gap]
        parts = [
            rows.within(part)
            for part in (
                trained if train is None else trained[-train:],
                val,
                days[start : start + 10],
            )
        ]
        learner = learner_named(config.name)
        examples = [Example(part.features, part.excess_label()) for part in parts[:2]]
        model = learner.load(learner.fit(*examples, config).to_artifacts())
        signals = model.predict(parts[2].features)
        predicted.append(signals - signals.mean())
    stretch, joined = rows.within(days[-40:]), np.concatenate(predicted)
    expected = signal_metrics(stretch, joined, EVALUATION) | backtest_metrics(
        stretch, joined, EVALUATION
    )
    found = walk_forward_metrics(
        table, ["a", "b"], config=config, sizes=sizes, evaluation=EVALUATION
    )
    assert found == pytest.approx({f"walk_forward_{k}": v for k, v in expected.items()})
    assert found["walk_forward_sessions"] == found["walk_forward_ic_sessions"] == 40


def test_one_fold_has_the_metrics_of_a_single_training(table: pa.Table) -> None:
    folds = WalkForwardSizes(8, 10, 1, None, 1)
    recipe = Recipe(RIDGE, ("a", "b"), SplitSizes(8, 10, 1), EVALUATION, folds)
    trained = fit_model(table, recipe)
    backtest = trained.metrics["backtest"]
    single = {k: v for k, v in backtest.items() if not k.startswith("walk_forward_")}
    walked = {k.removeprefix("walk_forward_"): v for k, v in backtest.items() if k not in single}
    assert walked == pytest.approx(trained.metrics["test"] | single)


def test_walking_forward_leaves_the_model_as_it_is(table: pa.Table) -> None:
    one, other = (
        fit_model(table, Recipe(RIDGE, ("a", "b"), SplitSizes(8, 10, 1), EVALUATION, folds))
        for folds in (None, WalkForwardSizes(8, 10, 3, 20, 1))
    )
    for name in one.recipe.artifacts:
        assert one.artifacts[name] == other.artifacts[name]
    assert one.metrics["backtest"].items() < other.metrics["backtest"].items()
    assert one.last_fitted == other.last_fitted == np.unique(SESSIONS[:90])[-14].item()
