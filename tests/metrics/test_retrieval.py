import math

import pytest
import torch

from codeword.metrics.retrieval import Recall, paired_difference, recall_at


def hits(*values):
    return Recall((1,), torch.tensor(values, dtype=torch.bool).unsqueeze(1))


def test_recall_by_hand():
    ids = torch.tensor([[7, 1, 2, 3], [0, 9, 5, 4], [8, 8, 8, 6], [-1, -1, -1, -1]])
    truth = torch.tensor([[7, 0], [5, 0], [0, 8], [2, 0]])  # found at 1, found at 3, not found, nothing found
    recall = recall_at(ids, truth, [1, 2, 3, 4])
    assert recall.values == (0.25, 0.25, 0.5, 0.5)
    assert recall.at(3).tolist() == [True, True, False, False]


def test_recall_equals_a_loop():
    generator = torch.Generator().manual_seed(0)
    ids, truth = (torch.randint(0, 20, shape, generator=generator) for shape in ((200, 10), (200, 3)))
    found = recall_at(ids, truth, [10, 1, 5])
    for rank, value in zip((10, 1, 5), found.values, strict=True):
        expected = sum(int(truth[q, 0]) in ids[q, :rank].tolist() for q in range(200)) / 200
        assert value == expected


def test_nothing_found_is_never_a_hit():
    assert recall_at(torch.tensor([[-1]]), torch.tensor([[-1]]), [1]).values == (0.0,)


@pytest.mark.parametrize("ranks", [[0], [5], []])
def test_ranks_must_be_searched(ranks):
    with pytest.raises(ValueError, match=r"ranks must lie in 1\.\.4, the ids found of a query, got"):
        recall_at(torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, 1, dtype=torch.int64), ranks)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_no_query_is_an_error(shape):
    with pytest.raises(ValueError, match="recall needs a query and its true neighbour, got a truth of shape"):
        recall_at(torch.zeros(shape[0], 4, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64), [1])


def test_wilson_interval():
    estimate, low, high = hits(*[True] * 8 + [False] * 2).interval(1)
    assert estimate == 0.8
    assert (low, high) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # the textbook value of 8 out of 10
    assert hits(True, True).interval(1).high == 1
    assert hits(False, False).interval(1).low == 0


def test_paired_difference_by_hand():
    first, second = hits(1, 1, 1, 0, 0, 1), hits(1, 0, 0, 1, 0, 1)  # two wins, one loss of six
    estimate, low, high = paired_difference(first, second, 1)
    spread = 1.959964 * math.sqrt(4 - 1 / 8) / 8
    assert estimate == pytest.approx(1 / 6)
    assert (low, high) == pytest.approx((1 / 8 - spread, 1 / 8 + spread), abs=1e-6)
    swapped = paired_difference(second, first, 1)
    assert (swapped.low, swapped.high) == pytest.approx((-high, -low))


def test_equal_searches_do_not_claim_certainty():
    estimate, low, high = paired_difference(hits(1, 0, 1), hits(1, 0, 1), 1)
    assert estimate == 0
    assert low < -0.1
    assert high == -low


def test_interval_covers_the_truth_as_often_as_promised():
    """2000 experiments of 300 paired queries that differ by 0.05 in truth."""
    generator = torch.Generator().manual_seed(0)
    draws = torch.rand(2000, 300, generator=generator)
    covered = 0
    for draw in draws:  # one query in ten only for the first, one in twenty only for the second
        first, second = hits(*(draw < 0.1)), hits(*(draw > 0.95))
        _, low, high = paired_difference(first, second, 1)
        covered += low <= 0.05 <= high
    assert 0.935 < covered / 2000 < 0.965  # 0.95 and three standard errors


def test_pairing_narrows_the_interval():
    generator = torch.Generator().manual_seed(1)
    shared = torch.rand(1000, generator=generator)
    first, second = hits(*(shared < 0.5)), hits(*(shared < 0.48))
    assert paired_difference(first, second, 1).low > 0
    assert first.interval(1).low < second.interval(1).high  # apart they cannot be told from one another


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="a paired difference needs the same queries, got 2 and 1"):
        paired_difference(hits(1, 0), hits(1), 1)
    with pytest.raises(ValueError, match=r"recall was measured at ranks \[1\], not at 10"):
        hits(1).at(10)
    with pytest.raises(ValueError, match=r"confidence must lie between 0 and 1, got 95\.0"):
        hits(1).interval(1, confidence=95.0)
