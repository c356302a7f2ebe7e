"""Loading the model that was live, verified, and refused if its features have changed since."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

import numpy as np
import numpy.typing as npt

from quant_mlops.errors import FeatureLogicChangedError, RegistryError
from quant_mlops.features.age_limit import AgeLimit
from quant_mlops.features.catalog import age_limits, registered_features, require_registered
from quant_mlops.registry import ModelRegistry
from quant_mlops.registry.kept_models import fitted_model, recipe_of
from quant_mlops.training.learners import FittedModel
from quant_mlops.training.snapshot_files import Snapshot, find_snapshot

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ServedModel:
    """A verified model with the features it was trained on.

    Attributes
    ----------
    features : dict of str to int
        Pinned versions, in the order of the columns.
    age_limits : dict of str to AgeLimit
        Of the features whose values counted as missing from some age on when it was trained.
    """

    model_id: UUID
    label: str
    features: dict[str, int]
    age_limits: dict[str, AgeLimit]
    horizon: int
    calendar: str
    fitted: FittedModel

    @property
    def max_ages(self) -> dict[str, int]:
        """Sessions that a value may be older than its lag explains, of features with a limit."""
        return {name: limit.sessions for name, limit in self.age_limits.items()}

    def predict(self, features: Floats) -> Floats:
        """Return one signal for each row of features, shape (R,).

        A row's signal is the same bit for bit, whatever rows stand beside it.

        Raises
        ------
        RegistryError
            A signal is not finite.
        """
        signals = self.fitted.predict(features) if len(features) else np.empty(0)
        if not np.isfinite(signals).all():
            raise RegistryError(
                f"{self.label} gave {int((~np.isfinite(signals)).sum())} predictions that are not "
                f"finite; roll back to the version before it"
            )
        return signals


class ModelLoader:
    """Loads models once each, for one pass over predictions.

    Parameters
    ----------
    registry : ModelRegistry
    """

    def __init__(self, registry: ModelRegistry) -> None:
        self.registry = registry
        self._loaded: dict[UUID, ServedModel] = {}

    @cached_property
    def _logic(self) -> dict[tuple[str, int], str]:
        return {
            (feature.feature_name, feature.feature_version): feature.logic_hash
            for feature in registered_features(self.registry.database)
        }

    def load(self, model_id: UUID) -> ServedModel:
        """Return a model whose artifacts have the digests they were registered with.

        Raises
        ------
        ChecksumMismatchError
            An artifact was changed after registration.
        FeatureLogicChangedError
            A feature's logic under the version trained on is another one now.
        RegistryError
            The model has no snapshot, so that nobody can say what it was trained on.
        """
        if model_id not in self._loaded:
            self._loaded[model_id] = self._load(model_id)
        return self._loaded[model_id]

    def _load(self, model_id: UUID) -> ServedModel:
        model = self.registry.get_model_by_id(model_id)
        if model.snapshot_id is None:
            raise RegistryError(
                f"{model.label} was registered without a training snapshot and cannot be served; "
                f"register it with snapshot_id"
            )
        snapshot = find_snapshot(self.registry.database, model.snapshot_id)
        self._refuse_changed_logic(model.label, snapshot)
        recipe = recipe_of(self.registry, model_id)
        features = {name: snapshot.feature_versions[name] for name in recipe.features}
        return ServedModel(
            model_id=model_id,
            label=model.label,
            features=features,
            age_limits=age_limits(
                require_registered(self.registry.database, features), snapshot.max_ages
            ),
            horizon=int(snapshot.label["horizon"]),
            calendar=str(snapshot.label["calendar"]),
            fitted=fitted_model(self.registry, model_id, recipe),
        )

    def _refuse_changed_logic(self, label: str, snapshot: Snapshot) -> None:
        for name, entry in snapshot.features.items():
            stored = self._logic.get((name, entry["version"]), "")
            if stored != entry["logic_hash"]:
                raise FeatureLogicChangedError(
                    f"{label} was trained on {name}@{entry['version']} with logic "
                    f"{entry['logic_hash'][:12]} and the store now has {stored[:12] or 'none'}; "
                    f"train a model on the new logic before it is served"
                )
