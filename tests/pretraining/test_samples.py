from collections import Counter

import pytest

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


def test_another_seed_is_another_order_and_keys_differ_by_batch_and_purpose():
    assert Order(50, 1, 50, 0).drawn(0).samples != Order(50, 1, 50, 1).drawn(0).samples
    first, second = drawn(Order(5, 1, 5, 0), 2)
    keys = {int(part.key(seed, purpose)) for part in (first, second) for seed in (0, 1) for purpose in ("a", "b")}
    assert len(keys) == 8
