"""One round of the outbox as the settings have it: remind of what nobody saw, then deliver."""

from __future__ import annotations

from datetime import datetime, timedelta

from quant_mlops.alerts.channels import channels_from_settings
from quant_mlops.alerts.delivery import DeliveryReport, deliver_pending
from quant_mlops.alerts.escalation import escalate_unacknowledged
from quant_mlops.alerts.pace import RateLimit
from quant_mlops.database import Database
from quant_mlops.settings import Settings

NEWS_DAYS = 10


def dispatch_alerts(
    database: Database, settings: Settings, *, now: datetime | None = None
) -> DeliveryReport:
    """Escalate what has been unacknowledged for too long and deliver what is due.

    Alerts of sessions more than ten days ago, as a backfill makes them, go to the log only. Any
    number of processes may do this at once and as often as they like.

    Parameters
    ----------
    now : datetime, optional
        Aware; None means the database's clock.

    Raises
    ------
    SettingsError
        A channel is turned on but not completely described.
    psycopg.Error, ServerUnavailableError
        The database is lost. A channel's failure is counted and never raised.
    """
    channels = channels_from_settings(settings)
    quiet_before = (now or database.now()).date() - timedelta(days=NEWS_DAYS)
    if settings.alert_escalation_hours > 0:
        escalate_unacknowledged(
            database,
            after=timedelta(hours=settings.alert_escalation_hours),
            now=now,
            quiet_before=quiet_before,
        )
    return deliver_pending(
        database,
        channels,
        now=now,
        quiet_before=quiet_before,
        most_attempts=settings.alert_attempts,
        rate_limit=RateLimit(
            settings.alert_rate_messages, timedelta(minutes=settings.alert_rate_minutes)
        ),
    )
