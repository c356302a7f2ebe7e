"""Failed runs as alerts: one for each run, over when the same work has succeeded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date

from quant_mlops.alerts.outbox import Alert, NewAlert, record_alerts
from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import NoPartitionError

RUN_FAILED = "run_failed"


@dataclass(frozen=True)
class FinishedRun:
    """A run that has ended, in words that are fit for any channel.

    An error's text may hold whatever the failing library put there, a password among it; hence
    only its kind is told, and the text stays in the run's log.

    Attributes
    ----------
    job : str
    sessions : str
        First and last session that it worked on, empty if it worked on none.
    steps : tuple of str
        Steps that failed.
    errors : tuple of str
        Names of the exceptions' classes.
    """

    strategy_id: str
    run_id: str
    job: str
    sessions: str = ""
    steps: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


def record_run_failure(database: Database, run: FinishedRun, *, session: date) -> list[Alert]:
    """Put the failure of a run into the outbox, once however often it is seen.

    Parameters
    ----------
    database : Database
    run : FinishedRun
    session : date
        Newest session that is over: a failure is news of now, whatever sessions it was about.

    Returns
    -------
    list of Alert
        The alert, or nothing if it was stored before.
    """
    about = f" for {run.sessions}" if run.sessions else ""
    where = f" in {', '.join(run.steps)}" if run.steps else ""
    why = f" ({', '.join(run.errors)})" if run.errors else ""
    alert = NewAlert(
        dedupe_key=f"{run.strategy_id}/{RUN_FAILED}/{run.run_id}",
        strategy_id=run.strategy_id,
        rule=RUN_FAILED,
        severity="severe",
        action="check_run",
        message=f"run {run.run_id} of {run.job}{about} failed{where}{why}; its "
        f"log in Dagster says more",
        opened_session=session,
        last_session=session,
        evidence=asdict(run),
    )
    with database.transaction() as connection:
        return record_alerts(connection, [alert])


def close_run_failures(database: Database, run: FinishedRun, *, session: date) -> int:
    """End the alerts of earlier failures of what a run has done now, and return how many.

    The same work is the same job for the same sessions. A run that was started for no session, or
    for a day that is none, can never succeed, and any success of its job ends its alert.
    """
    parameters = {
        "strategy_id": run.strategy_id,
        "rule": RUN_FAILED,
        "job": run.job,
        "sessions": run.sessions,
        "session": session,
        "no_partition": NoPartitionError.__name__,
    }
    return database.execute(query("close_run_failures"), parameters)
