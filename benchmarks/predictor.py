"""Milliseconds of a prediction on demand, beside the bare read of the features that it needs.

Everything is measured in one run, on a server of its own with durable commits: 500 entities, 10
features, 250 sessions, and boosted trees as the live model. The calls that are compared take
turns. The bare read is the same statement with the same preparation on a connection held open,
rows fetched as psycopg gives them and dropped.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
from feature_store import INSTANT, Measure, entity_names, feature_names, show, timed, write_results
from psycopg.types.json import Jsonb

from quant_mlops import Database, FeatureStore, ModelRegistry, Predictor
from quant_mlops.database.embedded import EmbeddedServer
from quant_mlops.database.migrations import migrate
from quant_mlops.database.queries import query
from quant_mlops.market.calendar import trading_calendar
from quant_mlops.training.evaluation import EvaluationSettings
from quant_mlops.training.learners import Example, LearnerConfig, XgboostLearner
from quant_mlops.training.recipe import CONFIG, Recipe
from quant_mlops.training.splits import SplitSizes

# In sessions: the values are years old, and what their age costs is to be a part of it.
MAX_AGE = 10_000
ENTITIES, SESSIONS, STRATEGY = 500, 250, "benchmark"
ROUNDS = {1: 1_000, ENTITIES: 40}
WARM_UP = 10


def load(store: FeatureStore) -> None:
    """Store a year of values."""
    calendar = trading_calendar("XNYS")
    closes = calendar.closes(calendar.sessions(date(2023, 1, 3), date(2024, 12, 31))[:SESSIONS])
    random = np.random.default_rng(3)
    rows = ENTITIES * SESSIONS
    frame = pa.table(
        {
            "entity_key": np.repeat(entity_names(ENTITIES), SESSIONS),
            "event_time": pa.array(np.tile(closes, ENTITIES)).cast(INSTANT),
            **{name: random.normal(size=rows) for name in feature_names()},
        }
    )
    store.write_frame(frame, availability_lag=timedelta(minutes=15))
    store.database.execute("VACUUM ANALYZE feature_events")
    store.database.execute("CHECKPOINT")


def make_live(
    database: Database, registry: ModelRegistry, *, live_from: datetime | None = None
) -> None:
    """Train trees on noise, which cost as much to ask as any others, and make them live."""
    names, snapshot_id = feature_names(), uuid4()
    database.execute(
        query("insert_training_snapshot"),
        {
            "snapshot_id": snapshot_id,
            "strategy_id": STRATEGY,
            "fingerprint": snapshot_id.hex,
            "knowledge_time": datetime(2024, 1, 2, tzinfo=UTC),
            "first_session": date(2023, 1, 3),
            "last_session": date(2023, 12, 29),
            "spine_first": None,
            "spine_last": None,
            "universe": None,
            "row_count": 1,
            "left_out": Jsonb({}),
            "features": Jsonb(
                {
                    name: {"version": 1, "logic_hash": "", "position": i}
                    for i, name in enumerate(names)
                }
            ),
            "label": Jsonb({"kind": "forward_return", "horizon": 5, "calendar": "XNYS"}),
            "uri": "file:///nowhere",
            "file_sha256": "0" * 64,
            "code_version": "benchmark",
        },
    )
    random = np.random.default_rng(4)
    features, noise = random.normal(size=(4_000, len(names))), random.normal(size=4_000)
    sample = Example(features, features[:, 0] + noise)
    config = LearnerConfig("xgboost", {"rounds": 100, "patience": 100, "max_depth": 4})
    model_id = registry.register_model(STRATEGY, STRATEGY, snapshot_id=snapshot_id)
    artifacts = XgboostLearner().fit(sample, sample, config).to_artifacts()
    recipe = Recipe(
        config, tuple(names), SplitSizes(1, 1), EvaluationSettings(5, 5, 0.0),
        artifacts=tuple(artifacts),
    )  # fmt: skip
    for name, data in {**artifacts, CONFIG: recipe.to_bytes()}.items():
        registry.store_artifact(model_id, data, name)
    registry.promote(
        STRATEGY, 1, STRATEGY, by="benchmark", reason="benchmark", effective_from=live_from
    )


def measure(database: Database, predictor: Predictor, count: int) -> Iterator[Measure]:
    """Predict for some entities, storing or not, in turn with the bare read."""
    random = np.random.default_rng(5)
    names = entity_names(ENTITIES)
    spent: dict[str, list[float]] = {"bare": [], "stored": [], "computed": []}
    for setting in ("fsync", "synchronous_commit"):
        if database.fetch_one("SELECT current_setting(%s)", [setting]) != ("on",):
            sys.exit(f"error: {setting} is off, so that nothing stored would be durable")
    with database.connect() as connection:
        connection.execute("SET plan_cache_mode = force_generic_plan")

        def bare(entities: list[str]) -> Any:
            parameters = {
                "strategy_id": STRATEGY,
                "entities": entities,
                "names": feature_names(),
                "versions": [1] * len(feature_names()),
                "as_of": None,
            }
            with connection.cursor(binary=True) as cursor:
                return cursor.execute(query("select_decision"), parameters, prepare=True).fetchall()

        calls: dict[str, Callable[[list[str]], Any]] = {
            "bare": bare,
            "stored": predictor.predict,
            "computed": lambda entities: predictor.predict(entities, store=False),
        }
        for _ in range(ROUNDS[count] + WARM_UP):
            entities = random.choice(names, count, replace=False).tolist()
            for what, call in calls.items():
                seconds, found = timed(lambda c=call, e=entities: c(e))
                spent[what].append(seconds * 1e3)
                if what == "stored" and not all(p.stored for p in found):
                    sys.exit("error: a prediction was not stored")
    floor = float(np.median(spent["bare"][WARM_UP:]))
    promised = {1: "<= 4", ENTITIES: "<= 2"}[count]
    for what in ("stored", "computed"):
        p50, p99 = np.quantile(spent[what][WARM_UP:], [0.5, 0.99])
        yield Measure(
            f"predict, {count} of {ENTITIES} entities, {what}, p50", float(p50), "ms",
            "the bare read, p50", floor, float(p50) / floor, promised,
        )  # fmt: skip
        yield Measure(
            f"predict, {count} of {ENTITIES} entities, {what}, p99", float(p99), "ms",
            "its own p50", float(p50), float(p99 / p50),
        )  # fmt: skip


def main() -> None:
    """Load, measure one entity and all of them, print the table and write the document."""
    measures: list[Measure] = []
    # Private to this user it would be closed to the user that a root's PostgreSQL runs as.
    with tempfile.TemporaryDirectory(prefix="quant-mlops-bench-") as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedServer(Path(folder) / "postgres")
        server.start()
        try:
            with Database(server.url()) as database:
                migrate(database)
                store = FeatureStore(database, "benchmark")
                registry = ModelRegistry(database, artifacts=Path(folder) / "artifacts")
                load(store)
                make_live(database, registry)
                with Predictor(STRATEGY, store, registry, max_age=MAX_AGE) as predictor:
                    for count in ROUNDS:
                        print(f"measuring {count} of {ENTITIES} entities", file=sys.stderr)
                        measures += measure(database, predictor, count)
        finally:
            server.stop()
    show(measures)
    print(f"written to {write_results(measures, 'predictor')}")


if __name__ == "__main__":
    main()
