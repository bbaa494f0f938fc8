import pytest
import torch

from codeword.functional.smallest import smallest


def draw(rows, count, dtype=torch.float32):
    return torch.rand(rows, count, generator=torch.Generator().manual_seed(0), dtype=dtype)


COUNTS, WIDTHS = (1, 7, 40, 64, 320, 1280, 1281), (1, 2, 5, 6, 7, 20)


@pytest.mark.parametrize("rows", [1, 37])
@pytest.mark.parametrize(("count", "k"), [(count, k) for count in COUNTS for k in WIDTHS if k <= count])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_beginning_of_a_sorted_row(rows, count, k, dtype):
    scores = draw(rows, count, dtype)
    before = scores.clone()
    value, place = smallest(scores, k)
    assert torch.equal(value, scores.sort(1).values[:, :k])
    assert torch.equal(scores.gather(1, place), value)
    assert torch.equal(scores, before)


@pytest.mark.parametrize("k", [2, 5, 6, 7])
@pytest.mark.parametrize("count", [9, 64, 1280])
def test_places_differ_where_scores_do_not(k, count):
    scores = draw(20, count).mul(4).floor()  # many ties
    scores[::4] = torch.inf
    scores[1::4, 3:] = torch.inf
    scores[2::4, ::2] = torch.nan
    value, place = smallest(scores, k)
    assert (place.sort(1).values.diff(dim=1) > 0).all()
    assert place.min() >= 0
    assert place.max() < count
    assert torch.equal(value[3::4], scores[3::4].sort(1).values[:, :k])
    assert torch.equal(value[1::4, : min(k, 3)], scores[1::4, :3].sort(1).values[:, :k])
