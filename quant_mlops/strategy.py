"""A strategy: universe, features, label, learners, monitoring and rules, typed, from TOML."""

from __future__ import annotations

import difflib
import importlib
import tomllib
from collections.abc import Sequence
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import get_args

from pydantic import BaseModel, Field, ValidationError

from quant_mlops.drift.rules import AlertConfig
from quant_mlops.errors import StrategyError
from quant_mlops.features.definition import (
    FeatureDefinition,
    definitions_in,
    select_definitions,
)
from quant_mlops.market.calendar import TradingCalendar, trading_calendar
from quant_mlops.serving.returns import PortfolioRules
from quant_mlops.strategy_sections import (
    AT_ODDS,
    BUNDLED_SAMPLE,
    FeatureSettings,
    GateSettings,
    LearnerSettings,
    MonitoringSettings,
    PortfolioSettings,
    PriceSettings,
    RuleSettings,
    Section,
    TrainingSettings,
    UniverseSettings,
)
from quant_mlops.training.comparison import PromotionGate
from quant_mlops.training.evaluation import EvaluationSettings
from quant_mlops.training.label import LabelDefinition
from quant_mlops.training.learner_parameters import PARAMETERS, Integer
from quant_mlops.training.learners import LEARNERS, LearnerConfig, short_name
from quant_mlops.training.splits import SplitSizes
from quant_mlops.training.walk_forward import WalkForwardSizes

LONGEST_VALUE = 80


class Strategy(Section):
    """Everything that decides what one strategy computes.

    Attributes
    ----------
    name : str
        Its identity in every table.
    calendar : str
        Exchange whose sessions it trades, as a market identifier code.
    owner : str
        Whom to ask; shown in Dagster.
    horizon : int
        Sessions of the label.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")
    description: str = ""
    owner: str = ""
    calendar: str = "XNYS"
    horizon: Integer = Field(gt=0)
    prices: PriceSettings
    universe: UniverseSettings | None = None
    features: FeatureSettings
    training: TrainingSettings
    portfolio: PortfolioSettings = PortfolioSettings()
    monitoring: MonitoringSettings
    gate: GateSettings = GateSettings()
    rules: RuleSettings = RuleSettings()

    @property
    def trading_calendar(self) -> TradingCalendar:
        """Sessions of the strategy's exchange."""
        return trading_calendar(self.calendar)

    @property
    def first_partition(self) -> date:
        """The session before monitoring begins; it also stands for all history before it."""
        return self.trading_calendar.previous(self.monitoring.first_session)

    @cached_property
    def definitions(self) -> tuple[FeatureDefinition, ...]:
        """Feature definitions, in the order of the model's columns."""
        try:
            module = importlib.import_module(self.features.module)
        except ImportError as error:
            raise StrategyError(
                f"strategy {self.name}: features.module {self.features.module!r} cannot be "
                f"imported: {error}; put it on the Python path"
            ) from error
        except Exception as error:
            # A module of the user's runs as it is imported, and may fail in any way.
            raise StrategyError(
                f"strategy {self.name}: features.module {self.features.module!r} cannot be "
                f"imported: {type(error).__name__}: {error}; correct the module"
            ) from error
        return select_definitions(definitions_in(module), self.features.names)

    @property
    def feature_versions(self) -> dict[str, int]:
        """Version of each feature, in the order of the model's columns."""
        return {definition.name: definition.version for definition in self.definitions}

    @property
    def max_ages(self) -> dict[str, int]:
        """Sessions that each feature's value may be older than its availability lag explains."""
        own = self.features.max_age_sessions_of
        return {name: own.get(name, self.features.max_age_sessions) for name in self.features.names}

    @property
    def rare_features(self) -> dict[str, int]:
        """Limits of age of the features that come more rarely than the others."""
        usual = self.features.max_age_sessions
        return {n: age for n, age in self.features.max_age_sessions_of.items() if age > usual}

    @property
    def label(self) -> LabelDefinition:
        """What models learn to predict."""
        return LabelDefinition(self.horizon, self.calendar)

    @property
    def split_sizes(self) -> SplitSizes:
        """How snapshots are split."""
        t = self.training
        return SplitSizes(t.val_sessions, t.test_sessions, t.embargo_sessions)

    @property
    def folds(self) -> WalkForwardSizes | None:
        """How learners walk forward, if they are to."""
        t, walk = self.training, self.training.walk_forward
        if walk is None:
            return None
        return WalkForwardSizes(
            val_sessions=t.val_sessions if walk.val_sessions is None else walk.val_sessions,
            test_sessions=walk.test_sessions,
            folds=walk.folds,
            train_sessions=walk.train_sessions,
            embargo_sessions=(
                t.embargo_sessions if walk.embargo_sessions is None else walk.embargo_sessions
            ),
        )

    @property
    def learners(self) -> tuple[LearnerConfig, ...]:
        """Learners to train on each snapshot."""
        return tuple(
            LearnerConfig(entry.name, dict(entry.params), self.training.seed)
            for entry in self.training.learners
        )

    @property
    def portfolio_rules(self) -> PortfolioRules:
        """How signals become positions."""
        return PortfolioRules(self.portfolio.min_names, self.portfolio.cost_bps / 10_000.0)

    @property
    def evaluation(self) -> EvaluationSettings:
        """How signals are judged."""
        rules = self.portfolio_rules
        return EvaluationSettings(self.horizon, rules.min_names, rules.cost_per_turnover)

    @property
    def evaluation_lag(self) -> timedelta:
        """After the close, when a session is judged."""
        return timedelta(hours=self.monitoring.evaluation_lag_hours)

    @property
    def availability_lag(self) -> timedelta:
        """After the close, when a price is taken to be known if its source does not say."""
        return timedelta(minutes=self.prices.availability_lag_minutes)

    @property
    def price_path(self) -> Path | None:
        """Path of the price file; None for the bundled sample."""
        bundled = self.prices.file == BUNDLED_SAMPLE
        return None if bundled else Path(self.prices.file).expanduser()

    @property
    def universe_name(self) -> str | None:
        """The index whose members are traded; None where it is what was ingested for it."""
        return None if self.universe is None else self.universe.name

    @property
    def alert_config(self) -> AlertConfig:
        """Thresholds of the rules."""
        return AlertConfig(**self.rules.model_dump())

    @property
    def promotion_gate(self) -> PromotionGate:
        """When a challenger replaces the champion."""
        gate = self.gate
        return PromotionGate(gate.min_sessions, gate.min_probability, gate.min_return_probability)

    def model_name(self, learner: str) -> str:
        """Return the registry's name of the models of a learner."""
        return f"{self.name}_{short_name(learner)}"


