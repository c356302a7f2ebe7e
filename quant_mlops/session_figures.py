"""Figures of the newest sessions of a strategy, small enough for each run to draw."""

from __future__ import annotations

from datetime import date

import numpy as np
from matplotlib.figure import Figure

from quant_mlops.drift.observations import read_stability
from quant_mlops.reports.figures import (
    information_coefficient_figure,
    prediction_distribution_figure,
    psi_figure,
)
from quant_mlops.reports.history import load_monitoring_history
from quant_mlops.reports.learner_figure import learner_figure
from quant_mlops.reports.records import Levels, MonitoringHistory
from quant_mlops.retraining import RegisteredModel
from quant_mlops.serving.signals import read_signals
from quant_mlops.strategy_context import StrategyContext

SESSIONS_DRAWN = 126
SPLITS = ("train", "val", "test")


def ic_trend(context: StrategyContext, last: date) -> Figure:
    """Draw the IC of the sessions up to one."""
    history = _history(context, last)
    return information_coefficient_figure(
        history.sessions,
        history.drift.ic,
        rolling_mean=history.drift.ic_20d_mean,
        rolling_error=history.drift.ic_20d_error,
        levels=_levels(context, history),
    )


def feature_psi(context: StrategyContext, last: date) -> Figure:
    """Draw the PSI of each feature on the sessions up to one.

    The aggregate is taken from the features, as theirs are measured before a session is judged.
    """
    history = _history(context, last)
    names = history.features.names
    found = read_stability(context.database, context.strategy.name, history.sessions)
    means = [found[day].mean if day in found else np.nan for day in history.sessions.tolist()]
    return psi_figure(
        history.sessions,
        {name: history.features.psi[:, i] for i, name in enumerate(names)},
        aggregate=np.array(means, dtype=np.float64),
        levels=_levels(context, history),
    )


def prediction_distribution(context: StrategyContext, session: date) -> Figure:
    """Draw the distribution of a session's predictions."""
    found = read_signals(
        context.database, context.strategy.name, np.array([session], dtype="datetime64[D]")
    )
    return prediction_distribution_figure(np.empty(0) if found is None else found.signals)


def learner_metrics(models: tuple[RegisteredModel, ...]) -> Figure:
    """Draw the IC of trained models on each split."""
    return learner_figure(
        [m.model.label for m in models],
        {
            split: np.array([m.metrics.get(f"ic_mean_{split}", np.nan) for m in models])
            for split in SPLITS
        },
        errors={
            split: np.array([m.metrics.get(f"ic_mean_se_{split}", np.nan) for m in models])
            for split in SPLITS
        },
    )


def _history(context: StrategyContext, last: date) -> MonitoringHistory:
    calendar = context.calendar
    return load_monitoring_history(
        context.database,
        context.strategy.name,
        first=calendar.offset(last, 1 - SESSIONS_DRAWN),
        last=last,
    )


def _levels(context: StrategyContext, history: MonitoringHistory) -> Levels:
    """Return the limits in force; before any rule is, those that the strategy file gives."""
    if history.rules:
        return history.levels
    config = context.strategy.alert_config
    return Levels(config.ic_warning, config.psi_warning, config.psi_critical)
