"""Delivering the outbox: every alert to every channel at least once, each attempt a row."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from psycopg.rows import class_row

from quant_mlops.alerts.channels import LOG, Channel
from quant_mlops.alerts.outbox import SEVERITIES, Alert
from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import ChannelError, MonitoringError

logger = logging.getLogger("quant_mlops.alerts.delivery")

FIRST_DELAY = timedelta(seconds=30)
LONGEST_DELAY = timedelta(hours=1)
# A dead server costs a timeout per alert, and the other channels wait meanwhile.
FAILURES_IN_A_ROW = 3


@dataclass(frozen=True)
class DeliveryReport:
    """What one run did, counted in pairs of alert and channel.

    Attributes
    ----------
    delivered, failed : int
        Attempts of this run by outcome.
    waiting : int
        Pairs left for a later run: their backoff is not over, the limit was reached, the
        channel was given a rest, or another process has them in hand.
    """

    delivered: int
    failed: int
    waiting: int


@dataclass(frozen=True)
class _Pending:
    alert_id: int
    attempts: int
    last_attempt: datetime | None
    asked_at: datetime

    @property
    def is_due(self) -> bool:
        if self.last_attempt is None:
            return True
        return self.asked_at >= self.last_attempt + backoff(self.attempts)


def backoff(attempts: int) -> timedelta:
    """Return how long a pair rests after so many failed attempts: 30 s, doubled up to 1 h."""
    return min(FIRST_DELAY * (1 << min(max(attempts, 1) - 1, 16)), LONGEST_DELAY)


def deliver_pending(
    database: Database,
    channels: Sequence[Channel],
    *,
    now: datetime | None = None,
    limit: int = 100,
    min_severity: str = "info",
    quiet_before: date | None = None,
) -> DeliveryReport:
    """Send what has not been delivered yet and is due.

    An attempt is a row of `alert_deliveries`, written after the channel has answered: a process
    that dies in between leaves the alert to be sent again. While one process sends, others pass
    over that pair of alert and channel.

    Parameters
    ----------
    channels : sequence of Channel
        Each is served by itself, in order; after three failures in a row one is left alone
        until the next run.
    now : datetime, optional
        Aware; the time that backoff is reckoned at and attempts are stamped with. None means
        the database's clock.
    limit : int
        Attempts per channel in this run.
    min_severity : str
        Milder alerts go to the log only.
    quiet_before : date, optional
        Alerts of episodes that opened earlier go to the log only, so that filling in years of
        history pages nobody. Nothing is remembered of it: a later run without it sends them.

    Raises
    ------
    MonitoringError
        Two channels have one name, `min_severity` is unknown, or `now` is naive.
    psycopg.Error, ServerUnavailableError
        The database is lost. A channel's failure is counted and never raised.
    """
    _check(channels, now, min_severity)
    outcomes: Counter[str] = Counter()
    for channel in channels:
        everything = channel.name == LOG
        pending = database.fetch_rows(
            _Pending,
            query("select_pending_deliveries"),
            {
                "channel": channel.name,
                "now": now,
                "severities": list(SEVERITIES if everything else _from(min_severity)),
                "quiet_before": None if everything else quiet_before,
            },
        )
        tried = _deliver_by(
            database, channel, [pair for pair in pending if pair.is_due][:limit], now=now
        )
        outcomes += tried
        outcomes["waiting"] += len(pending) - tried.total()
    return DeliveryReport(outcomes["delivered"], outcomes["failed"], outcomes["waiting"])


def _deliver_by(
    database: Database, channel: Channel, due: Sequence[_Pending], *, now: datetime | None
) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    in_a_row = 0
    for pair in due:
        delivered = _attempt(database, channel, pair, now=now)
        if delivered is None:
            continue
        outcomes["delivered" if delivered else "failed"] += 1
        in_a_row = 0 if delivered else in_a_row + 1
        if in_a_row == FAILURES_IN_A_ROW:
            break
    return outcomes


def _attempt(
    database: Database, channel: Channel, pair: _Pending, *, now: datetime | None
) -> bool | None:
    """Send one alert and record how it went; None if somebody else sends or has sent it."""
    key = {"alert_id": pair.alert_id, "channel": channel.name}
    with (
        database.transaction() as connection,
        connection.cursor(row_factory=class_row(Alert)) as cursor,
    ):
        locked = connection.execute(
            "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))",
            [f"quant_mlops delivery {pair.alert_id} {channel.name}"],
        ).fetchone()
        if locked != (True,):
            return None
        # A statement of its own: the one that takes the lock sees the table as it was before.
        parameters = key | {"attempts": pair.attempts}
        alert = cursor.execute(query("select_untried_alert"), parameters).fetchone()
        if alert is None:
            return None
        problem = _send(channel, alert)
        outcome = {"delivered": problem is None, "detail": problem or "", "now": now}
        connection.execute(
            query("insert_alert_delivery"), key | outcome | {"attempt": pair.attempts + 1}
        )
    if problem is not None:
        logger.warning(
            "alert %d was not delivered by %s (attempt %d): %s",
            pair.alert_id, channel.name, pair.attempts + 1, problem,
        )  # fmt: skip
    return problem is None


def _send(channel: Channel, alert: Alert) -> str | None:
    try:
        channel.send(alert)
    except ChannelError as error:
        return str(error)
    except Exception as error:
        # Its text is not shown: nobody vouches for what a channel of somebody else's says.
        return f"the channel failed with {type(error).__name__}"
    return None


def _from(severity: str) -> tuple[str, ...]:
    return SEVERITIES[SEVERITIES.index(severity) :]


def _check(channels: Sequence[Channel], now: datetime | None, min_severity: str) -> None:
    names = [channel.name for channel in channels]
    if len(set(names)) < len(names):
        raise MonitoringError(
            f"channels are named {', '.join(names)}; deliveries are filed by name, so give each "
            f"its own"
        )
    if min_severity not in SEVERITIES:
        raise MonitoringError(
            f"{min_severity!r} is not a severity; it is one of {', '.join(SEVERITIES)}"
        )
    if now is not None and now.tzinfo is None:
        raise MonitoringError(f"{now} has no time zone; give an aware datetime")
