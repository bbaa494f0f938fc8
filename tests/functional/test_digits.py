import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.functional.digits import code_sizes, digit_scores, digit_strides, join_digits, split_digits
from reference import scalar as slow

ROUNDING = 1e-5  # of sums of a few float32 squares of size 1


@st.composite
def numbers(draw):
    sizes = draw(st.lists(st.sampled_from([1, 2, 3, 7, 8, 255, 256, 65536]), min_size=1, max_size=12))
    per_code = draw(st.integers(1, 3))
    rows = draw(st.lists(st.tuples(*(st.integers(0, size - 1) for size in sizes)), max_size=5))
    return sizes, per_code, torch.tensor(rows, dtype=torch.int64).reshape(-1, len(sizes))


@settings(max_examples=60, deadline=None)
@given(numbers())
def test_join_and_split_are_those_of_integers(drawn):
    sizes, per_code, digits = drawn
    strides = torch.tensor(digit_strides(sizes, per_code))
    codes = join_digits(digits, strides, per_code)
    groups = [slice(start, start + per_code) for start in range(0, len(sizes), per_code)]
    assert codes.tolist() == [[slow.join(row[g], sizes[g]) for g in groups] for row in digits.tolist()]
    assert code_sizes(sizes, per_code) == tuple(slow.join([s - 1 for s in sizes[g]], sizes[g]) + 1 for g in groups)
    assert torch.equal(split_digits(codes, torch.tensor(sizes), strides, per_code), digits)


def test_exact_up_to_the_last_number_of_int64():
    sizes = [2] * 62 + [1, 2, 1]  # 2^63 codes, and features of one value where a stride would overflow
    strides = torch.tensor(digit_strides(sizes, len(sizes)))
    assert code_sizes(sizes, len(sizes)) == (1 << 63,)
    codes = torch.tensor([[(1 << 63) - 1], [(1 << 24) + 1], [1 << 62], [0]])
    digits = split_digits(codes, torch.tensor(sizes), strides, len(sizes))
    assert torch.equal(join_digits(digits, strides, len(sizes)), codes)
    assert digits[0].tolist() == [size - 1 for size in sizes]


@pytest.mark.parametrize(("sizes", "per_code"), [([], 1), ([0], 1), ([3, -1], 1), ([3], 0), ([2] * 64, 64)])
def test_refused_sizes(sizes, per_code):
    with pytest.raises(ValueError, match="feature") as error:
        code_sizes(sizes, per_code)
    assert "\n" not in str(error.value)


def test_absent_codes_have_absent_digits():
    sizes, strides = torch.tensor([3, 4, 5]), torch.tensor(digit_strides([3, 4, 5], 2))
    digits = split_digits(torch.tensor([[-1, 4], [11, -1]]), sizes, strides, 2)
    assert digits.tolist() == [[-1, -1, 4], [2, 3, -1]]


def test_scores_are_distances_to_every_vector():
    values = [torch.tensor([-1.0, 0.5]), torch.tensor([0.0]), torch.tensor([-2.0, 0.0, 1.0])]
    x = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    scores = digit_scores(x, values)
    table = torch.tensor([[values[0][code % 2], values[1][0], values[2][code // 2]] for code in range(6)])
    torch.testing.assert_close(scores, -torch.cdist(x, table).square(), rtol=0, atol=ROUNDING)


def test_scores_of_too_many_codes_are_refused():
    with pytest.raises(ValueError, match="features_per_code"):
        digit_scores(torch.zeros(1, 17), [torch.zeros(2)] * 17)
