import copy

import pytest
import torch

from codeword import (
    AdditiveQuantizer,
    Beam,
    ChannelsFirst,
    DepthDropout,
    Greedy,
    Refined,
    ResidualQuantizer,
    VectorQuantizer,
    seed,
)
from contracts.steps import vectors

CHANNELS = 5


def maps(*positions, batch=3):
    x = vectors(batch * torch.Size(positions).numel(), CHANNELS)
    return x.reshape(batch, *positions, CHANNELS).movedim(-1, 1).contiguous()


def build():
    torch.manual_seed(0)
    wrapped = ChannelsFirst(ResidualQuantizer([VectorQuantizer(CHANNELS, 7) for _ in range(2)]))
    seed(wrapped, maps(4, 4))
    return wrapped.eval()


@pytest.mark.parametrize("positions", [(), (6,), (4, 2), (2, 3, 2), (0,)])
def test_channels_first_is_the_quantizer_with_its_axes_moved(positions):
    wrapped, x = build(), maps(*positions)
    out, inner = wrapped(x), wrapped.quantizer(x.movedim(1, -1))
    assert torch.equal(out.vectors.movedim(1, -1), inner.vectors)
    assert torch.equal(out.codes.movedim(1, -1), inner.codes)
    assert torch.equal(wrapped.encode(x), out.codes)
    assert torch.equal(wrapped.decode(out.codes), out.vectors)


def test_masks_and_gates_have_their_positions():
    wrapped, x = build(), maps(4, 2)
    mask = torch.arange(3 * 8).reshape(3, 4, 2) % 3 > 0
    gate = torch.ones(3, 2, 4, 2)
    gate[:, 1, 2:] = 0
    out = wrapped(x, mask, gate)
    codes = wrapped.encode(x)
    expected = torch.where(mask[:, None] & (gate > 0), codes, -1)
    assert torch.equal(out.codes, expected)
    assert torch.equal(out.vectors, wrapped.decode(expected))


def test_depths_have_their_positions():
    wrapped, x = build(), maps(4, 2)
    depth = torch.arange(3 * 8).reshape(3, 4, 2) % 3
    codes = wrapped.encode(x, depth)
    assert torch.equal(codes >= 0, torch.arange(2).reshape(1, 2, 1, 1) < depth.unsqueeze(1))
    assert torch.equal(wrapped.encode(x, 1)[:, :1], wrapped.encode(x)[:, :1])
    assert (wrapped.encode(x, 1)[:, 1:] == -1).all()


def test_gradients_reach_the_maps():
    wrapped, x = build().train(), maps(4, 2).requires_grad_()
    alone = copy.deepcopy(wrapped.quantizer)
    out = wrapped(x)
    (out.vectors.sum() + out.loss).backward()
    inner = x.detach().movedim(1, -1).requires_grad_()
    again = alone(inner)
    (again.vectors.sum() + again.loss).backward()
    torch.testing.assert_close(x.grad.movedim(1, -1), inner.grad, rtol=1e-5, atol=1e-7)


def test_wrong_layouts_are_named():
    with pytest.raises(ValueError, match="5 features"):
        build()(torch.zeros(3, 4, CHANNELS))


def test_depths_are_drawn_for_every_vector():
    torch.manual_seed(0)
    levels = [VectorQuantizer(4, 5) for _ in range(4)]
    quantizer = ResidualQuantizer(levels, dropout=DepthDropout(probability=0.5, least=1))
    depth = (quantizer(vectors(20_000, 4)).codes >= 0).sum(1)
    share = torch.bincount(depth, minlength=5) / len(depth)
    # Half of all vectors keep four levels; the other half draws 1, 2, 3 or 4, each alike.
    torch.testing.assert_close(share, torch.tensor([0, 0.125, 0.125, 0.125, 0.625]), rtol=0, atol=0.015)
    assert (quantizer.eval()(vectors(50, 4)).codes >= 0).all()


@pytest.mark.parametrize("options", [{"probability": 1.5}, {"probability": -0.1}, {"least": -1}])
def test_impossible_dropouts_are_refused(options):
    with pytest.raises(ValueError, match="DepthDropout"):
        DepthDropout(**options)


def test_a_prefix_of_a_code_decodes():
    quantizer = build().quantizer
    codes = quantizer.encode(vectors(30, CHANNELS))
    prefix = torch.cat([codes[:, :1], torch.full((30, 1), -1)], 1)
    assert torch.equal(quantizer.decode(codes[:, :1]), quantizer.decode(prefix))
    assert torch.equal(quantizer.decode(codes[:, :1]), quantizer.stages[0].decode(codes[:, :1]))
    assert (quantizer.decode(codes[:, :0]) == 0).all()


@pytest.mark.parametrize("stages", [[], [VectorQuantizer(3, 4), VectorQuantizer(4, 4)]])
def test_stages_of_one_dimension(stages):
    with pytest.raises(ValueError, match="one dimension"):
        ResidualQuantizer(stages)


@pytest.mark.parametrize(
    ("build", "narrow", "wide"),
    [(ResidualQuantizer, Greedy(), Beam(16)), (AdditiveQuantizer, Beam(1), Refined(Beam(16), sweeps=2))],
)
def test_another_search_for_the_same_codebooks(build, narrow, wide):
    x = vectors(300, 6)
    levels = [VectorQuantizer(6, 16) for _ in range(3)]
    quantizer = build(levels, search=narrow)
    seed(quantizer, x)
    quantizer.eval()
    before = quantizer.encode(x)
    after = set_search(quantizer, wide).encode(x)
    assert after.equal(build(levels, search=wide).eval().encode(x))
    error, wider = ((x - quantizer.decode(codes)).square().sum() for codes in (before, after))
    assert wider < error
    assert set_search(quantizer, narrow).encode(x).equal(before)


def set_search(quantizer, search):
    quantizer.search = search
    return quantizer


def test_a_beam_over_groups_is_refused():
    quantizer = ResidualQuantizer([ResidualQuantizer([VectorQuantizer(6, 4)]) for _ in range(2)])
    with pytest.raises(ValueError, match="Beam"):
        quantizer.search = Beam(4)
    assert isinstance(quantizer.search, Greedy)


def test_dropout_deeper_than_the_stages_is_refused():
    with pytest.raises(ValueError, match="lower least"):
        ResidualQuantizer([VectorQuantizer(6, 4)], dropout=DepthDropout(least=2))
