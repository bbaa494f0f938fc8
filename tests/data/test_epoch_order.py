from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from codeword.data.epoch_order import EpochOrder, Share
from codeword.data.listing import Item


def items(count, shards=1):
    return [Item(path=Path(f"{number * shards // max(count, 1)}.tar"), place=number) for number in range(count)]


def shares(ranks, workers):
    return [Share(rank, ranks, worker, workers) for rank in range(ranks) for worker in range(workers)]


@given(
    count=st.integers(0, 60),
    batch=st.integers(1, 7),
    ranks=st.integers(1, 4),
    workers=st.integers(1, 4),
    consumed=st.integers(0, 60),
    window=st.none() | st.integers(1, 20),
)
@settings(max_examples=200, deadline=None)
def test_every_sample_comes_once(count, batch, ranks, workers, consumed, window):
    consumed = min(consumed, count)
    order = EpochOrder(batch=batch, seed=3, window=window)
    data = items(count, shards=5)
    taken = [list(order.steps(data, 2, share, consumed=consumed)) for share in shares(ranks, workers)]
    every = sorted(chain.from_iterable(chain.from_iterable(taken)))
    assert every == sorted(order.order(data, 2)[consumed:])
    assert all(0 < len(step) <= batch for steps in taken for step in steps)


@given(count=st.integers(0, 60), batch=st.integers(1, 7), ranks=st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_whole_steps_are_alike_on_all_ranks(count, batch, ranks):
    order = EpochOrder(batch=batch, whole=True)
    taken = [list(order.steps(items(count), 0, Share(rank, ranks))) for rank in range(ranks)]
    assert {len(steps) for steps in taken} == {count // (batch * ranks)}
    assert all(len(step) == batch for steps in taken for step in steps)


@pytest.mark.parametrize("window", [None, 6])
def test_a_run_goes_on_with_other_numbers_of_processes(window):
    order = EpochOrder(batch=3, window=window)
    data = items(40, shards=4)
    before = [list(order.steps(data, 1, Share(rank, 2)))[:4] for rank in range(2)]
    after = [list(order.steps(data, 1, Share(rank, 5), consumed=24)) for rank in range(5)]
    every = list(chain.from_iterable(chain.from_iterable([*before, *after])))
    assert sorted(every) == list(range(40))
    whole = [sorted(chain.from_iterable(step)) for step in zip(*before, strict=True)]
    assert whole == [sorted(order.order(data, 1)[start : start + 6]) for start in range(0, 24, 6)]


def test_orders_are_functions_of_seed_and_epoch():
    data = items(50, shards=5)
    for window in (None, 7):
        order = EpochOrder(batch=1, seed=1, window=window)
        first = order.order(data, 0).tolist()
        assert first == order.order(data, 0).tolist()
        assert first != order.order(data, 1).tolist()
        assert first != EpochOrder(batch=1, seed=2, window=window).order(data, 0).tolist()
        assert first != list(range(50))


def test_a_window_goes_through_a_few_shards_at_a_time():
    data = items(1000, shards=50)  # of 20 samples
    for start in range(0, 1000, 100):
        near = EpochOrder(batch=1, window=100).order(data, 0)[start : start + 100]
        assert len({data[place].path for place in near}) == 5
        changes = sum(data[one].path != data[other].path for one, other in pairwise(near.tolist()))
        assert changes > 50  # of 99; 4 if shards came one after the other
    far = EpochOrder(batch=1).order(data, 0)[:100]
    assert len({data[place].path for place in far}) > 30


def test_every_place_is_drawn_evenly():
    data = items(10)
    first = [int(EpochOrder(batch=1, seed=seed).order(data, 0)[0]) for seed in range(1000)]
    counts = np.bincount(first, minlength=10)
    assert ((counts - 100) ** 2 / 100).sum() < 27.9  # chi-square with 9 degrees, 1 in 1000


class Numbers(Dataset):
    def __getitem__(self, place):
        return place


class Stream(IterableDataset):
    def __init__(self, order, data, rank, ranks):
        self.order, self.data, self.rank, self.ranks = order, data, rank, ranks

    def __iter__(self):
        worker = Share.here()
        assert worker.workers == get_worker_info().num_workers
        share = worker._replace(rank=self.rank, ranks=self.ranks)
        yield from map(torch.tensor, self.order.steps(self.data, 0, share))


def test_two_ranks_with_two_workers_each_read_everything_once_and_in_order():
    order, data, ranks = EpochOrder(batch=4), items(45), 2
    plain = [list(order.steps(data, 0, Share(rank, ranks))) for rank in range(ranks)]
    for rank in range(ranks):
        batches = DataLoader(Numbers(), batch_sampler=plain[rank], num_workers=2)
        assert [batch.tolist() for batch in batches] == plain[rank]
        stream = DataLoader(Stream(order, data, rank, ranks), batch_size=None, num_workers=2)
        assert [batch.tolist() for batch in stream] == plain[rank]
    assert sorted(chain.from_iterable(chain.from_iterable(plain))) == list(range(45))


def test_a_process_alone_knows_its_share():
    assert Share.here() == Share(0, 1, 0, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EpochOrder(batch=0), "at least 1, got 0 and None"),
        (lambda: EpochOrder(batch=1, window=0), "at least 1, got 1 and 0"),
        (lambda: list(EpochOrder(batch=1).steps(items(3), 0, consumed=4)), "of 3 samples, 4 cannot have been consumed"),
    ],
)
def test_impossible_orders_are_one_line(make, message):
    with pytest.raises(ValueError, match=message):
        make()
