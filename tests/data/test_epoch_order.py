from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.data.epoch_order import Window, permutation
from codeword.data.listing import Item


def items(count, shards=1):
    return [Item(path=Path(f"{number * shards // max(count, 1)}.tar"), place=number) for number in range(count)]


@given(count=st.integers(0, 60), shards=st.integers(1, 9), size=st.none() | st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_every_sample_comes_once(count, shards, size):
    window = None if size is None else Window.of(items(count, shards), size)
    assert sorted(permutation(count, 3, 2, window).tolist()) == list(range(count))


def test_orders_are_functions_of_seed_and_epoch():
    data = items(50, shards=5)
    for size in (None, 7):

        def drawn(seed, epoch, size=size):
            permutation.cache_clear()
            return permutation(50, seed, epoch, None if size is None else Window.of(data, size)).tolist()

        assert drawn(1, 0) == drawn(1, 0)
        assert len({tuple(order) for order in (range(50), drawn(1, 0), drawn(1, 1), drawn(2, 0))}) == 4


def test_a_window_goes_through_a_few_shards_at_a_time():
    data = items(1000, shards=50)  # of 20 samples
    order = permutation(1000, 0, 0, Window.of(data, 100)).tolist()
    for start in range(0, 1000, 100):
        near = order[start : start + 100]
        assert len({data[place].path for place in near}) == 5
        changes = sum(data[one].path != data[other].path for one, other in pairwise(near))
        assert changes > 50  # of 99; 4 if shards came one after the other
    far = permutation(1000, 0, 0)[:100].tolist()
    assert len({data[place].path for place in far}) > 30


@pytest.mark.parametrize("size", [None, 10])
def test_every_place_is_drawn_evenly(size):
    window = None if size is None else Window.of(items(10, shards=10), size)
    first = [int(permutation(10, seed, 0, window)[0]) for seed in range(1000)]
    counts = np.bincount(first, minlength=10)
    assert ((counts - 100) ** 2 / 100).sum() < 27.9  # chi-square with 9 degrees, 1 in 1000


def test_impossible_windows_are_one_line():
    with pytest.raises(ValueError, match="1 sample or more, got 0"):
        Window.of(items(3), 0)
    with pytest.raises(ValueError, match="over 3 samples does not order 4"):
        permutation(4, 0, 0, Window.of(items(3), 2))
