"""MLOps for quant teams: bitemporal features, audited models, drift that acts."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "AlertConfig": "quant_mlops.drift.rules",
    "Database": "quant_mlops.database",
    "DriftMonitor": "quant_mlops.drift.monitor",
    "FeatureStore": "quant_mlops.features",
    "ModelRegistry": "quant_mlops.registry",
    "Predictor": "quant_mlops.serving.predictor",
    "daily_mlops_job": "quant_mlops.daily",
    "feature": "quant_mlops.features",
}

__all__ = sorted(_PUBLIC)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that importing the package costs nothing."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'quant_mlops' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
