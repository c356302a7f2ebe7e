"""Cells of a price file as numbers, days and instants, and which of them cannot be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from quant_mlops.errors import PriceFileError

if TYPE_CHECKING:
    import pandas as pd

Mask = NDArray[np.bool_]

EMPTY_MARKS = ("", "na", "n/a", "#n/a", "nan", "null", "none", "nat", "-", ".")
NUMBER = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$|^[+-]?([iI]nf|[iI]nfinity)$"


@dataclass(frozen=True)
class DayFormat:
    """One way to write a day: how to recognise it, and how to read it."""

    pattern: str
    directive: str


ISO = DayFormat(r"\d{4}-\d{2}-\d{2}([T ].*)?", "%Y-%m-%d")
ISO_AT_MIDNIGHT = r".{10}([T ]00:00(:00(\.0+)?)?(Z|[+-]\d\d(:?\d\d)?)?)?"
DAY_FORMATS = (
    ISO,
    DayFormat(r"(19|20)\d{6}", "%Y%m%d"),
    DayFormat(r"\d{4}/\d{1,2}/\d{1,2}", "%Y/%m/%d"),
    DayFormat(r"\d{1,2}-[A-Za-z]{3}-\d{4}", "%d-%b-%Y"),
    # The file's own days decide whether the day or the month comes first.
    DayFormat(r"\d{1,2}/\d{1,2}/\d{4}", ""),
)
READ_AS = {
    "%Y%m%d": "year, month, day without separators",
    "%Y/%m/%d": "year/month/day",
    "%d-%b-%Y": "day-month-year with the month's name",
    "%d/%m/%Y": "day/month/year, since a first number is above 12",
    "%m/%d/%Y": "month/day/year, since a second number is above 12",
}


def filled(column: pa.Array) -> Mask:
    """Say for each cell whether it holds anything: not null, not NaN, no mark of absence."""
    if pa.types.is_floating(column.type):
        present: Mask = ~np.isnan(_numpy(pc.cast(column, pa.float64())))
        return present
    if not is_text(column.type):
        return _numpy(column.is_valid()).astype(np.bool_)
    return _numpy(_text(column).is_valid()).astype(np.bool_)


def read_numbers(column: pa.Array) -> tuple[NDArray[np.float64], Mask]:
    """Read cells as numbers; the mask is of cells that hold something else than a number."""
    kind = column.type
    if is_text(kind):
        text = _text(column)
        try:
            return _numpy(pc.cast(text, pa.float64())), np.zeros(len(text), dtype=np.bool_)
        except pa.ArrowInvalid:
            good = pc.fill_null(pc.match_substring_regex(text, NUMBER), True)
        unsigned = pc.replace_substring_regex(text, r"^\+", "")
        numbers = pc.cast(pc.if_else(good, unsigned, None), pa.float64())
        return _numpy(numbers), ~_numpy(good).astype(np.bool_)
    if pa.types.is_null(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        numbers = pc.cast(column, pa.float64(), safe=False)
    elif pa.types.is_decimal(kind):
        numbers = pc.cast(column, pa.float64())
    else:
        nothing = np.full(len(column), np.nan)
        return nothing, _numpy(column.is_valid()).astype(np.bool_)
    return _numpy(numbers).astype(np.float64), np.zeros(len(column), dtype=np.bool_)


def read_days(
    column: pa.Array, *, file: str, row_number: NDArray[np.int64]
) -> tuple[NDArray[np.datetime64], str | None]:
    """Read cells as days, NaT where there is none, and say how if not as ISO 8601.

    A time of day other than midnight makes a cell unreadable: it would be an intraday price.

    Raises
    ------
    PriceFileError
        Two formats occur in one file, day and month cannot be told apart, or nothing parses.

    """
    kind = column.type
    if pa.types.is_date(kind):
        return _numpy(pc.cast(column, pa.date32())).astype("datetime64[D]"), None
    if pa.types.is_timestamp(kind):
        local = pc.local_timestamp(column) if kind.tz else column
        wall = _numpy(pc.cast(local, pa.timestamp("us"), safe=False)).astype("datetime64[us]")
        days = wall.astype("datetime64[D]")
        days[wall != days] = np.datetime64("NaT")
        how = None
    else:
        days, how = _days_from_text(column, file=file, row_number=row_number)
    if np.isnat(days).all():
        cells = pc.unique(pc.cast(column.filter(pa.array(filled(column))), pa.string()))
        shown = ", ".join(repr(cell) for cell in cells[:3].to_pylist()) or "empty cells only"
        raise PriceFileError(
            f"{file} has no date that can be read (found: {shown}); write days like 2020-01-31, "
            "without a time of day"
        )
    return days, how


def read_instants(
    column: pa.Array, zone: ZoneInfo
) -> tuple[NDArray[np.datetime64], Mask, str | None]:
    """Read cells as instants in UTC; the mask is of cells that hold no readable instant.

    The sentence says what was assumed of cells without a zone or a time of day.

    A time without a zone is wall time of `zone`, unreadable if it does not exist or exists
    twice there. A day without a time is its last microsecond: a price published some time on
    that day was certainly known then, and any earlier reading could look ahead.
    """
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.tz:
        utc = pc.cast(column, pa.timestamp("us", "UTC"), safe=False)
        return _numpy(utc).astype("datetime64[us]"), np.zeros(len(column), dtype=np.bool_), None
    import pandas as pd

    codes, texts = _encoded(column)
    found = np.full(len(texts) + 1, np.datetime64("NaT"), dtype="datetime64[us]")
    series = pd.Series(texts, dtype="object")
    is_day = _matches(series, r"\d{4}-\d{2}-\d{2}")
    is_zoned = _matches(series, r".*\d(Z|[+-]\d{2}(:?\d{2})?)") & ~is_day
    for part, zoned in ((is_zoned, True), (~is_zoned, False)):
        where = np.flatnonzero(part)
        times = pd.to_datetime(series[part], format="ISO8601", errors="coerce", utc=zoned)
        moments = pd.DatetimeIndex(times).as_unit("us")
        if not zoned:
            last = np.where(is_day[where], np.timedelta64(86_399_999_999, "us"), 0)
            moments = (moments + last.astype("timedelta64[us]")).tz_localize(
                zone, ambiguous="NaT", nonexistent="NaT"
            )
        found[where] = moments.tz_convert("UTC").tz_localize(None).to_numpy()
    instants = found[codes]
    how = None
    if not is_zoned.all():
        how = f"Times of known_at without a zone were read in {zone.key}"
        how += ", days without a time as the end of that day." if is_day.any() else "."
    return instants, np.isnat(instants) & (codes >= 0), how


def _days_from_text(
    column: pa.Array, *, file: str, row_number: NDArray[np.int64]
) -> tuple[NDArray[np.datetime64], str | None]:
    import pandas as pd

    codes, texts = _encoded(column)
    written = pd.Series(texts, dtype="object")
    # Days that end in the year are compared whatever stands between their parts.
    series = written.str.replace(r"^(\d+)[.-](\d+)[.-](\d{4})$", r"\1/\2/\3", regex=True)

    def example(which: Mask) -> str:
        first = int(np.flatnonzero(np.append(which, False)[codes])[0])
        return f"{texts[codes[first]]!r} in row {row_number[first]:,}"

    forms = [(form, _matches(series, form.pattern)) for form in DAY_FORMATS]
    forms = [(form, which) for form, which in forms if which.any()]
    if len(forms) > 1:
        raise _mixed(file, example(forms[0][1]), example(forms[1][1]))
    days = np.full(len(texts) + 1, np.datetime64("NaT"), dtype="datetime64[D]")
    if not forms:
        return days[codes], None
    form, which = forms[0]
    directive = form.directive
    if form is ISO:
        which = which & _matches(series, ISO_AT_MIDNIGHT)
    if not directive:
        parts = series.str.extract(r"^(\d+)/(\d+)/").fillna("0").astype("int64").to_numpy()
        day_first, month_first = which & (parts[:, 0] > 12), which & (parts[:, 1] > 12)
        if day_first.any() and month_first.any():
            raise _mixed(file, example(day_first), example(month_first))
        if not day_first.any() and not month_first.any():
            raise PriceFileError(
                f"{file} writes days like {example(which)}, where day and month cannot be told "
                "apart anywhere in the file; write them like 2020-01-31"
            )
        directive = "%d/%m/%Y" if day_first.any() else "%m/%d/%Y"
    chosen = series[which].str.slice(0, 10) if form is ISO else series[which]
    parsed = pd.to_datetime(chosen, format=directive, errors="coerce")
    days[np.flatnonzero(which)] = parsed.to_numpy().astype("datetime64[D]")
    order = READ_AS.get(directive)
    return days[codes], None if order is None else f"Days were read as {order}."


def _mixed(file: str, one: str, other: str) -> PriceFileError:
    return PriceFileError(
        f"{file} writes days in more than one way, {one} and {other}, so none of them is certain; "
        "write all of them like 2020-01-31"
    )


def _matches(series: pd.Series[str], pattern: str) -> Mask:
    return np.array(series.str.fullmatch(pattern), dtype=np.bool_)


def _encoded(column: pa.Array) -> tuple[NDArray[np.int64], list[str]]:
    """Return a code per cell, -1 where it is empty, and the distinct texts in that order."""
    encoded = pc.dictionary_encode(_text(column))
    codes = _numpy(pc.fill_null(encoded.indices, -1)).astype(np.int64)
    return codes, encoded.dictionary.to_pylist()


def _text(column: pa.Array) -> pa.Array:
    """Return cells as trimmed text, null where they hold a mark of absence."""
    text = pc.utf8_trim_whitespace(pc.cast(column, pa.string()))
    absent = pc.is_in(pc.utf8_lower(text), value_set=pa.array(EMPTY_MARKS))
    return pc.if_else(absent, None, text)


def is_text(kind: pa.DataType) -> bool:
    """Say whether a column holds text, plain or dictionary encoded."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _numpy(array: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    if isinstance(array, pa.ChunkedArray):
        return array.to_numpy()  # type: ignore[no-any-return]
    return array.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
