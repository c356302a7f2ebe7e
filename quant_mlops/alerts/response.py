"""From judged sessions to alerts, and from new alerts to what they do to the strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from quant_mlops.alerts.evidence import gather_evidence
from quant_mlops.alerts.onset import UNCORRELATED, OnsetSettings, onset_evidence
from quant_mlops.alerts.outbox import Alert, NewAlert, record_alerts
from quant_mlops.alerts.retraining import request_retrain
from quant_mlops.alerts.states import apply_scale, pause
from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.drift.episodes import Episode, find_episodes
from quant_mlops.drift.rules import AlertConfig, Rule
from quant_mlops.drift.watching import watch
from quant_mlops.errors import MonitoringError
from quant_mlops.market.calendar import TradingCalendar

REDUCED_SCALE = 0.5
NO_DATA = Rule("no_data", "ic", "above", 0.5, 1, "warning", "check_data", clear_after=1)
MONITOR = "drift monitor"
METRICS = (
    "ic", "psi", "sharpe_5d", "ic_names", "ic_20d_mean", "ic_20d_se", "sharpe_60d", "sharpe_60d_se",
)  # fmt: skip


@dataclass(frozen=True)
class MonitoredHistory:
    """Metrics of consecutive sessions, from the first ever judged to the newest asked for.

    Attributes
    ----------
    sessions : ndarray of datetime64[D], shape (S,)
    metrics : dict of str to ndarray, shape (S,)
        By column of `drift_metrics`; NaN where there is no value. With them `psi_no_drift_95`,
        the mean over the features, and `psi_rows`, the fewest rows of a feature.
    no_data : ndarray of float64, shape (S,)
        1 where data that should have been there were not, else 0; a session that was never
        judged counts as 1.
    model_ids : list of UUID or None
    """

    sessions: npt.NDArray[np.datetime64]
    metrics: dict[str, npt.NDArray[np.float64]]
    no_data: npt.NDArray[np.float64]
    model_ids: list[UUID | None]

    @property
    def restarts(self) -> list[int]:
        """Sessions from which another model is live than on the last that had one."""
        found, live = [], None
        for position, model_id in enumerate(self.model_ids):
            if model_id is not None:
                if live not in (None, model_id):
                    found.append(position)
                live = model_id
        return found


@dataclass(frozen=True)
class Response:
    """Alerts that are new, and the retraining requests they led to."""

    alerts: tuple[Alert, ...]
    open_requests: int


def respond(
    database: Database,
    calendar: TradingCalendar,
    *,
    strategy_id: str,
    config: AlertConfig,
    last: date,
    evaluation_lag: timedelta,
    cooldown_sessions: int,
    onset: OnsetSettings = UNCORRELATED,
    rules: Sequence[Rule] | None = None,
) -> Response:
    """Bring the alerts of a strategy up to the session `last` and act on those that are new.

    The episodes are found anew in the stored metrics, so that a run after a crash, or a second
    run, opens nothing twice. An alert and what it does are stored in one transaction.

    Parameters
    ----------
    database : Database
    calendar : TradingCalendar
    strategy_id : str
    config : AlertConfig
    last : date
        Newest session to look at; later ones do not exist for this call.
    evaluation_lag : timedelta
        After the close of a session, when its alerts take effect.
    cooldown_sessions : int
        Sessions after a retraining during which no other is requested.
    onset : OnsetSettings
        How far the metrics reach back; with the defaults, which say that they do not, the onset of
        overlapping labels is dated too sharply and that of a pooled PSI often not at all.
    rules : sequence of Rule, optional
        Those of `config` by default. Calibrated ones must be given, and must be the same on every
        call: with other limits past sessions would open other episodes.

    Raises
    ------
    MonitoringError
        The rules are to be calibrated and were not given.
    """
    if rules is None and config.mode == "calibrated":
        raise MonitoringError(
            f"the rules of {strategy_id!r} are to be calibrated and none were given; give those "
            f"of calibrate_rules, or a config whose mode is as_written or gated"
        )
    history = read_history(database, calendar, strategy_id=strategy_id, last=last)
    if history is None:
        return Response((), 0)
    episodes = _episodes(history, config.rules() if rules is None else rules)
    # Evidence is read before the transaction, so that no connection is held while another is
    # asked for; whether an alert is new is decided inside.
    known = _known_keys(database, strategy_id)
    offered = [
        _alert(database, strategy_id, episode, history, known=known, onset=onset)
        for episode in episodes
    ]
    opened = 0
    with database.transaction() as connection:
        stored = record_alerts(connection, offered)
        for alert in stored:
            effective = calendar.close_time(alert.opened_session) + evaluation_lag
            if alert.action == "pause_strategy":
                pause(
                    connection, strategy_id=strategy_id, alert_id=alert.alert_id,
                    effective_from=effective, reason=alert.message,
                )  # fmt: skip
            elif alert.action in ("reduce_position", "reduce_and_prepare_retrain"):
                apply_scale(
                    connection, strategy_id=strategy_id, factor=REDUCED_SCALE,
                    alert_id=alert.alert_id, effective_from=effective, reason=alert.message,
                )  # fmt: skip
            if alert.action in ("request_retrain", "reduce_and_prepare_retrain"):
                request = request_retrain(
                    connection, strategy_id=strategy_id, session=alert.opened_session,
                    alert_id=alert.alert_id, requested_by=f"{MONITOR}: {alert.rule}",
                    may_promote=alert.action == "request_retrain",
                    cooldown_start=calendar.previous(alert.opened_session, cooldown_sessions)
                    if cooldown_sessions
                    else None,
                )  # fmt: skip
                opened += request.status == "open"
    return Response(tuple(stored), opened)


def read_history(
    database: Database, calendar: TradingCalendar, *, strategy_id: str, last: date
) -> MonitoredHistory | None:
    """Read the metrics of every session up to `last`; None if none was ever judged."""
    rows = database.fetch_all(query("select_rule_metrics"), [strategy_id, last])
    if not rows:
        return None
    sessions = calendar.sessions(rows[0][0], last)
    place = {session.item(): i for i, session in enumerate(sessions)}
    noise = ("psi_no_drift_95", "psi_rows")
    metrics = {name: np.full(len(sessions), np.nan) for name in (*METRICS, *noise)}
    no_data = np.ones(len(sessions))
    models: list[UUID | None] = [None] * len(sessions)
    for day, model_id, missing, *values in rows:
        at = place[day]
        models[at], no_data[at] = model_id, float(missing)
        for name, value in zip(METRICS, values, strict=True):
            metrics[name][at] = np.nan if value is None else value
    for day, *values in database.fetch_all(
        query("select_psi_noise"), [strategy_id, rows[0][0], last]
    ):
        for name, value in zip(noise, values, strict=True):
            metrics[name][place[day]] = np.nan if value is None else value
    return MonitoredHistory(sessions, metrics, no_data, models)


def _episodes(history: MonitoredHistory, rules: Sequence[Rule]) -> list[Episode]:
    found = [
        episode
        for rule in rules
        for episode in find_episodes(rule, *watch(rule, history.metrics, restarts=history.restarts))
    ]
    found += find_episodes(NO_DATA, history.no_data)
    return sorted(found, key=lambda episode: (episode.opened, episode.rule.name))


def _known_keys(database: Database, strategy_id: str) -> set[str]:
    rows = database.fetch_all("SELECT dedupe_key FROM alerts WHERE strategy_id = %s", [strategy_id])
    return {key for (key,) in rows}


def _alert(
    database: Database,
    strategy_id: str,
    episode: Episode,
    history: MonitoredHistory,
    *,
    known: set[str],
    onset: OnsetSettings,
) -> NewAlert:
    rule = episode.rule
    day = history.sessions.tolist()
    key = f"{strategy_id}/{rule.name}/{day[episode.opened]}"
    evidence: dict[str, Any] = {}
    if key not in known:
        evidence = gather_evidence(
            database,
            strategy_id=strategy_id,
            rule=rule,
            sessions=day[episode.began : episode.opened + 1],
            values=_values(history, rule)[episode.began : episode.opened + 1].tolist(),
            without_value=[day[i] for i in episode.without_value],
        )
        if rule is not NO_DATA:
            until = episode.opened + 1
            evidence |= onset_evidence(
                database,
                strategy_id=strategy_id,
                rule=rule,
                sessions=history.sessions[:until],
                values=_values(history, rule)[:until],
                model_ids=history.model_ids[:until],
                settings=onset,
            )
        if rule.mode != "as_written":
            evidence |= _mode_evidence(rule)
    return NewAlert(
        dedupe_key=key,
        strategy_id=strategy_id,
        rule=rule.name,
        severity=rule.severity,
        action=rule.action,
        message=_message(strategy_id, rule, history, episode),
        opened_session=day[episode.opened],
        last_session=day[episode.last],
        closed_session=None if episode.closed is None else day[episode.closed],
        evidence=evidence,
        model_id=history.model_ids[episode.opened],
    )


def _values(history: MonitoredHistory, rule: Rule) -> npt.NDArray[np.float64]:
    if rule is NO_DATA:
        return history.no_data
    return watch(rule, history.metrics, restarts=history.restarts)[0]


def _mode_evidence(rule: Rule) -> dict[str, Any]:
    """Return where the limit of a rule comes from that is not the one written down."""
    found: dict[str, Any] = {"mode": rule.mode}
    if rule.calibration is not None:
        origin = asdict(rule.calibration)
        origin |= {end: origin[end].isoformat() for end in ("first", "last")}
        found["calibration"] = origin | {"cusum_reference": rule.cusum_reference}
    return found


def _message(strategy_id: str, rule: Rule, history: MonitoredHistory, episode: Episode) -> str:
    session = history.sessions[episode.opened]
    if rule is NO_DATA:
        return (
            f"{strategy_id}: prices, predictions, returns or metrics that {session} should have "
            f"are missing"
        )
    value = _values(history, rule)[episode.opened]
    return f"{strategy_id}: {rule.describe()}, {value:.4g} on {session}"
