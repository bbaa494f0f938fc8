import math

import pytest
import torch
from vector_quantize_pytorch import FSQ

from codeword import (
    Directional,
    NoiseSubstitution,
    Projected,
    ResidualQuantizer,
    Rotation,
    StraightThrough,
    VectorQuantizer,
    load,
)
from codeword.quantizers.scalar import HalfStep, ScalarQuantizer, Symmetric
from contracts.quantizer import QuantizerContract, vectors
from reference import scalar as slow

ROUNDING = 1e-6  # of a float32 number of size 1
BORDER = 2e-7  # of the range of positions: as near to a border, float32 may fall to either side
REFERENCES = [(HalfStep(), slow.half_step), (Symmetric(), slow.symmetric)]


class TestContract(QuantizerContract):
    greedy = False
    projects = True
    additive = False

    def create(self, size=11):
        return ScalarQuantizer([size, size, size + 1, 5, size, 6], features_per_code=1, bounding=Symmetric())

    def test_a_copy_lives_alone(self):
        assert not self.trained().state_dict()  # there is nothing to share


class TestOneCode(TestContract):
    def create(self, size=11):
        return ScalarQuantizer([size, 3, 3, 4, 3, 5] if size > 1 else [1] * 6)


@pytest.mark.parametrize(("bounding", "reference"), REFERENCES)
@pytest.mark.parametrize("size", [1, 3, 4, 5, 8, 17, 1001, 4096, 65536])
def test_digits_and_values_of_the_paper(bounding, reference, size):
    x = torch.cat([torch.linspace(-12, 12, 241), torch.randn(200, generator=torch.Generator().manual_seed(0))])
    quantizer = ScalarQuantizer([size], bounding=bounding).eval()
    out = quantizer(x.unsqueeze(1))
    expected = [reference(v, size) for v in x.tolist()]
    clear = torch.tensor([e.clear for e in expected]) > BORDER * size
    assert clear.float().mean() > 0.9
    assert torch.equal(out.codes[clear, 0], torch.tensor([e.digit for e in expected])[clear])
    values = torch.tensor([e.value for e in expected])
    torch.testing.assert_close(out.vectors[clear, 0], values[clear], rtol=0, atol=ROUNDING)
    assert out.codes.min() == 0
    assert out.codes.max() == size - 1


