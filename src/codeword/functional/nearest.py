"""The nearest codeword: one kernel under every quantizer, trainer and index."""

import math
from importlib.util import find_spec

import torch
from jaxtyping import Float, Int
from torch import Tensor

from codeword.functional.matmul import fast_matmul

_SCORES_IN_CACHE = 1 << 19  # float32 scores held at once: 2 MB, what stays in a second-level cache
_FEW = 64  # up to so many codewords one arg-min is as fast as two stages
_LARGEST_TILE = 1 << 13  # codewords scored at once, so that scratch stays bounded for any codebook


def nearest(x: Float[Tensor, "*batch dim"], codebook: Float[Tensor, "size dim"]) -> Int[Tensor, "*batch"]:
    r"""Index of the nearest codeword of every vector.

    .. math:: k^*(x) = \arg\min_k \tfrac12 |c_k - \mu|^2 - \langle x - \mu, c_k - \mu \rangle

    with :math:`\mu` the mean of the codebook: data that lies far from the origin keeps all its digits.
    The index is the one that float64 arithmetic gives unless the two best squared distances differ by less than
    :math:`10^{-6} (|x - \mu|^2 + |c - \mu|^2)`; exact ties go to the lowest index. It does not depend on how vectors
    are batched: every matrix product sees a block of rows of one fixed shape. Scratch memory is a few megabytes,
    whatever the number of vectors and codewords. Computed in float32 at least, also under autocast. No gradient.

    Args:
        x: Vectors.
        codebook: Codewords, at least one.
    """
    if x.shape[-1] != codebook.shape[-1] or not codebook.shape[0]:
        raise ValueError(
            f"nearest() needs vectors and codewords of one dimension and at least one codeword: "
            f"got vectors of {x.shape[-1]} features and a codebook of shape {tuple(codebook.shape)}"
        )
    rows, table = x.detach().reshape(-1, x.shape[-1]), codebook.detach()
    if torch.compiler.is_exporting():  # an exported graph must run where codeword is not installed
        return _nearest_plain(rows, table).reshape(x.shape[:-1])
    return _nearest(rows, table).reshape(x.shape[:-1])


def _nearest_plain(x: Tensor, codebook: Tensor) -> Tensor:
    x, codebook = x.float(), codebook.float()
    mean = codebook.mean(0)
    centred = codebook - mean
    return torch.addmm(centred.square().sum(1) / 2, x - mean, centred.t(), alpha=-1).argmin(1)


@torch.library.custom_op("codeword::nearest", mutates_args=(), schema="(Tensor x, Tensor codebook) -> Tensor")
def _nearest(x: Tensor, codebook: Tensor) -> Tensor:
    return _nearest_chunked(x, codebook)


def _nearest_chunked(x: Tensor, codebook: Tensor) -> Tensor:
    dtype = torch.float64 if torch.float64 in (x.dtype, codebook.dtype) else torch.float32
    codebook = codebook.to(dtype)
    mean = codebook.mean(0)
    tiles = [_Tile(tile - mean) for tile in codebook.split(_LARGEST_TILE)]
    # The shape of a block depends on the codebook alone: a vector meets the same arithmetic in every batch.
    rows = min(1024, max(64, _SCORES_IN_CACHE // max(tile.scored for tile in tiles)))
    block = x.new_zeros(rows, x.shape[1], dtype=dtype)
    codes = torch.empty(x.shape[0], dtype=torch.int64, device=x.device)
    with torch.autocast(x.device.type, enabled=False), fast_matmul():
        scratch = [x.new_empty(rows, tile.scored, dtype=dtype) for tile in tiles]
        for start in range(0, x.shape[0], rows):
            part = x[start : start + rows]
            torch.sub(part, mean, out=block[: len(part)])
            best = tiles[0].search(block, scratch[0])
            score = None
            for number, tile in enumerate(tiles[1:], 1):
                index = tile.search(block, scratch[number])
                lower = scratch[number].gather(1, index.unsqueeze(1)).squeeze(1)
                score = scratch[0].gather(1, best.unsqueeze(1)).squeeze(1) if score is None else score
                best = torch.where(
                    lower < score, index + number * _LARGEST_TILE, best
                )  # strict: the earlier keeps a tie
                score = torch.minimum(lower, score)
            codes[start : start + rows] = best[: len(part)]
    return codes


@_nearest.register_kernel("cuda")
def _nearest_cuda(x: Tensor, codebook: Tensor) -> Tensor:
    if find_spec("triton") is None or torch.float64 in (x.dtype, codebook.dtype):
        return _nearest_chunked(x, codebook)
    from codeword.functional.nearest_triton import nearest_triton  # only machines with an accelerator have triton

    return nearest_triton(x, codebook)


@_nearest.register_fake
def _(x: Tensor, codebook: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], dtype=torch.int64)


class _Tile:
    """A centred part of a codebook, laid out for the search in two stages.

    ``argmin`` over K scores costs ten times what ``amin`` does, so the scores of a row are read as groups of about
    sqrt(K): ``amin`` inside the groups, ``argmin`` over the groups, ``argmin`` inside the winner. Groups are runs of
    consecutive codewords, so that the lowest index wins a tie in both stages.
    """

    def __init__(self, centred: Tensor):
        self.size = len(centred)
        self.group = 1 << max(5, math.ceil(math.log2(self.size) / 2)) if self.size > _FEW else self.size
        self.groups = -(-self.size // self.group)
        self.scored = self.groups * self.group
        padded = centred.new_zeros(self.scored, centred.shape[1])
        padded[: self.size] = centred
        self.bias = centred.new_full((self.scored,), math.inf)
        self.bias[: self.size] = centred.square().sum(1) / 2
        self.columns = padded.t().contiguous()

    def search(self, block: Tensor, scores: Tensor) -> Tensor:
        torch.addmm(self.bias, block, self.columns, alpha=-1, out=scores)
        if self.groups == 1:
            return scores.argmin(1)
        group = scores.view(-1, self.groups, self.group).amin(2).argmin(1)
        first = torch.arange(0, len(block) * self.groups, self.groups, device=block.device)
        inside = scores.view(-1, self.group).index_select(0, first + group).argmin(1)
        # A row that is not finite may have won in the padding; whatever it gets must be a codeword.
        return torch.add(inside, group, alpha=self.group).clamp_(max=self.size - 1)
