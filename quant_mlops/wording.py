"""Numbers with what they count, as English has them, and times."""

from __future__ import annotations

from datetime import UTC, datetime


def counted(number: int, what: str) -> str:
    """Return "1 session", "2 sessions"."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def short_time(moment: datetime | None) -> str | None:
    """Return a time to the minute, in UTC as its Z says, with seconds only where there are some."""
    if moment is None:
        return None
    utc = moment.astimezone(UTC)
    return f"{utc:%Y-%m-%d %H:%M}{f':{utc:%S}' if utc.second else ''}Z"


def level_text(level: float) -> str:
    """Return a limit with two decimals, or with as many digits as it takes."""
    short = f"{level:.2f}"
    return short if float(short) == level else f"{level:.3g}"
