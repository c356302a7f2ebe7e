"""The model registry: versions, metrics, artifacts, and which version was live when."""

from quant_mlops.registry.records import MetricBound
from quant_mlops.registry.registry import ModelRegistry

__all__ = ["MetricBound", "ModelRegistry"]
