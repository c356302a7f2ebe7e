"""Sensors that make good what was left out: missing sessions, and corrected prices."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import dagster as dg

from quant_mlops.errors import QuantMlopsError
from quant_mlops.market.file_sessions import sessions_in_file
from quant_mlops.orchestration.attempts import MOST_ATTEMPTS, Attempts
from quant_mlops.orchestration.jobs import StrategyJobs
from quant_mlops.orchestration.resources import Server
from quant_mlops.orchestration.runs import runs_at_work
from quant_mlops.orchestration.schedules import scheduled_session
from quant_mlops.orchestration.session_tags import session_tags
from quant_mlops.pending import first_due_session, incomplete_sessions, pending_corrections
from quant_mlops.pipeline import price_file
from quant_mlops.strategy import Strategy
from quant_mlops.strategy_context import StrategyContext, end_of_prices
from quant_mlops.wording import counted

MISSING_TAG = "quant_mlops/missing_sessions"
CORRECTIONS_TAG = "quant_mlops/corrections"
MOST_SESSIONS = 20
# The schedule has asked for a session, and its run has begun, before a sensor finds it missing.
GRACE = timedelta(hours=2)
EVERY_FIVE_MINUTES = 300


def missing_sessions_sensor(strategy: Strategy, jobs: StrategyJobs) -> dg.SensorDefinition:
    """Return the sensor that has sessions run which the schedule left out.

    It looks at what is stored and not at what ran; a strategy that was never judged begins with
    the first session it can be judged on. Each tick asks for at most one run, from the
    oldest missing session on, and for none while another run of the strategy works on sessions:
    a session needs the ones before it. Sessions that follow a missing one were judged without
    it, so they are part of the run and are judged again. Of sessions after the last price, only
    the newest is asked for.

    Its cursor holds how often the sessions that are missing were asked for; a cursor that is
    reset has all of them tried anew.
    """

    @dg.sensor(
        name=f"{strategy.name}_missing_sessions_sensor",
        job=jobs.daily,
        minimum_interval_seconds=EVERY_FIVE_MINUTES,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Compares the calendar with what is stored and runs what is missing, at most "
        f"{MOST_SESSIONS} sessions at once. A session is tried {MOST_ATTEMPTS} times, and anew "
        f"when the price file has come to hold prices of it.",
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
        attempts = Attempts.read(context.cursor, work.calendar).still(missing)
        context.update_cursor(attempts.cursor(work.calendar))
        if not missing:
            return dg.SkipReason(f"no session from {first} to {due} is missing")
        busy = runs_at_work(context.instance, strategy)
        if busy:
            return dg.SkipReason(f"{len(missing)} sessions are missing; run {busy[0]} is at work")
        with price_file(strategy) as path:
            in_file = sessions_in_file(path, work.calendar.name)
        end = end_of_prices(work, in_file)
        reached = [day for day in missing if (end is not None and day <= end) or day == due]
        stretch = _first_stretch(work, attempts.open(reached, in_file))
        if not stretch:
            return dg.SkipReason(_given_up(missing, end, due))
        context.update_cursor(attempts.counted(stretch, in_file).cursor(work.calendar))
        last = due if end is None or due in stretch else min(end, due)
        run = work.sessions(stretch[0], last).tolist()[:MOST_SESSIONS]
        return dg.RunRequest(
            run_key=f"{run[0]}-{run[-1]}-{work.database.now():%Y%m%dT%H%M%S%f}",
            tags={MISSING_TAG: strategy.name} | session_tags(run[0], run[-1]),
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


def _first_stretch(work: StrategyContext, sessions: Sequence[date]) -> list[date]:
    """Return the first sessions that follow each other without a gap, at most so many."""
    positions = work.calendar.positions(sessions)
    count = min(len(sessions), 1)
    while count < min(len(sessions), MOST_SESSIONS) and positions[count] == positions[0] + count:
        count += 1
    return list(sessions[:count])


def _given_up(missing: Sequence[date], end: date | None, due: date) -> str:
    """Say why no missing session is worth a try."""
    within = [day for day in missing if end is not None and day <= end]
    said = []
    if end is None or end < due:
        ended = "there is no price" if end is None else f"prices end at {end}"
        after = counted(len(missing) - len(within), "session")
        said.append(f"{ended}; without any: {after} up to {due}")
    if within:
        said.append(
            f"given up after {MOST_ATTEMPTS} tries each: {counted(len(within), 'session')} from "
            f"{within[0]} on; prices that the file lacked have them tried again, else run them by "
            f"hand when the cause is mended"
        )
    return "; ".join(said)
