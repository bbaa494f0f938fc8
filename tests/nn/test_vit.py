import math

import numpy as np
import pytest
import torch

from codeword.nn.patches import patchify
from codeword.nn.positions import sincos
from codeword.nn.swin import Swin
from codeword.nn.vit import Decoder, DecoderConfig, VisionTransformer, ViTConfig
from codeword.quantizers.config import build, describe

SHAPES = {
    "audio": {"channels": 1, "size": (24, 8), "patch": (4, 4)},
    "image": {"channels": 3, "size": (8, 8), "patch": (2, 2), "cls_token": False},
    "video": {"channels": 3, "size": (4, 6, 6), "patch": (2, 2, 2), "bias": "qv", "positions": "sinusoid"},
}
SMALL = {"dim": 32, "depth": 2, "heads": 4}
ROUNDING = 1e-5


def make(kind, **changes):
    torch.manual_seed(0)
    return VisionTransformer(ViTConfig(**{**SHAPES[kind], **SMALL, **changes})).eval()


def inputs(model, size=None, count=2):
    shape = (count, model.config.channels, *(size or model.config.size))
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def division(patches, kept, count=2):
    """Numbers of the patches that are seen, and of the others, in any order."""
    order = torch.rand(count, patches, generator=torch.Generator().manual_seed(2)).argsort(1)
    return order[:, :kept], order[:, kept:]


@pytest.fixture(params=SHAPES)
def model(request):
    return make(request.param)


@torch.no_grad()
def test_tokens_are_blocks_of_patches_and_places(model):
    config, x = model.config, inputs(model)
    places = model.positions(config.grid)
    patches = patchify(x, config.patch) @ model.embed.linear.weight.t() + model.embed.linear.bias + places
    first = [] if model.prefix is None else [model.prefix.expand(2, -1, -1)]
    wanted = torch.cat([*first, patches], 1)
    states = [wanted]
    for block in model.transformer.blocks:
        states.append(block(states[-1]))
    found = model(x, hidden=True)
    assert config.prefix == config.cls_token == len(first)
    torch.testing.assert_close(found.tokens, model.transformer.norm(states[-1]), atol=ROUNDING, rtol=0)
    for state, mine in zip(states, found.hidden, strict=True):
        torch.testing.assert_close(mine, state, atol=ROUNDING, rtol=0)


@torch.no_grad()
def test_nothing_is_computed_of_patches_that_are_not_visible(model):
    config, x = model.config, inputs(model)
    count = math.prod(config.grid)
    visible, hidden = division(count, 5)
    tokens = model(x, visible).tokens
    assert tokens.shape[1] == config.prefix + 5
    for item, row in enumerate(hidden.tolist()):
        for number in row:
            place = np.unravel_index(number, config.grid)
            area = tuple(slice(p * side, (p + 1) * side) for p, side in zip(place, config.patch, strict=True))
            x[(item, slice(None), *area)] = torch.nan
    torch.testing.assert_close(model(x, visible).tokens, tokens)


@torch.no_grad()
def test_tokens_come_in_the_order_of_the_visible_patches(model):
    x, prefix = inputs(model), model.config.prefix
    count = math.prod(model.config.grid)
    order, _ = division(count, count)
    wanted = torch.take_along_dim(model(x).tokens[:, prefix:], order.unsqueeze(-1), 1)
    torch.testing.assert_close(model(x, order).tokens[:, prefix:], wanted, atol=ROUNDING, rtol=0)


@torch.no_grad()
def test_padding_is_not_looked_at():
    """A short log-mel in a long one: its tokens are those without the padding, whole and masked alike."""
    model = make("audio", other_sizes="continued")
    short = inputs(model, (16, 8))
    padded = torch.nn.functional.pad(short, (0, 0, 0, 8), value=9.0)
    valid = torch.arange(12).expand(2, -1) < 8
    tokens = model(padded, valid=valid).tokens[:, :9]
    torch.testing.assert_close(tokens, model(short).tokens, atol=ROUNDING, rtol=0)
    assert (tokens - model(padded).tokens[:, :9]).abs().max() > 0.01
    visible = torch.tensor([[1, 11, 4], [9, 3, 0]])
    seen = model(padded, visible, valid).tokens[:, 1:]
    for item, kept in enumerate(([1, 4], [3, 0])):
        alone = model(short[item : item + 1], torch.tensor([kept])).tokens[0, 1:]
        rows = [place for place, number in enumerate(visible[item]) if number < 8]
        torch.testing.assert_close(seen[item, rows], alone, atol=ROUNDING, rtol=0)


@torch.no_grad()
def test_other_sizes_have_positions_of_their_own(model):
    size = tuple(2 * length for length in model.config.size)
    assert model.grid(inputs(model, size)) == tuple(2 * count for count in model.config.grid)
    tokens = model(inputs(model, size)).tokens
    assert tokens.shape[1] - model.config.prefix == 2 ** len(size) * math.prod(model.config.grid)
    plain = model(torch.zeros(1, model.config.channels, *size)).tokens[0, model.config.prefix :]
    apart = torch.pdist(plain)
    assert apart.min() > 0


