import math

import pytest
import torch
from vector_quantize_pytorch import LFQ

from codeword import Directional, NoiseSubstitution, Projected, ResidualQuantizer, Rotation, VectorQuantizer
from codeword.quantizers.binary import BinaryQuantizer, Cube, EntropyLoss, Sphere
from contracts.quantizer import QuantizerContract, vectors
from contracts.ranks import on_ranks
from reference import binary_ranks
from reference import scalar as slow

NATS = 1e-5  # of an entropy computed from float32 numbers
EXACT = 1e-9  # of float64 numbers of size 1
PEER_NATS = 2e-2  # the peer clamps probabilities at 1e-5 inside the logarithm, for each of 2^bits codes


class TestCube(QuantizerContract):
    greedy = False
    projects = True
    additive = False

    def create(self, size=11):
        return BinaryQuantizer(6, bits_per_code=4)

    def test_one_codeword(self):
        assert set(self.create().sizes) == {16, 4}  # a bit always has two values

    def test_a_copy_lives_alone(self):
        assert not self.trained().state_dict()  # there is nothing to share


class TestSphere(TestCube):
    def create(self, size=11):
        return BinaryQuantizer(6, corners=Sphere(), bits_per_code=4)


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_codes_are_signs_first_feature_lowest():
    quantizer = BinaryQuantizer(3, corners=Cube(2.0)).eval()
    x = torch.tensor([[-1.0, -1, -1], [0.1, -1, -3], [-1, 5, -1], [-1, -1, 2], [1, 1, 1], [0, 0, 0]])
    assert quantizer.encode(x).squeeze(1).tolist() == [0, 1, 2, 4, 7, 0]
    assert quantizer(x).vectors.tolist() == torch.where(x > 0, 2.0, -2.0).tolist()


@pytest.mark.parametrize("spherical", [False, True])
def test_codes_and_vectors_of_the_peer(spherical):
    peer = LFQ(codebook_size=2**9, dim=9, spherical=spherical).eval()
    quantizer = BinaryQuantizer(9, corners=Sphere() if spherical else Cube()).eval()
    x = draw(2, 300, 9)
    theirs = peer(x)
    out = quantizer(x)
    torch.testing.assert_close(out.vectors, theirs.quantized, rtol=0, atol=1e-6)
    reversed_bits = [int(f"{code:09b}"[::-1], 2) for code in theirs.indices.flatten().tolist()]
    assert out.codes.flatten().tolist() == reversed_bits


@pytest.mark.parametrize("per_code", [None, 1, 5, 31])
def test_integers_of_63_bits(per_code):
    quantizer = BinaryQuantizer(63, corners=Sphere(), bits_per_code=per_code).eval()
    assert math.prod(quantizer.sizes) == 1 << 63
    assert quantizer.bits_per_vector == 63
    x = draw(200, 63)
    codes = quantizer.encode(x)
    step = per_code or 63
    groups = [slice(start, start + step) for start in range(0, 63, step)]
    bits = (x > 0).long().tolist()
    assert codes.tolist() == [[slow.join(row[g], [2] * len(row[g])) for g in groups] for row in bits]
    assert torch.equal(quantizer.decode(codes), quantizer(x).vectors)
    torch.testing.assert_close(quantizer.decode(codes).norm(dim=1), torch.ones(200))


def test_more_than_63_bits_take_several_codes():
    with pytest.raises(ValueError, match="features_per_code") as error:
        BinaryQuantizer(64)
    assert "\n" not in str(error.value)
    quantizer = BinaryQuantizer(130, bits_per_code=63)
    assert quantizer.sizes == (1 << 63, 1 << 63, 16)
    x = draw(5, 130)
    assert torch.equal(quantizer.decode(quantizer.encode(x)), x.sign())


def test_absent_codes_add_nothing():
    quantizer = BinaryQuantizer(5, bits_per_code=2)
    assert quantizer.decode(torch.tensor([3, -1, 1])).tolist() == [1, 1, 0, 0, 1]


@pytest.mark.parametrize("corners", [Cube(), Cube(0.5), Sphere()])
def test_the_gradient_passes_straight_through_to_the_body(corners):
    x, slope = draw(40, 6, dtype=torch.float64).requires_grad_(), draw(40, 6, seed=1, dtype=torch.float64)
    quantizer = BinaryQuantizer(6, corners=corners, entropy=EntropyLoss(weight=0.0), commitment=0.0)
    (quantizer(x).vectors * slope).sum().backward()
    if isinstance(corners, Cube):
        expected = slope
    else:
        unit, length = x.detach() / x.detach().norm(dim=1, keepdim=True), x.detach().norm(dim=1, keepdim=True)
        expected = (slope - unit * (unit * slope).sum(1, keepdim=True)) / length
    torch.testing.assert_close(x.grad, expected)


def test_the_gradient_is_bounded_at_the_origin():
    x = torch.zeros(3, 6).requires_grad_()
    quantizer = BinaryQuantizer(6, corners=Sphere())
    out = quantizer(x)
    assert (out.vectors == -(6**-0.5)).all()
    (out.vectors.sum() + out.loss).backward()
    assert x.grad.abs().max() <= 1.1e4 * 2


