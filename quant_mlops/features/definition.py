"""Feature definitions: a function from a panel to a panel, with a name, a version and a hash."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from types import ModuleType

import numpy as np
import numpy.typing as npt

from quant_mlops.errors import FeatureStoreError, UnknownFeatureError
from quant_mlops.features.logic import reachable_logic
from quant_mlops.market.panel import FIELDS, Panel

Values = npt.NDArray[np.float64]
FeatureFunction = Callable[[Panel], Values]


@dataclass(frozen=True)
class FeatureDefinition:
    """How one feature is computed, and when its value may be used.

    Attributes
    ----------
    name, version : str, int
        Identity in the store; new logic needs a new version.
    lookback : int
        Sessions before the one computed that the function reads. Too small a number makes the
        daily run differ from the backfill; the store's parity depends on it.
    availability_lag : timedelta
        Time after the newest price used until the value can be known.
    function : callable
        From a Panel of shape (S, N) to values of shape (S, N); NaN where undefined.
    fields : tuple of str
        The panel's fields that the function reads.
    description : str
        First line of the function's docstring.
    allows_missing : bool
        Whether an undefined value is stored, as known to be missing, or is no row.
    """

    name: str
    version: int
    lookback: int
    availability_lag: timedelta
    function: FeatureFunction
    fields: tuple[str, ...]
    description: str
    allows_missing: bool = False

    @property
    def key(self) -> str:
        """Name and version as people write them, such as rsi_14@1."""
        return f"{self.name}@{self.version}"

    @property
    def logic_hash(self) -> str:
        """SHA-256 of what decides the values: the code, all it calls and the parameters.

        Comments, docstrings, annotations and layout do not count; the functions and constants of
        the same package and of this one that the code reaches do. It is the same on every
        version of Python.
        """
        logic = {
            "code": reachable_logic(self.function),
            "lookback": self.lookback,
            "availability_lag": self.availability_lag.total_seconds(),
            "fields": self.fields,
            "allows_missing": self.allows_missing,
        }
        return hashlib.sha256(json.dumps(logic, sort_keys=True).encode()).hexdigest()


def feature(
    name: str,
    version: int = 1,
    *,
    lookback: int,
    availability_lag: timedelta = timedelta(0),
    fields: tuple[str, ...] = ("close",),
    allows_missing: bool = False,
) -> Callable[[FeatureFunction], FeatureDefinition]:
    """Make a feature definition of a function.

    Parameters
    ----------
    name : str
        Identity in the store, by convention with its window: `rsi_14`.
    version : int
        To be raised whenever the values may change.
    lookback : int
        Sessions before the one computed that the function reads.
    availability_lag : timedelta
        Time after the newest price used until the value can be known.
    fields : tuple of str
        Fields of the panel that are read; the feature is left out where a source has not a
        single number in one of them.
    allows_missing : bool
        Store an undefined value of a session with prices as known to be missing, so that a read
        does not fall back on the session before.

    Raises
    ------
    FeatureStoreError
        The lookback or the lag is negative, the version is below 1, or a field does not exist.
    """
    unknown = [field for field in fields if field not in FIELDS]
    if unknown or lookback < 0 or version < 1 or availability_lag < timedelta(0):
        raise FeatureStoreError(
            f"feature {name}@{version} has lookback {lookback}, lag {availability_lag} and fields "
            f"{', '.join(fields)}; versions begin at 1, nothing may be negative, and fields are "
            f"{', '.join(FIELDS)}"
        )

    def define(function: FeatureFunction) -> FeatureDefinition:
        description = (inspect.getdoc(function) or "").partition("\n")[0]
        return FeatureDefinition(
            name, version, lookback, availability_lag, function, fields, description, allows_missing
        )

    return define


def definitions_in(module: ModuleType) -> dict[str, FeatureDefinition]:
    """Return the definitions of a module by name, newest version first to win."""
    found: dict[str, FeatureDefinition] = {}
    for value in vars(module).values():
        if isinstance(value, FeatureDefinition) and (
            value.name not in found or found[value.name].version < value.version
        ):
            found[value.name] = value
    return found


def select_definitions(
    available: dict[str, FeatureDefinition], names: Iterable[str]
) -> tuple[FeatureDefinition, ...]:
    """Return the definitions of the given names, in their order.

    Raises
    ------
    UnknownFeatureError
        A name has no definition; the message lists those that exist.
    """
    chosen = []
    for name in names:
        if name not in available:
            raise UnknownFeatureError(
                f"there is no definition of feature {name!r}; defined are "
                f"{', '.join(sorted(available))}"
            )
        chosen.append(available[name])
    return tuple(chosen)
