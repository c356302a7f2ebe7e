"""Which stored alert an episode goes on with, whichever session it is now seen to begin on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import groupby
from operator import attrgetter

import psycopg
from psycopg.rows import TupleRow

from quant_mlops.alerts.outbox import UNACKNOWLEDGED, Alert, NewAlert
from quant_mlops.database import Database
from quant_mlops.database.queries import query


@dataclass(frozen=True)
class StoredEpisode:
    """Where a stored alert begins and how far it was seen to last.

    Attributes
    ----------
    is_open : bool
        Whether it has not ended, by itself or with a reason.
    superseded : bool
        Whether it ended with a reason; only an episode that opens on its very session revives it.
    """

    alert_id: int
    dedupe_key: str
    rule: str
    opened_session: date
    last_session: date
    is_open: bool
    superseded: bool


def stored_episodes(
    source: Database | psycopg.Connection[TupleRow], strategy_id: str
) -> list[StoredEpisode]:
    """Return the alerts of a strategy, by rule, those that opened first first."""
    statement, parameters = query("select_stored_episodes"), [strategy_id]
    rows = (
        source.fetch_all(statement, parameters)
        if isinstance(source, Database)
        else source.execute(statement, parameters).fetchall()
    )
    return [StoredEpisode(*row) for row in rows]


def continue_stored(
    alerts: Sequence[NewAlert],
    stored: Sequence[StoredEpisode],
    *,
    begins: Mapping[str, date],
) -> list[NewAlert]:
    """Give each episode that an alert was stored of the identity of that alert.

    An episode is the one that opened on the same session or, failing that, one that it overlaps:
    sessions that are judged out of order, or again with other numbers, move the session on which
    an episode opens, and it must not be told, or acted on, once more. An episode that is open
    reaches beyond the newest session judged, to an alert that was stored of a later one.

    Parameters
    ----------
    alerts : sequence of NewAlert
        Of one strategy, at most one of a rule for any session.
    stored : sequence of StoredEpisode
        All alerts of that strategy.
    begins : mapping of str to date
        First session of rules that others were in force before; their alerts are not continued.

    Returns
    -------
    list of NewAlert
        In the order given. Each stored alert is continued once at most.
    """
    taken = {alert.dedupe_key for alert in alerts} & {each.dedupe_key for each in stored}
    free = [
        each
        for each in stored
        if each.dedupe_key not in taken
        and not each.superseded
        and each.opened_session >= begins.get(each.rule, date.min)
    ]
    by_rule = {rule: list(each) for rule, each in groupby(free, attrgetter("rule"))}
    continued = {}
    for alert in sorted(alerts, key=attrgetter("opened_session")):
        if alert.dedupe_key in taken:
            continue
        candidates = by_rule.get(alert.rule, [])
        found = next((each for each in candidates if _overlap(alert, each)), None)
        if found is not None:
            candidates.remove(found)
            continued[alert.dedupe_key] = found.dedupe_key
    return [
        replace(alert, dedupe_key=continued.get(alert.dedupe_key, alert.dedupe_key))
        for alert in alerts
    ]


def close_superseded(
    connection: psycopg.Connection[TupleRow],
    alerts: Sequence[NewAlert],
    stored: Sequence[StoredEpisode],
    *,
    new: Sequence[Alert],
    rules: Collection[str],
    begins: Mapping[str, date],
    last: date,
) -> None:
    """End the open alerts that no episode goes on with.

    Two alerts may turn out to be of one episode once the sessions between them are judged, and a
    session that is judged again may not meet a rule any more. An alert that was last seen after
    `last` is left alone. Nothing that one has done is undone: its retraining request stays, and a
    position is restored by a person only.

    Parameters
    ----------
    alerts : sequence of NewAlert
        All episodes up to `last`, as `continue_stored` returns them, stored by now.
    stored : sequence of StoredEpisode
        The alerts of the strategy before they were.
    new : sequence of Alert
        Those that were added to them.
    rules : collection of str
        Rules that were judged; the alerts of others are left alone.
    """
    numbers = {each.dedupe_key: each.alert_id for each in stored}
    numbers |= {alert.dedupe_key: alert.alert_id for alert in new}
    living = {alert.dedupe_key for alert in alerts}
    orphans = [
        each
        for each in stored
        if each.is_open
        and each.dedupe_key not in living
        and each.rule in rules
        and each.opened_session >= begins.get(each.rule, date.min)
        and each.last_session <= last
    ]
    for orphan in orphans:
        whole = next((a for a in alerts if a.rule == orphan.rule and _overlap(a, orphan)), None)
        reason = (
            "by the metrics as they stand, its condition was not met"
            if whole is None
            else f"by the metrics as they stand, it is part of the episode of alert "
            f"{numbers[whole.dedupe_key]}"
        )
        connection.execute(
            query("close_superseded_alert"),
            {
                "alert_id": orphan.alert_id,
                "last": last,
                "reason": reason,
                "unacknowledged": UNACKNOWLEDGED,
            },
        )


def _overlap(alert: NewAlert, stored: StoredEpisode) -> bool:
    """Tell whether an episode and an alert have a session in common on which the rule held."""
    until = date.max if alert.closed_session is None else alert.last_session
    return alert.opened_session <= stored.last_session and stored.opened_session <= until