@torch.no_grad()
def test_positions_tell_time_from_frequency():
    """The same sound later is another token, and more alike the less later it is; so is a higher one."""
    model = make("audio", size=(64, 32), depth=0)
    tokens = model(torch.zeros(1, 1, 64, 32)).tokens[0, 1:].view(16, 8, -1)
    alike = torch.nn.functional.cosine_similarity
    assert alike(tokens[:-1], tokens[1:], dim=-1).min() > alike(tokens[:-5], tokens[5:], dim=-1).max()
    assert alike(tokens[:, :-1], tokens[:, 1:], dim=-1).min() > alike(tokens[:, :-5], tokens[:, 5:], dim=-1).max()


def decode_slowly(decoder, tokens, visible, masked, grid, valid):
    """Item by item, patch by patch, on the grid as far as the blocks need it."""
    places, prefix, out = sincos(grid, decoder.mask.numel()), decoder.prefix, []
    for item in range(len(tokens)):
        x = decoder.project(tokens[item])
        content = {int(number): x[prefix + row] for row, number in enumerate(visible[item])}
        swin = isinstance(decoder.blocks, Swin)
        chosen = range(math.prod(grid)) if swin else sorted([*visible[item].tolist(), *masked[item].tolist()])
        rows = torch.stack([content.get(number, decoder.mask) + places[number] for number in chosen]).unsqueeze(0)
        mine = None if valid is None else valid[item : item + 1, list(chosen)]
        if swin:
            done = decoder.blocks(rows, grid, mine)[0]
        else:
            first = x[:prefix].unsqueeze(0)
            mine = None if mine is None else torch.cat([torch.ones(1, prefix, dtype=torch.bool), mine], 1)
            done = decoder.blocks(torch.cat([first, rows], 1), mine).tokens[0, prefix:]
        out.append(torch.stack([done[list(chosen).index(number)] for number in masked[item].tolist()]))
    return torch.stack(out)


@pytest.mark.parametrize("with_padding", [False, True])
@pytest.mark.parametrize("wanted", [9, 3], ids=["all masked", "some masked"])
@pytest.mark.parametrize("kind", ["plain", "swin"])
@torch.no_grad()
def test_the_decoder_predicts_at_the_masked_patches(kind, wanted, with_padding):
    model = make("audio")
    decoder = Decoder(DecoderConfig(dim=16, depth=2, heads=2, kind=kind), model.config).eval()
    torch.nn.init.normal_(decoder.mask)
    visible, masked = division(12, 3)
    masked = masked[:, :wanted]
    valid = torch.arange(12).expand(2, -1) < 10 if with_padding else None
    tokens = model(inputs(model), visible, valid).tokens
    found = decoder(tokens, visible, masked, None, valid)
    slow = decode_slowly(decoder, tokens, visible, masked, (6, 2), valid)
    torch.testing.assert_close(found, slow, atol=ROUNDING, rtol=0)
    turned = decoder(tokens, visible, masked.flip(1), (6, 2), valid)
    torch.testing.assert_close(turned.flip(1), found, atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("kind", ["plain", "swin"])
def test_every_weight_learns_from_the_masked_patches(kind):
    model = make("audio").train()
    decoder = Decoder(DecoderConfig(dim=16, depth=2, heads=2, kind=kind), model.config)
    visible, masked = division(12, 3)
    out = decoder(model(inputs(model), visible).tokens, visible, masked)
    (out * torch.randn_like(out)).sum().backward()
    for part in (model, decoder):
        still = [name for name, weight in part.named_parameters() if weight.grad is None or not weight.grad.any()]
        assert still == []


@pytest.mark.parametrize("kind", ["plain", "swin"])
@torch.no_grad()
def test_half_precision_is_near_full_precision(kind):
    model = make("audio")
    decoder = Decoder(DecoderConfig(dim=16, depth=2, heads=2, kind=kind), model.config).eval()
    visible, masked = division(12, 3)
    x = inputs(model)
    full = decoder(model(x, visible).tokens, visible, masked)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = decoder(model(x, visible).tokens, visible, masked)
    model.bfloat16(), decoder.bfloat16()
    half = decoder(model(x.bfloat16(), visible).tokens, visible, masked)
    assert half.dtype == torch.bfloat16
    for other in (mixed, half):
        assert 0 < (other.float() - full).abs().max() < 0.2


def test_configurations_are_plain_values():
    for config in (make("video").config, DecoderConfig(dim=16, depth=2, heads=2, kind="swin")):
        assert build(describe(config)) == config


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"size": (25, 8)}, "no multiple of the patch"),
        ({"size": (4,) * 4, "patch": (4,) * 4}, "one, two or three axes"),
        ({"heads": 5}, "cannot be shared among 5 heads"),
        ({"positions": "table", "other_sizes": "continued"}, "end with their table"),
    ],
)
def test_shapes_that_do_not_work_are_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        make("audio", **changes)


def test_a_decoder_refuses_windows_and_tokens_of_other_grids():
    with pytest.raises(ValueError, match="a side for every axis"):
        Decoder(DecoderConfig(dim=16, depth=2, heads=2, kind="swin"), make("video").config)
    model = make("audio")
    decoder = Decoder(DecoderConfig(dim=16, depth=2, heads=2), model.config)
    visible, masked = division(12, 3)
    with pytest.raises(ValueError, match="takes 1 tokens and one per visible patch, got 3 tokens"):
        decoder(torch.zeros(2, 3, 32), visible, masked)
    with pytest.raises(ValueError, match="no multiple"):
        model(torch.zeros(1, 1, 25, 8))
