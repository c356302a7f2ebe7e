"""`quant-mlops dev`: database, migrations, Dagster's UI and daemon, until interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import FrameType

import click

from quant_mlops.cli.output import say
from quant_mlops.cli.workspace import open_workspace

STOP_SECONDS = 30


@click.command(epilog="Example: quant-mlops dev --port 3000")
@click.option("--port", default=3000, show_default=True, help="Port of the UI on this machine.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
def dev(port: int, host: str) -> None:
    """Serve the graph, its schedules and its sensors in Dagster's UI."""
    with open_workspace() as (settings, access):
        from quant_mlops.orchestration.instance import prepare_environment

        prepare_environment(settings, access)
        say(f"Dagster: http://{host}:{port}, home {settings.home}; stop with Ctrl-C")
        command = [
            sys.executable, "-m", "dagster", "dev",
            "-m", "quant_mlops.definitions", "-h", host, "-p", str(port),
        ]  # fmt: skip
        # A group of its own, so that Ctrl-C reaches Dagster once, through this process.
        process = subprocess.Popen(command, env=dict(os.environ), start_new_session=True)

        def stop(number: int, frame: FrameType | None) -> None:
            del number, frame
            process.send_signal(signal.SIGINT)

        previous = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            status = process.wait()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(STOP_SECONDS)
    if status not in (0, -signal.SIGINT, -signal.SIGTERM):
        raise click.ClickException(f"Dagster ended with status {status}; its last lines say why")
