"""The command group, and how its commands fail: one sentence and an exit status."""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from quant_mlops import __version__
from quant_mlops.cli.command_table import CommandTable
from quant_mlops.errors import QuantMlopsError

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130
RAISE_AGAIN_SECONDS = 0.05
DEBUG = "--debug"


@click.group(
    cls=CommandTable,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: quant-mlops demo",
)
@click.version_option(__version__, prog_name="quant-mlops")
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of database, snapshots, artifacts and reports; .quant_mlops by default.",
)
@click.option(DEBUG, is_flag=True, expose_value=False, help="Show the traceback of an error.")
def cli(home: Path | None) -> None:
    """MLOps for quant teams: bitemporal features, audited models, drift that acts."""
    if home is not None:
        # By the environment, so that the processes that Dagster starts agree.
        os.environ["QUANT_MLOPS_HOME"] = str(home.expanduser().absolute())


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    given = sys.argv[1:] if arguments is None else arguments
    # Behind the command as well, where one adds it on reading "run again with --debug".
    debug = DEBUG in given
    given = [argument for argument in given if argument != DEBUG]
    _end_on_signals()
    # A command imports some thousand modules, which leave no garbage; to look for it at each 700
    # objects, as is the default, takes a quarter of the time of that.
    gc.set_threshold(20_000)
    if os.getcwd() not in sys.path:
        # Modules of features and learners lie in this folder, and hide nothing that is installed.
        sys.path.append(os.getcwd())
    # Where other processes want the cores as well, XGBoost's threads would wait for each other by
    # spinning on them, and a fit of a tenth of a second would take ten.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        status = cli.main(args=given, prog_name="quant-mlops", standalone_mode=False)
        sys.stdout.flush()
    except (click.exceptions.Abort, KeyboardInterrupt):
        _fail("interrupted; run the same command again to go on", INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(WRONG_USAGE if isinstance(error, click.UsageError) else FAILED)
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except Exception as error:
        if debug:
            traceback.print_exc()
        _fail(_sentence(error), FAILED)
    # A command that ends early, as `doctor` does, hands back its status instead of raising.
    if isinstance(status, int) and status:
        sys.exit(status)


def _end_on_signals() -> None:
    """Let SIGTERM and Ctrl-C end the command wherever they strike.

    An exception that a signal raises while Python runs a finaliser or a callback of its garbage
    collection is reported and dropped; what was dropped is raised again a moment later.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGALRM, _interrupt)
    report = sys.unraisablehook

    def hook(dropped: sys.UnraisableHookArgs) -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, RAISE_AGAIN_SECONDS)
        else:
            report(dropped)

    sys.unraisablehook = hook


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End on SIGTERM as on Ctrl-C, so that the embedded server is not left running."""
    del number, frame
    raise KeyboardInterrupt


def _sentence(error: BaseException) -> str:
    """Return the first error of ours in a chain, such as Dagster wraps around a step's."""
    import psycopg

    current: BaseException | None = error
    while current is not None:
        if isinstance(current, QuantMlopsError | psycopg.Error):
            return str(current)
        current = current.__cause__ or current.__context__
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"unexpected {type(error).__name__}: {first}; run again with --debug for the traceback"


def _fail(sentence: str, status: int) -> NoReturn:
    click.echo(f"error: {' '.join(sentence.split())}", err=True)
    sys.exit(status)
