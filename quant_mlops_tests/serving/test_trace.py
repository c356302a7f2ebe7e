"""A stored prediction is explained, and proved, from what is in the tables."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from quant_mlops.errors import PredictionError
from quant_mlops.market.calendar import TradingCalendar, trading_calendar
from quant_mlops.registry.records import ModelInfo
from quant_mlops.serving.predictor import Predictor
from quant_mlops.serving.stored_predictions import newest_open
from quant_mlops.serving.trace import Trace, trace
from quant_mlops.training.snapshot_files import find_snapshot

Stage = Any
SOON = timedelta(minutes=20)


def traced(stage: Stage, strategy: str, entity: str, time: datetime | date) -> Trace:
    return trace(stage.registry, stage.calendar, strategy_id=strategy, entity_key=entity, time=time)


@pytest.fixture
def daily(stage: Stage, ridge: ModelInfo, trees: ModelInfo) -> str:
    """Give a strategy predicted over six sessions, by another model from the fourth on."""
    strategy: str = stage.strategy(ridge, trees)
    assert stage.predict_daily(strategy, 10, 16).stored == 36
    return strategy


def write_value(
    stage: Stage, entity: str, place: int, value: float, *, recorded_at: datetime | None = None
) -> None:
    """Write a value of alpha that claims to have been known soon after the close."""
    if recorded_at is None:
        lag = SOON
        stage.store.write_features(
            entity, stage.close(place), {"alpha": value}, availability_lag=lag
        )
        return
    stage.store.database.execute(
        "INSERT INTO feature_events (entity_key, feature_name, event_time, ingest_time, "
        "value_double, producer, recorded_at) VALUES (%s, 'alpha', %s, %s, %s, 'slow', %s)",
        [entity, stage.close(place), stage.close(place) + SOON, value, recorded_at],
    )


def test_everything_behind_a_prediction_is_found(
    stage: Stage, daily: str, ridge: ModelInfo, trees: ModelInfo
) -> None:
    for place, model in ((12, ridge), (13, trees)):
        found = traced(stage, daily, "B2", stage.open(place))
        assert (found.exact, found.verdict, found.later, found.notes) == (True, "matches", (), ())
        assert found.digest == found.prediction.feature_digest
        latest = stage.store.get_latest("B2", ["alpha", "beta"], as_of=stage.open(place))
        assert [
            (f.feature_name, f.feature_version, f.value, f.event_time, f.ingest_time, f.producer)
            for f in found.features
        ] == [
            (v.feature_name, 1, v.value, v.event_time, v.ingest_time, "nightly")
            for v in latest.values()
        ]
        assert {(f.producer_version, f.run_id) for f in found.features} == {("7", "run 1")}
        assert all(f.recorded_at < found.prediction.recorded_at for f in found.features)
        assert found.model == model
        assert found.deployment == stage.registry.live_model(daily, at=stage.open(place))
        assert (found.deployment.promoted_by, found.deployment.evidence) == ("ann", {"ic": 0.04})
        assert found.snapshot == find_snapshot(stage.store.database, model.snapshot_id)
        assert found.training is None


def test_the_training_run_of_the_model_is_named(stage: Stage) -> None:
    model = stage.fit("ridge", seed=9)
    stage.store.database.execute(
        "INSERT INTO model_training_runs (run_id, model_id, training_key, params, finished_at, "
        "status, seed, code_version, code_dirty) VALUES (gen_random_uuid(), %s, 'key', "
        "'{\"a\": 1}', now(), 'completed', 9, 'abc', true)",
        [model.model_id],
    )
    strategy = stage.strategy(model)
    stage.predict_daily(strategy, 12, 13)
    found = traced(stage, strategy, "B2", stage.open(12)).training
    assert found is not None
    assert (found.seed, found.code_version, found.code_dirty) == (9, "abc", True)
    assert found.params == {"a": 1}


def test_predictions_on_demand_are_traced_as_well(stage: Stage, ridge: ModelInfo) -> None:
    strategy = stage.strategy(ridge)
    with Predictor(strategy, stage.store, stage.registry, max_age=None) as predictor:
        (made,) = predictor.predict("B2")
    found = traced(stage, strategy, "B2", made.as_of_time)
    assert (found.verdict, found.prediction.signal) == ("matches", made.signal)


def test_a_revision_after_the_decision_changes_nothing(stage: Stage, daily: str) -> None:
    before = traced(stage, daily, "B2", stage.open(12))
    late = stage.open(12) - stage.close(11) + timedelta(microseconds=1)
    stage.store.write_features("B2", stage.close(11), {"alpha": 5.0}, availability_lag=late)
    after = traced(stage, daily, "B2", stage.open(12))
    assert (after.verdict, after.features) == ("matches", before.features)


def test_a_backfill_that_claims_to_have_been_known_is_named(stage: Stage, daily: str) -> None:
    before = traced(stage, daily, "C3", stage.open(12))
    write_value(stage, "C3", 11, 7.5)
    after = traced(stage, daily, "C3", stage.open(12))
    assert after.verdict == "matches without later rows"
    assert (after.features, after.digest) == (before.features, before.digest)
    (later,) = after.later
    assert (later.feature_name, later.value) == ("alpha", 7.5)
    assert later.ingest_time == stage.close(11) + SOON < stage.open(12)
    assert later.recorded_at is not None
    assert later.recorded_at > after.prediction.recorded_at


def test_a_row_that_was_under_way_when_it_was_predicted_is_named(stage: Stage, daily: str) -> None:
    before = traced(stage, daily, "D4", stage.open(12))
    moment = before.prediction.recorded_at - timedelta(milliseconds=1)
    write_value(stage, "D4", 11, 7.5, recorded_at=moment)
    after = traced(stage, daily, "D4", stage.open(12))
    assert (after.verdict, after.features) == ("matches without later rows", before.features)
    assert [(v.value, v.recorded_at) for v in after.later] == [(7.5, moment)]


def test_values_that_do_not_explain_the_digest_are_said_to_differ(stage: Stage, daily: str) -> None:
    prediction = traced(stage, daily, "E5", stage.open(12)).prediction
    # Written long before the prediction, by its own account, and not used by it.
    moment = prediction.recorded_at - timedelta(hours=1)
    write_value(stage, "E5", 11, 7.5, recorded_at=moment)
    found = traced(stage, daily, "E5", stage.open(12))
    assert (found.verdict, found.later) == ("differs", ())
    assert found.features[0].value == 7.5
    assert found.digest != found.prediction.feature_digest


def test_a_promotion_that_was_entered_afterwards_is_noted(stage: Stage, ridge: ModelInfo) -> None:
    strategy = stage.strategy(ridge)
    stage.predict_daily(strategy, 12, 13)
    other = stage.fit("ridge", seed=8)
    stage.promote(other, strategy, stage.close(10))
    found = traced(stage, strategy, "B2", stage.open(12))
    assert (found.model, found.verdict) == (ridge, "matches")
    assert found.deployment is not None
    assert found.deployment.model_id == other.model_id
    (note,) = found.notes
    assert f"{other.label} was live" in note
    assert f"{ridge.label} predicted" in note


def test_a_model_whose_artifact_is_gone_is_still_traced(stage: Stage) -> None:
    # In the order of the snapshot's table, as pipelines train.
    model = stage.fit("ridge", seed=7, names=("beta", "alpha"))
    strategy = stage.strategy(model)
    stage.predict_daily(strategy, 12, 13)
    for artifact in stage.registry.list_artifacts(model.model_id):
        if artifact.artifact_type == "weights.npz":
            Path(artifact.artifact_path.removeprefix("file://")).unlink()
    assert traced(stage, strategy, "B2", stage.open(12)).notes == ()
    stage.registry.store_artifact(model.model_id, b"{}\n", "config.json")
    (config,) = [
        Path(a.artifact_path.removeprefix("file://"))
        for a in stage.registry.list_artifacts(model.model_id)[:1]
    ]
    config.unlink()
    found = traced(stage, strategy, "B2", stage.open(12))
    assert found.verdict == "matches"
    assert "order of the features is that of the snapshot" in found.notes[0]


def test_a_time_after_the_decision_finds_the_newest_since_the_open(
    stage: Stage, daily: str
) -> None:
    for after in (timedelta(microseconds=1), timedelta(hours=6), timedelta(hours=20)):
        found = traced(stage, daily, "B2", stage.open(12) + after)
        assert (found.exact, found.prediction.event_time) == (False, stage.open(12))
    found = traced(stage, daily, "B2", stage.sessions[12])
    assert (found.exact, found.prediction.event_time) == (True, stage.open(12))


def test_what_is_not_there_names_the_nearest(stage: Stage, daily: str) -> None:
    first, last = stage.open(10).isoformat(), stage.open(15).isoformat()
    early = stage.open(10) - timedelta(microseconds=1)
    for time, near in (
        (early, f"the nearest were decided at {first};"),
        (stage.sessions[9], f"the nearest were decided at {first};"),
        (stage.open(16), f"the nearest were decided at {last};"),
        (datetime(2024, 3, 1, tzinfo=UTC), f"the nearest were decided at {last};"),
        (date(2024, 3, 2), f"the nearest were decided at {last};"),
    ):
        with pytest.raises(PredictionError) as raised:
            traced(stage, daily, "B2", time)
        assert f"{daily} has no prediction of B2" in str(raised.value)
        assert near in str(raised.value)
    with pytest.raises(PredictionError, match="nothing was ever predicted for nobody"):
        traced(stage, daily, "nobody", stage.open(12))


@pytest.mark.parametrize(
    ("instant", "session"),
    [
        ("2023-11-21T14:30:00+00:00", "2023-11-21"),
        ("2023-11-21T14:29:59+00:00", "2023-11-20"),
        ("2023-11-24T14:00:00+00:00", "2023-11-22"),
        ("2023-11-26T12:00:00+00:00", "2023-11-24"),
        ("2023-11-06T13:30:00+00:00", "2023-11-03"),
        ("2024-03-11T13:30:00+00:00", "2024-03-11"),
    ],
)
def test_the_newest_open_is_found(calendar: TradingCalendar, instant: str, session: str) -> None:
    found = newest_open(calendar, datetime.fromisoformat(instant))
    assert found == calendar.open_time(date.fromisoformat(session))


def test_the_newest_open_may_be_that_of_the_next_day() -> None:
    futures = trading_calendar("CMES")
    monday = futures.open_time(date(2024, 1, 8))
    assert newest_open(futures, monday) == monday
    assert newest_open(futures, monday - timedelta(seconds=1)) < monday
