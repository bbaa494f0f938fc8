import pytest
import torch

import codeword
from codeword import (
    AdditiveQuantizer,
    Beam,
    Cosine,
    FromData,
    KMeans,
    ResidualQuantizer,
    SimVQ,
    Uniform,
    VectorQuantizer,
)
from codeword.quantizers.update import codebooks_of
from contracts.steps import vectors

FROM_DATA = [FromData(), KMeans(), KMeans(steps=0)]


def seeded(size, x, mask=None, **options):
    quantizer = VectorQuantizer(x.shape[1], size, **options).train()
    quantizer(x, mask)
    return quantizer.eval()


def error(quantizer, x):
    return (quantizer(x).vectors - x).square().mean()


@pytest.mark.parametrize("seeding", FROM_DATA, ids=repr)
@pytest.mark.parametrize("geometry", [None, Cosine()])
def test_fewer_vectors_than_codewords(seeding, geometry):
    x = vectors(5, 3)
    quantizer = seeded(12, x, seeding=seeding, geometry=geometry)
    table = quantizer.codebook.vectors
    assert torch.isfinite(table).all()
    if geometry is None:
        assert len(table.unique(dim=0)) == 12
        assert error(quantizer, x) < 1e-3 * x.square().mean()


@pytest.mark.parametrize("seeding", FROM_DATA, ids=repr)
@pytest.mark.parametrize("rows", [1, 20])
def test_vectors_that_are_all_alike(seeding, rows):
    table = seeded(4, torch.full((rows, 3), 7.0), seeding=seeding).codebook.vectors
    assert torch.isfinite(table).all()
    torch.testing.assert_close(table, torch.full((4, 3), 7.0), rtol=0.1, atol=0)


def test_codewords_from_data_are_vectors_of_the_batch():
    x = vectors(50, 3)
    table = seeded(12, x, seeding=FromData()).codebook.vectors
    assert (torch.cdist(table, x).min(1).values == 0).all()
    assert len(table.unique(dim=0)) == 12
    assert not torch.equal(table, seeded(12, x, seeding=FromData(seed=1)).codebook.vectors)


def test_k_means_is_better_than_its_start():
    x = vectors(500, 3)
    errors = [error(seeded(32, x, seeding=s), x) for s in (FromData(), KMeans(steps=0), KMeans(steps=10))]
    assert errors[2] < 0.9 * min(errors[:2])


@pytest.mark.parametrize("size", [12, 200])
@pytest.mark.parametrize("scale", [0.01, 50.0])
def test_codewords_chosen_by_angle_have_the_length_of_their_vectors(scale, size):
    x = scale * vectors(100, 3)
    direction = torch.nn.functional.normalize(x, dim=1)
    for seeding in FROM_DATA if size > 100 else [KMeans()]:
        quantizer = seeded(size, x, seeding=seeding, geometry=Cosine())
        cosine = (torch.nn.functional.normalize(quantizer(x).vectors, dim=1) * direction).sum(1).mean()
        assert cosine > 0.9
        assert error(quantizer, x) < 0.35 * x.square().mean()


def test_any_integer_seeds():
    for number in (-1, 2**31, 2**62):
        quantizer = seeded(5, vectors(30, 3), seeding=KMeans(seed=number))
        quantizer.train()(vectors(30, 3))
        codeword.update(quantizer)
        assert torch.isfinite(quantizer.codebook.vectors).all()


def test_rows_whose_distances_overflow_seed_nothing():
    x = torch.cat([vectors(30, 3), torch.full((4, 3), 1e25)])
    quantizer = seeded(6, x, seeding=KMeans())
    assert torch.equal(quantizer.codebook.vectors, seeded(6, x[:30], seeding=KMeans()).codebook.vectors)


