"""Which float32 matrix product this machine does best, asked once and never assumed."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch


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