@pytest.mark.parametrize("sizes", [[8, 5, 5, 5], [7, 5, 5, 5, 5], [8, 8, 8, 6, 5], [4, 3]])
@pytest.mark.parametrize("bounding", [HalfStep(), Symmetric()])
def test_codes_and_vectors_of_the_peer(sizes, bounding):
    peer = FSQ(sizes, preserve_symmetry=isinstance(bounding, Symmetric)).eval()
    quantizer = ScalarQuantizer(sizes, bounding=bounding).eval()
    x = torch.randn(2, 500, len(sizes), generator=torch.Generator().manual_seed(0))
    theirs, indices = peer(x)
    out = quantizer(x)
    assert torch.equal(out.codes.squeeze(-1), indices.long())
    torch.testing.assert_close(out.vectors, theirs, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(quantizer.decode(indices.long().unsqueeze(-1)), theirs, rtol=0, atol=ROUNDING)


def test_half_way_goes_down():
    quantizer = ScalarQuantizer([4, 2, 5], features_per_code=1, bounding=Symmetric())
    assert quantizer.encode(torch.zeros(3)).tolist() == [1, 0, 2]


def test_the_gradient_is_that_of_the_bounding():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    quantizer = ScalarQuantizer([5, 7, 9])
    slope = torch.randn(50, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (quantizer(x).vectors * slope).sum().backward()
    sizes = torch.tensor([5.0, 7.0, 9.0], dtype=torch.float64)
    expected = slope * (1 - torch.tanh(x.detach()) ** 2) * (sizes - 1) * 1.001 / 2 / (sizes // 2)
    torch.testing.assert_close(x.grad, expected)


def test_no_loss_and_no_weights():
    quantizer = ScalarQuantizer([5, 5])
    assert quantizer(torch.randn(4, 2)).loss == 0
    assert not list(quantizer.parameters())
    assert not quantizer.state_dict()


@pytest.mark.parametrize("per_code", [None, 1, 7, 16, 30])
def test_integers_far_beyond_float32(per_code):
    sizes = [8] * 16 + [5] * 5 + [2]  # 60.6 bits
    quantizer = ScalarQuantizer(sizes, features_per_code=per_code, bounding=Symmetric()).eval()
    assert math.prod(quantizer.sizes) == 8**16 * 5**5 * 2
    x = 2 * torch.randn(300, len(sizes), generator=torch.Generator().manual_seed(0))
    codes = quantizer.encode(x)
    assert (codes < torch.tensor(quantizer.sizes)).all()
    digits = ScalarQuantizer(sizes, features_per_code=1, bounding=Symmetric()).encode(x).tolist()
    step = per_code or len(sizes)
    groups = [slice(start, start + step) for start in range(0, len(sizes), step)]
    assert codes.tolist() == [[slow.join(row[g], sizes[g]) for g in groups] for row in digits]
    assert torch.equal(quantizer.decode(codes), quantizer(x).vectors)
    if per_code is None:
        assert codes.max() > 1 << 53


def test_all_2_to_the_63_codes_have_a_vector():
    quantizer = ScalarQuantizer([128] * 9)
    assert quantizer.sizes == (1 << 63,)
    assert quantizer.bits_per_vector == 63
    codes = torch.tensor([[(1 << 63) - 1], [0], [1 << 62], [123456789012345678]])
    expected = [[(d - 64) / 64 for d in slow.split(code, [128] * 9)] for (code,) in codes.tolist()]
    assert quantizer.decode(codes).tolist() == expected


def test_one_code_per_feature_holds_the_digits():
    sizes = [8, 5, 5, 3]
    x = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    joined, single = ScalarQuantizer(sizes), ScalarQuantizer(sizes, features_per_code=1)
    assert single.sizes == (8, 5, 5, 3)
    assert joined.encode(x).squeeze(-1).tolist() == [slow.join(row, sizes) for row in single.encode(x).tolist()]
    assert torch.equal(joined(x).vectors, single(x).vectors)
    part = single.encode(x)
    part[:, 2] = -1
    assert torch.equal(single.decode(part), torch.where(part >= 0, single(x).vectors, 0.0))


@pytest.mark.parametrize("per_code", [None, 1, 2])
@pytest.mark.parametrize(("bounding", "reference"), REFERENCES)
def test_scores_are_distances_of_the_bounded_vector(per_code, bounding, reference):
    sizes = [8, 5, 4]
    quantizer = ScalarQuantizer(sizes, features_per_code=per_code, bounding=bounding)
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    bounded = torch.tensor(
        [[reference(v, size).bounded for v, size in zip(row, sizes, strict=True)] for row in x.tolist()]
    )
    codes = quantizer.encode(x)
    for level, size in enumerate(quantizer.sizes):
        scores = quantizer.scores(x, level)
        assert torch.equal(scores.argmax(-1), codes[:, level])
        every = torch.full((size, quantizer.levels), -1)
        every[:, level] = torch.arange(size)
        held = slice(level * (per_code or 3), (level + 1) * (per_code or 3))
        distances = torch.cdist(bounded[:, held], quantizer.decode(every)[:, held]).square()
        torch.testing.assert_close(scores, -distances, rtol=0, atol=10 * ROUNDING)
    for level in (-1, quantizer.levels):
        with pytest.raises(ValueError, match="levels 0"):
            quantizer.scores(x, level)


def test_scores_of_a_large_code_name_the_repair():
    with pytest.raises(ValueError, match="features_per_code"):
        ScalarQuantizer([8] * 6).scores(torch.zeros(6))
    assert ScalarQuantizer([16] * 4).scores(torch.zeros(4)).shape == (65536,)


@pytest.mark.parametrize("estimator", [NoiseSubstitution(), Directional(), Rotation()])
def test_estimators_of_codewords_are_refused(estimator):
    for quantizer in (
        ScalarQuantizer([5, 5], estimator=estimator),
        Projected(ScalarQuantizer([5, 5]), 2, estimator=estimator),
        ResidualQuantizer([VectorQuantizer(2, 4), ScalarQuantizer([5, 5])], estimator=estimator),
    ):
        with pytest.raises(ValueError, match="use"):
            quantizer(torch.zeros(3, 2))


def test_a_level_of_a_residual_quantizer():
    torch.manual_seed(0)
    x = torch.randn(200, 3)
    stages = [VectorQuantizer(3, 8), ScalarQuantizer([7, 7, 7], features_per_code=1)]
    quantizer = ResidualQuantizer(stages, estimator=StraightThrough())
    quantizer(x)
    quantizer.eval()
    codes = quantizer.encode(x)
    assert codes.shape == (200, 4)
    assert torch.equal(quantizer.decode(codes), quantizer(x).vectors)
    assert (quantizer.encode(x, depth=1)[:, 1:] == -1).all()


@pytest.mark.parametrize(
    ("arguments", "repair"),
    [
        (([8] * 22,), "features_per_code"),
        (([],), "at least 1"),
        (([5, 0],), "at least 1"),
        (([5, 2],), "Symmetric"),
        (([1 << 17],), "65536"),
    ],
)
def test_mistakes_are_named(arguments, repair):
    with pytest.raises(ValueError, match=repair) as error:
        ScalarQuantizer(*arguments)
    assert "\n" not in str(error.value)


def test_no_groups_of_nothing():
    with pytest.raises(ValueError, match="0 features per code"):
        ScalarQuantizer([5, 5], features_per_code=0)
    with pytest.raises(ValueError, match="decode"):
        ScalarQuantizer([8] * 20).codebooks()


def test_saved_with_its_bounding(tmp_path):
    quantizer = Projected(ScalarQuantizer([2, 5, 4], features_per_code=2, bounding=Symmetric()), 6).eval()
    quantizer.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert loaded.sizes == (10, 4)
    assert torch.equal(loaded.encode(vectors()), quantizer.encode(vectors()))


def test_export():
    quantizer, x = ScalarQuantizer([8, 5, 5, 3, 4, 4], features_per_code=4).eval(), vectors()
    program = torch.export.export(quantizer, (x,), dynamic_shapes=({0: torch.export.Dim("rows")},))
    for rows in (x, x[:7]):
        assert torch.equal(program.module()(rows).codes, quantizer.encode(rows))


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
@pytest.mark.parametrize("training", [True, False])
def test_compiles_whole(training):
    quantizer, x = ScalarQuantizer([8, 5, 5, 3, 4, 4]).train(training), vectors().requires_grad_()
    out = torch.compile(quantizer, fullgraph=True, backend="aot_eager")(x)
    assert torch.equal(out.codes, quantizer(x).codes)
    torch.testing.assert_close(out.vectors, quantizer(x).vectors)
