"""When a series counts as constant: the rule behind every "zero deviation is undefined"."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

# Prices turned into returns of 1e-5 a session carry rounding noise of some 1e-11 of their size;
# no real track record is this steady.
CONSTANT_TOLERANCE = 1e-9


def is_constant(values: ArrayLike, *, axis: int = -1) -> Any:
    """Tell whether finite values are equal up to floating-point noise.

    The rule is max - min <= 1e-9 x max |value| along `axis`. A standard deviation cannot be
    compared with zero instead: 30 returns of 0.001 have one of 2e-19. Returns a bool, or an array
    of them when `values` has more than one axis.
    """
    array = np.asarray(values, dtype=np.float64)
    largest = np.max(np.abs(array), axis=axis)
    return np.ptp(array, axis=axis) <= CONSTANT_TOLERANCE * largest