@pytest.mark.parametrize("corners", [Cube(), Cube(3.0), Sphere()])
def test_commitment_is_the_mean_squared_distance(corners):
    x = draw(7, 4, dtype=torch.float64)
    quantizer = BinaryQuantizer(4, corners=corners, entropy=EntropyLoss(weight=0.0), commitment=0.5)
    placed = x / x.norm(dim=1, keepdim=True) if isinstance(corners, Sphere) else x
    expected = 0.5 * (placed - quantizer.decode(quantizer.encode(x))).square().mean()
    torch.testing.assert_close(quantizer(x).loss, expected)


# --- the entropy loss, against all 2^bits corners ---


def enumerated(x, side, sharpness):
    """Mean entropy of a vector, and entropy of the mean distribution, over all corners."""
    beta = sharpness / (4 * side**2)
    rows = [slow.soft_assignment(row, side, beta) for row in x.tolist()]
    mean = [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
    return math.fsum(map(slow.entropy, rows)) / len(rows), slow.entropy(mean)


@pytest.mark.parametrize("bits", [1, 2, 5, 8])
@pytest.mark.parametrize("sharpness", [0.5, 4.0, 40.0])
def test_the_entropy_of_a_vector_is_exact(bits, sharpness):
    x = draw(20, bits)
    own, _ = enumerated(x, 0.7, sharpness)
    loss = EntropyLoss(weight=1.0, diversity=0.0, sharpness=sharpness)
    assert loss.losses(x, 0.7, None).mean().item() == pytest.approx(own, abs=NATS)


@pytest.mark.parametrize("bits", [1, 2, 5, 8])
@pytest.mark.parametrize("sharpness", [0.5, 4.0, 40.0])
def test_the_entropy_of_the_batch_is_bounded_from_above(bits, sharpness):
    x = draw(50, bits)
    own, batch = enumerated(x, 0.7, sharpness)
    loss = EntropyLoss(weight=1.0, diversity=1.0, sharpness=sharpness)
    factorised = own - loss.losses(x, 0.7, None).mean().item()
    assert batch - NATS <= factorised <= bits * math.log(2) + NATS
    if bits == 1:
        assert factorised == pytest.approx(batch, abs=NATS)


def test_the_entropy_of_the_batch_is_exact_where_bits_are_independent():
    one, two, three = torch.tensor([0.3, -0.8]), torch.tensor([1.0, -0.1, 0.5]), torch.tensor([-0.4, 2.0])
    x = torch.cartesian_prod(one, two, three)
    own, batch = enumerated(x, 1.0, 2.0)
    loss = EntropyLoss(weight=1.0, diversity=1.0, sharpness=2.0)
    assert own - loss.losses(x, 1.0, None).mean().item() == pytest.approx(batch, abs=NATS)


def test_the_derivative_of_the_batch_term_is_that_of_its_value():
    x = draw(9, 4, dtype=torch.float64).requires_grad_()
    loss = EntropyLoss(weight=0.7, diversity=1.5, sharpness=3.0)

    def plain(x):
        bit = torch.sigmoid(3.0 * x / 0.5)
        own = torch.special.entr(torch.stack([bit, 1 - bit])).sum((0, 2)).mean()
        return 0.7 * (own - 1.5 * torch.special.entr(torch.stack([bit.mean(0), 1 - bit.mean(0)])).sum())

    value = loss.losses(x, 0.5, None).mean()
    assert value.item() == pytest.approx(plain(x).item(), abs=EXACT)
    torch.testing.assert_close(torch.autograd.grad(value, x), torch.autograd.grad(plain(x), x))


@pytest.mark.parametrize("spherical", [False, True])
def test_the_loss_of_the_peer(spherical):
    beta, bits = 2.0, 6
    peer = LFQ(dim=bits, codebook_size=2**bits, spherical=spherical, entropy_loss_weight=1.0, diversity_gamma=0.0)
    side = bits**-0.5 if spherical else 1.0
    entropy = EntropyLoss(weight=1.0, diversity=0.0, sharpness=4 * beta * side**2)
    quantizer = BinaryQuantizer(bits, corners=Sphere() if spherical else Cube(), entropy=entropy, commitment=0.0)
    x = draw(1, 200, bits)
    assert quantizer(x).loss.item() == pytest.approx(
        peer(x, inv_temperature=beta).entropy_aux_loss.item(), abs=PEER_NATS
    )


def test_saturated_bits_stay_finite():
    x = torch.tensor([[1e4, -1e4, 0.0], [1e4, 1e4, 1e-30]]).requires_grad_()
    out = BinaryQuantizer(3)(x)
    out.loss.backward()
    assert torch.isfinite(out.loss)
    assert torch.isfinite(x.grad).all()


def test_the_loss_spreads_the_codes():
    torch.manual_seed(0)
    net = torch.nn.Linear(8, 6)
    with torch.no_grad():
        net.bias.fill_(3.0)
    quantizer, x = BinaryQuantizer(6, corners=Sphere()), draw(256, 8)
    before = quantizer(net(x)).codes.unique().numel()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        quantizer(net(x)).loss.backward()
        optimizer.step()
    assert before < 16
    assert quantizer(net(x)).codes.unique().numel() >= 32


def test_a_mask_leaves_the_batch_of_the_others():
    x, mask = draw(30, 5), torch.arange(30) % 4 > 0
    quantizer = BinaryQuantizer(5)
    torch.testing.assert_close(quantizer(x, mask).loss, quantizer(x[mask]).loss)


def test_a_closed_gate_scales_the_loss_and_nothing_else():
    x = draw(40, 4, dtype=torch.float64).requires_grad_()
    stage = BinaryQuantizer(4)
    quantizer = ResidualQuantizer([stage])
    gate = (torch.arange(40) % 2 == 0).double().unsqueeze(1)
    gated = torch.autograd.grad(quantizer(x, None, gate).loss, x)[0]
    inside = x[::2].detach().requires_grad_()
    alone = torch.autograd.grad(stage(inside).loss / 2, inside)[0]
    torch.testing.assert_close(gated[::2], alone)
    assert (gated[1::2] == 0).all()


def test_two_ranks_are_one_rank(tmp_path):
    ranks = on_ranks(binary_ranks.share, tmp_path)
    batches, cases = binary_ranks.data()
    for number, masks in enumerate(cases):
        losses, parameters = binary_ranks.train(binary_ranks.Net(), batches, masks)
        (left, first), (right, second) = ranks[0][number], ranks[1][number]
        assert losses[0] != pytest.approx(losses[-1], abs=1e-3)
        assert [(a + b) / 2 for a, b in zip(left, right, strict=True)] == pytest.approx(losses, abs=EXACT)
        for one, other, joined in zip(first, second, parameters, strict=True):
            assert torch.equal(one, other)
            torch.testing.assert_close(one, joined, rtol=0, atol=EXACT)


# --- scores, refusals, keeping ---


@pytest.mark.parametrize("corners", [Cube(), Sphere()])
def test_scores_are_distances_to_the_corners(corners):
    x = draw(30, 5)
    quantizer = BinaryQuantizer(5, corners=corners)
    placed = x / x.norm(dim=1, keepdim=True) if isinstance(corners, Sphere) else x
    table = quantizer.decode(torch.arange(32).unsqueeze(1))
    scores = quantizer.scores(x)
    torch.testing.assert_close(scores, -torch.cdist(placed, table).square(), rtol=0, atol=NATS)
    assert torch.equal(scores.argmax(1), quantizer.encode(x).squeeze(1))
    assert BinaryQuantizer(5, bits_per_code=2).scores(x, 2).shape == (30, 2)
    for many in (BinaryQuantizer(17), BinaryQuantizer(40)):
        with pytest.raises(ValueError, match="features_per_code"):
            many.scores(torch.zeros(many.dim))


@pytest.mark.parametrize("estimator", [NoiseSubstitution(), Directional(), Rotation()])
def test_estimators_of_codewords_are_refused(estimator):
    for quantizer in (
        BinaryQuantizer(2, estimator=estimator),
        Projected(BinaryQuantizer(2), 2, estimator=estimator),
        ResidualQuantizer([VectorQuantizer(2, 4), BinaryQuantizer(2)], estimator=estimator),
    ):
        with pytest.raises(ValueError, match="use"):
            quantizer(torch.zeros(3, 2))


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: BinaryQuantizer(0),
        lambda: BinaryQuantizer(4, bits_per_code=0),
        lambda: BinaryQuantizer(4, commitment=-1.0),
        lambda: Cube(0.0),
        lambda: EntropyLoss(weight=-1.0),
        lambda: EntropyLoss(sharpness=0.0),
        lambda: BinaryQuantizer(40).codebooks(),
    ],
)
def test_mistakes_are_named(mistake):
    with pytest.raises(ValueError) as error:
        mistake()
    assert "\n" not in str(error.value)


def test_export():
    quantizer, x = BinaryQuantizer(6, corners=Sphere(), bits_per_code=4).eval(), vectors()
    program = torch.export.export(quantizer, (x,), dynamic_shapes=({0: torch.export.Dim("rows")},))
    for rows in (x, x[:7]):
        assert torch.equal(program.module()(rows).codes, quantizer.encode(rows))


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
@pytest.mark.parametrize("training", [True, False])
def test_compiles_whole(training):
    quantizer, x = BinaryQuantizer(6, corners=Sphere()).train(training), vectors().requires_grad_()
    out, expected = torch.compile(quantizer, fullgraph=True, backend="aot_eager")(x), quantizer(x)
    assert torch.equal(out.codes, expected.codes)
    torch.testing.assert_close(out.vectors, expected.vectors)
    torch.testing.assert_close(out.loss, expected.loss)
