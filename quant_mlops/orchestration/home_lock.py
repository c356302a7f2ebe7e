"""One replay or one daemon in a home: two would answer the same retraining request."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quant_mlops.errors import SettingsError


@contextmanager
def hold_home(home: Path) -> Iterator[int]:
    """Hold a home for the demonstration or for Dagster's daemon.

    The kernel gives the hold up when the process ends, however it ends.

    Yields
    ------
    int
        The descriptor of the hold; a process that inherits it holds the home as well.

    Raises
    ------
    SettingsError
        Another process holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "demo.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(
                f"another demonstration, or `quant-mlops dev`, is running in {home}; end it (all "
                f"of one that was killed is gone within half a minute), or give another --home"
            ) from None
        yield file.fileno()
