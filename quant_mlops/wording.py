"""Numbers with what they count, as English has them."""

from __future__ import annotations


def counted(number: int, what: str) -> str:
    """Return "1 session", "2 sessions"."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
