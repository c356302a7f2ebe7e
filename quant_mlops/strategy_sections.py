"""The sections of a strategy file, typed."""

from __future__ import annotations

import json
from datetime import date
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from quant_mlops.drift.rules import AlertConfig, Mode
from quant_mlops.training.learner_parameters import Integer, Number
from quant_mlops.training.look_ahead import DEFAULT_LIMIT

BUNDLED_SAMPLE = "bundled:sample"
BUILTIN_FEATURES = "quant_mlops.features.builtin"
AT_ODDS = "at_odds"


class Section(BaseModel):
    """A table of the file: what it does not know, it refuses."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PriceSettings(Section):
    """Where prices come from; `file` is a path or `bundled:sample`."""

    file: str
    availability_lag_minutes: Integer = Field(default=15, ge=0)


class UniverseSettings(Section):
    """The index whose members are traded; `file` is loaded together with the prices."""

    name: str = Field(min_length=1)
    file: str | None = None


class FeatureSettings(Section):
    """Which features the model learns from, the module that defines them, and their age limit.

    A value more than `max_age_sessions` older than its availability lag explains counts as
    missing, in training and live; `max_age_sessions_of` says it of single features. One with a
    higher limit than the others comes more rarely, and the daily report expects no more of it.
    """

    names: tuple[str, ...] = Field(min_length=1)
    module: str = BUILTIN_FEATURES
    max_age_sessions: Integer = Field(default=5, ge=0)
    max_age_sessions_of: dict[str, Annotated[Integer, Field(ge=0)]] = Field(default_factory=dict)

    @field_validator("max_age_sessions_of")
    @classmethod
    def _of_its_features(cls, ages: dict[str, int], info: ValidationInfo) -> dict[str, int]:
        others = [name for name in ages if name not in info.data.get("names", ages)]
        if others:
            raise PydanticCustomError(
                AT_ODDS, "features.names does not hold {others}", {"others": ", ".join(others)}
            )
        return ages


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

    folds: Integer = Field(gt=0)
    test_sessions: Integer = Field(gt=0)
    val_sessions: Integer | None = Field(default=None, gt=0)
    train_sessions: Integer | None = Field(default=None, gt=0)
    embargo_sessions: Integer | None = Field(default=None, ge=0)


class TrainingSettings(Section):
    """What models are trained on: the last `window_sessions` before the knowledge time.

    A feature whose mean IC with the future is beyond `max_feature_ic` is taken for look-ahead.
    """

    window_sessions: Integer = Field(gt=0)
    val_sessions: Integer = Field(gt=0)
    test_sessions: Integer = Field(gt=0)
    embargo_sessions: Integer = Field(default=0, ge=0)
    max_feature_ic: Number = Field(default=DEFAULT_LIMIT, gt=0, le=1)
    seed: Integer = 7
    learners: tuple[LearnerSettings, ...] = Field(min_length=1)
    walk_forward: WalkForwardSettings | None = None


class PortfolioSettings(Section):
    """How signals become positions and what trading them costs."""

    min_names: Integer = Field(default=5, ge=2)
    cost_bps: Number = Field(default=5.0, ge=0)


class MonitoringSettings(Section):
    """From when on and how the strategy is watched.

    The IC is taken over one session, over the label's horizon and over those of `ic_horizons`.
    """

    first_session: date
    last_session: date | None = None
    evaluation_lag_hours: Number = Field(default=4.0, gt=0)
    psi_window_sessions: Integer = Field(default=60, gt=0)
    ic_horizons: tuple[Annotated[Integer, Field(gt=0, le=252)], ...] = ()
    retrain_cooldown_sessions: Integer = Field(default=20, ge=0)


class GateSettings(Section):
    """When a challenger replaces the champion."""

    min_sessions: Integer = Field(default=60, gt=0)
    min_probability: Number = Field(default=0.8, ge=0.5, le=1)
    min_return_probability: Number = Field(default=0.0, ge=0, le=1)


class RuleSettings(Section):
    """Thresholds of the response matrix, and the mode in which its rules are read."""

    # A rule with a threshold that is no number would never fire, and nobody would notice.
    ic_warning: Number = Field(default=AlertConfig.ic_warning, validate_default=True)
    ic_critical: Number = Field(default=AlertConfig.ic_critical, validate_default=True)
    psi_warning: Number = AlertConfig.psi_warning
    psi_critical: Number = Field(default=AlertConfig.psi_critical, validate_default=True)
    sharpe_warning: Number = AlertConfig.sharpe_warning
    sharpe_critical: Number = Field(default=AlertConfig.sharpe_critical, validate_default=True)
    clear_after: Integer = Field(default=AlertConfig.clear_after, gt=0)
    cooldown_sessions: Integer = Field(default=AlertConfig.cooldown_sessions, ge=0)
    mode: Mode = AlertConfig.mode
    false_alarms_a_year: Number = Field(default=AlertConfig.false_alarms_a_year, gt=0, le=50)

    @field_validator("ic_warning")
    @classmethod
    def _not_wrong_already(cls, warning: float) -> float:
        wrong = AlertConfig().ic_wrong
        if warning < wrong:
            raise PydanticCustomError(
                AT_ODDS,
                "{warning} is below {wrong}, where ic_negative pauses the strategy, so that the "
                "warning would come after it",
                {"warning": warning, "wrong": wrong},
            )
        return warning

    @field_validator("ic_critical", "psi_critical", "sharpe_critical")
    @classmethod
    def _graver_than_the_warning(cls, critical: float, info: ValidationInfo) -> float:
        """Refuse a critical threshold that a metric reaches before the one of the warning."""
        name = str(info.field_name).replace("critical", "warning")
        if name not in info.data:
            return critical
        warning, rises = info.data[name], name.startswith("psi")
        if critical < warning if rises else critical > warning:
            raise PydanticCustomError(
                AT_ODDS,
                "{critical} is {side} rules.{name}, which is {warning}, so that the warning would "
                "come after it",
                {
                    "critical": critical,
                    "side": "below" if rises else "above",
                    "name": name,
                    "warning": warning,
                },
            )
        return critical
