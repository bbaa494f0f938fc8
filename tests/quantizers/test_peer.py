"""Modules of vector-quantize-pytorch and what becomes of them, code by code."""

import copy

import pytest
import torch
from torch import nn
from vector_quantize_pytorch import FSQ, GroupedResidualVQ, ResidualVQ, VectorQuantize

import codeword
from codeword import (
    Beam,
    Cosine,
    Gradient,
    Greedy,
    Keep,
    MovingAverage,
    ProductQuantizer,
    Projected,
    ResidualQuantizer,
    VectorQuantizer,
)
from codeword.quantizers.peer import from_vector_quantize_pytorch

ROUNDING = 1e-5  # of sums of a few float32 numbers of size 1
DIM = 12

SINGLE = {
    "plain": {},
    "kmeans": {"kmeans_init": True},
    "cosine": {"use_cosine_sim": True},
    "cosine kmeans": {"use_cosine_sim": True, "kmeans_init": True, "decay": 0.9},
    "projected": {"codebook_dim": 5},
    "projected cosine": {"codebook_dim": 5, "use_cosine_sim": True},
    "learnable": {"learnable_codebook": True, "ema_update": False},
    "straight through": {"rotation_trick": False, "threshold_ema_dead_code": 2},
    "directional": {"directional_reparam": True, "threshold_ema_dead_code": 2},
    "one codeword": {"codebook_size": 1},
}
RESIDUAL = {
    "plain": {},
    "kmeans": {"kmeans_init": True},
    "cosine": {"use_cosine_sim": True},
    "projected": {"codebook_dim": 5},
    "projected cosine kmeans": {"codebook_dim": 5, "use_cosine_sim": True, "kmeans_init": True},
    "shared": {"shared_codebook": True},
    "shared kmeans": {"shared_codebook": True, "kmeans_init": True},
    "several sizes": {"codebook_size": (16, 7, 30), "num_quantizers": None},
    "learnable": {"learnable_codebook": True, "ema_update": False},
    "diveq": {"diveq": True},
    "dropout": {"quantize_dropout": True},
    "one level": {"num_quantizers": 1},
}


def data(seed=0, rows=150):
    return torch.randn(1, rows, DIM, generator=torch.Generator().manual_seed(seed))


