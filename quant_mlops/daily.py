"""The job of a day: judge a session, act on what it says, and decide whether to trade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime

import numpy as np

from quant_mlops.alerts.diagnostics import Diagnostics
from quant_mlops.alerts.onset import OnsetSettings
from quant_mlops.alerts.outbox import Alert, list_alerts
from quant_mlops.alerts.response import respond
from quant_mlops.alerts.states import PAUSED, StrategyState, current_state
from quant_mlops.daily_report import DailyReport, ModelStatus
from quant_mlops.database.queries import query
from quant_mlops.drift.feature_drift import write_feature_drift
from quant_mlops.drift.missing_data import describe_missing
from quant_mlops.drift.monitor import DriftMetrics, DriftMonitor
from quant_mlops.drift.rules import Rule
from quant_mlops.errors import MonitoringError, QuantMlopsError
from quant_mlops.features.catalog import resolve_versions
from quant_mlops.features.definition import FeatureDefinition
from quant_mlops.features.health import FeatureHealth, feature_health
from quant_mlops.features.store import FeatureStore
from quant_mlops.registry import ModelRegistry
from quant_mlops.registry.reproduction import last_reproduction
from quant_mlops.registry.training_runs import trained_until
from quant_mlops.training.snapshot_files import Snapshot, find_snapshot
from quant_mlops.wording import counted, short_time

TRADE, REDUCED, STOPPED, CHECK = "trade", "trade reduced", "paused", "check data"
MAY_TRADE = (TRADE, REDUCED)
TOO_MANY_MISSING = 0.5


def daily_mlops_job(
    feature_store: FeatureStore,
    model_registry: ModelRegistry,
    drift_monitor: DriftMonitor,
    strategy_id: str,
    date: date | None = None,
    *,
    max_feature_age: int | Mapping[str, int] = 0,
    cooldown_sessions: int = 20,
    rules: Sequence[Rule] | None = None,
    definitions: Sequence[FeatureDefinition] = (),
) -> DailyReport:
    """Judge a session, act on the rules that are met, and say whether to trade.

    Nothing that became known after the session's evaluation counts. Run again, it stores nothing
    twice and says the same. Feature drift is measured here only if no earlier step has done so.

    Parameters
    ----------
    feature_store : FeatureStore
    model_registry : ModelRegistry
    drift_monitor : DriftMonitor
        That of the strategy.
    strategy_id : str
    date : date, optional
        Session to judge; by default the newest that can be judged, on a Monday morning Friday.
    max_feature_age : int or mapping of str to int
        Sessions that features may lag behind beyond their declared availability: all of them, or
        those that do not come every session by name. Set to a year, a feed that died passes for
        healthy.
    cooldown_sessions : int
        Sessions after a retraining during which no other is requested.
    rules : sequence of Rule, optional
        Those of the monitor's config by default; calibrated ones must be given.
    definitions : sequence of FeatureDefinition
        Those of the strategy's features. Without them, alerts say that parity was not checked.

    Raises
    ------
    MonitoringError
        The monitor is another strategy's, the session cannot be judged yet, or the rules are to
        be calibrated and were not given.
    NotASessionError
        The exchange was closed on that day.
    """
    database, calendar = drift_monitor.database, drift_monitor.calendar
    if strategy_id != drift_monitor.strategy_id:
        raise MonitoringError(
            f"the job is about {strategy_id!r} and the monitor about "
            f"{drift_monitor.strategy_id!r}; give the monitor of the strategy"
        )
    now = database.now()
    session = date or calendar.session_of(now - drift_monitor.evaluation_lag)
    judged_at = drift_monitor.evaluation_time(session)
    if judged_at > now:
        raise MonitoringError(
            f"{session} can be judged from {short_time(judged_at)} on; give an earlier "
            f"session, or none for the newest that can be judged"
        )
    problems = _measure_drift(feature_store, model_registry, drift_monitor, session)
    metrics = drift_monitor.run_daily(session)
    model = _model_status(model_registry, strategy_id, judged_at)
    features = _features_of(model_registry, _training_set(model_registry, model))
    respond(
        database,
        calendar,
        strategy_id=strategy_id,
        config=drift_monitor.config,
        last=session,
        evaluation_lag=drift_monitor.evaluation_lag,
        cooldown_sessions=cooldown_sessions,
        onset=OnsetSettings(drift_monitor.horizon, drift_monitor.psi_window),
        rules=rules,
        diagnostics=Diagnostics(
            features,
            definitions,
            drift_monitor.horizon,
            drift_monitor.tickers,
            _by_feature(max_feature_age, features),
        ),
    )
    return report_session(
        model_registry,
        drift_monitor,
        metrics,
        problems=problems,
        max_feature_age=max_feature_age,
    )


def report_session(
    model_registry: ModelRegistry,
    drift_monitor: DriftMonitor,
    metrics: DriftMetrics,
    *,
    problems: Sequence[str] = (),
    max_feature_age: int | Mapping[str, int] = 0,
) -> DailyReport:
    """Say what a session that was judged means for the strategy, without acting on it.

    Parameters
    ----------
    model_registry : ModelRegistry
    drift_monitor : DriftMonitor
    metrics : DriftMetrics
        Of the session, after its alerts were raised.
    problems : sequence of str
        Found on the way, such as a step that failed; those of the session follow them.
    max_feature_age : int or mapping of str to int
        Sessions that features may lag behind beyond their declared availability.
    """
    database, strategy_id, session = drift_monitor.database, metrics.strategy_id, metrics.date
    judged_at = metrics.evaluation_time
    model = _model_status(model_registry, strategy_id, judged_at)
    trained_on = _training_set(model_registry, model)
    features = _features_of(model_registry, trained_on)
    health = feature_health(
        database,
        drift_monitor.calendar,
        features,
        session=session,
        as_of=judged_at,
        entities=drift_monitor.tickers,
        paces=_by_feature(max_feature_age, features),
        max_ages=None if trained_on is None else trained_on.max_ages,
        numbers_only=trained_on is not None,
    )
    alerts = [
        alert
        for alert in list_alerts(database, strategy_id=strategy_id, limit=None)
        if alert.opened_session <= session
        and (alert.closed_session is None or alert.closed_session > session)
    ]
    state = current_state(database, strategy_id, at=judged_at)
    found = [*problems, *_problems(model, health, metrics)]
    decision, sentence = _decide(state, found, alerts)
    return DailyReport(
        strategy_id=strategy_id,
        date=session,
        evaluation_time=judged_at,
        model=model,
        features=health,
        metrics=metrics,
        rules_met=tuple(alert for alert in alerts if alert.last_session >= session),
        new_alerts=tuple(alert for alert in alerts if alert.opened_session == session),
        open_alerts=tuple(alert for alert in alerts if alert.opened_session < session),
        state=state,
        problems=tuple(found),
        decision=decision,
        sentence=sentence,
    )


def _model_status(registry: ModelRegistry, strategy_id: str, at: datetime) -> ModelStatus | None:
    live = registry.live_model(strategy_id, at=at)
    if live is None:
        return None
    model = registry.get_model_by_id(live.model_id)
    reproduction = last_reproduction(registry, model)
    return ModelStatus(
        model_id=model.model_id,
        label=model.label,
        live_since=live.live_from,
        trained_until=trained_until(registry.database, model.model_id),
        reproduced=None if reproduction is None else reproduction.identical,
        reproduced_at=None if reproduction is None else reproduction.recorded_at,
    )


def _training_set(registry: ModelRegistry, model: ModelStatus | None) -> Snapshot | None:
    """Return what the live model was trained on, if that is known."""
    if model is None:
        return None
    snapshot_id = registry.get_model_by_id(model.model_id).snapshot_id
    return None if snapshot_id is None else find_snapshot(registry.database, snapshot_id)


def _features_of(registry: ModelRegistry, trained_on: Snapshot | None) -> dict[str, int]:
    """Return the live model's features, or the newest version of every feature without one."""
    if trained_on is not None:
        return trained_on.feature_versions
    return resolve_versions(registry.database, None)


