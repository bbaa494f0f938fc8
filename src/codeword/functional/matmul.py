"""Matrix products: the fastest mode that keeps float32 accuracy, and rows that do not depend on their batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

_PRODUCTS = 1 << 22  # multiplications of a block: enough to hide the cost of a call, few enough for a single vector
_ROWS_ELSEWHERE = 8192  # accelerators want fewer, larger products


@cache
def _medium_is_exact() -> bool:
    """Whether ``medium`` precision still multiplies in float32 here.

    On processors without a matrix unit, PyTorch's ``medium`` setting hands the product to oneDNN, which keeps float32
    arithmetic and is often faster; on others it really rounds to bfloat16. Two small products tell them apart:
    bfloat16 would be wrong by 1e-3 of the norms, float32 by 1e-7.
    """
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(64, 128, generator=generator), torch.randn(128, 256, generator=generator)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        narrow, wide = torch.mm(a, b), torch.addmm(b[0], a, b)
    finally:
        torch.set_float32_matmul_precision(before)
    exact = a.double() @ b.double()
    worst = max((narrow - exact).abs().max().item(), (wide - exact - b[0]).abs().max().item())
    return worst < 1e-4


@contextmanager
def fast_matmul() -> Iterator[None]:
    """Run float32 products on the processor in the fastest mode that keeps float32 accuracy.

    Note:
        The setting is process-wide in PyTorch, so it is held only for the products inside and always given back.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if _medium_is_exact() else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def wide(x: Tensor) -> Tensor:
    """The tensor in float32 at least: what searches, statistics and losses are computed in."""
    return x if x.dtype == torch.float64 else x.float()


def linear(x: Float[Tensor, "*batch dim"], weight: Float[Tensor, "out dim"]) -> Float[Tensor, "*batch out"]:
    r"""The map :math:`x W^\top`, to the same bits however vectors are batched.

    Every product sees a block of rows of one fixed shape, the last one padded. Computed in float32 at least, also
    under autocast and for weights in half precision. Differentiable.

    Args:
        x: Vectors.
        weight: The matrix, one row per output feature.
    """
    rows = wide(x).reshape(-1, x.shape[-1])
    weight = weight.to(rows.dtype)
    # An exported graph must run where codeword is not installed.
    out = F.linear(rows, weight) if torch.compiler.is_exporting() else _linear(rows, weight)
    return out.reshape(*x.shape[:-1], weight.shape[0])


@torch.library.custom_op("codeword::linear", mutates_args=(), schema="(Tensor x, Tensor weight) -> Tensor")
def _linear(x: Tensor, weight: Tensor) -> Tensor:
    # The shape of a block depends on the matrix alone.
    rows = min(1024, max(64, _PRODUCTS // max(weight.numel(), 1))) if x.device.type == "cpu" else _ROWS_ELSEWHERE
    out = x.new_empty(-(-x.shape[0] // rows) * rows, weight.shape[0])
    block, columns = x.new_zeros(rows, x.shape[1]), weight.t()
    with torch.autocast(x.device.type, enabled=False), fast_matmul():
        for start in range(0, x.shape[0], rows):
            part = x[start : start + rows]
            block[: len(part)] = part  # copied, so that every product also meets the same memory alignment
            torch.mm(block, columns, out=out[start : start + rows])
    return out.resize_(x.shape[0], weight.shape[0])  # not a view: a caller may change it in place


@_linear.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


def _save(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    x, weight = ctx.saved_tensors
    return grad @ weight, grad.t() @ x


_linear.register_autograd(_gradient, setup_context=_save)
