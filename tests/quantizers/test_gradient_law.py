"""What derivatives of quantizers are, compared with the formulas written out."""

import copy

import pytest
import torch

from codeword import (
    AdditiveQuantizer,
    Beam,
    BinaryQuantizer,
    Directional,
    Gradient,
    MovingAverage,
    NoiseSubstitution,
    Normalized,
    ProductQuantizer,
    Projected,
    ResidualQuantizer,
    Rotated,
    Rotation,
    ScalarQuantizer,
    SimVQ,
    StraightThrough,
    VectorQuantizer,
    seed,
)
from contracts.steps import vectors

DIM = 6
ROUNDING = 2e-6  # of sums of a few float32 numbers of size 1
EYE = torch.eye(DIM)
THROUGH_OUTPUT = Gradient(codebook=0.0, commitment=0.0)


def plain(count, dim=DIM, learning=None, size=7):
    return [VectorQuantizer(dim, size, learning=learning or MovingAverage()) for _ in range(count)]


def factorised(count):
    return [Projected(VectorQuantizer(3, 7), DIM) for _ in range(count)]


def ready(quantizer):
    torch.manual_seed(3)
    seed(quantizer, vectors(80, DIM))
    return quantizer.train()


def jacobian(quantizer, x, gate=None):
    return torch.autograd.functional.jacobian(lambda one: quantizer(one, None, gate).vectors, x)


def projection(stage):
    """P_m: what a stage does to a vector, derivatives passed straight through inside."""
    return stage.project_out.weight @ stage.project_in.weight if isinstance(stage, Projected) else EYE


def left(stages):
    """(I - P_M) ... (I - P_1)."""
    product = EYE
    for stage in stages:
        product = (EYE - projection(stage)) @ product
    return product


# --- straight-through: the derivative of the output ---


@pytest.mark.parametrize("learning", [MovingAverage(), Gradient(), SimVQ()])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_plain_levels_have_the_identity_at_every_depth(count, learning):
    quantizer = ready(ResidualQuantizer(plain(count, learning=learning)))
    for x in vectors(3, DIM, seed=1):
        assert torch.equal(jacobian(quantizer, x), EYE)
        for depth in range(1, count + 1):
            gate = (torch.arange(count) < depth).float()
            assert torch.equal(jacobian(quantizer, x, gate), EYE)
        assert torch.equal(jacobian(quantizer, x, torch.zeros(count)), torch.zeros(DIM, DIM))


