"""`quant-mlops alerts`: the outbox, and the strategy's state."""

from __future__ import annotations

import click

from quant_mlops.alerts.outbox import SEVERITIES, acknowledge, list_alerts
from quant_mlops.alerts.states import current_state
from quant_mlops.alerts.states import resume as resume_strategy
from quant_mlops.cli.output import COUNT, emit, json_option, print_table, say
from quant_mlops.cli.workspace import open_strategy, open_workspace, strategy_option


@click.group(epilog="Example: quant-mlops alerts list --open")
def alerts() -> None:
    """Look at alerts, acknowledge them, and resume a strategy."""


@alerts.command("list", epilog="Example: quant-mlops alerts list --open --severity critical")
@click.option("--severity", type=click.Choice(SEVERITIES), help="Of this severity only.")
@click.option("--open", "open_only", is_flag=True, help="Of episodes that have not ended.")
@click.option("--last", type=COUNT, default=20, show_default=True, help="Newest alerts to show.")
@strategy_option
@json_option
def list_all(
    severity: str | None, open_only: bool, last: int, strategy_name: str | None, as_json: bool
) -> None:
    """List the newest alerts and the strategy's state."""
    with open_strategy(strategy_name) as work:
        found = list_alerts(
            work.database, strategy_id=work.strategy.name, severity=severity,
            open_only=open_only, limit=last,
        )  # fmt: skip
        state = current_state(work.database, work.strategy.name)
    rows = [
        (a.alert_id, a.opened_session, a.closed_session, a.severity, a.action, a.message,
         a.acknowledged_by)
        for a in found
    ]  # fmt: skip
    header = ("alert", "opened", "closed", "severity", "action", "message", "acknowledged by")

    def show() -> None:
        print_table(header, rows)
        click.echo(f"state: {state.status}, position scale {state.position_scale:g}")

    emit({"alerts": found, "state": state}, as_json=as_json, show=show)


@alerts.command(epilog="Example: quant-mlops alerts ack 12 --by ann")
@click.argument("alert_id", type=int)
@click.option("--by", required=True, help="Who has seen it.")
@json_option
def ack(alert_id: int, by: str, as_json: bool) -> None:
    """Acknowledge an alert."""
    with open_workspace() as (_, access):
        done = acknowledge(access.database, alert_id, by=by)
    sentence = f"alert {alert_id} was acknowledged by {done.acknowledged_by}"
    emit(done, as_json=as_json, show=lambda: say(sentence))


@alerts.command(epilog="Example: quant-mlops alerts resume --by ann --reason 'feed repaired'")
@click.option("--by", required=True, help="Who resumes.")
@click.option("--reason", required=True, help="Why.")
@strategy_option
@json_option
def resume(by: str, reason: str, strategy_name: str | None, as_json: bool) -> None:
    """Make a reduced or paused strategy active again."""
    with open_strategy(strategy_name) as work:
        state = resume_strategy(work.database, strategy_id=work.strategy.name, by=by, reason=reason)
    sentence = f"{work.strategy.name} is {state.status}"
    emit(state, as_json=as_json, show=lambda: say(sentence))
