"""The nearest codeword on an accelerator: one kernel that never writes the scores.

A program takes a block of vectors, walks over tiles of the codebook and keeps, per vector, the best score and its
index in registers; only indices reach memory. Products are float32 ("ieee"): reduced formats would break the rule of
``codeword.functional.nearest``. Costs 2 N K D operations and 4 N D + 8 N bytes.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROWS, _CODEWORDS, _FEATURES = 64, 64, 32


@triton.jit
def _nearest_kernel(  # noqa: PLR0913, PLR0917  # pointers and shapes, as the language wants them
    x_ptr, mean_ptr, codebook_ptr, bias_ptr, codes_ptr, num_rows, size, dim,
    ROWS: tl.constexpr, CODEWORDS: tl.constexpr, FEATURES: tl.constexpr,
):  # fmt: skip
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    best = tl.full([ROWS], float("inf"), tl.float32)
    code = tl.zeros([ROWS], tl.int32)
    for first in range(0, size, CODEWORDS):
        column = first + tl.arange(0, CODEWORDS)
        product = tl.zeros([ROWS, CODEWORDS], tl.float32)
        for start in range(0, dim, FEATURES):
            feature = start + tl.arange(0, FEATURES)
            inside = (row[:, None] < num_rows) & (feature[None, :] < dim)
            x = tl.load(x_ptr + row[:, None] * dim + feature[None, :], mask=inside, other=0.0)
            mean = tl.load(mean_ptr + feature, mask=feature < dim, other=0.0)
            known = (column[None, :] < size) & (feature[:, None] < dim)
            words = tl.load(codebook_ptr + column[None, :] * dim + feature[:, None], mask=known, other=0.0)
            product = tl.dot(x.to(tl.float32) - mean[None, :], words, product, input_precision="ieee")
        bias = tl.load(bias_ptr + column, mask=column < size, other=float("inf"))
        score = bias[None, :] - product
        score = tl.where(score == score, score, float("inf"))  # noqa: PLR0124 # a row that is not finite keeps codeword 0
        lowest, place = tl.min(score, axis=1, return_indices=True, return_indices_tie_break_left=True)
        better = lowest < best  # strict: the earlier tile keeps a tie
        code = tl.where(better, first + place, code)
        best = tl.where(better, lowest, best)
    tl.store(codes_ptr + row, code.to(tl.int64), mask=row < num_rows)


def nearest_triton(x: Tensor, codebook: Tensor) -> Tensor:
    """Index of the nearest codeword of every row; see ``codeword.functional.nearest``.

    Args:
        x: (vectors, dim), float32, bfloat16 or float16.
        codebook: (size, dim).
    """
    x, codebook = x.contiguous(), codebook.float()
    mean = codebook.mean(0)
    centred = (codebook - mean).contiguous()
    bias = centred.square().sum(1) / 2
    codes = torch.empty(len(x), dtype=torch.int64, device=x.device)
    if len(x):
        _nearest_kernel[(triton.cdiv(len(x), _ROWS),)](
            x, mean, centred, bias, codes, len(x), len(centred), x.shape[1],
            ROWS=_ROWS, CODEWORDS=_CODEWORDS, FEATURES=_FEATURES,
        )  # fmt: skip
    return codes
