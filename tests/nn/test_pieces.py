"""Layers on pieces of a signal are the layers on the whole."""

import pytest
import torch

from codeword.nn import pieces
from codeword.nn.activations import Snake, written_out
from codeword.nn.conv import Conv1d, ConvTranspose1d
from codeword.nn.seanet import EncoderBlock, ResidualUnit, WaveDecoder, WaveEncoder

TOLERANCE = 2e-6  # of values near 1: sums in another order


@pytest.fixture(params=[3, 50, 10_000])
def length(request, monkeypatch):
    """Pieces of so many time steps, shorter than what a kernel spans and longer than the signal among them."""

    def cut(time, *_):
        return ((start, min(start + request.param, time)) for start in range(0, time, request.param))

    monkeypatch.setattr(pieces, "_pieces", cut)
    return request.param


def signal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def lively(module):
    for part in module.modules():
        if isinstance(part, Snake):
            part.alpha.data.uniform_(0.2, 3.0, generator=torch.Generator().manual_seed(1))
        elif isinstance(part, torch.nn.Conv1d | torch.nn.ConvTranspose1d):
            part.bias.data.uniform_(-0.5, 0.5, generator=torch.Generator().manual_seed(2))
    return module


def both(module, x):
    """In pieces, and layer by layer as in training."""
    with torch.no_grad():
        fast = module(x.clone())
    return fast, module(x.clone())


def check(fast, slow):
    torch.testing.assert_close(fast, slow.detach(), atol=TOLERANCE * float(slow.detach().abs().max() + 1), rtol=0)


@pytest.mark.parametrize("time", [1, 5, 203])
@pytest.mark.parametrize("dilation", [1, 3, 9])
def test_a_residual_unit(length, time, dilation):
    unit = lively(ResidualUnit(6, dilation, "centered"))
    check(*both(unit, signal(2, 6, time)))


def test_a_residual_unit_may_overwrite_its_input(length):
    unit, x = lively(ResidualUnit(6, 9, "centered")), signal(2, 6, 150)
    wanted = unit(x).detach()
    with torch.no_grad():
        assert unit.add(x, x) is x
    check(x, wanted)


@pytest.mark.parametrize("padding", ["centered", "cut"])
@pytest.mark.parametrize("strides", [(2,), (5, 3)])
def test_encoder_and_decoder(length, padding, strides):
    encoder = lively(WaveEncoder(4, strides, 6, padding=padding))
    decoder = lively(WaveDecoder(8, strides[::-1], 6, padding=padding))
    hop = torch.tensor(strides).prod()
    for frames in (1, 7):
        x = signal(2, 1, int(hop * frames))
        fast, slow = both(encoder, x)
        check(fast.latents, slow.latents)
        check(fast.features, slow.features)
        check(*both(decoder, slow.latents.detach()))


def test_a_block_leaves_its_input_alone(length):
    block, x = lively(EncoderBlock(4, 8, 4, "centered")), signal(1, 4, 120)
    before = x.clone()
    with torch.no_grad():
        block(x)
    assert torch.equal(x, before)


def test_pieces_are_for_inference_with_centred_layers():
    x, centred, causal = signal(1, 2, 30), Conv1d(2, 2, 7, padding="centered"), Conv1d(2, 2, 7, padding="causal")
    assert not pieces.in_pieces(x, centred), "a gradient needs the layers"
    with torch.no_grad():
        assert pieces.in_pieces(x, centred)
        assert pieces.in_pieces(x, ConvTranspose1d(2, 2, stride=4, padding="cut"))
        assert not pieces.in_pieces(x, causal), "causal layers may remember the past"
        assert not pieces.in_pieces(x, ConvTranspose1d(2, 2, stride=4, padding="causal"))
        with written_out():
            assert not pieces.in_pieces(x, centred), "the reference is computed layer by layer"
        with torch.autocast("cpu"):
            assert not pieces.in_pieces(x, centred)
