"""From judged sessions to alerts, and from new alerts to what they do to the strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from quant_mlops.alerts.continuity import close_superseded, continue_stored, stored_episodes
from quant_mlops.alerts.diagnostics import Diagnostics
from quant_mlops.alerts.episode_alerts import NO_DATA, AlertWriter, episodes_of
from quant_mlops.alerts.monitored_history import read_history
from quant_mlops.alerts.onset import UNCORRELATED, OnsetSettings
from quant_mlops.alerts.outbox import Alert, record_alerts
from quant_mlops.alerts.retraining import request_retrain
from quant_mlops.alerts.rules_in_force import plan_rules, put_in_force
from quant_mlops.alerts.states import apply_scale, pause
from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.drift.rules import AlertConfig, Rule
from quant_mlops.errors import MonitoringError
from quant_mlops.market.calendar import TradingCalendar

REDUCED_SCALE = 0.5
MONITOR = "drift monitor"


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
    diagnostics: Diagnostics | None = None,
) -> Response:
    """Bring the alerts of a strategy up to the session `last` and act on those that are new.

    The episodes are found anew in the stored metrics, so that a run after a crash, or a second
    run, opens nothing twice. An alert and what it does are stored in one transaction. Sessions may
    be judged in any order: an episode that one filled in later lengthens or joins goes on as the
    alert that was stored of it.

    Rules that differ from those in force, be it in mode or in a threshold, open alerts from the
    first session on that the others were not applied to. Then the open alerts of the others end,
    with the reason. A condition that holds on goes on as an alert of the new rule, which does not
    act once more on that session.

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
        call: other limits are other rules.
    diagnostics : Diagnostics, optional
        What to check of the features when an alert opens; nothing by default.

    Raises
    ------
    MonitoringError
        The rules are to be calibrated and were not given, or another run has just put others in
        force.
    """
    if rules is None and config.mode == "calibrated":
        raise MonitoringError(
            f"the rules of {strategy_id!r} are to be calibrated and none were given; give those "
            f"of calibrate_rules, or a config whose mode is as_written or gated"
        )
    history = read_history(database, calendar, strategy_id=strategy_id, last=last)
    if history is None:
        return Response((), 0)
    planned = plan_rules(
        database,
        calendar,
        strategy_id=strategy_id,
        rules=config.rules() if rules is None else rules,
        first=history.sessions[0].item(),
        last=last,
    )
    writer = AlertWriter(database, calendar, strategy_id, onset, diagnostics, evaluation_lag)
    begins = {each.rule.name: each.first_session for each in planned if not each.from_the_start}
    # Evidence is read before the transaction, so that no connection is held while another is
    # asked for; whether an alert is new is decided inside.
    offered = writer.alerts(episodes_of(history, planned), history, begins=begins)
    opened = 0
    with database.transaction() as connection:
        connection.execute(query("lock_alerts"), {"strategy_id": strategy_id})
        replaced = put_in_force(connection, planned, strategy_id=strategy_id, last=last)
        known = stored_episodes(connection, strategy_id)
        offered = continue_stored(offered, known, begins=begins)
        stored = record_alerts(connection, offered, judged_until=last)
        close_superseded(
            connection, offered, known, new=stored, begins=begins, last=last,
            rules={NO_DATA.name, *(each.rule.name for each in planned)},
        )  # fmt: skip
        for alert in stored:
            if alert.rule in replaced and alert.opened_session == begins[alert.rule]:
                # It goes on where the alert that it takes over from has acted already.
                continue
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
