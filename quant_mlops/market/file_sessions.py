"""Of which sessions a price file has prices, without judging its rows."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from pathlib import Path

import numpy as np

from quant_mlops.errors import PriceFileError
from quant_mlops.market.calendar import trading_calendar
from quant_mlops.market.price_cells import read_days, read_numbers
from quant_mlops.market.price_columns import arrange
from quant_mlops.market.price_source import read_source


def sessions_in_file(path: Path, calendar: str) -> frozenset[date]:
    """Return the sessions of which a price file has any price above 0.

    The file is read again only after its time of change or its size is another.

    Parameters
    ----------
    path : Path
        As for `read_price_file`. A file that is missing or cannot be read has no session.
    calendar : str
        Exchange whose sessions count; a price of any other day is passed over.
    """
    try:
        status = path.stat()
    except OSError:
        return frozenset()
    return _sessions(path, calendar, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=16)
def _sessions(path: Path, calendar: str, changed: int, size: int) -> frozenset[date]:
    try:
        source = read_source(path)
        raw = arrange(source)
        days, _ = read_days(raw.columns["date"], file=source.name, row_number=raw.row_number)
    except PriceFileError:
        return frozenset()
    closes, _ = read_numbers(raw.columns["close"])
    usable = (closes > 0) & np.isfinite(closes) & trading_calendar(calendar).are_sessions(days)
    return frozenset(np.unique(days[usable].astype("datetime64[D]")).tolist())
