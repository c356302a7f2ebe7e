"""A group of processes that ends with the process that started it, however that one ends.

A process that is killed can end nothing any more, so a second one, the guard, waits for it at a
pipe: the kernel closes the other end. Run as a script this file is that guard, and it imports
nothing but the standard library.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM)
POLL_SECONDS = 0.2
# Each harder than the one before, and the seconds it is given.
ENDINGS = ((signal.SIGINT, 12.0), (signal.SIGTERM, 6.0), (signal.SIGKILL, 6.0))
ENDED = b"ended"


def run_until_stopped(command: Sequence[str], *, held: Sequence[int] = ()) -> int:
    """Run a command and all it starts as one group; a signal to us stops the whole group.

    Parameters
    ----------
    command : sequence of str
    held : sequence of int
        Descriptors that the guard keeps open until the group has ended, such as that of a lock.

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
    guard = None
    try:
        guard = _start_guard(process.pid, held)
        while process.poll() is None and not stopped.wait(POLL_SECONDS):
            pass
    finally:
        end_group(process.pid, process)
        if guard is not None:
            guard.communicate(ENDED)
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 0 if stopped.is_set() else process.wait()


def end_group(group: int, leader: subprocess.Popen[bytes] | None = None) -> None:
    """End every process of a group, by asking first; a leader that is our child is waited for."""
    for number, seconds in ENDINGS:
        if not _signal_group(group, number) or _group_ends(group, seconds, leader):
            break


def _start_guard(group: int, held: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start the guard of a group, in a session that no terminal reaches."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, str(group)],
        stdin=subprocess.PIPE, pass_fds=held, start_new_session=True,
    )  # fmt: skip


def _guard(group: int) -> None:
    """Wait for the end of whoever started us, and end the group unless it has done so itself."""
    if sys.stdin.buffer.read() != ENDED:
        end_group(group)


def _signal_group(group: int, number: signal.Signals) -> bool:
    """Signal every process of a group; return False if none is left."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _group_ends(group: int, seconds: float, leader: subprocess.Popen[bytes] | None) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if leader is not None:
            leader.poll()
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(POLL_SECONDS)
    return False


if __name__ == "__main__":
    _guard(int(sys.argv[1]))
