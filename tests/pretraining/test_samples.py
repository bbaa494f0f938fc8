from collections import Counter

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from codeword.data.epoch_order import Window
from codeword.pretraining.samples import Order


def drawn(order, batches, **ranks):
    return [order.drawn(number, **ranks) for number in range(batches)]


@pytest.mark.parametrize(("samples", "batch"), [(10, 4), (7, 7), (3, 8), (1, 2)])
def test_every_epoch_has_every_sample_once(samples, batch):
    stream = [number for part in drawn(Order(samples, 1, batch, 0), 3 * samples) for number in part.samples]
    for start in range(0, len(stream) - samples, samples):
        assert sorted(stream[start : start + samples]) == list(range(samples))
    assert samples == 1 or stream[:samples] != stream[samples : 2 * samples]


def test_views_come_in_turn():
    order = Order(5, 4, 5, 0)
    seen = Counter()
    for part in drawn(order, 8):
        seen.update(zip(part.samples, part.views, strict=True))
    assert seen == {(sample, view): 2 for sample in range(5) for view in range(4)}


def test_ranks_share_a_batch():
    order = Order(11, 2, 6, 3)
    for number in range(5):
        whole = order.drawn(number)
        parts = [order.drawn(number, rank, 3) for rank in range(3)]
        assert [part.first_row for part in parts] == [0, 2, 4]
        assert [sample for part in parts for sample in part.samples] == whole.samples
        assert [view for part in parts for view in part.views] == whole.views
    with pytest.raises(ValueError, match="6 samples is no multiple of 4 ranks"):
        order.drawn(0, 0, 4)


def test_another_seed_is_another_order():
    assert Order(50, 1, 50, 0).drawn(0).samples != Order(50, 1, 50, 1).drawn(0).samples


def test_views_that_follow_each_other_are_of_one_sample():
    """So that what is decoded for one serves the others; all views come all the same."""
    order = Order(5, 6, 6, 0, repeats=3)
    seen = Counter()
    for part in drawn(order, 5):
        for start in (0, 3):
            assert len(set(part.samples[start : start + 3])) == 1
            first = part.views[start]
            assert first % 3 == 0
            assert part.views[start : start + 3] == [first, first + 1, first + 2]
        seen.update(zip(part.samples, part.views, strict=True))
    assert seen == {(sample, view): 1 for sample in range(5) for view in range(6)}
    assert order.drawn(3, 1, 2).samples == order.drawn(3).samples[3:]
    with pytest.raises(ValueError, match="4 views are no multiple of 3"):
        Order(5, 4, 6, 0, repeats=3).drawn(0)


def test_a_window_mixes_files_that_are_near_in_the_order():
    window = Window(20, torch.arange(100) // 10)
    stream = [sample for part in drawn(Order(100, 1, 10, 0, window=window), 10) for sample in part.samples]
    assert sorted(stream) == list(range(100))
    assert [len({sample // 10 for sample in stream[start : start + 20]}) for start in range(0, 100, 20)] == [2] * 5


class Numbers(Dataset):
    def __getitem__(self, place):
        return place


def test_a_loader_with_workers_takes_batches_in_order():
    steps = [part.samples for part in drawn(Order(45, 1, 8, 0), 6, rank=1, world_size=2)]
    assert [batch.tolist() for batch in DataLoader(Numbers(), batch_sampler=steps, num_workers=2)] == steps