def build(kind, options, steps):
    """A peer after so many steps of training; one that starts by k-means needs at least one forward."""
    torch.manual_seed(0)
    options = {"dim": DIM, "codebook_size": 24} | ({"num_quantizers": 3} if kind is ResidualVQ else {}) | options
    peer = kind(**options)
    optimizer = torch.optim.SGD([*peer.parameters(), nn.Parameter(torch.zeros(1))], lr=0.1)
    for step in range(max(steps, int(options.get("kmeans_init", False)))):
        x = data(step + 1).requires_grad_()
        out = peer(x)
        ((out[0] - x).square().mean() + out[2].sum()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return peer.eval()


def cases():
    for kind, table in ((VectorQuantize, SINGLE), (ResidualVQ, RESIDUAL)):
        for name, options in table.items():
            for steps in (0, 2):
                yield pytest.param(kind, options, steps, id=f"{kind.__name__} {name} {steps}")


@pytest.mark.parametrize(("kind", "options", "steps"), list(cases()))
def test_same_codes_and_vectors(kind, options, steps):
    peer, x = build(kind, options, steps), data()
    with torch.no_grad():
        theirs, indices, _ = peer(x)
        if "diveq" in options:  # there forward adds noise in evaluation, too
            theirs = peer.get_output_from_indices(indices)
    for quantizer in (from_vector_quantize_pytorch(peer), from_vector_quantize_pytorch(peer.state_dict())):
        assert not quantizer.training
        out = quantizer(x)
        assert torch.equal(out.codes, indices.reshape(*x.shape[:-1], -1))
        torch.testing.assert_close(out.vectors, theirs, rtol=0, atol=ROUNDING)
        torch.testing.assert_close(quantizer.decode(out.codes), theirs, rtol=0, atol=ROUNDING)
        plain = VectorQuantizer if kind is VectorQuantize else ResidualQuantizer
        assert type(quantizer) is (Projected if "codebook_dim" in options else plain)
        assert quantizer.dim == DIM


@pytest.mark.parametrize(("kind", "options"), [(VectorQuantize, {}), (ResidualVQ, {"codebook_dim": 5})])
def test_loaded_is_saved_and_trained_like_any_other(kind, options, tmp_path):
    quantizer = from_vector_quantize_pytorch(build(kind, options, 2))
    quantizer.save_pretrained(tmp_path)
    assert torch.equal(codeword.load(tmp_path).encode(data()), quantizer.encode(data()))
    quantizer.train()(data().requires_grad_()).loss.backward()
    codeword.update(quantizer)
    assert torch.isfinite(quantizer.eval()(data()).vectors).all()


def test_moving_averages_go_on_where_the_peer_was():
    peer = build(VectorQuantize, {"decay": 0.7, "commitment_weight": 0.5, "eps": 1e-4}, 5).train()
    quantizer = from_vector_quantize_pytorch(peer, revival=Keep()).train()
    assert quantizer.codebook.learning == MovingAverage(decay=0.7, commitment=0.5, smoothing=1e-4)
    for step in range(4):
        x = data(100 + step)
        _, indices, loss = peer(x)
        out = quantizer(x)
        codeword.update(quantizer)
        assert torch.equal(out.codes.squeeze(-1), indices)
        torch.testing.assert_close(out.loss, loss.detach(), rtol=ROUNDING, atol=0)
        used = indices.unique()
        torch.testing.assert_close(quantizer.codebook.table[used], peer.codebook[used], rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("as_state", [False, True])
def test_codebooks_that_learned_by_gradient_do_not_jump_back(as_state):
    peer = build(VectorQuantize, {"learnable_codebook": True, "ema_update": False}, 6)
    learning = MovingAverage(decay=0.99)
    quantizer = from_vector_quantize_pytorch(peer.state_dict() if as_state else peer, learning=learning)
    before = quantizer.codebook.table.clone()
    quantizer.train()(data(rows=1))
    codeword.update(quantizer)
    moved = (quantizer.codebook.table - before).norm(dim=1)
    assert moved.max() < 0.2 * before.norm(dim=1).mean()


def test_how_a_module_learned_and_measured_is_taken_over():
    learnable = {"learnable_codebook": True, "ema_update": False}
    assert from_vector_quantize_pytorch(
        VectorQuantize(DIM, 8, commitment_weight=0.3, **learnable)
    ).codebook.learning == Gradient(codebook=0.3, commitment=0.3)
    diveq = from_vector_quantize_pytorch(build(ResidualVQ, {"diveq": True}, 1))
    assert diveq.stages[0].codebook.learning == Gradient()
    cosine = build(VectorQuantize, {"use_cosine_sim": True}, 1)
    assert from_vector_quantize_pytorch(cosine).codebook.geometry == Cosine()
    assert from_vector_quantize_pytorch(cosine.state_dict(), geometry=Cosine()).codebook.geometry == Cosine()
    assert from_vector_quantize_pytorch(cosine, learning=Gradient()).codebook.learning == Gradient()


def test_a_beam_has_to_be_chosen():
    peer, x = build(ResidualVQ, {"beam_size": 4}, 3), data()
    with pytest.raises(ValueError, match=r"search=Beam\(4\)"):
        from_vector_quantize_pytorch(peer)
    errors = []
    for search in (Greedy(), Beam(4)):
        quantizer = from_vector_quantize_pytorch(peer, search=search)
        errors.append((quantizer(x).vectors - x).square().mean())
        with torch.no_grad():
            theirs, indices, _ = peer(x)
        torch.testing.assert_close(quantizer.decode(indices), theirs, rtol=0, atol=ROUNDING)
    assert errors[1] <= (theirs - x).square().mean() < errors[0]


@pytest.mark.parametrize("as_state", [True, False])
def test_a_shared_codebook_stays_shared(as_state):
    peer = build(ResidualVQ, RESIDUAL["shared"], 2)
    quantizer = from_vector_quantize_pytorch(peer.state_dict() if as_state else peer)
    assert len({id(stage) for stage in quantizer.stages}) == 1
    apart = from_vector_quantize_pytorch(build(ResidualVQ, RESIDUAL["plain"], 2))
    assert len({id(stage) for stage in apart.stages}) == 3


def test_groups_are_loaded_one_by_one():
    torch.manual_seed(0)
    peer = GroupedResidualVQ(dim=DIM, groups=2, num_quantizers=3, codebook_size=8).eval()
    with pytest.raises(ValueError, match="ProductQuantizer"):
        from_vector_quantize_pytorch(peer)
    quantizer = ProductQuantizer([from_vector_quantize_pytorch(group) for group in peer.rvqs]).eval()
    theirs, indices, _ = peer(data())
    assert torch.equal(quantizer.encode(data()), torch.cat(list(indices), -1))
    torch.testing.assert_close(quantizer(data()).vectors, theirs, rtol=0, atol=ROUNDING)


def make(kind=VectorQuantize, **options):
    return kind(**({"dim": DIM, "codebook_size": 8} | options))


REFUSED = {
    "heads": lambda: make(heads=3, codebook_dim=4),
    "separate heads": lambda: make(heads=2, separate_codebook_per_head=True).state_dict(),
    "projected heads": lambda: make(heads=2, codebook_dim=4).state_dict(),
    "affine parameters": lambda: make(affine_param=True).state_dict(),
    "a codebook bridge": lambda: make(vq_bridge=nn.Linear(DIM, DIM)).state_dict(),
    "codebook bridge": lambda: make(vq_bridge=nn.Identity()),
    "layer norm": lambda: make(layernorm_after_project_in=True, codebook_dim=4).state_dict(),
    "QINCo": lambda: make(ResidualVQ, num_quantizers=2, implicit_neural_codebook=True),
    "k-means": lambda: make(kmeans_init=True),
    "layers.0 waits": lambda: make(ResidualVQ, num_quantizers=2, kmeans_init=True).state_dict(),
    r"unknown entries \['bias', 'weight'\]": lambda: nn.Linear(3, 3),
    "missing entries": lambda: FSQ([5, 5]),
    r"unknown entries \['extra'\]": lambda: make().state_dict() | {"extra": torch.zeros(1)},
    r"missing entries \['_codebook.embed'\]": lambda: _without(make().state_dict(), "_codebook.embed"),
    "missing entries .*project_out": lambda: _without(make(codebook_dim=4).state_dict(), "project_out.weight"),
}


def _without(state, name):
    state = dict(state)
    del state[name]
    return state


@pytest.mark.parametrize("message", list(REFUSED))
def test_what_cannot_be_represented_is_refused(message):
    with pytest.raises(
        ValueError, match=message.replace("separate heads", "heads").replace("projected heads", "heads")
    ) as error:
        from_vector_quantize_pytorch(REFUSED[message]())
    assert "\n" not in str(error.value)


def test_cosine_codewords_must_have_length_one():
    peer = build(VectorQuantize, {}, 1)
    with pytest.raises(ValueError, match="length 1"):
        from_vector_quantize_pytorch(peer, geometry=Cosine())


def test_half_precision_states_and_the_peer_stay_as_they_are():
    peer = build(VectorQuantize, {"codebook_dim": 5}, 1)
    before = copy.deepcopy(peer.state_dict())
    quantizer = from_vector_quantize_pytorch({k: v.half() if v.is_floating_point() else v for k, v in before.items()})
    assert {p.dtype for p in quantizer.parameters()} == {torch.float32}
    quantizer.train()(data())
    codeword.update(quantizer)
    assert all(torch.equal(value, before[name]) for name, value in peer.state_dict().items())
