"""Whether a daemon of Dagster is at work on an instance: a second one would repeat its requests."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import dagster as dg
from dagster._daemon.controller import DEFAULT_HEARTBEAT_INTERVAL_SECONDS

from quant_mlops.errors import SettingsError

# A beat comes when a daemon is between two pieces of its work, and so may come late.
LATE_SECONDS = 15.0
POLL_SECONDS = 1.0


def refuse_second_daemon(instance: dg.DagsterInstance, *, progress: Callable[[str], None]) -> None:
    """Return if no daemon is at work on an instance.

    One that was killed leaves a heartbeat like that of one at work, so after a recent heartbeat
    the next one is waited for, which takes up to 45 seconds.

    Parameters
    ----------
    instance : DagsterInstance
    progress : callable
        Told, in a sentence, that and how long it waits.

    Raises
    ------
    SettingsError
        A daemon is at work.
    """
    last = _last_heartbeat(instance)
    silent_at = last + DEFAULT_HEARTBEAT_INTERVAL_SECONDS + LATE_SECONDS
    left = silent_at - time.time()
    if left <= 0:
        return
    at = datetime.fromtimestamp(last, UTC)
    progress(
        f"a Dagster daemon was at work here at {at:%H:%M:%S} UTC; waiting up to {left:.0f} s "
        f"to see whether it still is"
    )
    while time.time() < silent_at:
        if (beat := _last_heartbeat(instance)) > last:
            at = datetime.fromtimestamp(beat, UTC)
            raise SettingsError(
                f"another Dagster daemon is at work on the same storage, with a heartbeat at "
                f"{at:%H:%M:%S} UTC, and two would start runs twice; stop that `dagster-daemon "
                f"run`, or give another --home"
            )
        time.sleep(POLL_SECONDS)


def _last_heartbeat(instance: dg.DagsterInstance) -> float:
    """Return when any daemon last gave a sign of life, in seconds since 1970, 0 if none did."""
    return max((beat.timestamp for beat in instance.get_daemon_heartbeats().values()), default=0.0)