@pytest.mark.parametrize(
    "build",
    [
        lambda: VectorQuantizer(DIM, 7),
        lambda: ResidualQuantizer(plain(3), search=Beam(3)),
        lambda: AdditiveQuantizer(plain(3)),
        lambda: ProductQuantizer([ResidualQuantizer(plain(2, dim=2)), VectorQuantizer(4, 5)]),
        lambda: ResidualQuantizer([ProductQuantizer(plain(2, dim=3)), *plain(1)]),
        lambda: Normalized(ResidualQuantizer(plain(2))),
        lambda: Rotated(ResidualQuantizer(plain(2))),
    ],
)
def test_everything_plain_has_the_identity(build):
    quantizer = ready(build())
    if isinstance(quantizer, Normalized):
        quantizer.standardize(3 * vectors(50, DIM) + 2)
    if isinstance(quantizer, Rotated):
        quantizer.rotation.copy_(torch.linalg.qr(vectors(DIM, DIM)).Q)
    for x in vectors(3, DIM, seed=1):
        torch.testing.assert_close(jacobian(quantizer, x), EYE, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_factorised_levels_have_the_law(count):
    quantizer = ready(ResidualQuantizer(factorised(count)))
    for x in vectors(3, DIM, seed=1):
        torch.testing.assert_close(jacobian(quantizer, x), EYE - left(quantizer.stages), rtol=0, atol=ROUNDING)
        for depth in range(count + 1):
            gate = (torch.arange(count) < depth).float()
            expected = EYE - left(list(quantizer.stages)[:depth])
            torch.testing.assert_close(jacobian(quantizer, x, gate), expected, rtol=0, atol=ROUNDING)


def test_mixed_stages_have_the_law():
    quantizer = ready(ResidualQuantizer([*factorised(1), *plain(1), *factorised(1)]))
    x = vectors(1, DIM, seed=1)[0]
    torch.testing.assert_close(jacobian(quantizer, x), EYE - left(quantizer.stages), rtol=0, atol=ROUNDING)
    inside = ready(Projected(ResidualQuantizer(plain(3, dim=3)), DIM))
    torch.testing.assert_close(jacobian(inside, x), projection(inside), rtol=0, atol=ROUNDING)


def test_depths_of_one_batch_do_not_mix():
    quantizer, x = ready(ResidualQuantizer(factorised(3))), vectors(4, DIM, seed=1).requires_grad_()
    gate = (torch.arange(3) < torch.arange(4)[:, None]).float()
    slope = vectors(4, DIM, seed=2)
    (quantizer(x, None, gate).vectors * slope).sum().backward()
    for row in range(4):
        expected = (EYE - left(list(quantizer.stages)[:row])).t() @ slope[row]
        torch.testing.assert_close(x.grad[row], expected, rtol=0, atol=ROUNDING)


def test_projections_learn_from_the_output():
    quantizer = ready(ResidualQuantizer(factorised(2)))
    quantizer(vectors(20, DIM)).vectors.square().sum().backward()
    for stage in quantizer.stages:
        for weight in (stage.project_in.weight, stage.project_out.weight, stage.project_out.bias):
            assert weight.grad.abs().max() > 1e-3


# --- gates ---

ESTIMATORS = [StraightThrough(), NoiseSubstitution(), Directional(), Rotation()]


def gated(estimator):
    return [
        ResidualQuantizer(plain(3, learning=Gradient()), estimator=estimator),
        ProductQuantizer(
            [ResidualQuantizer(plain(3, dim=3, learning=Gradient())) for _ in range(2)], estimator=estimator
        ),
        Normalized(ResidualQuantizer(plain(3, learning=Gradient())), estimator=estimator),
        Rotated(ResidualQuantizer(plain(3, learning=Gradient())), estimator=estimator),
        Projected(ResidualQuantizer(plain(3, dim=3, learning=Gradient())), DIM, estimator=estimator),
    ]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("kind", range(5))
def test_every_estimator_gives_the_gate_the_same_gradient(estimator, kind):
    quantizer = gated(estimator)[kind]
    if isinstance(quantizer, Projected) and isinstance(estimator, Rotation):
        return
    quantizer = ready(quantizer)
    if isinstance(quantizer, Normalized):
        quantizer.standardize(3 * vectors(50, DIM) + 2)
        ready(quantizer)
    x, slope = vectors(4, DIM, seed=1), vectors(4, DIM, seed=2)
    soft = torch.zeros(4, 3, requires_grad=True)
    hard = (torch.arange(3) < torch.arange(4)[:, None]).float()
    out = quantizer(x, None, hard + soft - soft.detach())
    (out.vectors * slope).sum().backward()
    # The codeword of level m in the space of x: all levels, also those behind the gate.
    codes, books = quantizer(x).codes, quantizer.codebooks()
    words = torch.stack([book[code] for book, code in zip(books, codes.unbind(1), strict=True)], 1)
    per_gate = (words * slope[:, None]).sum(-1).reshape(4, -1, 3).sum(1)  # a product sums over its blocks
    torch.testing.assert_close(soft.grad, per_gate, rtol=0, atol=10 * ROUNDING)


def test_behind_the_depth_of_a_beam_the_gate_sees_a_greedy_search():
    quantizer = ready(ResidualQuantizer(plain(3, learning=Gradient()), search=Beam(4)))
    x, slope = vectors(40, DIM, seed=1), vectors(40, DIM, seed=2)
    depth = torch.arange(40) % 4
    soft = torch.zeros(40, 3, requires_grad=True)
    hard = (torch.arange(3) < depth[:, None]).float()
    (quantizer(x, None, hard + soft - soft.detach()).vectors * slope).sum().backward()
    codes, rest, words = quantizer.encode(x, depth), x, []
    for level, book in enumerate(quantizer.codebooks()):
        greedy = torch.cdist(rest, book).argmin(1)
        words.append(book[torch.where(codes[:, level] < 0, greedy, codes[:, level])].detach())
        rest = rest - words[-1]
    torch.testing.assert_close(soft.grad, (torch.stack(words, 1) * slope[:, None]).sum(-1), rtol=0, atol=10 * ROUNDING)


# --- estimators inside quantizers ---


def test_noise_has_the_weighed_length_of_the_error():
    x, w = vectors(5, DIM, seed=1), torch.tensor([0.5, 1.0, 2.0, 3.0, 0.1, 1.5])
    quantizer = ready(VectorQuantizer(DIM, 7, learning=THROUGH_OUTPUT, estimator=NoiseSubstitution(tuple(w.tolist()))))
    out = quantizer(x)
    expected = (w * (x - quantizer.decode(out.codes))).norm(dim=1)
    torch.testing.assert_close((w * (out.vectors - x)).norm(dim=1), expected, rtol=1e-5, atol=0)


def test_equation_9_searches_with_its_weights_inside_normalized():
    x, w = vectors(50, DIM, seed=1), torch.tensor([0.5, 1.0, 2.0, 3.0, 0.1, 1.5])
    inner = VectorQuantizer(DIM, 7, learning=THROUGH_OUTPUT)
    quantizer = Normalized(inner, estimator=NoiseSubstitution(tuple(w.tolist())))
    quantizer.deviation.copy_(1 / w)
    out = ready(quantizer)(x)
    distance = (w * (x[:, None] - quantizer.codebooks()[0].detach())).norm(dim=-1).min(1)
    assert torch.equal(out.codes[:, 0], distance.indices)
    torch.testing.assert_close((w * (out.vectors - x)).norm(dim=1), distance.values, rtol=1e-4, atol=0)


def test_a_quantizer_with_rotation_gives_codes_at_zero():
    quantizer = ready(VectorQuantizer(DIM, 7, estimator=Rotation()))
    x = torch.zeros(2, DIM, requires_grad=True)
    out = quantizer(x)
    assert torch.equal(out.vectors, quantizer.decode(out.codes))
    out.vectors.sum().backward()
    assert torch.equal(x.grad, torch.ones(2, DIM))


@pytest.mark.parametrize(
    "build",
    [
        lambda **o: VectorQuantizer(DIM, 7, learning=THROUGH_OUTPUT, **o),
        lambda **o: ResidualQuantizer(plain(3, learning=THROUGH_OUTPUT), **o),
        lambda **o: AdditiveQuantizer(plain(2, learning=THROUGH_OUTPUT), **o),
    ],
)
def test_noise_substitution_trains_every_codebook_through_the_total(build):
    quantizer = ready(build(estimator=NoiseSubstitution()))
    x, slope = vectors(9, DIM, seed=1).requires_grad_(), vectors(9, DIM, seed=2)
    out = quantizer(x)
    (out.vectors * slope).sum().backward()
    total = quantizer.decode(out.codes)
    error = (total - x).norm(dim=1, keepdim=True)
    u, e = (out.vectors - x) / error, (total - x) / error
    along = (u * slope).sum(1, keepdim=True)
    torch.testing.assert_close(x.grad, slope - e * along, rtol=0, atol=10 * ROUNDING)
    for level, table in enumerate(p for name, p in quantizer.named_parameters() if name.endswith("table")):
        expected = torch.zeros_like(table).index_add_(0, out.codes[:, level], (e * along).detach())
        torch.testing.assert_close(table.grad, expected, rtol=0, atol=10 * ROUNDING)
    assert out.loss == 0


# --- losses ---


def walk(quantizer, x):
    """What every stage saw, and the codewords it gave, in the stage's own space."""
    rest, seen = x.detach(), []
    for stage in quantizer.stages:
        inside = stage.project_in(rest) if isinstance(stage, Projected) else rest
        book = stage.quantizer if isinstance(stage, Projected) else stage
        seen.append((inside, book.decode(book.encode(inside))))
        rest = rest - stage.decode(stage.encode(rest))
    return seen


@pytest.mark.parametrize("estimator", [StraightThrough(), NoiseSubstitution()], ids=["straight", "noise"])
def test_the_loss_is_a_sum_over_levels_of_means(estimator):
    learning = Gradient(codebook=0.7, commitment=0.3)
    stages = [VectorQuantizer(DIM, 7, learning=learning), Projected(VectorQuantizer(3, 7, learning=learning), DIM)]
    quantizer = ready(ResidualQuantizer(stages, estimator=estimator))
    x, mask = vectors(12, DIM, seed=1), torch.arange(12) % 4 > 0
    gate = (torch.arange(2) < torch.arange(12)[:, None] % 3).float()
    levels = [(inside - word).square().mean(1) for inside, word in walk(quantizer, x)]
    torch.testing.assert_close(quantizer(x).loss, sum(level.mean() for level in levels))
    torch.testing.assert_close(quantizer(x, mask).loss, sum(level[mask].mean() for level in levels))
    # A closed gate adds nothing to the sum, yet its vector stays in the mean.
    expected = sum((level * gate[:, m])[mask].sum() / mask.sum() for m, level in enumerate(levels))
    torch.testing.assert_close(quantizer(x, mask, gate).loss, expected)


@pytest.mark.parametrize("stages", [plain, factorised])
def test_the_commitment_of_every_level_reaches_the_input(stages):
    quantizer = ready(ResidualQuantizer(stages(4)))
    x = vectors(8, DIM, seed=1).requires_grad_()
    quantizer(x).loss.backward()
    expected = torch.zeros_like(x)
    for stage, (inside, word) in zip(quantizer.stages, walk(quantizer, x), strict=True):
        slope = 0.25 * 2 * (inside - word) / inside.shape[1] / len(x)
        share = slope @ stage.project_in.weight if isinstance(stage, Projected) else slope
        assert share.abs().max() > 1e-4
        expected += share
    torch.testing.assert_close(x.grad, expected, rtol=0, atol=ROUNDING)


def test_the_codebook_learns_from_its_loss_alone_with_straight_through():
    quantizer = ready(VectorQuantizer(DIM, 7, learning=Gradient(codebook=1.0, commitment=0.25)))
    x = vectors(20, DIM, seed=1)
    out = quantizer(x.requires_grad_())
    (out.loss + out.vectors.sum()).backward()
    table = quantizer.codebook.table
    expected = torch.zeros_like(table).index_add_(0, out.codes[:, 0], 2 * (quantizer.decode(out.codes) - x) / DIM / 20)
    torch.testing.assert_close(table.grad, expected.detach(), rtol=0, atol=ROUNDING)


def test_decoding_is_differentiable_in_the_codebook():
    quantizer = ready(ResidualQuantizer(plain(2, learning=Gradient())))
    codes, slope = quantizer.encode(vectors(20, DIM)), vectors(20, DIM, seed=2)
    codes[::3, 1] = -1
    (quantizer.decode(codes) * slope).sum().backward()
    for level, stage in enumerate(quantizer.stages):
        present = codes[:, level] >= 0
        table = stage.codebook.table
        expected = torch.zeros_like(table).index_add_(0, codes[present, level], slope[present])
        torch.testing.assert_close(table.grad, expected, rtol=0, atol=ROUNDING)


# --- what is refused ---


@pytest.mark.parametrize(
    "build",
    [
        lambda: VectorQuantizer(DIM, 7, estimator=NoiseSubstitution()),
        lambda: VectorQuantizer(DIM, 7, estimator=Directional()),
        lambda: VectorQuantizer(DIM, 7, learning=THROUGH_OUTPUT),
        lambda: VectorQuantizer(DIM, 7, learning=THROUGH_OUTPUT, estimator=Rotation()),
        lambda: VectorQuantizer(DIM, 7, learning=SimVQ(codebook=0.0)),
        lambda: Projected(VectorQuantizer(3, 7), DIM, estimator=Rotation()),
        lambda: ResidualQuantizer([*plain(1), *factorised(1)], estimator=Rotation()),
        lambda: Projected(VectorQuantizer(3, 7, learning=THROUGH_OUTPUT), DIM, estimator=NoiseSubstitution()),
        lambda: ResidualQuantizer(plain(2), estimator=NoiseSubstitution()),
        lambda: AdditiveQuantizer(plain(2), estimator=Directional()),
        lambda: ProductQuantizer(plain(2, dim=3), estimator=NoiseSubstitution()),
        lambda: Rotated(Normalized(ProductQuantizer(plain(2, dim=3))), estimator=NoiseSubstitution()),
    ],
)
def test_what_would_never_learn_is_refused_at_the_first_training_forward(build):
    quantizer = build()
    with pytest.raises(ValueError, match="use ") as error:
        quantizer.train()(vectors(20, DIM))
    assert "\n" not in str(error.value)


def test_projections_learn_under_noise_substitution_from_the_commitment():
    inner = VectorQuantizer(3, 7, learning=Gradient(codebook=0.0))
    quantizer = ready(Projected(inner, DIM, estimator=NoiseSubstitution()))
    out = quantizer(vectors(20, DIM))
    (out.loss + out.vectors.square().sum()).backward()
    assert all(parameter.grad.abs().max() > 1e-4 for parameter in quantizer.parameters())


def test_inner_estimators_are_not_asked():
    inner = VectorQuantizer(DIM, 7, learning=Gradient(), estimator=NoiseSubstitution())
    quantizer = ready(ResidualQuantizer([inner]))
    x = vectors(1, DIM)[0]
    assert torch.equal(jacobian(quantizer, x), EYE)
    with pytest.raises(ValueError, match="positive"):
        NoiseSubstitution((1.0, 0.0))
    with pytest.raises(ValueError, match="variance"):
        Directional(-1.0)
    with pytest.raises(ValueError, match="2 weights"):
        ready(VectorQuantizer(DIM, 7, learning=THROUGH_OUTPUT, estimator=NoiseSubstitution((1.0, 2.0))))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "build",
    [
        lambda: VectorQuantizer(DIM, 7),
        lambda: VectorQuantizer(DIM, 7, estimator=Rotation()),
        lambda: VectorQuantizer(DIM, 7, learning=Gradient(), estimator=NoiseSubstitution()),
        lambda: ResidualQuantizer(plain(2)),
        lambda: AdditiveQuantizer(plain(2)),
        lambda: ProductQuantizer(plain(2, dim=3)),
        lambda: ScalarQuantizer([5] * DIM),
        lambda: BinaryQuantizer(DIM),
        lambda: Normalized(VectorQuantizer(DIM, 7)),
        lambda: Rotated(VectorQuantizer(DIM, 7)),
        lambda: factorised(1)[0],
    ],
)
def test_vectors_may_be_changed_in_place(build, training):
    """As the first layer of a decoder does, if it is ReLU(inplace=True)."""
    quantizer, x = ready(build()).train(training), vectors(20, DIM, seed=1).requires_grad_()
    grads = []
    for change in (torch.relu, torch.relu_):
        torch.manual_seed(1)
        out = copy.deepcopy(quantizer)(x)
        grads.append(torch.autograd.grad(change(out.vectors).sum() + out.loss, x)[0])
    assert (grads[0] != 0).any()
    assert torch.equal(*grads)