def test_uniform_needs_no_data():
    quantizer = VectorQuantizer(3, 50, seeding=Uniform()).eval()
    assert quantizer.codebook.is_seeded
    assert quantizer.codebook.vectors.abs().max() <= 1 / 50
    assert quantizer.codebook.vectors.abs().max() > 0.8 / 50
    wide = VectorQuantizer(3, 50, seeding=Uniform(radius=3.0)).codebook.vectors
    assert 2.5 < wide.abs().max() <= 3


def test_padding_and_bad_rows_seed_nothing():
    x = vectors(40, 3)
    dirty = torch.cat([x, torch.full((3, 3), float("nan")), torch.full((5, 3), 100.0)])
    mask = torch.arange(48) < 43
    for seeding in FROM_DATA:
        quantizer = seeded(6, dirty, mask, seeding=seeding)
        assert torch.equal(quantizer.codebook.vectors, seeded(6, x, seeding=seeding).codebook.vectors)


@pytest.mark.parametrize("rows", [8, 64])
@pytest.mark.parametrize("seeding", FROM_DATA, ids=repr)
@pytest.mark.parametrize("kind", ["greedy", "beam", "additive"])
def test_no_level_of_a_residual_quantizer_is_all_zero(kind, seeding, rows):
    levels = [VectorQuantizer(4, 64, seeding=seeding) for _ in range(4)]
    quantizer = {
        "greedy": lambda: ResidualQuantizer(levels),
        "beam": lambda: ResidualQuantizer(levels, search=Beam(2)),
        "additive": lambda: AdditiveQuantizer(levels),
    }[kind]()
    codeword.seed(quantizer, vectors(rows, 4))
    for book in codebooks_of(quantizer):
        assert torch.isfinite(book.vectors).all()
        assert book.vectors.norm(dim=1).median() > 0
        assert len(book.vectors.unique(dim=0)) == 64


@pytest.mark.parametrize("kind", ["greedy", "beam", "additive"])
def test_levels_are_seeded_one_after_the_other_on_residuals(kind):
    x = vectors(300, 4)
    levels = [VectorQuantizer(4, 8) for _ in range(3)]
    quantizer = ResidualQuantizer(levels, search=Beam(2)) if kind == "beam" else ResidualQuantizer(levels)
    if kind == "additive":
        quantizer = AdditiveQuantizer(levels)
    codeword.seed(quantizer, x)
    rest = x
    for level in levels:
        alone = VectorQuantizer(4, 8).train()
        codeword.seed(alone, rest)
        torch.testing.assert_close(level.codebook.vectors, alone.codebook.vectors)
        rest = rest - alone.eval()(rest).vectors


def test_a_batch_larger_than_needed_is_thinned_evenly():
    x = torch.arange(3000.0)[:, None]
    table = seeded(2, x, seeding=KMeans(steps=20)).codebook.vectors.flatten().sort().values
    # 3000 rows for 2 * 256: every sixth is looked at, from the first to the last
    torch.testing.assert_close(table, torch.tensor([750.0, 2250.0]), rtol=0.02, atol=0)


def test_the_start_happens_once():
    quantizer = VectorQuantizer(3, 5).train()
    assert not quantizer.codebook.is_seeded
    quantizer(vectors(30, 3))
    assert quantizer.codebook.is_seeded
    assert bool(quantizer.codebook.seeded)
    before = quantizer.codebook.vectors.clone()
    codeword.seed(quantizer, 100 + vectors(30, 3))
    assert quantizer.codebook.vectors.max() < 50
    assert before.shape == (5, 3)


def test_a_frozen_table_takes_no_data():
    with pytest.raises(ValueError, match="SimVQ"):
        VectorQuantizer(3, 5, learning=SimVQ(), seeding=KMeans())


@pytest.mark.parametrize(("size", "dim"), [(0, 3), (3, 0), (-1, 3)])
def test_impossible_sizes_are_refused(size, dim):
    with pytest.raises(ValueError, match="at least 1 codeword"):
        VectorQuantizer(dim, size)
