from __future__ import annotations

import hashlib
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_mlops.features.logarithm import natural_log

PRICES = st.floats(min_value=1e-300, max_value=1e300)


@given(price=PRICES)
def test_it_is_the_logarithm_within_two_units_in_the_last_place(price: float) -> None:
    (found,) = natural_log(np.array([price]))
    with localcontext(prec=50):
        true = Decimal(price).ln()
    assert abs(Decimal(found) - true) <= 2 * Decimal(float(np.spacing(abs(float(true)))))


def test_near_one_no_digit_is_lost() -> None:
    prices = 1.0 + np.arange(-50, 51) * 2.0**-40
    np.testing.assert_allclose(natural_log(prices), np.log1p(prices - 1.0), rtol=4e-16)


def test_the_bits_are_those_on_record_whatever_the_processor() -> None:
    # Prices made of exact operations alone, for the same reason.
    prices = 0.37 + 501.3 * (np.arange(1.0, 200_001.0) * 0.6180339887498949 % 1.0)
    digest = hashlib.sha256(natural_log(prices).astype("<f8").tobytes()).hexdigest()
    assert digest == "5a5454f24de8606b54a132b0c5f4060d4df771e133d5feb172166bd51f870c73"


@pytest.mark.parametrize("price", [0.0, -1.0, np.nan, np.inf])
def test_what_is_no_price_has_no_logarithm(price: float) -> None:
    assert np.isnan(natural_log(np.array([price]))).all()
