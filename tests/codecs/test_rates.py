"""Rates."""

import pytest

from codeword.codecs.rates import Kbps


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 1e308])
def test_a_rate_is_positive_and_finite(value):
    with pytest.raises(ValueError, match="a rate in kbps is positive and at most 1000000"):
        Kbps(value)
