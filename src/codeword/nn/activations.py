"""The Snake activation, computed in blocks that stay in the cache."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

_BLOCK = 1 << 16  # numbers worked on at once: all passes over a block of this size find it in the cache
_TINY = 1e-9  # as DAC adds to alpha before dividing by it
_written_out: ContextVar[bool] = ContextVar("written_out", default=False)


@contextmanager
def written_out() -> Iterator[None]:
    """Inside, activations are computed by the expression of the published code, to the last bit."""
    token = _written_out.set(True)
    try:
        yield
    finally:
        _written_out.reset(token)


class Snake(nn.Module):
    r"""A periodic activation with a learned frequency per channel (Ziyin et al. 2020, equation 3).

    .. math:: y = x + \tfrac1\alpha \sin^2(\alpha x)

    Args:
        channels: Channels of the signal.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Float[Tensor, "batch channels time"]) -> Float[Tensor, "batch channels time"]:
        if _written_out.get():
            return x + (self.alpha + _TINY).reciprocal() * torch.sin(self.alpha * x).pow(2)
        if x.device.type != "cpu" or torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export():
            return x + torch.sin(self.alpha * x).square() / (self.alpha + _TINY)
        return _Snake.apply(x, self.alpha)


class _Snake(torch.autograd.Function):
    """Keeps the input alone for the backward pass, where plain operators keep four tensors of its size."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor) -> Tensor:  # pyrefly: ignore
        ctx.save_for_backward(x, alpha)
        x, y = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format)
        inverse = (alpha + _TINY).reciprocal()
        for part in _blocks(x):
            a = alpha[:, part[1]]
            wave = (x[part] * a).sin_()
            torch.addcmul(x[part], wave, wave * inverse[:, part[1]], out=y[part])
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # pyrefly: ignore
        x, alpha = ctx.saved_tensors
        x, grad = x.contiguous(), grad.contiguous()
        inverse = (alpha + _TINY).reciprocal()
        to_x, to_alpha = torch.empty_like(grad), torch.zeros_like(alpha)
        for part in _blocks(x):
            a, i = alpha[:, part[1]], inverse[:, part[1]]
            angle = x[part] * a
            wave, g = angle.sin(), grad[part]
            double = angle.cos_().mul_(wave).mul_(2)  # sin(2 a x)
            torch.addcmul(g, g, double, out=to_x[part])
            share = double.mul_(x[part]).addcmul_(wave, wave * i, value=-1).mul_(g)
            to_alpha[:, part[1]] += share.sum((0, 2)).view(1, -1, 1) * i
        return to_x, to_alpha


def _blocks(x: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """Slices of batch, channels and time that hold about ``_BLOCK`` numbers."""
    batch, channels, time = x.shape
    length = max(1, min(time, _BLOCK))
    rows = max(1, _BLOCK // length)
    for item in range(batch):
        for channel in range(0, channels, rows):
            for start in range(0, time, length):
                yield slice(item, item + 1), slice(channel, channel + rows), slice(start, start + length)
