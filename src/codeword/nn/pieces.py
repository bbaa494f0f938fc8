"""Layers of waveforms on pieces of a signal that stay in the cache: inference on processors.

A whole layer after another sends every map of channels to the memory and back, and asks the system for new memory each
time. Here a piece passes an activation and its convolution, or a whole residual unit, before the next piece is looked
at. The results are those of the layers; sums come in the order of the convolutions that PyTorch chooses for a piece.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from codeword.nn.activations import Snake, is_written_out
from codeword.nn.conv import Conv1d, ConvTranspose1d

_NUMBERS = 3 << 16  # of a piece: with what is made of it, about a megabyte and a half
_STEPS_PER_CHANNEL = 4  # of fewer time steps, a convolution spends much of its time on the layout of its weights


def in_pieces(x: Tensor, conv: Conv1d | ConvTranspose1d) -> bool:
    """Whether pieces are possible and of use: no gradient, no graph to record, a processor, no memory of the past."""
    recorded = torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export()
    plain = x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    return plain and not recorded and not is_written_out() and conv.padding_mode == "zeros" and _looks_ahead(conv)


def convolved(
    conv: Conv1d, x: Float[Tensor, "batch inputs time"], snake: Snake | None = None
) -> Float[Tensor, "batch outputs _"]:
    """A centred convolution, strided or not, of a signal or of its activation."""
    (kernel,), (stride,), (dilation,), (side,) = conv.kernel_size, conv.stride, conv.dilation, _sides(conv)
    weight, bias, time = conv.weight, conv.bias, x.shape[-1]
    span = (kernel - 1) * dilation + 1
    y = x.new_empty(len(x), conv.out_channels, max(0, (time + 2 * side - span) // stride + 1))
    for item, out in zip(x, y, strict=True):
        for start, stop in _pieces(y.shape[-1], conv, max(conv.in_channels * stride, conv.out_channels)):
            left, right = start * stride - side, (stop - 1) * stride - side + span
            held = _stretch(item, left, right, snake)
            out[:, start:stop] = F.conv1d(held.unsqueeze(0), weight, bias, stride, 0, dilation)[0]
    return y


def expanded(
    conv: ConvTranspose1d, x: Float[Tensor, "batch inputs time"], snake: Snake
) -> Float[Tensor, "batch outputs _"]:
    """A centred transposed convolution of the activation of a signal."""
    (stride,), (side,), time = conv.stride, _sides(conv), x.shape[-1]
    weight, bias = conv.weight, conv.bias
    y = x.new_empty(len(x), conv.out_channels, (time + 1) * stride - 2 * side + conv.output_padding[0])
    for item, out in zip(x, y, strict=True):
        for start, stop in _pieces(time, conv, max(conv.in_channels, conv.out_channels * stride)):
            before = min(start, 1)  # the kernel is two strides long: an input reaches the outputs of the next one
            held = _stretch(item, start - before, stop, snake)
            made = F.conv_transpose1d(held.unsqueeze(0), weight, bias, stride)[0]
            first, last = max(start * stride - side, 0), stop * stride - side
            if stop == time:
                last = y.shape[-1]
            out[:, first:last] = made[:, first + side - (start - before) * stride :][:, : last - first]
    return y


def add_residual(
    layers: tuple[Snake, Conv1d, Snake, Conv1d], x: Float[Tensor, "batch channels time"], y: Tensor
) -> Float[Tensor, "batch channels time"]:
    """A residual unit: ``x`` plus its activation, convolution, activation and pointwise convolution.

    Args:
        layers: Of the unit; the first convolution is centred.
        x: The signal.
        y: Where the sum goes; it may be ``x`` itself.
    """
    snake, conv, inner_snake, point = layers
    (dilation,), (side,), time = conv.dilation, _sides(conv), x.shape[-1]
    weight, bias, inner = conv.weight, conv.bias, point.weight.squeeze(-1)
    for item, out in zip(x, y, strict=True):
        held = _stretch(item, -side, side, snake)  # outlasts the piece: its place in ``x`` may be overwritten
        for start, stop in _pieces(time, conv, conv.in_channels):
            held = torch.cat([held, _stretch(item, start + side, stop + side, snake)], -1)
            made = F.conv1d(held.unsqueeze(0), weight, bias, 1, 0, dilation)
            held = held[:, stop - start :].clone()
            inner_snake.into(made[0], made[0])
            total = out[:, start:stop]
            torch.add(item[:, start:stop], 0.0 if point.bias is None else point.bias.unsqueeze(1), out=total)
            total.addmm_(inner, made[0])
    return y


def _looks_ahead(conv: Conv1d | ConvTranspose1d) -> bool:
    return conv.ahead if isinstance(conv, Conv1d) else not conv.causal


def _sides(conv: nn.Conv1d | nn.ConvTranspose1d) -> tuple[int, ...]:
    assert not isinstance(conv.padding, str)
    return conv.padding


def _pieces(time: int, conv: Conv1d | ConvTranspose1d, numbers: int) -> Iterator[tuple[int, int]]:
    """Where pieces of a signal begin and end, ``numbers`` being those of a time step."""
    length = max(_NUMBERS // numbers, _STEPS_PER_CHANNEL * conv.in_channels)
    for start in range(0, time, length):
        yield start, min(start + length, time)


def _stretch(
    x: Float[Tensor, "channels time"], left: int, right: int, snake: Snake | None
) -> Float[Tensor, "channels _"]:
    """Time steps from ``left`` to ``right - 1``, activated; zeros beyond the ends of the signal."""
    first, last = min(max(left, 0), right), max(min(right, x.shape[-1]), left)
    held = x.new_empty(len(x), right - left)
    if first >= last:
        return held.zero_()
    held[:, : first - left] = 0.0
    held[:, last - left :] = 0.0
    inside = held[:, first - left : last - left]
    if snake is None:
        inside.copy_(x[:, first:last])
    else:
        snake.into(x[:, first:last], inside)
    return held