def read_strategy(path: Path) -> Strategy:
    """Read a strategy from a TOML file.

    Raises
    ------
    StrategyError
        The file is missing or malformed, or a key is unknown, missing or out of range; the file
        and the key are named.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
        strategy = Strategy.model_validate(document)
    except OSError as error:
        raise StrategyError(f"strategy file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StrategyError(f"strategy file {path} is not valid TOML: {error}") from None
    except ValidationError as error:
        raise StrategyError(f"strategy file {path}, {_what_is_wrong(error)}") from None
    for place, entry in enumerate(strategy.training.learners):
        _refuse_unknown_learner(path, entry.name)
        if entry.name in PARAMETERS:
            _check_parameters(path, place, entry)
    return strategy


def _refuse_unknown_learner(path: Path, name: str) -> None:
    if name not in LEARNERS and ":" not in name:
        raise StrategyError(
            f"strategy file {path}, key training.learners: there is no learner {name!r}; there "
            f"are {', '.join(LEARNERS)}, and one of your own is named module:class"
        )


def _check_parameters(path: Path, place: int, entry: LearnerSettings) -> None:
    """Refuse parameters that a built-in learner does not have, or of another type or range."""
    schema = PARAMETERS[entry.name]
    try:
        schema.model_validate(entry.params)
    except ValidationError as error:
        within = ("training", "learners", str(place), "params")
        problem = _what_is_wrong(
            error, root=schema, within=within, noun=f"parameter of {entry.name}"
        )
        raise StrategyError(f"strategy file {path}, {problem}") from None


def _what_is_wrong(
    error: ValidationError,
    *,
    root: type[BaseModel] = Strategy,
    within: Sequence[str] = (),
    noun: str = "key of a strategy",
) -> str:
    """Return a sentence about one key, first of all an unknown one: it explains a missing one.

    `within` names the tables around the one that `root` describes.
    """
    found = error.errors(include_url=False)
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    *table, name = (str(part) for part in first["loc"])
    key = f"key {'.'.join((*within, *table, name))}:"
    if first["type"] == "extra_forbidden":
        known = _known_keys(root, table)
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        return f"{key} is no {noun}; {hint}"
    if first["type"] == "missing":
        return f"{key} is missing; add it"
    if first["type"] == AT_ODDS:
        return f"{key} {first['msg']}; correct one of them"
    received = repr(first["input"])
    if len(received) > LONGEST_VALUE:
        received = f"{received[:LONGEST_VALUE]}..."
    return f"{key} {first['msg'].lower()}, received {received}; correct it"


def _known_keys(root: type[BaseModel], table: list[str]) -> list[str]:
    """Return the keys of a table of the file; a number among its names is a place in a list."""
    section = root
    for name in table:
        if name in section.model_fields:
            kind = section.model_fields[name].annotation
            section = next(
                each
                for each in (kind, *get_args(kind))
                if isinstance(each, type) and issubclass(each, BaseModel)
            )
    return [field.alias or name for name, field in section.model_fields.items()]
