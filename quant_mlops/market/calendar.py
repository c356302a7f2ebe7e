"""Sessions of one exchange: which days they are, when they open and when they close."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from quant_mlops.errors import MarketDataError, NotASessionError

Days = NDArray[np.datetime64]
Instants = NDArray[np.int64]
SessionsLike = Days | Sequence[date]

FIRST_DAY = date(1990, 1, 1)


class TradingCalendar:
    """The sessions of one exchange from 1990 to the end of next year.

    A session is named by its local date and holds from its open to its close, both given in
    UTC and right for half-days and daylight saving time. A few exchanges publish less than
    that range; `first_day` and `last_day` say what is covered, and a question about any other
    day is an error and not a "no".

    Parameters
    ----------
    name : str
        A market identifier code such as XNYS or XLON, or "24/7" for markets that never
        close, whose sessions are UTC days closing at the next midnight. With the calendar of
        another exchange, real sessions are rejected as holidays and closes are hours off.
    through : date, optional
        Last day to cover; the end of next year by default.

    Raises
    ------
    MarketDataError
        No calendar has that name.

    """

    def __init__(self, name: str, *, through: date | None = None) -> None:
        through = through or _end_of_next_year()
        source = _source(name, through)
        self.name: str = source.name
        self.timezone = ZoneInfo(str(source.tz))
        self._days: Days = source.sessions.to_numpy().astype("datetime64[D]")
        self._opens: Instants = _microseconds(source.opens)
        self._closes: Instants = _microseconds(source.closes)
        self._closes.flags.writeable = False
        lower, upper = source.bound_min(), source.bound_max()
        self.first_day: date = max(FIRST_DAY, lower.date()) if lower is not None else FIRST_DAY
        self.last_day: date = min(through, upper.date()) if upper is not None else through

    def __repr__(self) -> str:
        return f"TradingCalendar({self.name!r})"

    def sessions(self, first: date, last: date) -> Days:
        """Return the sessions from `first` to `last`, both included, as datetime64[D]."""
        start = np.searchsorted(self._days, self._covered(first), side="left")
        stop = np.searchsorted(self._days, self._covered(last), side="right")
        return self._days[start:stop].copy()

    def is_session(self, day: date) -> bool:
        """Say whether the exchange opens on a day; a day that is not covered is an error."""
        return bool(self.are_sessions(np.array([self._covered(day)]))[0])

    def are_sessions(self, days: SessionsLike) -> NDArray[np.bool_]:
        """Say for each day whether it is a session; false for NaT and for days not covered."""
        wanted = np.asarray(days, dtype="datetime64[D]")
        where = np.minimum(np.searchsorted(self._days, wanted), len(self._days) - 1)
        return np.asarray(self._days[where] == wanted, dtype=np.bool_)

    def positions(self, sessions: SessionsLike) -> Instants:
        """Return where each session stands in the calendar, so that a difference counts sessions.

        Raises
        ------
        NotASessionError
            A day is not a session; the first such day and its neighbours are named.

        """
        wanted = np.asarray(sessions, dtype="datetime64[D]")
        known = self.are_sessions(wanted)
        if not known.all():
            raise NotASessionError(self._not_a_session(wanted[~known][0]))
        return np.searchsorted(self._days, wanted).astype(np.int64)

    def offset(self, session: date, sessions: int) -> date:
        """Return the session that many sessions after one (before it when negative)."""
        return self._at(int(self.positions([_day(session)])[0]) + sessions)

    def previous(self, day: date, n: int = 1) -> date:
        """Return the n-th session strictly before a day, which need not be a session."""
        return self._at(int(np.searchsorted(self._days, self._covered(day))) - _count(n))

    def next(self, day: date, n: int = 1) -> date:
        """Return the n-th session strictly after a day, which need not be a session."""
        after = int(np.searchsorted(self._days, self._covered(day), side="right"))
        return self._at(after + _count(n) - 1)

    def opens(self, sessions: SessionsLike) -> Instants:
        """Return when sessions open, in microseconds since 1970-01-01 UTC."""
        return self._opens[self.positions(sessions)]

    def closes(self, sessions: SessionsLike) -> Instants:
        """Return when sessions close, in microseconds since 1970-01-01 UTC."""
        return self._closes[self.positions(sessions)]

    @property
    def all_closes(self) -> Instants:
        """When every session covered closes, ascending, in microseconds since 1970-01-01 UTC."""
        return self._closes

    def open_time(self, session: date) -> datetime:
        """Return when a session opens, in UTC."""
        return _instant(self.opens([_day(session)])[0])

    def close_time(self, session: date) -> datetime:
        """Return when a session closes, in UTC."""
        return _instant(self.closes([_day(session)])[0])

    def sessions_between(self, a: date, b: date) -> int:
        """Count the sessions after `a` up to and including `b`; negative when `b` is earlier.

        For two sessions, `offset(a, sessions_between(a, b))` is `b`.
        """
        ends = [self._covered(a), self._covered(b)]
        before, upto = np.searchsorted(self._days, ends, side="right")
        return int(upto - before)

    def session_of(self, instant: datetime) -> date:
        """Return the newest session that is over at an instant: its close is not after it.

        During a session this is the session before, since nothing of the running one is final.

        Parameters
        ----------
        instant : datetime
            Timezone-aware; a naive one is an error, since an hour's mistake picks another
            session without a trace.

        """
        if instant.tzinfo is None:
            raise MarketDataError(
                f"{instant.isoformat()} has no time zone and could be any of several instants; "
                f"give an aware datetime, for example in {self.timezone.key}"
            )
        self._covered(instant.astimezone(self.timezone).date())
        moment = np.datetime64(instant.astimezone(UTC).replace(tzinfo=None), "us").astype(np.int64)
        return self._at(int(np.searchsorted(self._closes, moment, side="right")) - 1)

    def _at(self, position: int) -> date:
        if not 0 <= position < len(self._days):
            raise MarketDataError(
                f"the session asked for lies outside {self.name} as covered here, from "
                f"{self.first_day} to {self.last_day}; ask for fewer sessions or another day"
            )
        found: date = self._days[position].item()
        return found

    def _covered(self, day: date) -> np.datetime64:
        found = _day(day)
        if not self.first_day <= found <= self.last_day:
            raise MarketDataError(
                f"{found} is not covered by the calendar of {self.name}, which holds "
                f"{self.first_day} to {self.last_day}; ask for a day in that range"
            )
        return np.datetime64(found, "D")

    def _not_a_session(self, day: np.datetime64) -> str:
        if np.isnat(day):
            return f"an empty date is not a session of {self.name}; give the date of a session"
        found = date.fromisoformat(str(day))
        where = int(np.searchsorted(self._days, self._covered(found)))
        near = [str(self._days[i]) for i in (where - 1, where) if 0 <= i < len(self._days)]
        return (
            f"{found}, a {found:%A}, is not a session of {self.name}; "
            f"nearest: {' and '.join(near)}; give one of them"
        )


def trading_calendar(name: str) -> TradingCalendar:
    """Return the calendar of an exchange, built once for each name and year.

    A process that runs into a new year gets a calendar that reaches one year further.
    """
    return _built(name, _end_of_next_year())


@lru_cache(maxsize=32)
def _built(name: str, through: date) -> TradingCalendar:
    return TradingCalendar(name, through=through)


def _end_of_next_year() -> date:
    return date(datetime.now(UTC).year + 1, 12, 31)


def _source(name: str, through: date) -> Any:
    # With pandas it takes half a second to import, and many commands need no sessions.
    import exchange_calendars
    from exchange_calendars.errors import InvalidCalendarName

    with warnings.catch_warnings():
        # exchange_calendars 4.13 calls what pandas 3.1 deprecates, which no caller can mend.
        warnings.simplefilter("ignore", category=DeprecationWarning)
        try:
            return exchange_calendars.get_calendar(name, start=str(FIRST_DAY), end=str(through))
        except InvalidCalendarName:
            raise MarketDataError(
                f"there is no trading calendar named {name!r}; allowed are market identifier "
                "codes such as XNYS, XNAS, XLON or XTKS, and 24/7; correct the name"
            ) from None
        except ValueError:
            bounds = type(exchange_calendars.get_calendar(name))
        lower, upper = bounds.bound_min(), bounds.bound_max()
        start = FIRST_DAY if lower is None else max(FIRST_DAY, lower.date())
        end = through if upper is None else min(through, upper.date())
        return exchange_calendars.get_calendar(name, start=str(start), end=str(end))


def _microseconds(times: Any) -> Instants:
    found: Instants = times.to_numpy(dtype="datetime64[us]").astype(np.int64)
    return found


def _instant(microseconds: np.int64) -> datetime:
    found: datetime = np.datetime64(int(microseconds), "us").item()
    return found.replace(tzinfo=UTC)


def _count(n: int) -> int:
    if n < 1:
        raise MarketDataError(f"a number of sessions must be 1 or more, not {n}; see `offset`")
    return n


def _day(value: date) -> date:
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is None and value.time() == time():
        return value.date()
    raise MarketDataError(
        f"{value.isoformat()} is an instant where the date of a session is asked for; "
        "`session_of` finds the session of an instant"
    )
