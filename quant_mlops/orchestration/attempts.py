"""How often sessions were asked for, as a sensor's cursor keeps it."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from quant_mlops.market.calendar import TradingCalendar

MOST_ATTEMPTS = 3


class Tried(NamedTuple):
    """What is known of one session: its tries, and whether the price file then had its prices."""

    tries: int
    priced: bool


@dataclass(frozen=True)
class Attempts:
    """Sessions that were asked for; those that never were are not among them."""

    tried: dict[date, Tried]

    @classmethod
    def read(cls, cursor: str | None, calendar: TradingCalendar) -> Attempts:
        """Return what a cursor holds: spans of sessions of which the same is known."""
        return cls(
            {
                day: Tried(tries, priced)
                for first, last, tries, priced in json.loads(cursor or "[]")
                for day in calendar.sessions(
                    date.fromisoformat(first), date.fromisoformat(last)
                ).tolist()
            }
        )

    def cursor(self, calendar: TradingCalendar) -> str:
        """Return the cursor from which `read` gets the same."""
        days = sorted(self.tried)
        positions = calendar.positions(days).tolist()
        spans: list[tuple[date, date, Tried]] = []
        for i, day in enumerate(days):
            if i and positions[i] == positions[i - 1] + 1 and self.tried[day] == spans[-1][2]:
                spans[-1] = (spans[-1][0], day, spans[-1][2])
            else:
                spans.append((day, day, self.tried[day]))
        return json.dumps([[str(first), str(last), *known] for first, last, known in spans])

    def still(self, missing: Collection[date]) -> Attempts:
        """Return those of sessions that are still missing."""
        kept = set(missing)
        return Attempts({day: known for day, known in self.tried.items() if day in kept})

    def open(self, missing: Sequence[date], in_file: Collection[date]) -> list[date]:
        """Return the sessions that are worth a try.

        One of which the file has prices now, and had none at its last try, begins anew.
        """
        return [day for day in missing if self._tries(day, in_file) < MOST_ATTEMPTS]

    def counted(self, asked: Sequence[date], in_file: Collection[date]) -> Attempts:
        """Return them with one more try of some sessions."""
        more = {day: Tried(self._tries(day, in_file) + 1, day in in_file) for day in asked}
        return Attempts(self.tried | more)

    def _tries(self, day: date, in_file: Collection[date]) -> int:
        known = self.tried.get(day)
        if known is None or (day in in_file and not known.priced):
            return 0
        return known.tries
