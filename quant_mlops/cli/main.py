"""The command group, and how its commands fail: one sentence and an exit status."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

import click
import psycopg

from quant_mlops import __version__
from quant_mlops.cli.alerts import alerts
from quant_mlops.cli.db import db
from quant_mlops.cli.demo import demo
from quant_mlops.cli.dev import dev
from quant_mlops.cli.doctor import doctor
from quant_mlops.cli.drift import drift
from quant_mlops.cli.features import features
from quant_mlops.cli.ingest import ingest
from quant_mlops.cli.models import models
from quant_mlops.cli.runs import daily, report
from quant_mlops.cli.snapshots import snapshot
from quant_mlops.errors import QuantMlopsError

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: quant-mlops demo",
)
@click.version_option(__version__, prog_name="quant-mlops")
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of database, snapshots, artifacts and reports; .quant_mlops by default.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(context: click.Context, home: Path | None, debug: bool) -> None:
    """MLOps for quant teams: bitemporal features, audited models, drift that acts."""
    context.obj = {"debug": debug}
    if home is not None:
        # By the environment, so that the processes that Dagster starts agree.
        os.environ["QUANT_MLOPS_HOME"] = str(home.absolute())


for command in (
    demo, dev, db, ingest, features, snapshot, models, drift, alerts, daily, report, doctor,
):  # fmt: skip
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    try:
        cli.main(args=given, prog_name="quant-mlops", standalone_mode=False)
    except click.exceptions.Abort:
        _fail("interrupted; run the same command again to go on", INTERRUPTED)
    except KeyboardInterrupt:
        _fail("interrupted; run the same command again to go on", INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(WRONG_USAGE if isinstance(error, click.UsageError) else FAILED)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except (QuantMlopsError, psycopg.Error) as error:
        if debug:
            traceback.print_exc()
        _fail(str(error).strip().replace("\n", " "), FAILED)
    except Exception as error:
        if debug:
            traceback.print_exc()
        _fail(_sentence(error), FAILED)


def _sentence(error: BaseException) -> str:
    """Return the first error of ours in a chain, such as Dagster wraps around a step's."""
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, QuantMlopsError):
            return str(current)
        current = current.__cause__ or current.__context__
    text = str(error).strip().splitlines()
    first = text[0] if text else "no message"
    return f"unexpected {type(error).__name__}: {first}; run again with --debug for the traceback"


def _fail(sentence: str, status: int) -> None:
    click.echo(f"error: {sentence}", err=True)
    sys.exit(status)
