import math

import pytest
import torch

from codeword.functional.random import fresh_key, row_normal, row_uniform

ROWS, COLUMNS = 20_000, 8
SIGMAS = 5  # of a statistic over all numbers drawn


def key(number):
    return torch.tensor(number)


@pytest.mark.parametrize("draw", [row_uniform, row_normal])
def test_a_row_draws_the_same_however_the_batch_is_split(draw):
    whole = draw(key(5), 100, 6)
    assert torch.equal(torch.cat([draw(key(5), 30, 6), draw(key(5), 70, 6, first_row=30)]), whole)
    assert torch.equal(draw(key(5), 70, 6, first_row=torch.tensor(30)), whole[30:])
    assert draw(key(5), 0, 6).shape == (0, 6)
    assert draw(key(5), 3, 5).shape == (3, 5)


def test_uniform_numbers_are_uniform():
    for number in (0, 1, 123456789012345, 2**62 - 1):
        u = row_uniform(key(number), ROWS, COLUMNS)
        assert 0 < u.min() < 1e-3
        assert 1 - 1e-3 < u.max() < 1
        assert abs(u.mean() - 0.5) < SIGMAS * math.sqrt(1 / 12 / u.numel())
        counts = torch.histc(u, 50, 0, 1)
        expected = u.numel() / 50
        chi = ((counts - expected) ** 2 / expected).sum()
        assert abs(chi - 49) < SIGMAS * math.sqrt(2 * 49)


def test_the_largest_number_is_below_one():
    u = row_uniform(key(0), 1, 1, first_row=2_041_040)  # all 24 bits are set
    assert u == 1 - 2**-24
    assert torch.isfinite(-torch.log(-torch.log(u))).all()


def test_normal_numbers_are_normal():
    v = row_normal(key(3), ROWS, COLUMNS).double()
    n = v.numel()
    for power, moment, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert abs((v**power).mean() - moment) < SIGMAS * math.sqrt(variance / n)
    assert 4 < v.abs().max() < 7
    assert abs((v.abs() < 1).double().mean() - math.erf(math.sqrt(0.5))) < SIGMAS * math.sqrt(0.25 / n)


def test_rows_columns_and_keys_are_independent():
    v = torch.cat([row_normal(key(number), ROWS, COLUMNS) for number in (3, 4, 3 << 32, 1_000_006)], 1).double()
    v = torch.cat([v, v.roll(1, 0), v.roll(17, 0)], 1)
    correlation = v.t() @ v / ROWS - torch.eye(v.shape[1])
    assert correlation.abs().max() < (SIGMAS + 1) / math.sqrt(ROWS)


def test_keys_follow_the_generator_of_torch():
    torch.manual_seed(0)
    first, second = fresh_key(torch.zeros(1)), fresh_key(torch.zeros(1))
    torch.manual_seed(0)
    assert fresh_key(torch.zeros(1)) == first
    assert first != second
