"""`quant-mlops dev`: database, migrations, Dagster's UI and daemon, until interrupted."""

from __future__ import annotations

import sys
from contextlib import suppress

import click

from quant_mlops.cli.output import say
from quant_mlops.cli.process_group import run_until_stopped
from quant_mlops.cli.workspace import open_workspace
from quant_mlops.errors import ServerUnavailableError

# Dagster recommends another command, which would not read the workspace file.
SUPERSEDED = "ignore:Function `dev_command` is superseded"


@click.command(epilog="Example: quant-mlops dev --port 3000")
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    default=3000,
    show_default=True,
    help="Port of the UI on this machine.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
def dev(port: int, host: str) -> None:
    """Serve the graph, its schedules and its sensors in Dagster's UI."""
    with open_workspace() as (settings, access):
        from quant_mlops.orchestration.daemon_heartbeats import refuse_second_daemon
        from quant_mlops.orchestration.home_lock import hold_home
        from quant_mlops.orchestration.instance import (
            open_instance,
            prepare_environment,
            workspace_yaml,
        )

        prepare_environment(settings, access)
        command = [
            sys.executable, "-W", SUPERSEDED, "-m", "dagster", "dev",
            "-w", str(workspace_yaml()), "-h", host, "-p", str(port),
        ]  # fmt: skip
        with hold_home(settings.home) as hold:
            with open_instance() as instance:
                refuse_second_daemon(instance, progress=say)
            say(f"Dagster: http://{host}:{port}, home {settings.home}; stop with Ctrl-C")
            status = run_until_stopped(command, held=[hold])
            # Its daemon has ended, and the next one need not wait to see whether it has.
            with suppress(ServerUnavailableError), open_instance() as instance:
                instance.wipe_daemon_heartbeats()
    if status:
        raise click.ClickException(f"Dagster ended with status {status}; its last lines say why")
