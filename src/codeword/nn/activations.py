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


def is_written_out() -> bool:
    """Whether this runs inside :func:`written_out`."""
    return _written_out.get()


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
        if is_written_out():
            return x + (self.alpha + _TINY).reciprocal() * torch.sin(self.alpha * x).pow(2)
        if x.device.type != "cpu" or torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export():
            return x + torch.sin(self.alpha * x).square() / (self.alpha + _TINY)
        return _Snake.apply(x, self.alpha)

    def into(self, x: Float[Tensor, "channels time"], y: Float[Tensor, "channels time"]) -> None:
        """Write the activation of a piece of a signal into ``y``, which may be ``x``; without gradient."""
        _wave(x, self.alpha[0], y)


class _Snake(torch.autograd.Function):
    """Keeps input and output for the backward pass, which the layers around it keep anyway, and computes one sine."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor) -> Tensor:  # pyrefly: ignore
        x, y = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format)
        for part in _blocks(x):
            _wave(x[part], alpha[:, part[1]], y[part])
        ctx.save_for_backward(x, alpha, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # pyrefly: ignore
        x, alpha, y = ctx.saved_tensors
        grad = grad.contiguous()
        to_x, to_alpha = torch.empty_like(grad), torch.zeros_like(alpha)
        for part in _blocks(x):
            g, a = grad[part], alpha[:, part[1]]
            double = (x[part] * (2 * a)).sin_()  # 2 sin cos
            torch.addcmul(g, g, double, out=to_x[part])
            # The derivative by alpha is (x sin(2 alpha x) - sin^2(alpha x) / alpha) / alpha, with y - x for the square.
            share = double.add_(1.0).mul_(x[part]).sub_(y[part]).mul_(g)
            to_alpha[:, part[1]] += share.sum((0, 2)).view(1, -1, 1) / (a + _TINY)
        return to_x, to_alpha


def _wave(x: Tensor, alpha: Tensor, y: Tensor) -> None:
    """Four passes over a block, of which the sine takes three quarters of the time."""
    wave = (x * alpha).sin_()
    torch.addcmul(x, wave.square_(), (alpha + _TINY).reciprocal(), out=y)


def _blocks(x: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """Slices of batch, channels and time that hold about ``_BLOCK`` numbers."""
    batch, channels, time = x.shape
    length = max(1, min(time, _BLOCK))
    rows = max(1, _BLOCK // length)
    for item in range(batch):
        for channel in range(0, channels, rows):
            for start in range(0, time, length):
                yield slice(item, item + 1), slice(channel, channel + rows), slice(start, start + length)
