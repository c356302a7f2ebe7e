"""The sections of a strategy file, typed."""

from __future__ import annotations

import json
from datetime import date
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from quant_mlops.drift.rules import Mode
from quant_mlops.training.look_ahead import DEFAULT_LIMIT

BUNDLED_SAMPLE = "bundled:sample"
BUILTIN_FEATURES = "quant_mlops.features.builtin"


class Section(BaseModel):
    """A table of the file: what it does not know, it refuses."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PriceSettings(Section):
    """Where prices come from; `file` is a path or `bundled:sample`."""

    file: str
    availability_lag_minutes: int = Field(default=15, ge=0)


class UniverseSettings(Section):
    """The index whose members are traded; `file` is loaded together with the prices."""

    name: str = Field(min_length=1)
    file: str | None = None


class FeatureSettings(Section):
    """Which features the model learns from, and the module that defines them."""

    names: tuple[str, ...] = Field(min_length=1)
    module: str = BUILTIN_FEATURES


class LearnerSettings(Section):
    """A learner by name with its parameters."""

    name: str
    params: dict[str, Any] = Field(default_factory=dict)

    @field_validator("params")
    @classmethod
    def _storable(cls, params: dict[str, Any]) -> dict[str, Any]:
        """Refuse what TOML can say and JSON cannot: not a number, infinities and dates."""
        try:
            json.dumps(params, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"a value cannot be stored as JSON ({error})") from None
        return params


class WalkForwardSettings(Section):
    """How learners are judged by walking forward; what is not said is as for the one split."""

    folds: int = Field(gt=0)
    test_sessions: int = Field(gt=0)
    val_sessions: int | None = Field(default=None, gt=0)
    train_sessions: int | None = Field(default=None, gt=0)
    embargo_sessions: int | None = Field(default=None, ge=0)


class TrainingSettings(Section):
    """What models are trained on: the last `window_sessions` before the knowledge time.

    A feature whose mean IC with the future is beyond `max_feature_ic` is taken for look-ahead.
    """

    window_sessions: int = Field(gt=0)
    val_sessions: int = Field(gt=0)
    test_sessions: int = Field(gt=0)
    embargo_sessions: int = Field(default=0, ge=0)
    max_feature_ic: float = Field(default=DEFAULT_LIMIT, gt=0, le=1)
    seed: int = 7
    learners: tuple[LearnerSettings, ...] = Field(min_length=1)
    walk_forward: WalkForwardSettings | None = None


class PortfolioSettings(Section):
    """How signals become positions and what trading them costs."""

    min_names: int = Field(default=5, ge=2)
    cost_bps: float = Field(default=5.0, ge=0)


class MonitoringSettings(Section):
    """From when on and how the strategy is watched.

    The IC is taken over one session, over the label's horizon and over those of `ic_horizons`.
    """

    first_session: date
    last_session: date | None = None
    evaluation_lag_hours: float = Field(default=4.0, gt=0)
    psi_window_sessions: int = Field(default=60, gt=0)
    ic_horizons: tuple[Annotated[int, Field(gt=0, le=252)], ...] = ()
    retrain_cooldown_sessions: int = Field(default=20, ge=0)


class GateSettings(Section):
    """When a challenger replaces the champion."""

    min_sessions: int = Field(default=60, gt=0)
    min_probability: float = Field(default=0.8, ge=0.5, le=1)
    min_return_probability: float = Field(default=0.0, ge=0, le=1)


# A rule with a threshold that is no number would never fire, and nobody would notice.
Threshold = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class RuleSettings(Section):
    """Thresholds of the response matrix, and the mode in which its rules are read."""

    ic_warning: Threshold = 0.02
    ic_critical: Threshold = 0.01
    psi_warning: Threshold = 0.10
    psi_critical: Threshold = 0.25
    sharpe_warning: Threshold = 0.5
    sharpe_critical: Threshold = 0.0
    clear_after: int = Field(default=5, gt=0)
    cooldown_sessions: int = Field(default=0, ge=0)
    mode: Mode = "as_written"
    false_alarms_a_year: float = Field(default=1.0, gt=0, le=50)