def _by_feature(max_age: int | Mapping[str, int], features: Mapping[str, int]) -> Mapping[str, int]:
    """Return an age as one of each feature, if it is that of all."""
    return dict.fromkeys(features, max_age) if isinstance(max_age, int) else max_age


def _measure_drift(
    store: FeatureStore, registry: ModelRegistry, monitor: DriftMonitor, session: date
) -> list[str]:
    """Measure the drift of a session that has none stored, and return why that failed."""
    parameters = [monitor.strategy_id, session]
    if monitor.database.fetch_one(query("select_drift_measured"), parameters) is not None:
        return []
    try:
        write_feature_drift(
            store,
            registry,
            monitor.calendar,
            strategy_id=monitor.strategy_id,
            sessions=np.array([session], dtype="datetime64[D]"),
            window=monitor.psi_window,
            evaluation_lag=monitor.evaluation_lag,
            universe=monitor.universe,
        )
    except QuantMlopsError as error:
        # A model that cannot be measured must not hide what the other numbers say.
        return [f"feature drift was not measured: {error}"]
    return []


def _problems(
    model: ModelStatus | None,
    health: tuple[FeatureHealth, ...],
    metrics: DriftMetrics,
) -> list[str]:
    problems = []
    if model is None:
        problems.append("no model is live; promote one")
    elif model.reproduced is False:
        problems.append(f"{model.label} was not reproduced identically")
    if metrics.no_data:
        problems.append(describe_missing(metrics.missing, metrics.date))
    for feature in health:
        if feature.newest_event is None:
            problems.append(f"no value of {feature.feature_name} is known")
        elif feature.is_stale():
            age = counted(feature.sessions_old or 0, "session")
            problems.append(f"{feature.feature_name} is {age} old")
        elif feature.missing_rate > TOO_MANY_MISSING:
            problems.append(
                f"{feature.feature_name} is missing for {feature.missing_rate:.0%} of "
                f"{feature.entities} entities"
            )
    return problems


def _decide(state: StrategyState, problems: list[str], alerts: list[Alert]) -> tuple[str, str]:
    """Return the decision: a pause outranks bad data, and bad data a reduced position."""
    reason = state.reason or ""
    if state.status == PAUSED:
        return STOPPED, f"Do not trade until a person resumes the strategy: {reason}."
    if problems:
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        return CHECK, f"Check the data before trading: {problems[0]}{more}."
    if state.position_scale < 1:
        return REDUCED, f"Trade at {state.position_scale:.0%} of the position: {reason}."
    if alerts:
        are = "is open and does not limit" if len(alerts) == 1 else "are open and none limits"
        return TRADE, f"Trade; {counted(len(alerts), 'alert')} {are} the position."
    return TRADE, "Trade; nothing is out of order."
