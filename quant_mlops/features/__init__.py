"""The bitemporal feature store: definitions, writes, and point-in-time reads."""

from quant_mlops.features.definition import FeatureDefinition, feature
from quant_mlops.features.store import FeatureStore

__all__ = ["FeatureDefinition", "FeatureStore", "feature"]
