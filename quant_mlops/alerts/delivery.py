"""Delivering the outbox: every alert to every channel at least once, each attempt a row."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from random import Random
from uuid import uuid4

import psycopg
from psycopg.rows import TupleRow, class_row

from quant_mlops.alerts.channels import LOG, Channel, DigestChannel
from quant_mlops.alerts.messages import summarise
from quant_mlops.alerts.outbox import SEVERITIES, Alert
from quant_mlops.alerts.pace import MOST_ATTEMPTS, RateLimit, rest
from quant_mlops.alerts.waiting import Wait, backing_off, left_due, merge
from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import ChannelError, ChannelTimeoutError, MonitoringError

logger = logging.getLogger("quant_mlops.alerts.delivery")

# A channel that is down is left alone: each further attempt would use up one of an alert's.
FAILURES_IN_A_ROW = 3


@dataclass(frozen=True)
class DeliveryReport:
    """What one run did, counted in pairs of alert and channel.

    Attributes
    ----------
    delivered, failed : int
        Attempts of this run by outcome; each alert of a digest counts.
    waiting : int
        Pairs left for a later run: their backoff is not over, the limit was reached, the
        channel was given a rest or has just sent a digest, or another process has them in hand.
    undeliverable : int
        Pairs that were given up in this run, whose failure was the last allowed.
    waits : tuple of Wait
        What waits now, what has just failed included: why, and until when.
    """

    delivered: int
    failed: int
    waiting: int
    undeliverable: int = 0
    waits: tuple[Wait, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class _Pending:
    alert_id: int
    severity: str
    attempts: int
    is_due: bool
    next_attempt_at: datetime | None


@dataclass(frozen=True)
class _Run:
    # What holds for every attempt of one run.
    database: Database
    now: datetime | None
    most_attempts: int
    chance: Random


def deliver_pending(
    database: Database,
    channels: Sequence[Channel],
    *,
    now: datetime | None = None,
    limit: int = 100,
    min_severity: str = "info",
    quiet_before: date | None = None,
    most_attempts: int = MOST_ATTEMPTS,
    rate_limit: RateLimit | None = None,
    seed: int | None = None,
) -> DeliveryReport:
    """Send what has not been delivered yet and is due.

    An attempt is a row of `alert_deliveries`, written after the channel has answered: a process
    that dies in between leaves the alert to be sent again. While one process sends, others pass
    over that pair of alert and channel.

    Parameters
    ----------
    channels : sequence of Channel
        Each is served by itself, in order; after three failures in a row, or one time-out, which
        the other channels had to wait for, one is left alone until the next run.
    now : datetime, optional
        Aware; the time that backoff is reckoned at and attempts are stamped with. None means
        the database's clock.
    limit : int
        Alerts tried per channel in this run.
    min_severity : str
        Milder alerts go to the log only.
    quiet_before : date, optional
        Alerts of episodes that opened earlier go to the log only, so that filling in years of
        history pages nobody. Nothing is remembered of it: a later run without it sends them.
    most_attempts : int
        Failed attempts after which a pair is given up, and the alert written to the log.
    rate_limit : RateLimit, optional
        Beyond it a channel that can gets one digest of all that is due; None sends each alert by
        itself. Two processes that deliver at once may exceed it by what the other sends.
    seed : int, optional
        Of the chance in the time of the next attempt; None means a new one.

    Raises
    ------
    MonitoringError
        Two channels have one name, `min_severity` is unknown, `most_attempts` is less than one,
        or `now` is naive.
    psycopg.Error, ServerUnavailableError
        The database is lost. A channel's failure is counted and never raised.
    """
    _check(channels, now, min_severity, most_attempts)
    run = _Run(database, now, most_attempts, Random(seed))
    outcomes: Counter[str] = Counter()
    waits: list[Wait] = []
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
        due = [pair for pair in pending if pair.is_due][:limit]
        resting = [
            pair.next_attempt_at
            for pair in pending
            if not pair.is_due and pair.next_attempt_at is not None
        ]
        in_backoff = len(resting)
        tried: Counter[str] = Counter()
        in_a_row = 0
        messages, held_until = _messages(run, channel, due, rate_limit)
        for pairs in messages:
            done, again = _attempt(run, channel, pairs)
            tried += done
            resting += again
            in_a_row = in_a_row + 1 if done["failed"] else 0 if done["delivered"] else in_a_row
            if done["timed_out"] or in_a_row == FAILURES_IN_A_ROW:
                break
        outcomes += tried
        left = len(pending) - tried["delivered"] - tried["failed"]
        outcomes["waiting"] += left
        waits += backing_off(resting) + left_due(left - in_backoff, held_until)
    return DeliveryReport(
        outcomes["delivered"],
        outcomes["failed"],
        outcomes["waiting"],
        outcomes["undeliverable"],
        merge(waits),
    )


def _messages(
    run: _Run, channel: Channel, due: Sequence[_Pending], rate_limit: RateLimit | None
) -> tuple[list[list[_Pending]], datetime | None]:
    """Return the alerts of each message: one each, all in a digest, or none until some time."""
    singly = [[pair] for pair in due]
    if rate_limit is None or channel.name == LOG or not isinstance(channel, DigestChannel):
        return singly, None
    parameters = {"channel": channel.name, "now": run.now, "window": rate_limit.window}
    sent, digest_over_at = run.database.fetch_all(query("select_channel_load"), parameters)[0]
    if sent + len(due) <= rate_limit.messages:
        return singly, None
    if digest_over_at is not None and all(pair.severity != SEVERITIES[-1] for pair in due):
        return [], digest_over_at
    return [list(due)], None


def _attempt(
    run: _Run, channel: Channel, pairs: Sequence[_Pending]
) -> tuple[Counter[str], list[datetime]]:
    """Send one message and record how it went for each alert that nobody else sends or has sent.

    Returned is also when what failed is due again, but for what was given up.
    """
    attempts = {pair.alert_id: pair.attempts for pair in pairs}
    with run.database.transaction() as connection:
        alerts = _take(connection, channel, attempts)
        if not alerts:
            return Counter(), []
        problem, timed_out = _send(channel, alerts)
        digest_id = uuid4() if len(alerts) > 1 else None
        # What was one message is tried again as one, so its alerts rest for as long.
        chance = run.chance.random()
        given_up, again = [], []
        for alert in alerts:
            attempt = attempts[alert.alert_id] + 1
            if is_last := problem is not None and attempt >= run.most_attempts:
                given_up.append(alert)
            row = {
                "alert_id": alert.alert_id, "channel": channel.name, "attempt": attempt,
                "delivered": problem is None, "detail": problem or "", "now": run.now,
                "rest": None if problem is None or is_last else rest(attempt, chance),
                "digest_id": digest_id,
            }  # fmt: skip
            stored = connection.execute(query("insert_alert_delivery"), row).fetchone()
            assert stored is not None
            again += [due for due in stored if due is not None]
    if problem is None:
        return Counter(delivered=len(alerts)), again
    numbers = ", ".join(str(alert.alert_id) for alert in alerts)
    logger.warning("alert %s was not delivered by %s: %s", numbers, channel.name, problem)
    for alert in given_up:
        logger.error(
            "alert %d is undeliverable by %s after %d attempts: %s",
            alert.alert_id, channel.name, attempts[alert.alert_id] + 1, summarise(alert),
        )  # fmt: skip
    outcome = Counter(failed=len(alerts), undeliverable=len(given_up), timed_out=timed_out)
    return outcome, again


def _take(
    connection: psycopg.Connection[TupleRow], channel: Channel, attempts: dict[int, int]
) -> list[Alert]:
    """Lock the pairs that are free until the transaction ends, and return their alerts."""
    parameters = {"alert_ids": list(attempts), "channel": channel.name}
    rows = connection.execute(query("lock_deliveries"), parameters).fetchall()
    locked = [row[0] for row in rows]
    # A statement of its own: the one that takes the locks sees the table as it was before.
    untried = {
        "alert_ids": locked,
        "attempts": [attempts[alert_id] for alert_id in locked],
        "channel": channel.name,
    }
    with connection.cursor(row_factory=class_row(Alert)) as cursor:
        return cursor.execute(query("select_untried_alerts"), untried).fetchall()


def _send(channel: Channel, alerts: Sequence[Alert]) -> tuple[str | None, bool]:
    """Send one message, and return what went wrong and whether that was a time-out."""
    try:
        if len(alerts) > 1 and isinstance(channel, DigestChannel):
            channel.send_digest(alerts)
        else:
            channel.send(alerts[0])
    except ChannelError as error:
        return str(error), isinstance(error, ChannelTimeoutError)
    except Exception as error:
        # Its text is not shown: nobody vouches for what a channel of somebody else's says.
        return f"the channel failed with {type(error).__name__}", isinstance(error, TimeoutError)
    return None, False


def _from(severity: str) -> tuple[str, ...]:
    return SEVERITIES[SEVERITIES.index(severity) :]


def _check(
    channels: Sequence[Channel], now: datetime | None, min_severity: str, most_attempts: int
) -> None:
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
    if most_attempts < 1:
        raise MonitoringError(f"{most_attempts} attempts deliver nothing; allow at least one")
    if now is not None and now.tzinfo is None:
        raise MonitoringError(f"{now} has no time zone; give an aware datetime")
