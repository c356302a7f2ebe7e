"""A spine: the entities and times for which features are asked, by entity and in order of time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quant_mlops.errors import FeatureStoreError
from quant_mlops.features.age_limit import EARLIEST, Instants, MaxAge, oldest_events
from quant_mlops.features.instants import column_as_utc
from quant_mlops.features.rows import arrow_table

Positions = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Questions:
    """The questions of one entity, in order of time.

    Attributes
    ----------
    rows : ndarray of int, shape (M,)
        Rows of the spine.
    times : ndarray of int64, shape (M,)
        Microseconds UTC, ascending.
    oldest : ndarray of int64, shape (M,), or None
        The oldest event that still counts at each time.
    """

    rows: Positions
    times: Instants
    oldest: Instants | None


@dataclass(frozen=True)
class Spine:
    """A spine as a table and as questions by entity."""

    table: pa.Table
    questions: dict[str, Questions]

    def __len__(self) -> int:
        rows: int = self.table.num_rows
        return rows

    @property
    def first_event(self) -> int | None:
        """The oldest event that can be an answer; None where age does not matter."""
        oldest = [
            int(asked.oldest[0]) for asked in self.questions.values() if asked.oldest is not None
        ]
        return min(oldest) if oldest else None

    @property
    def last_time(self) -> int:
        """The newest time that is asked for."""
        return max(int(asked.times[-1]) for asked in self.questions.values())

    def rows(self) -> Iterator[tuple[str, int, int, int]]:
        """Yield row, entity, time and oldest event of every question, entity by entity."""
        for entity, asked in self.questions.items():
            oldest = asked.oldest if asked.oldest is not None else [EARLIEST] * len(asked.rows)
            for row, time, event in zip(asked.rows, asked.times, oldest, strict=True):
                yield entity, int(row), int(time), int(event)


def read_spine(frame: Any, *, zone: ZoneInfo, max_age: MaxAge, calendar: str) -> Spine:
    """Read a frame with the columns `entity_key` and `time`.

    Parameters
    ----------
    frame : pyarrow.Table, pandas.DataFrame, or any object with the Arrow interface
    zone : ZoneInfo
        Zone of naive times.
    max_age : timedelta, int or AgeLimit, optional
        How old the event of an answer may be at its time: a duration, or sessions of the
        calendar that have closed since.
    calendar : str
        Exchange whose sessions count.

    Raises
    ------
    FeatureStoreError
        A column is missing, or an entity or time is null.
    InvalidValueError
        The age is negative, or neither a duration nor a whole number.
    """
    table = arrow_table(frame)
    for name in ("entity_key", "time"):
        if name not in table.column_names:
            raise FeatureStoreError(
                f"the spine has the columns {', '.join(table.column_names)} and lacks {name!r}; "
                f"give one row for each entity_key and time"
            )
        if table[name].null_count:
            raise FeatureStoreError(
                f"{table[name].null_count} of {table.num_rows} spine rows have no {name}; "
                f"leave them out"
            )
    times = column_as_utc(table["time"], zone=zone).cast(pa.int64()).to_numpy()
    bound = None if max_age is None else oldest_events(times, max_age, calendar=calendar)
    entities = table["entity_key"].cast(pa.string()).combine_chunks().dictionary_encode()
    codes = entities.indices.to_numpy()
    order = _by_entity_and_time(codes, times)
    names = entities.dictionary.to_pylist()
    bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
    questions = {}
    for name, start, stop in zip(names, bounds[:-1], bounds[1:], strict=True):
        rows = order[start:stop]
        questions[name] = Questions(rows, times[rows], None if bound is None else bound[rows])
    return Spine(table, questions)


def _by_entity_and_time(codes: npt.NDArray[np.int32], times: Instants) -> Positions:
    order = np.argsort(codes, kind="stable")
    moments, entity = times[order], codes[order]
    if ((moments[1:] >= moments[:-1]) | (entity[1:] != entity[:-1])).all():
        return order
    return np.lexsort((times, codes))
