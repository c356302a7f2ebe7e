"""`quant-mlops daily` and `quant-mlops report`: the steps without Dagster."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

import click

from quant_mlops.alerts.delivery import DeliveryReport
from quant_mlops.alerts.dispatch import dispatch_alerts
from quant_mlops.alerts.retraining import RetrainRequest, open_request
from quant_mlops.cli.deliveries import describe_waits
from quant_mlops.cli.output import emit, json_option, say
from quant_mlops.cli.workspace import chosen_session, open_strategy, strategy_option
from quant_mlops.daily import MAY_TRADE, report_session
from quant_mlops.errors import MonitoringError, QuantMlopsError
from quant_mlops.retraining import retrain_on_request
from quant_mlops.session_run import SessionRun, run_session
from quant_mlops.strategy_context import StrategyContext
from quant_mlops.wording import counted

DAY = click.DateTime(formats=["%Y-%m-%d"])
MUST_NOT_TRADE = 3


@click.command(epilog="Example: quant-mlops daily --session 2022-06-30")
@click.option("--session", type=DAY, help="Session to run; the newest by default.")
@strategy_option
@json_option
@click.option(
    "--exit-code",
    is_flag=True,
    help="Exit with 3 if the decision is paused or check data, for a script that trades next.",
)
def daily(
    session: datetime | None, strategy_name: str | None, as_json: bool, exit_code: bool
) -> None:
    """Run everything a session needs, and report what it says.

    The report begins with the decision: trade, trade reduced, paused, or check the data. Then come
    the model, the age of each feature, the metrics, and the alerts with what was checked for them.
    A session may be run after later ones: those that were judged without it are judged again, up
    to the newest. Alerts that wait are delivered at the end; a channel that fails is tried again by
    the next run, by `alerts deliver` or by Dagster. An open retraining request is worked on last,
    unless this run changes nothing of a session of the past: a model is prepared, and promoted only
    if the request allows it and the comparison favours it.
    """
    with open_strategy(strategy_name) as work:
        day = chosen_session(work, session)
        begins = work.strategy.monitoring.first_session
        if day < begins:
            raise MonitoringError(
                f"{day} is before {begins}, when the monitoring of {work.strategy.name} begins; "
                f"earlier sessions are history, see `quant-mlops features backfill "
                f"--strategy {work.strategy.name}`"
            )
        ran = run_session(work, day)
        verdict = report_session(
            work.registry,
            work.monitor,
            ran.metrics,
            max_feature_age=work.strategy.rare_features,
        )
        told = dispatch_alerts(work.database, work.settings)
        retraining, failure = _retrain(work, ran.alerts_until)
        waiting = None if retraining else open_request(work.database, work.strategy.name)
    if ran.predictions.sessions_without_model:
        say(
            f"no model of {work.strategy.name} was live at the open of {day}, so there are no "
            f"predictions; `quant-mlops models train --strategy {work.strategy.name}` makes the "
            f"first"
        )
    document = {
        "session": day,
        "decision": verdict.decision,
        "bars_stored": ran.prices.written.stored,
        "bars_passed_over": ran.prices.passed_over,
        "feature_events_stored": ran.features_stored,
        "feature_events_revised": ran.features_revised,
        "predictions": ran.predictions.offered,
        "names_without_all_features": ran.predictions.incomplete,
        "metrics": verdict.metrics,
        "judged_again": ran.judged_again,
        "new_alerts": ran.response.alerts,
        "retraining_requests": ran.response.open_requests,
        "deliveries": told,
        "retraining": retraining,
        "report": verdict,
    }
    done = _summary(ran, told, outcome=retraining, waiting=None if failure else waiting)
    emit(document, as_json=as_json, show=lambda: click.echo(f"{verdict.render()}\n{done}"))
    if failure is not None:
        # What was judged and told stands; the request stays open for the next run.
        raise failure
    if exit_code and verdict.decision not in MAY_TRADE:
        raise click.exceptions.Exit(MUST_NOT_TRADE)


def _summary(
    ran: SessionRun,
    told: DeliveryReport,
    *,
    outcome: Mapping[str, str] | None,
    waiting: RetrainRequest | None,
) -> str:
    """Return what the run did beside judging its session, a line each."""
    lines = ["This run"]
    if ran.judged_again is not None:
        first, last = ran.judged_again
        lines.append(f"judged the sessions from {first} to {last} again, which rest on this one")
    lines += ran.prices.passed_over
    if ran.predictions.incomplete:
        names = counted(ran.predictions.incomplete, "name")
        lines.append(f"left out {names} of which a feature is not known, or too old")
    lines += [
        f"stored {ran.prices.written.stored} bars, {ran.features_stored} feature events, "
        f"{ran.features_revised} revisions; {ran.predictions.offered} predictions",
        f"alerts: {len(ran.response.alerts)} new; by all channels {told.delivered} delivered and "
        f"{told.failed} failed",
    ]
    # The report is about one session, and has its alerts.
    lines += [
        f"new, of {alert.opened_session}: {alert.severity}: {alert.message}"
        for alert in ran.response.alerts
        if alert.opened_session != ran.metrics.date
    ]
    if told.waits:
        lines.append(f"for a later run: {describe_waits(told)}")
    if outcome is not None:
        lines.append(f"retraining: {outcome['candidate']} {outcome['status']}")
    elif waiting is not None:
        lines.append(
            f"retraining request {waiting.request_id} of {waiting.session} waits for the run of "
            f"the newest session"
        )
    return "\n  ".join(lines)


def _retrain(
    work: StrategyContext, day: date
) -> tuple[dict[str, str] | None, QuantMlopsError | None]:
    """Work on the request that is open, if any, and return what came of it or why it failed."""
    try:
        outcome = retrain_on_request(work, day)
    except QuantMlopsError as error:
        return None, error
    if outcome is None:
        return None, None
    return {
        "candidate": outcome.candidate.model.label,
        "status": outcome.status,
        "reason": outcome.reason,
    }, None


@click.command(epilog="Example: quant-mlops report")
@strategy_option
@json_option
def report(strategy_name: str | None, as_json: bool) -> None:
    """Write the HTML report of a strategy."""
    with open_strategy(strategy_name) as work:
        # Matplotlib takes half a second to import, and no other command draws.
        from quant_mlops.reporting import write_strategy_report

        path = write_strategy_report(work)
    emit({"report": path}, as_json=as_json, show=lambda: click.echo(path))
