"""`quant-mlops alerts`: the outbox, and the strategy's state."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import click

from quant_mlops.alerts.delivery_states import (
    DELIVERED,
    UNDELIVERABLE,
    DeliveryState,
    delivery_states,
    reopen_deliveries,
    undeliverable_alerts,
)
from quant_mlops.alerts.dispatch import dispatch_alerts
from quant_mlops.alerts.outbox import SEVERITIES, Alert, acknowledge, list_alerts
from quant_mlops.alerts.states import StrategyState, current_state
from quant_mlops.alerts.states import resume as resume_strategy
from quant_mlops.cli.deliveries import describe_waits
from quant_mlops.cli.output import (
    COUNT,
    emit,
    json_option,
    print_pairs,
    print_table,
    say,
)
from quant_mlops.cli.workspace import (
    SessionOrInstant,
    choose_strategy,
    chosen_strategies,
    open_strategy,
    open_workspace,
    strategy_option,
)
from quant_mlops.strategy_context import StrategyContext
from quant_mlops.wording import short_time

TIME_HELP = "wall time in New York unless it has a zone, a date being the open of a session"


@click.group(epilog="Example: quant-mlops alerts list --open")
def alerts() -> None:
    """Look at alerts, deliver and acknowledge them, and resume a strategy."""


@alerts.command("list", epilog="Example: quant-mlops alerts list --open --severity critical")
@click.option("--severity", type=click.Choice(SEVERITIES), help="Of this severity only.")
@click.option("--open", "open_only", is_flag=True, help="Of episodes that have not ended.")
@click.option("--last", type=COUNT, default=20, show_default=True, help="Newest alerts to show.")
@click.option("--strategy", "strategy_name", help="Of this strategy only.")
@json_option
def list_all(
    severity: str | None, open_only: bool, last: int, strategy_name: str | None, as_json: bool
) -> None:
    """List the newest alerts, how they were delivered, and the strategy's state.

    Where there are several strategies and none is named, those of all are listed.
    """
    with open_workspace() as (settings, access):
        names = chosen_strategies(settings, strategy_name)
        only = names[0] if len(names) == 1 else None
        found = list_alerts(
            access.database, strategy_id=only, severity=severity, open_only=open_only, limit=last
        )
        states = [current_state(access.database, name) for name in names]
        told = delivery_states(access.database, [alert.alert_id for alert in found])
        given_up = undeliverable_alerts(access.database)
    rows = [
        (f"{a.alert_id}\n{a.severity}", _episode(a),
         ("" if only else f"{a.strategy_id}: ")
         + _what(a, [state for state in told if state.alert_id == a.alert_id]))
        for a in found
    ]  # fmt: skip
    header = ("alert", "sessions", "what, and action")

    def show() -> None:
        print_table(header, rows)
        if given_up:
            click.echo(
                f"undeliverable: {', '.join(map(str, given_up))}; `quant-mlops alerts deliver "
                f"--again` tries once more"
            )
        for state in states:
            whose = "" if only else f" of {state.strategy_id}"
            click.echo(f"state{whose}: {state.words()}")

    document = {
        "alerts": found,
        "deliveries": told,
        "undeliverable": given_up,
        "state": states[0] if only else None,
        "states": states,
    }
    emit(document, as_json=as_json, show=show)


@alerts.command(epilog="Example: quant-mlops alerts deliver")
@click.option("--again", is_flag=True, help="Try what was given up once more.")
@json_option
def deliver(again: bool, as_json: bool) -> None:
    """Deliver the alerts that wait, without Dagster.

    Those of sessions more than ten days ago go to the log only, which is standard error. The exit
    status is 1 where a delivery failed in this run; what waits for its next attempt is no failure.
    """
    with open_workspace() as (settings, access):
        reopened = reopen_deliveries(access.database) if again else 0
        report = dispatch_alerts(access.database, settings)
    sentence = (
        f"{report.delivered} delivered, {report.failed} failed, {report.waiting} waiting, "
        f"{report.undeliverable} undeliverable (pairs of alert and channel)"
    )
    if report.waits:
        sentence += f"\nfor a later run: {describe_waits(report)}"
    emit(
        {"report": report, "reopened": reopened},
        as_json=as_json,
        show=lambda: click.echo(sentence),
    )
    if report.failed:
        raise click.exceptions.Exit(1)


@alerts.command(epilog="Example: quant-mlops alerts ack 12 --by ann")
@click.argument("alert_id", type=int)
@click.option("--by", required=True, help="Who has seen it.")
@json_option
def ack(alert_id: int, by: str, as_json: bool) -> None:
    """Acknowledge an alert."""
    with open_workspace() as (_, access):
        done = acknowledge(access.database, alert_id, by=by)
    sentence = (
        f"alert {alert_id} was acknowledged by {done.acknowledged_by} "
        f"at {short_time(done.acknowledged_at)}"
    )
    if done.acknowledged_by != by.strip():
        sentence += "; the first to have seen it is remembered"
    emit(done, as_json=as_json, show=lambda: say(sentence))


@alerts.command("state", epilog="Example: quant-mlops alerts state --at 2022-06-30T13:30+00:00")
@click.option("--at", type=SessionOrInstant(), help=f"In force then, {TIME_HELP}; now by default.")
@click.option("--strategy", "strategy_name", help="Of this strategy only.")
@json_option
def show_state(at: datetime | date | None, strategy_name: str | None, as_json: bool) -> None:
    """Show the strategy's state, which a trading system reads, and why it holds.

    Where there are several strategies and none is named, those of all are shown. A reduced or
    paused position lasts until `alerts resume`, whatever becomes of its alert.
    """
    with open_workspace() as (settings, access):
        states = []
        for name in chosen_strategies(settings, strategy_name):
            work = StrategyContext(access.database, settings, choose_strategy(settings, name))
            states.append(current_state(work.database, name, at=_instant(work, at)))
    if len(states) == 1:
        emit(states[0], as_json=as_json, show=lambda: _show_state(states[0]))
    else:
        emit(states, as_json=as_json, show=lambda: _show_states(states))


def _show_state(state: StrategyState) -> None:
    pairs = [
        ("strategy", state.strategy_id),
        ("state", state.words()),
        ("in force since", short_time(state.effective_from)),
        ("by", state.changed_by),
        ("reason", state.reason),
        ("alert", state.alert_id),
    ]
    print_pairs(pairs)


def _show_states(states: Sequence[StrategyState]) -> None:
    rows = []
    for state in states:
        alert = "" if state.alert_id is None else f" (alert {state.alert_id})"
        why = "" if state.changed_by is None else f"\nby {state.changed_by}{alert}: {state.reason}"
        rows.append((state.strategy_id, short_time(state.effective_from), state.words() + why))
    print_table(("strategy", "in force since", "state, and why"), rows)


@alerts.command(epilog="Example: quant-mlops alerts resume --by ann --reason 'feed repaired'")
@click.option("--by", required=True, help="Who resumes.")
@click.option("--reason", required=True, help="Why.")
@click.option(
    "--from",
    "effective_from",
    type=SessionOrInstant(),
    help=f"Active from then on, {TIME_HELP}; from now on by default.",
)
@strategy_option
@json_option
def resume(
    by: str,
    reason: str,
    effective_from: datetime | date | None,
    strategy_name: str | None,
    as_json: bool,
) -> None:
    """Make a reduced or paused strategy active again; nothing else does.

    What is open has acted and does so no more: the next episode of a rule reduces or pauses again.
    """
    with open_strategy(strategy_name) as work:
        state = resume_strategy(
            work.database,
            strategy_id=work.strategy.name,
            by=by,
            reason=reason,
            effective_from=_instant(work, effective_from),
        )
    sentence = f"{work.strategy.name} is {state.status} from {short_time(state.effective_from)} on"
    emit(state, as_json=as_json, show=lambda: say(sentence))


def _instant(work: StrategyContext, given: datetime | date | None) -> datetime | None:
    """Return the time that was given; of a session, its open on the strategy's exchange.

    Raises
    ------
    NotASessionError
        The exchange was closed on that day.
    """
    if given is None or isinstance(given, datetime):
        return given
    work.calendar.positions([given])
    return work.calendar.open_time(given)


def _episode(alert: Alert) -> str:
    if alert.closed_session is None:
        return f"{alert.opened_session}\nopen"
    return f"{alert.opened_session}\nto {alert.closed_session}"


def _what(alert: Alert, states: Sequence[DeliveryState]) -> str:
    lines = [f"{alert.message}: {alert.action}"]
    if alert.closed_reason is not None:
        lines.append(f"ended: {alert.closed_reason}")
    seen = f", seen by {alert.acknowledged_by}" if alert.acknowledged_by else ""
    return "\n".join([*lines, f"told by {_delivery(states)}{seen}"])


def _delivery(states: Sequence[DeliveryState]) -> str:
    """Return who has told an alert, and what became of the others, in few words."""
    words = [state.channel for state in states if state.state == DELIVERED]
    for state in states:
        if state.state == UNDELIVERABLE:
            words.append(f"{state.channel} gave up")
        elif state.state != DELIVERED:
            words.append(f"{state.channel} failed {state.attempts}x")
    return ", ".join(words) or "nobody yet"
