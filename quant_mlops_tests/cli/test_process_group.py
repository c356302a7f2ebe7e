"""A group of processes ends with whoever started it: told to stop, by itself, or killed."""

from __future__ import annotations

import fcntl
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# The child says that it runs, and has a child of its own; both would run on for minutes.
PARENT = """
import fcntl, sys
from quant_mlops.cli.process_group import run_until_stopped

child = '''
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
print("started", flush=True)
time.sleep(300)
'''
with open(sys.argv[1], "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    status = run_until_stopped([sys.executable, "-c", child], held=[lock.fileno()])
print("status", status)
"""
SHORT = """
import sys
from quant_mlops.cli.process_group import run_until_stopped
print("status", run_until_stopped([sys.executable, "-c", "raise SystemExit(3)"]))
"""


@pytest.mark.parametrize(
    ("number", "said"),
    [(signal.SIGTERM, "status 0\n"), (signal.SIGKILL, "")],
    ids=["told", "killed"],
)
def test_all_end_when_the_parent_does_and_hold_its_lock_until_then(
    start_python: Callable[..., Any], tmp_path: Path, number: signal.Signals, said: str
) -> None:
    parent = start_python(PARENT, tmp_path / "lock")
    assert parent.stdout.readline() == "started\n", parent.communicate()[1]
    with (tmp_path / "lock").open("w") as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        parent.send_signal(number)
        # It ends when the last process that inherited it has ended, the guard among them.
        assert parent.stdout.read() == said
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_command_that_ends_by_itself_gives_its_status(start_python: Callable[..., Any]) -> None:
    assert start_python(SHORT).communicate(timeout=30)[0] == "status 3\n"
