"""Since when each rule has been in force: a change of the settings leaves past sessions alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from quant_mlops.alerts.outbox import UNACKNOWLEDGED
from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.drift.rules import Mode, Rule
from quant_mlops.errors import MonitoringError
from quant_mlops.market.calendar import TradingCalendar

CONDITION = (
    "metric", "comparison", "sessions", "severity", "action", "clear_after", "cooldown_sessions",
    "mode",
)  # fmt: skip


@dataclass(frozen=True)
class RuleInForce:
    """A rule and the sessions on which it may open alerts.

    Attributes
    ----------
    rule : Rule
    first_session : date
    from_the_start : bool
        Whether no other was in force before it: then sessions before the first count as well,
        such as those of a history that was filled in later.
    replaces : str or None
        The condition that was in force until now, where that is another one.
    """

    rule: Rule
    first_session: date
    from_the_start: bool
    replaces: str | None = None


def definition(rule: Rule) -> str:
    """Return all that decides when a rule opens and closes an alert, as JSON text."""
    fields: dict[str, Any] = {name: getattr(rule, name) for name in CONDITION}
    fields["threshold"] = float(rule.threshold)
    fields["cusum_reference"] = rule.cusum_reference
    gated = rule.mode == "gated" and rule.gate is not None
    fields["gate"] = asdict(rule.gate) if gated and rule.gate is not None else None
    return json.dumps(fields, sort_keys=True)


def plan_rules(
    database: Database,
    calendar: TradingCalendar,
    *,
    strategy_id: str,
    rules: Sequence[Rule],
    first: date,
    last: date,
) -> list[RuleInForce]:
    """Return the rules that sessions up to `last` are to be judged by, without storing anything.

    A rule whose definition is not the one in force is in force from the session after the newest
    that the other was applied to. Where `last` is no such session, it is left out: sessions of
    the past stay as they were judged.

    Parameters
    ----------
    first : date
        First session that was ever judged, from which the first rules are in force.
    """
    stored = _stored(database, strategy_id)
    planned = []
    for rule in rules:
        known = stored.get(rule.name)
        if known is not None and known[3] == definition(rule):
            planned.append(RuleInForce(rule, known[0], from_the_start=known[4]))
        elif not stored:
            planned.append(RuleInForce(rule, first, from_the_start=True))
        else:
            # A rule that is new among others has no past to act on either.
            until = known[1] if known is not None else max(row[1] for row in stored.values())
            if last > until:
                replaced = None if known is None else known[2]
                planned.append(RuleInForce(rule, calendar.next(until), False, replaced))
    return planned


def put_in_force(
    connection: psycopg.Connection[TupleRow],
    planned: Sequence[RuleInForce],
    *,
    strategy_id: str,
    last: date,
) -> set[str]:
    """Store which rules sessions up to `last` were judged by, and end the alerts of replaced ones.

    The caller holds the strategy's lock until its transaction ends.

    Returns
    -------
    set of str
        Rules of which an alert was open until they were replaced.

    Raises
    ------
    MonitoringError
        Another run has put other rules in force since they were planned.
    """
    for each in planned:
        row = {
            "strategy_id": strategy_id,
            "rule": each.rule.name,
            "first_session": each.first_session,
            "judged_until": max(last, each.first_session),
            "mode": each.rule.mode,
            "condition": each.rule.describe(),
            "definition": definition(each.rule),
        }
        connection.execute(query("insert_rule_in_force"), row)
        connection.execute(query("update_rule_judged_until"), row)
    stored = _stored(connection, strategy_id)
    for each in planned:
        found = stored[each.rule.name]
        if (found[0], found[3]) != (each.first_session, definition(each.rule)):
            raise MonitoringError(
                f"another run judged {strategy_id!r} by {each.rule.name}: {found[2]} from "
                f"{found[0]} on while this one had {each.rule.describe()}; let both read the same "
                f"settings and run again"
            )
    return {
        each.rule.name
        for each in planned
        if each.replaces is not None and _close(connection, each, strategy_id)
    }


def mode_in_force_since(database: Database, strategy_id: str, mode: Mode) -> date | None:
    """Return the first session judged in a mode that is in force; None where it is not yet."""
    since = [
        first
        for first, _, _, text, _ in _stored(database, strategy_id).values()
        if json.loads(text)["mode"] == mode
    ]
    return min(since, default=None)


def _close(connection: psycopg.Connection[TupleRow], each: RuleInForce, strategy_id: str) -> bool:
    row = {
        "strategy_id": strategy_id,
        "rule": each.rule.name,
        "first_session": each.first_session,
        "unacknowledged": UNACKNOWLEDGED,
        "reason": f"the rule was {each.replaces} until the session before {each.first_session}; "
        f"from then on it is {each.rule.describe()} ({each.rule.mode})",
    }
    return bool(connection.execute(query("close_replaced_alerts"), row).fetchall())


Stored = tuple[date, date, str, str, bool]


def _stored(source: Database | psycopg.Connection[TupleRow], strategy_id: str) -> dict[str, Stored]:
    """Return first session, newest session judged, condition and definition of each rule."""
    statement, parameters = query("select_rules_in_force"), [strategy_id]
    rows: list[Any] = (
        source.fetch_all(statement, parameters)
        if isinstance(source, Database)
        else source.execute(statement, parameters).fetchall()
    )
    return {rule: values for rule, *rest in rows for values in [tuple(rest)]}
