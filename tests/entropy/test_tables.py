"""Frequency tables: exact sums, exact shares, and refusals."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.entropy.tables import TOTAL, CodeTables, check_counts, ideal_bits, quantize_histogram

HISTOGRAMS = st.lists(st.one_of(st.just(0), st.integers(0, 50), st.integers(0, 2**62)), min_size=1, max_size=40)

TABLE = np.array([32768, 32768])


@settings(deadline=None)
@given(HISTOGRAMS)
def test_counts_are_positive_ordered_and_sum_exactly(histogram):
    counts = quantize_histogram(np.array(histogram))
    assert counts.min() >= 1
    assert counts.sum() == TOTAL
    order = np.argsort(np.array(histogram), kind="stable")
    assert (np.diff(counts[order]) >= -1).all()  # of two equal remainders the lower symbol takes the odd count


@settings(deadline=None)
@given(HISTOGRAMS)
def test_common_symbols_get_their_exact_share(histogram):
    counts = quantize_histogram(np.array(histogram)).tolist()
    total = sum(histogram)
    if not total:
        histogram, total = [1] * len(histogram), len(histogram)
    rare = [h * TOTAL < total for h in histogram]
    if not any(rare):
        # Plain largest remainder, in Python integers.
        floors = [h * TOTAL // total for h in histogram]
        by_remainder = sorted(range(len(histogram)), key=lambda k: (-(histogram[k] * TOTAL % total), k))
        for k in by_remainder[: TOTAL - sum(floors)]:
            floors[k] += 1
        assert counts == floors
    for h, is_rare, count in zip(histogram, rare, counts, strict=True):
        if is_rare:
            assert count == 1
        else:
            assert h * (TOTAL - len(histogram)) / total - 1 <= count <= h * TOTAL / total + 1


def test_rare_symbols_leave_the_division():
    # 1 and 2 of 10**6 are below one count; the two others share 65534 counts exactly evenly.
    assert quantize_histogram(np.array([1, 500_000, 2, 500_000])).tolist() == [1, 32767, 1, 32767]


def test_ties_go_to_the_lower_symbol():
    assert quantize_histogram(np.array([1, 1, 1])).tolist() == [21846, 21845, 21845]


@pytest.mark.parametrize("size", [1, 2, 256, TOTAL])
def test_nothing_observed_is_uniform(size):
    assert quantize_histogram(np.zeros(size, dtype=np.int64)).tolist() == [TOTAL // size] * size


def test_the_largest_alphabet_has_only_ones():
    histogram = np.arange(TOTAL)
    assert (quantize_histogram(histogram) == 1).all()


def test_impossible_histograms_are_refused():
    with pytest.raises(ValueError, match="1 to 65536 symbols, got 65537; store such codes packed"):
        quantize_histogram(np.ones(TOTAL + 1, dtype=np.int64))
    with pytest.raises(ValueError, match="got 1099511627776; store such codes packed"):
        CodeTables.from_codes(np.zeros((3, 1), dtype=np.uint64), (2**40,))
    with pytest.raises(ValueError, match="got 0"):
        quantize_histogram(np.ones(0, dtype=np.int64))
    with pytest.raises(ValueError, match="0 or more, got -3"):
        quantize_histogram(np.array([1, -3]))


@pytest.mark.parametrize("counts", [[TOTAL - 1], [0, TOTAL], [TOTAL + 1, -1], []])
def test_what_is_no_table_is_refused(counts):
    with pytest.raises(ValueError, match="sum to 65536"):
        check_counts(np.array(counts, dtype=np.int64))


def test_ideal_bits_is_the_sum_of_logarithms():
    counts = np.array([TOTAL // 2, TOTAL // 4, TOTAL // 4])
    assert ideal_bits(np.array([10, 3, 1]), counts) == 10 + 2 * 3 + 2 * 1
    assert ideal_bits(np.array([0, 0, 0]), counts) == 0
    skewed = quantize_histogram(np.array([7, 2, 1]))
    expected = -sum(h * math.log2(c / TOTAL) for h, c in zip([7, 2, 1], skewed.tolist(), strict=True))
    assert ideal_bits(np.array([7, 2, 1]), skewed) == pytest.approx(expected, rel=1e-12)


def test_tables_of_codes_count_what_is_present():
    codes = np.array([[0, 2], [1, -1], [-1, -1], [0, 2]])
    tables = CodeTables.from_codes(codes, (2, 3), variable_depth=True)
    assert tables.levels[0].tolist() == quantize_histogram(np.array([2, 1])).tolist()
    assert tables.levels[1].tolist() == quantize_histogram(np.array([0, 0, 2])).tolist()
    assert tables.depth is not None
    assert tables.depth.tolist() == quantize_histogram(np.array([1, 1, 2])).tolist()
    assert CodeTables.from_codes(codes, (2, 3)).depth is None
    for wrong in (np.array([[0, 3]]), np.array([[0]])):
        with pytest.raises(ValueError, match=r"do not fit sizes \(2, 3\)"):
            CodeTables.from_codes(wrong, (2, 3))
    with pytest.raises(ValueError, match="2 levels need 3 frequencies, got 2"):
        CodeTables.from_histograms([np.ones(4, dtype=int)] * 2, np.ones(2, dtype=int))


@pytest.mark.parametrize("variable_depth", [False, True])
def test_arrays_hold_the_tables(variable_depth):
    codes = np.arange(24).reshape(12, 2) % 5
    tables = CodeTables.from_codes(codes, (5, 7), variable_depth=variable_depth)
    again = CodeTables.from_arrays({name: counts.astype(np.int32) for name, counts in tables.arrays().items()})
    assert sorted(tables.arrays()) == (["depth"] if variable_depth else []) + ["level.0", "level.1"]
    assert again.fingerprint() == tables.fingerprint()
    assert [level.tolist() for level in again.levels] == [level.tolist() for level in tables.levels]


def test_fingerprints_tell_tables_apart():
    plain = CodeTables.from_histograms([np.array([3, 1]), np.array([1, 1, 2])])
    # SHA-256 of the integers 2, 0, 2, 49152, 16384, 3, 16384, 16384, 32768, each in four little-endian bytes
    assert plain.fingerprint() == "65ec471908654e1673c9dc45523586cfc1850145417827660de6129ec535c971"
    others = [
        CodeTables.from_histograms([np.array([1, 3]), np.array([1, 1, 2])]),
        CodeTables.from_histograms([np.array([1, 1, 2]), np.array([3, 1])]),
        CodeTables.from_histograms([np.array([3, 1]), np.array([1, 1, 2])], np.array([1, 1, 1])),
    ]
    assert len({plain.fingerprint(), *(other.fingerprint() for other in others)}) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level.1": None}, r"named level.0, level.1, \.\.\. and depth, these are \['depth', 'level.0', 'level.2'\]"),
        ({"level.x": TABLE}, "these are"),
        ({"level.0": None, "level.1": None, "level.2": None}, r"these are \['depth'\]"),
        ({"depth": TABLE}, "depths of 3 levels need 4 counts, got 2"),
        ({"level.0": TABLE - 1}, "counts >= 1 that sum to 65536"),
    ],
)
def test_arrays_that_are_no_tables_are_refused(change, message):
    codes = np.arange(24).reshape(8, 3) % 5
    arrays = CodeTables.from_codes(codes, (5, 5, 5), variable_depth=True).arrays() | change
    with pytest.raises(ValueError, match=message):
        CodeTables.from_arrays({name: counts for name, counts in arrays.items() if counts is not None})
