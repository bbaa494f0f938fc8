import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.functional import usage
from reference import usage as slow

BITS = 1e-9  # tolerance of an entropy


def draw(seed, *shape, size=6, absent=0.0):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, size, shape, generator=generator)
    return codes.masked_fill(torch.rand(shape, generator=generator) < absent, -1)


def test_histogram_counts_codes_and_skips_absent_ones():
    codes = torch.tensor([[0, 2, -1], [2, 2, 0]])
    assert usage.histogram(codes, 4).tolist() == [2, 0, 3, 0]
    assert usage.histogram(torch.full((5,), -1), 3).tolist() == [0, 0, 0]
    assert usage.histogram(torch.empty(0, dtype=torch.int64), 3).tolist() == [0, 0, 0]
    assert usage.histogram(torch.tensor(1), 2).tolist() == [0, 1]
    assert usage.histogram(torch.tensor([127, -1], dtype=torch.int8), 128)[127] == 1


@pytest.mark.parametrize("codes", [[0, 4], [-2, 1]])
def test_histogram_names_codes_out_of_range(codes):
    with pytest.raises(ValueError, match=r"codes must lie in -1\.\.3, got"):
        usage.histogram(torch.tensor(codes), 4)


def test_values_by_hand():
    counts = torch.tensor([2, 1, 1, 0])  # p = 1/2, 1/4, 1/4
    assert usage.usage_rate(counts) == 0.75
    assert usage.entropy(counts) == 1.5
    assert usage.perplexity(counts).item() == pytest.approx(2**1.5, abs=1e-12)
    assert usage.perplexity_share(counts).item() == pytest.approx(2**1.5 / 4, abs=1e-12)
    assert usage.effective_code_usage(counts).item() == pytest.approx(0.75 / (1.5 * math.log(4)), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_one_level_equals_a_loop(seed):
    codes = draw(seed, 300, size=17, absent=0.2)
    codes[codes > 12] = 0  # some codewords are never used
    counts = usage.histogram(codes, 17)
    present = [code for code in codes.tolist() if code >= 0]
    bits = slow.entropy(present)
    assert counts.tolist() == [present.count(code) for code in range(17)]
    assert usage.usage_rate(counts).item() == len(set(present)) / 17
    assert usage.entropy(counts).item() == pytest.approx(bits, abs=BITS)
    assert usage.perplexity(counts).item() == pytest.approx(2**bits, rel=BITS)
    assert usage.perplexity_share(counts).item() == pytest.approx(2**bits / 17, rel=BITS)
    published = len(set(present)) / 17 / (bits * math.log(17))
    assert usage.effective_code_usage(counts).item() == pytest.approx(published, rel=BITS)


def test_what_is_known_leaves_exactly_nothing():
    first = draw(3, 1000, size=7)
    assert usage.conditional_entropy(first, first * 3 + 1) >= 0
    assert usage.conditional_entropy(first % 3, first).item() == 0


@pytest.mark.parametrize("size", [1, 2, 7, 256, 1024])
def test_uniform_use_has_perplexity_equal_to_size(size):
    counts = torch.full((size,), 3)
    assert usage.perplexity(counts).item() == pytest.approx(size, rel=1e-12)
    assert usage.perplexity_share(counts).item() == pytest.approx(1, rel=1e-12)
    assert usage.usage_rate(counts) == 1


def test_weights_need_not_be_integers_nor_sum_to_one():
    assert usage.entropy(torch.tensor([1e-3, 1e-3, 0.0])).item() == pytest.approx(1, abs=BITS)
    assert usage.entropy(torch.tensor([3.5, 3.5, 7.0])).item() == pytest.approx(1.5, abs=BITS)


def test_one_codeword_and_no_codes_have_no_entropy():
    for counts in (torch.tensor([9]), torch.tensor([0, 5, 0]), torch.zeros(4, dtype=torch.int64)):
        assert usage.entropy(counts) == 0
        assert usage.perplexity(counts) == 1
        assert usage.effective_code_usage(counts) == math.inf


@pytest.mark.parametrize(("size", "floor"), [(256, 0.0225), (1024, 0.0144)])
def test_published_effective_code_usage_is_least_for_even_use(size, floor):
    even = usage.effective_code_usage(torch.ones(size)).item()
    assert even == pytest.approx(floor, abs=5e-5)  # the lowest values of BRIDLE's table 6
    skewed = usage.effective_code_usage(torch.arange(1, size + 1).double().reciprocal().square()).item()
    assert skewed > 2 * even  # as many codewords in use, far less evenly: the published number rises


def test_names_of_the_paper_are_the_same_quantities():
    counts = torch.tensor([5, 0, 2])
    assert usage.code_usage_rate(counts) == usage.usage_rate(counts)
    assert usage.usage_entropy(counts) == usage.entropy(counts)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 5), st.sampled_from([0.0, 0.3]))
