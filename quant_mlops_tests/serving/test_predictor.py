"""A prediction on demand is the daily one, of the model live and the values known at its time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from quant_mlops.database import Database
from quant_mlops.errors import (
    AmbiguousTimeError,
    ChecksumMismatchError,
    FeatureLogicChangedError,
    InvalidValueError,
    PredictionError,
    RegistryError,
    ServerUnavailableError,
)
from quant_mlops.features.store import FeatureStore
from quant_mlops.market.calendar import TradingCalendar, trading_calendar
from quant_mlops.registry import ModelRegistry
from quant_mlops.registry.records import ModelInfo
from quant_mlops.serving.decision import decided_session
from quant_mlops.serving.live_models import ModelLoader
from quant_mlops.serving.predictor import Predictor
from quant_mlops.serving.signals import read_signals

TICKERS = ("A'1", "B2", "C3", "D4", "E5", "F6")
STORED = (
    "SELECT entity_key, event_time, session, model_id, signal, feature_digest FROM predictions "
    "WHERE strategy_id = %s ORDER BY event_time, entity_key"
)
Stage = Any
Start = Callable[..., Predictor]


@pytest.fixture
def start(stage: Stage) -> Iterator[Start]:
    """Give a function that makes a predictor of a new strategy on which some models are live."""
    made: list[Predictor] = []

    def start(*models: ModelInfo, strategy: str | None = None) -> Predictor:
        name = strategy or stage.strategy(*models)
        made.append(Predictor(name, stage.store, stage.registry, max_age=None))
        return made[-1]

    yield start
    for predictor in made:
        predictor.close()


def stored(predictor: Predictor) -> list[tuple[Any, ...]]:
    return predictor.store.database.fetch_all(STORED, [predictor.strategy_id])


@pytest.mark.parametrize("learner", ["ridge", "trees"])
def test_it_stores_what_the_daily_run_stores_bit_for_bit(
    stage: Stage, start: Start, request: pytest.FixtureRequest, learner: str
) -> None:
    model = request.getfixturevalue(learner)
    daily = stage.strategy(model)
    assert stage.predict_daily(daily, 10, 14).stored == 24
    expected = stage.store.database.fetch_all(STORED, [daily])
    together, alone = start(model), start(model)
    for place in range(10, 14):
        together.predict(TICKERS, stage.open(place))
        for ticker in TICKERS:
            alone.predict(ticker, stage.open(place))
    assert stored(together) == stored(alone) == expected
    again = start(strategy=daily).predict(TICKERS, stage.open(12))
    assert [(p.stored, p.recomputed) for p in again] == [(False, None)] * 6
    assert stage.store.database.fetch_all(STORED, [daily]) == expected


def test_the_answer_holds_what_it_was_made_of(stage: Stage, start: Start, ridge: ModelInfo) -> None:
    moment = stage.open(12)
    (found,) = start(ridge).predict("B2", moment)
    latest = stage.store.get_latest("B2", ["alpha", "beta"], as_of=moment)
    used = [(f.feature_name, f.feature_version, f.value, f.event_time, f.ingest_time)
            for f in found.features]  # fmt: skip
    assert used == [
        (v.feature_name, v.feature_version, v.value, v.event_time, v.ingest_time)
        for v in latest.values()
    ]
    assert (found.features[1].value, len(found.features)) == (latest["beta"].value, 2)
    assert repr(found.features).startswith("(FeatureUsed(feature_name='alpha'")
    assert (found.entity_key, found.as_of_time, found.session) == ("B2", moment, moment.date())
    assert (found.model_id, found.model_label, found.stored) == (ridge.model_id, ridge.label, True)
    model = ModelLoader(stage.registry).load(ridge.model_id)
    assert found.signal == model.predict(np.array([[v.value for v in latest.values()]]))[0]


def test_without_a_time_it_is_now(stage: Stage, start: Start, ridge: ModelInfo) -> None:
    predictor = start(ridge)
    before = stage.store.database.now()
    (found,) = predictor.predict("B2")
    assert before <= found.as_of_time <= stage.store.database.now()
    assert stored(predictor)[0][1] == found.as_of_time


def test_names_keep_their_order_and_their_repetitions(
    stage: Stage, start: Start, ridge: ModelInfo
) -> None:
    predictor = start(ridge)
    asked = ["C3", "A'1", "C3", "B2"]
    found = predictor.predict(asked, stage.open(12))
    assert [p.entity_key for p in found] == asked
    assert found[0] == found[2]
    assert all(p.stored for p in found)
    assert len(stored(predictor)) == 3
    assert predictor.predict([]) == []
    with pytest.raises(InvalidValueError, match="7 was given as the key of an entity"):
        predictor.predict(["A'1", 7])  # type: ignore[list-item]


def test_names_without_all_features_are_told_what_is_missing_and_not_stored(
    stage: Stage, start: Start, ridge: ModelInfo
) -> None:
    lag = timedelta(minutes=15)
    stage.store.write_features("half", stage.close(11), {"alpha": 1.0}, availability_lag=lag)
    stage.store.write_features(
        "document", stage.close(11), {"alpha": {"a": 1}, "beta": 1.0}, availability_lag=lag
    )
    predictor = start(ridge)
    found = predictor.predict(["nobody", "B2", "half", "document"], stage.open(12))
    assert [p.missing for p in found] == [("alpha", "beta"), (), ("beta",), ("alpha",)]
    assert [bool(np.isnan(p.signal)) for p in found] == [True, False, True, True]
    assert [p.stored for p in found] == [False, True, False, False]
    assert [p.feature_digest is None for p in found] == [True, False, True, True]
    assert found[0].features[0].event_time is None
    assert [row[0] for row in stored(predictor)] == ["B2"]


def test_a_document_among_numbers_leaves_its_name_out_and_no_other(
    stage: Stage, start: Start, ridge: ModelInfo
) -> None:
    daily, on_demand = stage.strategy(ridge), start(ridge)
    stage.store.write_features(
        "E5", stage.close(20), {"alpha": {"a": 1}}, availability_lag=timedelta(minutes=20)
    )
    written = stage.predict_daily(daily, 20, 23)
    assert (written.stored, written.incomplete) == (17, 1)
    for place in range(20, 23):
        on_demand.predict(TICKERS, stage.open(place))
    assert stored(on_demand) == stage.store.database.fetch_all(STORED, [daily])


def test_nothing_that_became_known_later_is_used(
    stage: Stage, start: Start, ridge: ModelInfo
) -> None:
    moment = stage.open(15)
    (before,) = start(ridge).predict("D4", moment)
    event = stage.close(14)
    late = moment - event + timedelta(microseconds=1)
    stage.store.write_features("D4", event, {"alpha": 1e6}, availability_lag=late)
    ahead = timedelta(days=36_500)
    stage.store.write_features("D4", stage.close(29), {"beta": 1e6}, availability_lag=ahead)
    assert start(ridge).predict("D4", moment)[0].signal == before.signal
    (later,) = start(ridge).predict("D4", moment + timedelta(microseconds=1))
    assert later.signal != before.signal
    (now,) = start(ridge).predict("D4")
    assert [f.value < 1e5 for f in now.features] == [True, True]


def test_a_newer_version_of_a_feature_is_another_feature(
    stage: Stage, start: Start, ridge: ModelInfo
) -> None:
    (before,) = start(ridge).predict("F6", stage.open(20))
    stage.store.write_features(
        "F6", stage.close(19), {"alpha": 1e6},
        feature_version=2, availability_lag=timedelta(minutes=20),
    )  # fmt: skip
    (after,) = start(ridge).predict("F6", stage.open(20))
    assert (after.signal, after.features[0].feature_version) == (before.signal, 1)


def test_what_was_decided_first_stays_and_the_caller_is_told(
    stage: Stage, start: Start, ridge: ModelInfo, trees: ModelInfo
) -> None:
    predictor, moment = start(ridge), stage.open(14)
    first = predictor.predict(["E5", "F6"], moment)
    # A backfill that claims to have been known in time, and a promotion from an earlier time on.
    stage.store.write_features(
        "E5", stage.close(13), {"alpha": 3.0}, availability_lag=timedelta(minutes=20)
    )
    again = predictor.predict(["E5", "F6"], moment)
    assert [p.signal for p in again] == [p.signal for p in first]
    assert [p.stored for p in again] == [False, False]
    assert again[1].recomputed is None
    assert again[0].recomputed is not None
    assert again[0].recomputed.model_id == ridge.model_id
    assert again[0].recomputed.feature_digest != first[0].feature_digest == again[0].feature_digest
    stage.promote(trees, predictor.strategy_id, stage.close(10))
    (other,) = predictor.predict("F6", moment)
    assert (other.signal, other.model_label) == (first[1].signal, ridge.label)
    assert other.computed.model_label == trees.label
    (computed,) = predictor.predict("F6", moment, store=False)
    assert (computed.signal, computed.model_label) == (other.computed.signal, trees.label)
    assert len(stored(predictor)) == 2


def test_a_name_that_is_incomplete_by_now_still_has_its_record(
    stage: Stage, start: Start, ridge: ModelInfo
) -> None:
    predictor, moment = start(ridge), stage.open(17)
    (first,) = predictor.predict("C3", moment)
    stage.store.write_features(
        "C3", stage.close(16), {"alpha": {"a": 1}}, availability_lag=timedelta(minutes=20)
    )
    (again,) = predictor.predict("C3", moment)
    assert (again.signal, again.missing) == (first.signal, ("alpha",))
    assert np.isnan(again.computed.signal)


def test_computing_only_stores_nothing(stage: Stage, start: Start, ridge: ModelInfo) -> None:
    predictor = start(ridge)
    (found,) = predictor.predict("B2", stage.open(12), store=False)
    assert not found.stored
    assert stored(predictor) == []


def test_a_promotion_and_a_rollback_are_followed_and_models_loaded_once(
    stage: Stage, ridge: ModelInfo, trees: ModelInfo
) -> None:
    loaded: list[UUID] = []

    class Counting(ModelRegistry):
        def load_artifact(self, model_id: UUID, artifact_type: str) -> bytes:
            if artifact_type.startswith("weights"):
                loaded.append(model_id)
            return super().load_artifact(model_id, artifact_type)

    strategy = stage.strategy(ridge)
    registry = Counting(stage.registry.database)
    with Predictor(strategy, stage.store, registry, max_age=None) as predictor:
        labels = [predictor.predict("B2")[0].model_label]
        registry.promote("m", trees.version, strategy, by="ann", reason="better")
        labels += [predictor.predict("B2")[0].model_label for _ in range(2)]
        registry.rollback(strategy, by="ann", reason="worse")
        labels += [predictor.predict("B2")[0].model_label]
        past = predictor.predict("B2", stage.open(12))[0].model_label
    assert labels == [ridge.label, trees.label, trees.label, ridge.label]
    assert past == ridge.label
    assert loaded == [ridge.model_id, trees.model_id]


def test_a_past_time_has_the_model_that_was_live_then(
    stage: Stage, start: Start, ridge: ModelInfo, trees: ModelInfo
) -> None:
    predictor = start(ridge, trees)
    places = (14, 10, 13, 12)
    found = [predictor.predict("B2", stage.open(place))[0].model_label for place in places]
    assert found == [trees.label, ridge.label, trees.label, ridge.label]


def test_without_a_live_model_the_way_out_is_named(
    stage: Stage, start: Start, ridge: ModelInfo
) -> None:
    with pytest.raises(PredictionError, match=r"no model was live .*none ever; promote one"):
        start().predict("B2")
    predictor = start(ridge)
    early = stage.open(9)
    first = f"the first was from {stage.close(9).isoformat()} on".replace("+", r"\+")
    with pytest.raises(PredictionError, match=first):
        predictor.predict("B2", early)
    predictor.predict("B2", stage.open(10))
    with pytest.raises(PredictionError, match=first):
        predictor.predict("B2", early)
    assert len(stored(predictor)) == 1


def test_changed_feature_logic_is_refused(
    database: Database,
    store: FeatureStore,
    registry: ModelRegistry,
    sessions: list[date],
    market: object,
    make_model: Callable[..., ModelInfo],
) -> None:
    model = make_model(1.0, 0.3, logic_hash="a" * 64)
    registry.promote(model.name, model.version, "momentum", by="ann", reason="test")
    with Predictor("momentum", store, registry, max_age=None) as predictor:
        with pytest.raises(FeatureLogicChangedError, match=r"m v1 was trained on \w+@1.*aaaaaaa"):
            predictor.predict("B2")
        database.execute("UPDATE feature_definitions SET logic_hash = %s", ["a" * 64])
        assert predictor.predict("B2")[0].stored
    # Another version of the same logic is another feature.
    unknown = make_model(1.0, 0.3, logic_hash="a" * 64, version=2)
    registry.promote(unknown.name, unknown.version, "momentum", by="ann", reason="test")
    with (
        Predictor("momentum", store, registry, max_age=None) as predictor,
        pytest.raises(FeatureLogicChangedError, match=r"m v2 was .*@2 .* has none"),
    ):
        predictor.predict("B2")


def test_an_artifact_with_a_flipped_byte_is_refused(stage: Stage, start: Start) -> None:
    model = stage.fit("ridge", seed=5)
    predictor = start(model)
    path = next(
        Path(artifact.artifact_path.removeprefix("file://"))
        for artifact in stage.registry.list_artifacts(model.model_id)
        if artifact.artifact_type == "weights.npz"
    )
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ChecksumMismatchError):
        predictor.predict("B2")
    path.write_bytes(whole)
    assert predictor.predict("B2")[0].stored


def test_a_signal_that_is_no_number_is_refused_and_not_stored(stage: Stage, start: Start) -> None:
    from quant_mlops.training.learners import LinearModel

    broken = LinearModel(np.zeros(2), np.ones(2), np.array([np.inf, 1.0]), 0.1)
    model_id = stage.fit("ridge", seed=6).model_id
    stage.registry.store_artifact(model_id, broken.to_artifacts()["weights.npz"], "weights.npz")
    predictor = start(stage.registry.get_model_by_id(model_id))
    with pytest.raises(RegistryError, match="gave 1 predictions that are not finite"):
        predictor.predict("B2", stage.open(12))
    assert stored(predictor) == []


def test_a_decision_that_is_still_ahead_cannot_be_on_record(
    stage: Stage, start: Start, ridge: ModelInfo
) -> None:
    predictor = start(ridge)
    moment = stage.store.database.now() + timedelta(minutes=5)
    with pytest.raises(PredictionError, match="is still ahead"):
        predictor.predict("B2", moment)
    assert stored(predictor) == []
    soon = moment - timedelta(minutes=1) - stage.close(29)
    stage.store.write_features("B2", stage.close(29), {"alpha": 1e6}, availability_lag=soon)
    (found,) = predictor.predict("B2", moment, store=False)
    assert (found.as_of_time, found.missing) == (moment, ())
    assert found.features[0].value < 1e5


def test_a_time_without_a_zone_is_wall_time_of_the_market(
    stage: Stage, start: Start, ridge: ModelInfo
) -> None:
    predictor, day = start(ridge), stage.sessions[12]
    (found,) = predictor.predict("B2", datetime(day.year, day.month, day.day, 9, 30))  # noqa: DTZ001
    assert found.as_of_time == stage.open(12)
    with pytest.raises(AmbiguousTimeError, match="exists twice"):
        predictor.predict("B2", datetime(2023, 11, 5, 1, 30))  # noqa: DTZ001
    with pytest.raises(InvalidValueError, match="where an instant is asked for"):
        predictor.predict("B2", day)


def test_features_and_live_model_are_one_round_trip_and_storing_is_another(
    stage: Stage, start: Start, ridge: ModelInfo, tmp_path: Path
) -> None:
    predictor = start(ridge)
    predictor.predict(TICKERS)
    trips = []
    for store in (False, True):
        with (tmp_path / "trace").open("w+b") as file:
            predictor._connections.run(lambda c, f=file: c.pgconn.trace(f.fileno()))
            found = predictor.predict(TICKERS, store=store)
            predictor._connections.run(lambda c: c.pgconn.untrace())
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            lines = file.read().decode().splitlines()
        trips.append(sum("Sync" in line.split("\t")[3] for line in lines if "\tF\t" in f"\t{line}"))
        assert [p.stored for p in found] == [store] * 6
    assert trips == [1, 2]


def test_threads_share_one_predictor_while_models_come_and_go(
    stage: Stage, start: Start, ridge: ModelInfo, trees: ModelInfo
) -> None:
    predictor = start(ridge)
    models = {
        label: ModelLoader(stage.registry).load(model.model_id)
        for label, model in ((ridge.label, ridge), (trees.label, trees))
    }

    def ask(_: int) -> list[Any]:
        return [p for _ in range(12) for p in predictor.predict(TICKERS)]

    with ThreadPoolExecutor(8) as threads:
        asking = [threads.submit(ask, nth) for nth in range(8)]
        for model in (trees, ridge, trees):
            stage.registry.promote(
                "m", model.version, predictor.strategy_id, by="ann", reason="test"
            )
        found = [p for each in asking for p in each.result()]
    assert len(found) == 8 * 12 * 6
    for p in found:
        values = np.array([[f.value for f in p.features]])
        assert p.signal == models[p.model_label].predict(values)[0]
    assert predictor.predict("B2")[0].model_label == trees.label
    rows = {(row[0], row[1]): row[3:] for row in stored(predictor)}
    for p in found:
        if p.recomputed is None:
            assert rows[p.entity_key, p.as_of_time] == (p.model_id, p.signal, p.feature_digest)


def test_two_at_once_for_one_decision_leave_one_record(
    stage: Stage, start: Start, ridge: ModelInfo
) -> None:
    predictor, moment = start(ridge), stage.open(18)
    with ThreadPoolExecutor(8) as threads:
        answers = list(
            threads.map(
                lambda names: predictor.predict(names, moment), [TICKERS, TICKERS[::-1]] * 4
            )
        )
    assert sum(p.stored for answer in answers for p in answer) == 6
    assert len({(p.entity_key, p.signal) for answer in answers for p in answer}) == 6
    assert len(stored(predictor)) == 6


def test_a_lost_connection_is_replaced(stage: Stage, start: Start, ridge: ModelInfo) -> None:
    predictor = start(ridge)
    predictor.predict("B2")
    pid = predictor._connections.run(lambda c: c.info.backend_pid)
    stage.store.database.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    assert predictor.predict("B2")[0].stored
    assert predictor._connections.run(lambda c: c.info.backend_pid) != pid


def test_an_unreachable_server_is_named(stage: Stage, ridge: ModelInfo) -> None:
    with pytest.raises(ServerUnavailableError, match=r"no connection to the database at 127\.0"):
        Predictor("s", "host=127.0.0.1 port=1 dbname=none").predict("B2")


def test_a_connection_string_is_enough(stage: Stage, ridge: ModelInfo) -> None:
    strategy = stage.strategy(ridge)
    with Predictor(strategy, stage.store.database.conninfo, max_age=None) as predictor:
        assert predictor.predict("B2", stage.open(12))[0].stored
        predictor.store.database.close()
        predictor.registry.database.close()


@pytest.mark.parametrize(
    ("instant", "session"),
    [
        ("2023-11-21T14:30:00+00:00", "2023-11-21"),  # an open
        ("2023-11-21T14:29:59.999999+00:00", "2023-11-21"),
        ("2023-11-21T14:30:00.000001+00:00", "2023-11-22"),  # under way
        ("2023-11-21T21:00:00+00:00", "2023-11-22"),  # its close
        ("2023-11-22T14:31:00+00:00", "2023-11-24"),  # Thanksgiving is next
        ("2023-11-23T15:00:00+00:00", "2023-11-24"),  # Thanksgiving
        ("2023-11-24T14:30:00+00:00", "2023-11-24"),  # a half-day opens
        ("2023-11-24T18:00:00+00:00", "2023-11-27"),  # a half-day closes
        ("2023-11-25T12:00:00+00:00", "2023-11-27"),  # Saturday
        ("2023-11-27T03:00:00+00:00", "2023-11-27"),  # Sunday evening in New York
        ("2023-11-03T13:30:00+00:00", "2023-11-03"),  # the last open of summer time
        ("2023-11-06T13:30:00+00:00", "2023-11-06"),  # an hour before the first of winter time
        ("2023-11-06T14:30:00+00:00", "2023-11-06"),
        ("2024-03-08T14:30:00+00:00", "2024-03-08"),
        ("2024-03-11T13:30:00+00:00", "2024-03-11"),  # the first open of summer time
        ("2024-03-11T13:30:01+00:00", "2024-03-12"),
    ],
)
def test_a_decision_is_for_the_first_session_that_opens_from_then_on(
    calendar: TradingCalendar, instant: str, session: str
) -> None:
    moment = datetime.fromisoformat(instant)
    assert decided_session(calendar, moment) == date.fromisoformat(session)
    opens = calendar.opens(calendar.sessions(date(2023, 10, 2), date(2024, 4, 30)))
    first = opens[opens >= int(moment.timestamp() * 10**6)][0]
    found = decided_session(calendar, moment)
    assert calendar.open_time(found) == datetime.fromtimestamp(first / 1e6, UTC)


def test_a_session_may_open_on_the_evening_before() -> None:
    futures = trading_calendar("CMES")
    monday = date(2024, 1, 8)
    assert futures.open_time(monday).astimezone(futures.timezone).date() == date(2024, 1, 7)
    assert decided_session(futures, futures.open_time(monday)) == monday
    later = futures.open_time(monday) + timedelta(seconds=1)
    assert decided_session(futures, later) == date(2024, 1, 9)


def test_a_predictor_knows_the_session_when_calls_jump_in_time(
    stage: Stage, start: Start, ridge: ModelInfo
) -> None:
    predictor = start(ridge)
    for place in (12, 15, 12, 11, 15):
        for after, session in ((-1, place), (0, place), (1, place + 1), (0, place)):
            moment = stage.open(place) + timedelta(seconds=after)
            (found,) = predictor.predict("B2", moment)
            assert found.session == stage.sessions[session]


def test_the_last_decision_of_a_session_is_the_one_that_is_judged(
    stage: Stage, start: Start, ridge: ModelInfo, trees: ModelInfo
) -> None:
    predictor = start(trees)
    early = predictor.predict(TICKERS, stage.open(11) + timedelta(hours=1))
    stage.promote(ridge, predictor.strategy_id, stage.close(11))
    stage.predict_daily(predictor.strategy_id, 12, 13)
    days = np.array([stage.sessions[12]], dtype="datetime64[D]")
    found = read_signals(stage.store.database, predictor.strategy_id, days)
    assert found is not None
    at_open = {row[0]: row[4] for row in stored(predictor) if row[1] == stage.open(12)}
    assert found.signals[0].tolist() == [at_open[ticker] for ticker in TICKERS]
    assert found.signals[0].tolist() != [p.signal for p in early]
    assert found.model_ids == [ridge.model_id]


def test_a_value_that_is_too_old_counts_as_missing(stage: Stage, ridge: ModelInfo) -> None:
    strategy = stage.strategy(ridge)
    last = len(stage.sessions) - 1
    monday = stage.calendar.open_time(stage.calendar.next(stage.sessions[last], 3))
    for max_age, found in (
        (2, True), (1, False), (5, True), (None, True),
        (timedelta(days=9), True), (timedelta(hours=1), False),
    ):  # fmt: skip
        with Predictor(strategy, stage.store, stage.registry, max_age=max_age) as predictor:
            (made,) = predictor.predict("B2", monday, store=False)
        assert bool(made.missing) != found, max_age
        assert np.isfinite(made.signal) == found
        assert made.features[0].event_time == stage.close(last)
    for wrong in (-1, timedelta(days=-1), True, "5", "as trained"):
        with pytest.raises(InvalidValueError, match="0 or more"):
            Predictor(strategy, stage.store, stage.registry, max_age=wrong)


def test_what_is_too_old_is_so_on_demand_and_by_session_as_it_was_in_training(
    stage: Stage,
) -> None:
    rare = "gamma"
    for place, value in ((8, 0.5), (13, -0.5)):
        for ticker in TICKERS[:4]:
            stage.store.write_features(
                ticker, stage.close(place), {rare: value}, availability_lag=timedelta(minutes=15)
            )
    for limit in (None, 0, 2, 3, 100):
        model = stage.fit(
            "ridge", names=("beta", rare), max_ages={} if limit is None else {rare: limit}
        )
        daily = stage.strategy(model)
        stage.predict_daily(daily, 10, 19)
        on_demand = stage.strategy(model)
        young = {}
        with Predictor(on_demand, stage.store, stage.registry) as predictor:
            for place in range(10, 19):
                made = predictor.predict(TICKERS, stage.open(place))
                young[place] = [p.entity_key for p in made if not p.missing]
            assert stored(predictor) == stage.store.database.fetch_all(STORED, [daily])
        # At the open of the place, so many sessions have closed since the newest event.
        age = {place: place - 1 - (13 if place > 13 else 8) for place in young}
        assert young == {
            place: list(TICKERS[:4]) if limit is None or age[place] <= limit else []
            for place in young
        }
