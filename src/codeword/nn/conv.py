"""Convolutions of audio networks: centred as in DAC, or causal as in EnCodec."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from codeword.nn.memory import padded_past, with_past

Padding = Literal["centered", "causal", "cut"]
"""Where a convolution looks: to both sides; back alone; or to both sides and, transposed with an odd stride, one sample
short as the published DAC (its 16 and 24 kHz models lose 8 samples per file)."""


class Conv1d(nn.Conv1d):
    """A convolution whose output has a time step for every ``stride`` time steps of its input.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        kernel: Taps.
        stride: Time steps in per time step out; then the kernel is twice the stride.
        dilation: Time steps between taps.
        padding: Where it looks.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, dilation: int = 1, padding: Padding):
        self.span = (kernel - 1) * dilation + 1 - stride  # time steps that a window needs beyond its own
        both = -(-stride // 2) if stride > 1 else self.span // 2
        self.ahead = padding != "causal"
        super().__init__(inputs, outputs, kernel, stride=stride, dilation=dilation, padding=both if self.ahead else 0)

    def forward(self, input: Float[Tensor, "batch inputs time"]) -> Float[Tensor, "batch outputs _"]:
        return super().forward(input if self.ahead else padded_past(self, input, self.span))


class ConvTranspose1d(nn.ConvTranspose1d):
    """The inverse of a strided convolution in shape: ``stride`` time steps out for every one in.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        stride: Time steps out per time step in; the kernel is twice as long.
        padding: Where it looks.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int, padding: Padding):
        self.causal = padding == "causal"
        super().__init__(
            inputs,
            outputs,
            2 * stride,
            stride=stride,
            padding=0 if self.causal else -(-stride // 2),
            output_padding=stride % 2 if padding == "centered" else 0,
        )

    def forward(  # pyrefly: ignore[bad-override]  # the output size follows from the input alone
        self, x: Float[Tensor, "batch inputs time"]
    ) -> Float[Tensor, "batch outputs _"]:
        if not self.causal:
            return super().forward(x)
        joined, stride = with_past(self, x, 1), self.stride[0]
        y = super().forward(joined)
        return y[..., stride * (joined.shape[-1] - x.shape[-1]) : y.shape[-1] - stride]


def add_weight_norm(module: nn.Module) -> None:
    """Split every convolution's weight into length and direction, to train with (Salimans and Kingma 2016)."""
    for part in module.modules():
        if isinstance(part, nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d) and not is_parametrized(part):
            weight_norm(part)


def remove_weight_norm(module: nn.Module) -> None:
    """Put the product of length and direction in their place, to compute with."""
    for part in module.modules():
        if is_parametrized(part, "weight"):
            remove_parametrizations(part, "weight")


def zero_offsets(module: nn.Module) -> None:
    """No offsets and PyTorch's weights: what DAC's initialisation amounts to."""
    for part in module.modules():
        if isinstance(part, nn.Conv1d | nn.ConvTranspose1d) and part.bias is not None:
            nn.init.zeros_(part.bias)
