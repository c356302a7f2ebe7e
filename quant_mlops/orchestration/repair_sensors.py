"""Sensors that make good what was left out: missing sessions, and corrected prices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from quant_mlops.errors import QuantMlopsError
from quant_mlops.orchestration.jobs import StrategyJobs
from quant_mlops.orchestration.resources import Server
from quant_mlops.orchestration.runs import runs_at_work
from quant_mlops.orchestration.schedules import scheduled_session
from quant_mlops.orchestration.session_tags import session_tags, sessions_of_run
from quant_mlops.pending import first_due_session, incomplete_sessions, pending_corrections
from quant_mlops.pipeline import price_file
from quant_mlops.strategy import Strategy
from quant_mlops.strategy_context import StrategyContext

MISSING_TAG = "quant_mlops/missing_sessions"
LAST_MISSING_TAG = "quant_mlops/last_missing_session"
CORRECTIONS_TAG = "quant_mlops/corrections"
MOST_SESSIONS = 20
MOST_ATTEMPTS = 3
RUNS_REMEMBERED = 200
# The schedule has asked for a session, and its run has begun, before a sensor finds it missing.
GRACE = timedelta(hours=2)
EVERY_FIVE_MINUTES = 300


def missing_sessions_sensor(strategy: Strategy, jobs: StrategyJobs) -> dg.SensorDefinition:
    """Return the sensor that has sessions run which the schedule left out.

    It looks at what is stored and not at what ran; a strategy that was never judged begins with
    the first session it can be judged on. Each tick asks for at most one run, from the
    oldest missing session on, and for none while another run of the strategy works on sessions:
    a session needs the ones before it. Sessions that follow a missing one were judged without
    it, so they are part of the run and are judged again.
    """

    @dg.sensor(
        name=f"{strategy.name}_missing_sessions_sensor",
        job=jobs.daily,
        minimum_interval_seconds=EVERY_FIVE_MINUTES,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Compares the calendar with what is stored and runs what is missing, at most "
        f"{MOST_SESSIONS} sessions at once. A session is tried {MOST_ATTEMPTS} times, and anew "
        f"when the price file has changed.",
    )
    def missing_sessions(
        context: dg.SensorEvaluationContext, server: Server
    ) -> dg.RunRequest | dg.SkipReason:
        work = server.strategy(strategy)
        due = scheduled_session(strategy, work.database.now() - GRACE)
        if strategy.monitoring.last_session is not None:
            due = min(due, strategy.monitoring.last_session)
        try:
            first = first_due_session(work)
        except QuantMlopsError as error:
            return dg.SkipReason(f"no session was judged yet: {error}")
        if first > due:
            return dg.SkipReason(
                f"the first session that can be judged is {first}, and sessions are due up to {due}"
            )
        missing = incomplete_sessions(work, first, due)
        if not missing:
            return dg.SkipReason(f"no session from {first} to {due} is missing")
        busy = runs_at_work(context.instance, strategy)
        if busy:
            return dg.SkipReason(f"{len(missing)} sessions are missing; run {busy[0]} is at work")
        changed = _price_file_changed(work)
        tries = _attempts(context.instance, strategy, missing, since=changed)
        open_ones = [day for day in missing if tries[day] < MOST_ATTEMPTS]
        if not open_ones:
            return dg.SkipReason(
                f"{len(missing)} sessions are missing, from {missing[0]} on, and were tried "
                f"{MOST_ATTEMPTS} times each since the price file changed; run them by hand when "
                f"the cause is mended"
            )
        stretch = _first_stretch(work, open_ones)
        run = work.sessions(stretch[0], due).tolist()[:MOST_SESSIONS]
        attempt = {MISSING_TAG: strategy.name, LAST_MISSING_TAG: stretch[-1].isoformat()}
        return dg.RunRequest(
            run_key=f"{run[0]}-{run[-1]}-{changed:%Y%m%dT%H%M%S}-{tries[stretch[0]] + 1}",
            tags=attempt | session_tags(run[0], run[-1]),
        )

    return missing_sessions


def corrections_sensor(strategy: Strategy, jobs: StrategyJobs) -> dg.SensorDefinition:
    """Return the sensor that has features revised when bars they came from were restated."""

    @dg.sensor(
        name=f"{strategy.name}_corrections_sensor",
        job=jobs.revision,
        minimum_interval_seconds=EVERY_FIVE_MINUTES,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Carries bars that were restated since the features were computed into them, "
        f"and tries a failed run again at most {MOST_ATTEMPTS} times in all.",
    )
    def corrections(
        context: dg.SensorEvaluationContext, server: Server
    ) -> dg.RunRequest | dg.SkipReason:
        pending = pending_corrections(server.strategy(strategy))
        if pending is None:
            return dg.SkipReason("no bar was restated since features were revised")
        what = f"restated bars of {pending.tickers} tickers"
        busy = runs_at_work(context.instance, strategy)
        if busy:
            return dg.SkipReason(f"{what} wait for run {busy[0]}, which is at work")
        # The time until which corrections were carried moves on with each run that succeeds.
        state = f"{strategy.name}/{pending.since.isoformat()}"
        tries = context.instance.get_runs_count(dg.RunsFilter(tags={CORRECTIONS_TAG: state}))
        if tries >= MOST_ATTEMPTS:
            return dg.SkipReason(
                f"{what} could not be carried on in {tries} runs; mend the cause and run "
                f"`quant-mlops features revise`"
            )
        return dg.RunRequest(run_key=f"{state}/{tries + 1}", tags={CORRECTIONS_TAG: state})

    return corrections


def _attempts(
    instance: dg.DagsterInstance, strategy: Strategy, sessions: Iterable[date], *, since: datetime
) -> dict[date, int]:
    """Count the runs that this sensor asked for because of each session since an instant."""
    records = instance.get_run_records(
        dg.RunsFilter(tags={MISSING_TAG: strategy.name}, created_after=since),
        limit=RUNS_REMEMBERED,
    )
    spans = [
        (span[0], date.fromisoformat(run.tags[LAST_MISSING_TAG]))
        for run in (record.dagster_run for record in records)
        if (span := sessions_of_run(run)) and LAST_MISSING_TAG in run.tags
    ]
    return {day: sum(first <= day <= last for first, last in spans) for day in sessions}


def _first_stretch(work: StrategyContext, sessions: Sequence[date]) -> list[date]:
    """Return the first sessions that follow each other without a gap, at most so many."""
    positions = work.calendar.positions(sessions)
    count = 1
    while count < min(len(sessions), MOST_SESSIONS) and positions[count] == positions[0] + count:
        count += 1
    return list(sessions[:count])


def _price_file_changed(work: StrategyContext) -> datetime:
    """Return when the price file last changed: a session may have come into it since."""
    try:
        with price_file(work.strategy) as path:
            return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except (OSError, QuantMlopsError):
        return datetime.fromtimestamp(0, UTC)
