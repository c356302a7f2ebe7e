"""How fast a channel is tried again, when it is given up, and how much it is told at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from quant_mlops.errors import MonitoringError

FIRST_DELAY = timedelta(seconds=30)
LONGEST_DELAY = timedelta(hours=1)
MOST_ATTEMPTS = 30


@dataclass(frozen=True)
class RateLimit:
    """How many messages a channel may send within a window of time.

    Attributes
    ----------
    messages : int
        Alerts that would exceed it are told in one digest.
    window : timedelta
        Reckoned backwards from each run. Within one window of a digest there is no second one,
        unless an alert of it is critical.
    """

    messages: int
    window: timedelta

    def __post_init__(self) -> None:
        if self.messages < 1 or self.window <= timedelta(0):
            raise MonitoringError(
                f"a channel was to send at most {self.messages} messages within {self.window}; "
                f"allow at least one message, and a window longer than 0"
            )


def backoff(attempts: int) -> timedelta:
    """Return the longest rest after so many failed attempts: 30 s, doubled up to 1 h."""
    return min(FIRST_DELAY * (1 << min(max(attempts, 1) - 1, 16)), LONGEST_DELAY)


def rest(attempts: int, chance: float) -> timedelta:
    """Return how long a pair of alert and channel rests after so many failed attempts.

    Half of the backoff is fixed and half is left to chance, so that what failed together does not
    come back together ("equal jitter": M. Brooker, Exponential Backoff and Jitter, AWS
    Architecture Blog, 2015).

    Parameters
    ----------
    attempts : int
        Failed attempts so far, at least one.
    chance : float
        Uniform on [0, 1).
    """
    return backoff(attempts) * (0.5 + 0.5 * chance)
