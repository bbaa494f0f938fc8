"""The nearest codeword: one kernel under every quantizer, trainer and index."""

from importlib.util import find_spec

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from codeword.functional.matmul import fast_matmul

_SCORES = 1 << 20  # float32 scores held at once: 4 MB, enough rows to hide the cost of a call
_ROWS, _BLOCKS = 256, 4  # rows of a product, and products of a call: what several threads share
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
    tiles = (codebook - mean).split(_LARGEST_TILE)
    # The shape of a block depends on the codebook alone: a vector meets the same arithmetic in every batch.
    rows = min(_ROWS, max(128, _SCORES // len(tiles[0])))
    blocks = min(_BLOCKS, max(1, _SCORES // (rows * len(tiles[0]))))
    block = x.new_ones(blocks, rows, x.shape[1] + 1, dtype=dtype)  # the last column meets the biases
    vectors = block.flatten(0, 1)[:, :-1]
    scores = block.new_empty(blocks * rows * len(tiles[0]))
    searches = [_Tile(tile, block, scores) for tile in tiles]
    codes = torch.empty(x.shape[0], dtype=torch.int64, device=x.device)
    with torch.autocast(x.device.type, enabled=False), fast_matmul():
        for start in range(0, x.shape[0], len(vectors)):
            part = x[start : start + len(vectors)]
            torch.sub(part, mean, out=vectors[: len(part)])
            score, best = searches[0].search()
            for number, search in enumerate(searches[1:], 1):
                higher, index = search.search()
                # Strict: the earlier keeps a tie.
                best = torch.where(higher > score, index + number * _LARGEST_TILE, best)
                score = torch.maximum(higher, score)
            codes[start : start + len(vectors)] = best.flatten()[: len(part)]
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
    """A centred part of a codebook, and its scores of one block of vectors, in room that all parts share.

    ``argmin`` over K scores costs ten times what ``amin`` does. Max pooling over features-last images is PyTorch's one
    arg-max that is as fast: with codewords as the pixels of a column and vectors as its channels, a window as high as
    the image is the whole search. The first pixel wins a tie, and whatever a vector that is not finite finds is a
    codeword.
    """

    def __init__(self, centred: Tensor, block: Tensor, scores: Tensor):
        blocks, rows, _ = block.shape
        biased = torch.cat([centred, centred.square().sum(1, keepdim=True) / -2], 1)
        self.codewords, self.vectors = biased.expand(blocks, *biased.shape), block.transpose(1, 2)
        self.scores = scores[: blocks * len(centred) * rows].view(blocks, len(centred), rows)
        self.image = self.scores.unsqueeze(2).permute(0, 3, 1, 2)

    def search(self) -> tuple[Tensor, Tensor]:
        """The largest score and its place for every vector of the block as it stands, both (blocks, rows)."""
        torch.bmm(self.codewords, self.vectors, out=self.scores)
        score, place = F.max_pool2d_with_indices(self.image, (self.scores.shape[1], 1))
        return score.flatten(1), place.flatten(1)
