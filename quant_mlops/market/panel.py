"""A panel: prices of many tickers over consecutive sessions, as known at one instant."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Sessions = npt.NDArray[np.datetime64]

FIELDS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True)
class Panel:
    """Prices by session and ticker; a missing bar is NaN and is never filled.

    Attributes
    ----------
    sessions : ndarray of datetime64[D], shape (S,)
        Consecutive sessions of the exchange, whether or not any bar exists.
    event_times : ndarray of int64, shape (S,)
        Close of each session, microseconds since 1970-01-01 UTC.
    tickers : tuple of str, length N
    fields : mapping of str to ndarray, shape (S, N)
        open, high, low, close and volume; close is adjusted where the source adjusts it.
    known_at : ndarray of int64, shape (S, N)
        When each bar became known, microseconds UTC; 0 where there is no bar.

    """

    sessions: Sessions
    event_times: npt.NDArray[np.int64]
    tickers: tuple[str, ...]
    fields: MappingProxyType[str, Floats]
    known_at: npt.NDArray[np.int64]

    @property
    def close(self) -> Floats:
        """Closing prices, shape (S, N)."""
        return self.fields["close"]

    @property
    def volume(self) -> Floats:
        """Shares traded, shape (S, N); NaN where the source has no volume."""
        return self.fields["volume"]

    @property
    def shape(self) -> tuple[int, int]:
        """Sessions by tickers."""
        return len(self.sessions), len(self.tickers)

    def tail(self, first: np.datetime64) -> slice:
        """Return the rows from session `first` on, as a slice."""
        return slice(int(np.searchsorted(self.sessions, first)), len(self.sessions))
