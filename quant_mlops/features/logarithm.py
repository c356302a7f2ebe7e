"""The natural logarithm with the same bits on every machine.

NumPy and the C library choose their logarithm by the instructions that a processor has, and the
choices differ in the last digit; a training set built elsewhere then has another fingerprint.
Addition, multiplication and division are exact to the bit everywhere (IEEE 754), so here
nothing else is used.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

# ln 2 in two parts; the first ends in zeros, so that its product with an exponent is exact.
LN2_HIGH = float.fromhex("0x1.62e42feep-1")
LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
TERMS = 11


def natural_log(values: Values) -> Values:
    """Return ln(x), within 2 units in the last place of the true value.

    With x = m 2^k and m from sqrt(1/2) to sqrt(2), ln(x) = k ln 2 + 2 artanh((m - 1) / (m + 1)),
    and the series of artanh is summed to the term below rounding (Abramowitz and Stegun 1964,
    formulas 4.1.27 and 4.6.22).

    Parameters
    ----------
    values : ndarray of float64
        Positive and finite; anything else gives NaN, as a price of that kind is no price.
    """
    usable = (values > 0.0) & np.isfinite(values)
    mantissa, exponent = np.frexp(np.where(usable, values, 1.0))
    low = mantissa < math.sqrt(0.5)
    mantissa = np.where(low, 2.0 * mantissa, mantissa)
    power = (exponent - low).astype(np.float64)
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    square = ratio * ratio
    series = np.zeros_like(square)
    for term in range(TERMS, 0, -1):
        series = square * (1.0 / (2 * term + 1) + series)
    logarithm = power * LN2_HIGH + (2.0 * ratio + (2.0 * ratio * series + power * LN2_LOW))
    return np.where(usable, logarithm, np.nan)