def test_joint_entropy_equals_counting(seed, rows, levels, absent):
    codes = draw(seed, rows, levels, size=4, absent=absent)
    present = slow.complete(codes.tolist())
    expected = slow.entropy(present) if present else 0.0
    assert usage.joint_entropy(codes).item() == pytest.approx(expected, abs=BITS)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 60), st.sampled_from([0.0, 0.3]))
def test_two_levels_equal_counting(seed, rows, absent):
    codes = draw(seed, rows, 2, size=5, absent=absent)
    pairs = slow.complete(codes.tolist())
    first, second = codes.unbind(-1)
    expected = slow.conditional_entropy(pairs) if pairs else 0.0
    assert usage.conditional_entropy(first, second).item() == pytest.approx(expected, abs=BITS)
    expected = slow.mutual_information(pairs) if pairs else 0.0
    assert usage.mutual_information(first, second).item() == pytest.approx(expected, abs=BITS)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.integers(0, 80))
def test_laws_of_information(seed, rows):
    codes = draw(seed, rows, 2, size=7)
    first, second = codes.unbind(-1)
    apart = [usage.entropy(usage.histogram(level, 7)).item() for level in (first, second)]
    joint = usage.joint_entropy(codes).item()
    assert max(apart) - BITS <= joint <= sum(apart) + BITS
    assert joint <= math.log2(max(rows, 1)) + BITS
    shared = usage.mutual_information(first, second).item()
    assert shared == pytest.approx(usage.mutual_information(second, first).item(), abs=BITS)
    assert shared == pytest.approx(apart[0] - usage.conditional_entropy(first, second).item(), abs=BITS)
    assert usage.mutual_information(first, first).item() == pytest.approx(apart[0], abs=BITS)
    assert usage.conditional_entropy(first, first).item() == pytest.approx(0, abs=BITS)


def test_tuples_whose_numbers_exceed_int64_stay_distinct():
    codes = draw(0, 500, 9, size=2)
    wide = codes * (2**40)  # 9 levels of 2^40 codewords: 2^360 possible tuples
    assert usage.joint_entropy(wide).item() == pytest.approx(slow.entropy(map(tuple, codes.tolist())), abs=BITS)
    full = torch.full((3, 8), 255)
    full[1, 0] = full[2, 7] = 254
    assert usage.joint_entropy(full).item() == pytest.approx(math.log2(3), abs=BITS)
    edge = torch.tensor([[2**62, 0], [2**62, 3], [0, 3], [2**62 - 1, 3]])
    assert usage.joint_entropy(edge) == 2


def test_joint_entropy_allocates_by_vectors_not_by_codebook_sizes():
    codes = torch.tensor([[2**31, 2**31], [5, 0]])  # a table of pairs would need 2^62 entries
    assert usage.joint_entropy(codes) == 1


def test_side_information_is_broadcast():
    codes = torch.tensor([[3, 5, 7], [3, 5, 1]])  # (batch, time): known from the position but at the last one
    assert usage.conditional_entropy(codes, torch.arange(3)).item() == pytest.approx(1 / 3, abs=BITS)
    assert usage.conditional_entropy(codes, torch.tensor([[0], [1]])).item() == pytest.approx(math.log2(3), abs=BITS)
    masked = torch.tensor([0, 1, -1])  # an unknown position takes its vectors out
    assert usage.conditional_entropy(codes, masked).item() == pytest.approx(0, abs=BITS)


def test_shuffling_keeps_the_bias_and_removes_the_information():
    first = draw(1, 40000, size=64)
    independent = draw(2, 40000, size=64)
    bias = 63 * 63 / (2 * 40000 * math.log(2))
    floor = usage.shuffled_information(first, first).item()
    assert floor == pytest.approx(bias, rel=0.05)
    assert usage.mutual_information(first, independent).item() == pytest.approx(floor, rel=0.1)
    assert usage.mutual_information(first, first).item() > 5.9
    assert usage.shuffled_information(first, first, seed=0) == floor  # the same draw, the same number


def test_codes_below_minus_one_are_refused():
    with pytest.raises(ValueError, match="codes must be -1 or more, got -3"):
        usage.joint_entropy(torch.tensor([[0, -3]]))


def test_no_vectors_and_one_vector():
    for rows in (0, 1):
        codes = draw(0, rows, 3)
        assert usage.joint_entropy(codes) == 0
        assert usage.mutual_information(codes[:, 0], codes[:, 1]) == 0
        assert usage.shuffled_information(codes[:, 0], codes[:, 1]) == 0
        assert usage.conditional_entropy(codes[:, 0], codes[:, 1]) == 0
