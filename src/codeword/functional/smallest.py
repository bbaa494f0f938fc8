"""The k smallest of many scores: what a beam spends its time on."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

FOLD = 8  # rows of scores are read in this many strided groups; searches pad their tables to a multiple of it
_FEW = 6  # up to so many, on a processor, are found one after the other


def smallest(scores: Float[Tensor, "rows count"], k: int) -> tuple[Float[Tensor, "rows k"], Int[Tensor, "rows k"]]:
    """The k smallest of every row of non-negative scores, ascending, and their places; exact.

    ``topk`` costs ten times what ``amin`` does, so a row is folded to the minima of strided groups of 8 first: the k
    smallest numbers lie in the k groups of smallest minima. A few are then found one after the other, for all rows at
    once. More are left to ``topk`` on integers: non-negative floating point numbers are ordered like the integers that
    share their bits, and integers need no test for NaN, which makes the partial sort a third faster.

    Note:
        A score that rounding has made negative still counts as smaller than all others, but negative scores among
        themselves may come in reverse order. An infinite score may come back as the largest finite number. Places of a
        row are all different, whatever it holds.
    """
    if 1 < k <= min(_FEW, scores.shape[1]) and scores.device.type == "cpu":
        value, place = _one_by_one(scores, k)
        return value.t().neg(), place.t().contiguous()
    integers = torch.int64 if scores.dtype == torch.float64 else torch.int32
    value, place = _smallest(scores.view(integers), k, final=True)
    return value.view(scores.dtype), place


def _one_by_one(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The negative of the k smallest and their places, both (k, rows)."""
    rows, count = scores.shape
    if count % FOLD or count < 2 * FOLD * k:
        return _largest(scores.neg().t().contiguous(), k)
    width = count // FOLD
    _, groups = _largest(scores.view(rows, FOLD, width).amin(1).neg_().t().contiguous(), k)
    members = (torch.arange(0, count, width).view(-1, 1, 1) + groups).view(FOLD * k, rows)
    flat = members + torch.arange(0, rows * count, count)
    value, place = _largest(scores.view(-1).index_select(0, flat.view(-1)).view(FOLD * k, rows).neg_(), k)
    return value, members.gather(0, place)


def _largest(columns: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of every column, descending, and their places; overwrites its argument.

    Max pooling over a features-last image, pixels down a column and columns as channels, is PyTorch's fast arg-max.
    """
    columns.clamp_(min=torch.finfo(columns.dtype).min)  # what has been taken is smaller still
    count, rows = columns.shape
    image = columns.view(1, count, 1, rows).permute(0, 3, 1, 2)
    value, place = columns.new_empty(k, rows), columns.new_empty(k, rows, dtype=torch.int64)
    for turn in range(k):
        if turn:
            columns.scatter_(0, place[turn - 1 : turn], -math.inf)
        best, where = F.max_pool2d_with_indices(image, (count, 1))
        value[turn], place[turn] = best.view(rows), where.view(rows)
    return value, place


def _smallest(scores: Tensor, k: int, *, final: bool) -> tuple[Tensor, Tensor]:
    rows, count = scores.shape
    if count % FOLD or count < 2 * FOLD * k:
        return _least(scores, k, final=final)
    width = count // FOLD
    _, groups = _smallest(scores.view(rows, FOLD, width).amin(1), k, final=False)
    members = torch.arange(0, count, width, device=scores.device).unsqueeze(1) + groups.unsqueeze(1)
    members = members.view(rows, FOLD * k)
    value, place = _least(scores.gather(1, members), k, final=final)
    return value, members.gather(1, place)


def _least(scores: Tensor, k: int, *, final: bool) -> tuple[Tensor, Tensor]:
    return scores.min(1, keepdim=True) if k == 1 else scores.topk(k, 1, largest=False, sorted=final)
