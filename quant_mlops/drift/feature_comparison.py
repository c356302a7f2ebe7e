"""One feature in full: its values now beside those its model was trained on, by three measures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from quant_mlops.drift.sample_comparison import (
    SampleComparison,
    compare_samples,
    held_in_place,
)
from quant_mlops.errors import MonitoringError, RegistryError
from quant_mlops.features.store import FeatureStore
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.strategy_tickers import traded_tickers
from quant_mlops.registry import ModelRegistry
from quant_mlops.registry.kept_models import recipe_of
from quant_mlops.registry.records import ModelInfo
from quant_mlops.serving.predictions import decision_inputs, live_models_by_session
from quant_mlops.training.fitting import split_rows
from quant_mlops.training.snapshot_files import Snapshot, find_snapshot, read_snapshot

Floats = npt.NDArray[np.float64]
Sessions = npt.NDArray[np.datetime64]


@dataclass(frozen=True)
class FeatureComparison:
    """A feature's values of a window against those its model was trained on.

    Attributes
    ----------
    reference_first, reference_last, current_first, current_last : date
        Sessions of decision on either side.
    standardised : bool
        The values are standardised within each session, as ranks and z-scores are.
    note : str
        Why the measures cannot see some drift; empty if nothing speaks against them.
    """

    feature_name: str
    feature_version: int
    model: str
    reference_first: date
    reference_last: date
    current_first: date
    current_last: date
    measures: SampleComparison
    standardised: bool
    note: str


def compare_feature(
    store: FeatureStore,
    registry: ModelRegistry,
    calendar: TradingCalendar,
    *,
    strategy_id: str,
    name: str,
    session: date,
    window: int,
    evaluation_lag: timedelta,
    universe: str | None = None,
) -> FeatureComparison:
    """Compare a feature with the training rows of the model that is live at a session's open.

    Parameters
    ----------
    store : FeatureStore
    registry : ModelRegistry
    calendar : TradingCalendar
    strategy_id, name : str
    session : date
        Newest session of the window.
    window : int
        Sessions pooled. A short one measures noise.
    evaluation_lag : timedelta
        After the close of `session`, as of when everything is read.
    universe : str, optional
        Index whose members count; another than the model is served passes membership for drift.

    Raises
    ------
    MonitoringError
        No model is live at the open, or it does not use the feature.
    RegistryError
        The model has no snapshot.
    SnapshotTamperedError
        The file of its training rows is not what was written.
    """
    last = np.array([session], dtype="datetime64[D]")
    (model_id,) = live_models_by_session(registry, calendar, strategy_id=strategy_id, sessions=last)
    if model_id is None:
        raise MonitoringError(
            f"no model of {strategy_id} was live at the open of {session}, so there is nothing to "
            f"compare {name} with; `quant-mlops models live` shows what was live when"
        )
    model = registry.get_model_by_id(model_id)
    snapshot = _snapshot_of(registry, model)
    if name not in snapshot.feature_versions:
        raise MonitoringError(
            f"{model.label} does not use {name!r}; its features are "
            f"{', '.join(snapshot.feature_versions)}"
        )
    reference, reference_sessions = _trained_on(registry, model, snapshot, name)
    version = snapshot.feature_versions[name]
    reach = calendar.sessions(calendar.offset(session, 1 - window), session)
    inputs = decision_inputs(
        store,
        calendar,
        reach,
        {name: version},
        max_ages=snapshot.max_ages,
        knowledge_time=calendar.close_time(session) + evaluation_lag,
        universe=universe,
        tickers=traded_tickers(store.database, strategy_id, universe=universe),
    )
    current = inputs.matrix()[:, 0]
    standardised = held_in_place(reference, reference_sessions)
    return FeatureComparison(
        feature_name=name,
        feature_version=version,
        model=model.label,
        reference_first=reference_sessions.min().item(),
        reference_last=reference_sessions.max().item(),
        current_first=reach[0].item(),
        current_last=session,
        measures=compare_samples(reference, current),
        standardised=standardised,
        note=_note(reference, current, standardised=standardised),
    )


def _snapshot_of(registry: ModelRegistry, model: ModelInfo) -> Snapshot:
    if model.snapshot_id is None:
        raise RegistryError(
            f"{model.label} was registered without a training snapshot, so the rows that it was "
            f"trained on are not known; register it with snapshot_id"
        )
    return find_snapshot(registry.database, model.snapshot_id)


def _trained_on(
    registry: ModelRegistry, model: ModelInfo, snapshot: Snapshot, name: str
) -> tuple[Floats, Sessions]:
    """Return a feature and the sessions of the rows that a model's profiles were made of."""
    recipe = recipe_of(registry, model.model_id)
    rows, splits = split_rows(read_snapshot(snapshot), recipe, features=[name])
    train = rows.within(splits.train)
    return train.features[:, 0], train.session


def _note(reference: Floats, current: Floats, *, standardised: bool) -> str:
    if not len(current):
        return "the window has no rows, so that nothing can be compared"
    if not np.isfinite(reference).any():
        return "the training rows have no finite value, so that nothing can be compared"
    if standardised:
        return (
            "its values are standardised within each session, as ranks and z-scores are: pooled "
            "they look the same whatever happens to what is ranked, so PSI, KS and Wasserstein "
            "are blind to that drift; watch what is ranked instead"
        )
    return ""
