"""`quant-mlops dev`: database, migrations, Dagster's UI and daemon, until interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from types import FrameType

import click

from quant_mlops.cli.output import say
from quant_mlops.cli.workspace import open_workspace

STOPS = (signal.SIGINT, signal.SIGTERM)
POLL_SECONDS = 0.2
# Each harder than the one before, and the seconds it is given.
ENDINGS = ((signal.SIGINT, 12.0), (signal.SIGTERM, 6.0), (signal.SIGKILL, 6.0))


@click.command(epilog="Example: quant-mlops dev --port 3000")
@click.option("--port", default=3000, show_default=True, help="Port of the UI on this machine.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
def dev(port: int, host: str) -> None:
    """Serve the graph, its schedules and its sensors in Dagster's UI."""
    with open_workspace() as (settings, access):
        from quant_mlops.orchestration.home_lock import hold_home
        from quant_mlops.orchestration.instance import prepare_environment, workspace_yaml

        prepare_environment(settings, access)
        command = [
            sys.executable, "-m", "dagster", "dev",
            "-w", str(workspace_yaml()), "-h", host, "-p", str(port),
        ]  # fmt: skip
        with hold_home(settings.home):
            say(f"Dagster: http://{host}:{port}, home {settings.home}; stop with Ctrl-C")
            status = _run_until_stopped(command)
    if status:
        raise click.ClickException(f"Dagster ended with status {status}; its last lines say why")


def _run_until_stopped(command: list[str]) -> int:
    """Run a command and all it starts as one group; a signal to us stops the whole group.

    Returns
    -------
    int
        Its exit status; 0 if it was we who were told to stop.
    """
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        stopped.set()

    # Set before the child exists: it would inherit an ignored signal, and not one handled here.
    previous = {number: signal.signal(number, stop) for number in STOPS}
    process = subprocess.Popen(command, env=dict(os.environ), start_new_session=True)
    try:
        while process.poll() is None and not stopped.wait(POLL_SECONDS):
            pass
    finally:
        for number, seconds in ENDINGS:
            if not _signal_group(process, number) or _group_ends(process, seconds):
                break
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 0 if stopped.is_set() else process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> bool:
    """Signal every process of a group; return False if none is left."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def _group_ends(process: subprocess.Popen[bytes], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        process.poll()
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(POLL_SECONDS)
    return False
