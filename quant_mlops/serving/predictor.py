"""Predictions on demand: the live model applied to what is known at this moment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from threading import Lock
from typing import Literal
from uuid import UUID

import numpy as np
import numpy.typing as npt

from quant_mlops.database import Database
from quant_mlops.database.held_connections import HeldConnections
from quant_mlops.errors import InvalidValueError, PredictionError
from quant_mlops.features.age_limit import oldest_events, require_age
from quant_mlops.features.instants import as_utc
from quant_mlops.features.store import FeatureStore
from quant_mlops.instants import EPOCH, to_microseconds
from quant_mlops.market.calendar import trading_calendar
from quant_mlops.registry import ModelRegistry
from quant_mlops.serving.decision import (
    Decision,
    decided_session,
    prepare_connection,
    read_decision,
)
from quant_mlops.serving.live_models import ModelLoader, ServedModel
from quant_mlops.serving.prediction import FeaturesUsed, Prediction
from quant_mlops.serving.predictions import feature_digests
from quant_mlops.serving.recording import record_predictions


class Predictor:
    """Signals of a strategy's live model for some names, now or at an earlier time.

    One object serves a process for as long as it likes, and any number of threads at once. A
    model is loaded once, verified, when it is first needed: the read that fetches the features
    also says which model is live, so that a promotion or a rollback is followed by the first call
    after it. What is stored is what the daily predictions would store for the same decision.

    Parameters
    ----------
    strategy_id : str
    store : FeatureStore, Database or str
        Where features are read and predictions are stored; a libpq string or URL will do.
    registry : ModelRegistry, optional
        Of the same database, which is the default.
    max_age : {"as_trained"}, int, timedelta or None
        A feature whose event is older counts as missing. By default the limits are those of the
        training set of the live model, as for the daily predictions; a number of sessions that
        have closed since, or a duration, stands in their place. With None a series that broke off
        years ago is served like today's.

    Raises
    ------
    InvalidValueError
        `max_age` is negative, or none of these.
    """

    def __init__(
        self,
        strategy_id: str,
        store: FeatureStore | Database | str,
        registry: ModelRegistry | None = None,
        *,
        max_age: int | timedelta | Literal["as_trained"] | None = "as_trained",
    ) -> None:
        if max_age != "as_trained":
            require_age(max_age)
        self.strategy_id = strategy_id
        self.store = store if isinstance(store, FeatureStore) else FeatureStore(store)
        self.registry = registry or ModelRegistry(self.store.database)
        self.max_age = max_age
        self._connections = HeldConnections(self.store.database, prepare_connection)
        self._models: dict[UUID, ServedModel] = {}
        self._loading = Lock()
        self._expected: ServedModel | None = None
        self._deciding = ("", datetime.max.replace(tzinfo=UTC), EPOCH, date.min)

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections held between calls."""
        self._connections.close()

    def predict(
        self,
        entities: str | Sequence[str],
        as_of: datetime | None = None,
        *,
        store: bool = True,
    ) -> list[Prediction]:
        """Return the signal of each name, and store it.

        A prediction is a fact: if one is on record for a name at this time, that one is returned,
        and what this call computed stands beside it where the two differ.

        Parameters
        ----------
        entities : str or sequence of str
            A name of which too little is known, or nothing at all, gets NaN and the names of what
            is missing, and nothing is stored of it.
        as_of : datetime, optional
            The decision time; the database's clock by default. Naive means wall time in the
            store's zone. An earlier time gets the model that was live then and what was known
            then; a value that was backfilled since counts as known if its ingest time says so.
        store : bool
            False computes only: nothing is stored, and what is on record is not looked at.

        Returns
        -------
        list of Prediction
            In the order of the names, repeated names repeated.

        Raises
        ------
        PredictionError
            No model was live, or the time is still ahead and the prediction was to be stored.
        FeatureLogicChangedError, ChecksumMismatchError, RegistryError
            The live model must not be served; see `ModelLoader.load`.
        AmbiguousTimeError, InvalidValueError
        """
        names = [entities] if isinstance(entities, str) else list(entities)
        _refuse_no_names(names)
        moment = None if as_of is None else as_utc(as_of, zone=self.store.zone)
        if not names:
            return []
        distinct = list(dict.fromkeys(names))
        model, decision = self._decide(distinct, moment)
        if store and decision.ahead:
            raise PredictionError(
                f"{decision.as_of_time.isoformat()} is still ahead, and what will be known then "
                f"cannot be on record yet; give an earlier time or none, or store=False"
            )
        made = self._apply(model, decision, distinct)
        if store:
            made = self._connections.run(
                lambda connection: record_predictions(connection, made, label=self._label)
            )
        if len(distinct) == len(names):
            return made
        by_name = {prediction.entity_key: prediction for prediction in made}
        return [by_name[name] for name in names]

    def _decide(self, entities: list[str], as_of: datetime | None) -> tuple[ServedModel, Decision]:
        """Read with the features of the model expected; again if another is live at that time."""
        model = self._expected or self._load_live(as_of)
        while True:
            decision = self._read(model, entities, as_of)
            live = decision.model_id
            if live is None:
                raise self._nothing_live(decision.as_of_time)
            if live == model.model_id:
                self._expected = model
                return model, decision
            model, as_of = self._load(live), decision.as_of_time

    def _read(self, model: ServedModel, entities: list[str], as_of: datetime | None) -> Decision:
        return self._connections.run(
            lambda connection: read_decision(
                connection,
                strategy_id=self.strategy_id,
                entities=entities,
                features=model.features,
                as_of=as_of,
            )
        )

    def _apply(
        self, model: ServedModel, decision: Decision, entities: list[str]
    ) -> list[Prediction]:
        fresh = decision.event_times >= self._oldest(model, decision.as_of_time)
        values = np.where(fresh, decision.values, np.nan)
        complete = np.all(np.isfinite(values), axis=1)
        usable = values[complete]
        signals = np.full(len(entities), np.nan)
        signals[complete] = model.predict(usable)
        digests = iter(feature_digests(usable, tuple(model.features)))
        session = self._session(model.calendar, decision.as_of_time)
        predictions = []
        for row, (entity, whole) in enumerate(zip(entities, complete.tolist(), strict=True)):
            features = FeaturesUsed(
                model.features,
                values[row],
                decision.event_times[row],
                decision.ingest_times[row],
            )
            predictions.append(
                Prediction(
                    strategy_id=self.strategy_id,
                    entity_key=entity,
                    as_of_time=decision.as_of_time,
                    session=session,
                    signal=float(signals[row]),
                    model_id=model.model_id,
                    model_label=model.label,
                    feature_digest=next(digests) if whole else None,
                    features=features,
                    missing=() if whole else features.missing(),
                )
            )
        return predictions

    def _oldest(self, model: ServedModel, instant: datetime) -> npt.NDArray[np.int64]:
        """Return the oldest event of each feature that counts at an instant, shape (F,)."""
        limits = [
            model.age_limits.get(name) if self.max_age == "as_trained" else self.max_age
            for name in model.features
        ]
        at = np.array([to_microseconds(instant)])
        oldest = {
            limit: oldest_events(at, limit, calendar=model.calendar)[0] for limit in set(limits)
        }
        return np.array([oldest[limit] for limit in limits])

    def _session(self, calendar: str, instant: datetime) -> date:
        """Return the session decided on; one call in a session looks into the calendar."""
        known, after, until, session = self._deciding
        if known == calendar and after < instant <= until:
            return session
        exchange = trading_calendar(calendar)
        session = decided_session(exchange, instant)
        after = exchange.open_time(exchange.previous(session))
        self._deciding = (calendar, after, exchange.open_time(session), session)
        return session

    def _load_live(self, as_of: datetime | None) -> ServedModel:
        at = as_of or self.store.database.now()
        live = self.registry.live_model(self.strategy_id, at=at)
        if live is None:
            raise self._nothing_live(at)
        return self._load(live.model_id)

    def _load(self, model_id: UUID) -> ServedModel:
        """Return a model that was loaded and verified once, whichever threads ask for it."""
        with self._loading:
            if model_id not in self._models:
                # A loader of its own, as features may have been registered since the last model.
                self._models[model_id] = ModelLoader(self.registry).load(model_id)
            return self._models[model_id]

    def _label(self, model_id: UUID) -> str:
        return self.registry.get_model_by_id(model_id).label

    def _nothing_live(self, at: datetime) -> PredictionError:
        spans = self.registry.deployments(self.strategy_id)
        ever = f"the first was from {spans[0].live_from.isoformat()} on" if spans else "none ever"
        return PredictionError(
            f"no model was live for {self.strategy_id} at {at.isoformat()}, {ever}; promote one "
            f"with `quant-mlops models promote`, or give another time"
        )


def _refuse_no_names(names: Sequence[object]) -> None:
    wrong = next((name for name in names if not isinstance(name, str) or not name), None)
    if wrong is not None:
        raise InvalidValueError(
            f"{wrong!r} was given as the key of an entity; give text, such as a ticker"
        )
