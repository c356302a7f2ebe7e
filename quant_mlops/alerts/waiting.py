"""What one run of the outbox leaves for later: why, how much of it, and until when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Reason = Literal["backoff", "rate limit", "next run"]


@dataclass(frozen=True)
class Wait:
    """Pairs of alert and channel that are left for a later run, for one reason.

    Attributes
    ----------
    reason : {"backoff", "rate limit", "next run"}
        Their newest attempt failed; their channel has just sent a digest; or they are due and
        were left all the same, as their channel failed or this run had enough of them.
    pairs : int
        What failed in this run and is tried again is among those of the backoff.
    until : datetime, optional
        When the first of them is due; None where they are due already.
    """

    reason: Reason
    pairs: int
    until: datetime | None


def backing_off(due: Sequence[datetime]) -> list[Wait]:
    """Return the wait of pairs that were tried and are due again at these times, if any."""
    return [Wait("backoff", len(due), min(due))] if due else []


def left_due(pairs: int, held_until: datetime | None) -> list[Wait]:
    """Return the wait of pairs that are due, which a rate limit may hold back, if any."""
    if not pairs:
        return []
    return [Wait("next run" if held_until is None else "rate limit", pairs, held_until)]


def merge(waits: Sequence[Wait]) -> tuple[Wait, ...]:
    """Return the waits of several channels with one for each reason."""
    reasons: dict[Reason, list[Wait]] = {}
    for wait in waits:
        reasons.setdefault(wait.reason, []).append(wait)
    return tuple(
        Wait(
            reason,
            sum(wait.pairs for wait in alike),
            min((wait.until for wait in alike if wait.until is not None), default=None),
        )
        for reason, alike in reasons.items()
    )
