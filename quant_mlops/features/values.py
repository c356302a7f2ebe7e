"""One value of one feature: as reads return it, and as writes take it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from numbers import Integral, Real
from typing import Any

from quant_mlops.errors import InvalidValueError


@dataclass(frozen=True)
class FeatureValue:
    """A value with both of its times, and the time as of which it was asked for.

    Attributes
    ----------
    entity_key, feature_name, feature_version
        The series.
    event_time : datetime
        What the value is about.
    ingest_time : datetime
        When it could first be known.
    as_of_time : datetime
        The instant of the question; both times above are at or before it.
    value : float, dict or None
        None where the value is known to be missing.
    producer : str
        Who wrote it.
    """

    entity_key: str
    feature_name: str
    feature_version: int
    event_time: datetime
    ingest_time: datetime
    as_of_time: datetime
    value: float | dict[str, Any] | None
    producer: str

    @classmethod
    def of_row(cls, row: tuple[Any, ...]) -> FeatureValue:
        """Take a row of the reads: the fields in order, the value as a number and as JSON."""
        entity, name, version, event_time, ingest_time, as_of, number, document, producer = row
        value = number if document is None else document
        return cls(entity, name, version, event_time, ingest_time, as_of, value, producer)


def value_columns(name: str, value: Any) -> dict[str, Any]:
    """Return the two columns, a number and JSON text, in which a feature's value is stored.

    Raises
    ------
    InvalidValueError
        It is neither a real number nor a JSON object nor None; a number that is not finite is
        judged later, by the feature's definition.
    """
    if isinstance(value, Mapping):
        try:
            text = json.dumps(value, allow_nan=False, sort_keys=True)
        except (TypeError, ValueError) as error:
            raise InvalidValueError(
                f"the value of {name} is no JSON object: {error}; give numbers, text and lists"
            ) from None
        return {"value_double": None, "value_json": text}
    if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
        raise InvalidValueError(
            f"the value of {name} is {value!r}; give a finite number or a JSON object, or leave "
            f"the feature out"
        )
    return {"value_double": None if value is None else _double(name, value), "value_json": None}


def _double(name: str, value: Real) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if isinstance(value, Integral) and number != value:
        raise InvalidValueError(
            f"the value of {name} is the integer {value}, which a double does not hold exactly; "
            f"give it as a float, or as text in a JSON object"
        )
    return number
