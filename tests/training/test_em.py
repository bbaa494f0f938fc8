import itertools

import jaxtyping
import numpy as np
import pytest
import torch

from codeword.functional.nearest import nearest
from codeword.quantizers import (
    AdditiveQuantizer,
    Beam,
    Cosine,
    Gradient,
    Greedy,
    ProductQuantizer,
    ResidualQuantizer,
    VectorQuantizer,
)
from codeword.quantizers.binary import BinaryQuantizer
from codeword.training.em import EMConfig, train
from codeword.training.lloyd import Viewed, lloyd
from codeword.training.progress import ProgressBar
from codeword.training.run import Run
from codeword.training.stream import VectorStream
from contracts.families import DIM, FAMILIES, QUICK, SIZE, error, levels, same, tables, vectors
from reference import lloyd as slow

ROUNDING = 1e-4  # relative, between sums of float32 in another order, over a few steps


class Rows:
    """Vectors that are only handed out in chunks."""

    def __init__(self, x):
        self.x, self.dim, self.passes = x, x.shape[1], 0

    def __len__(self):
        return len(self.x)

    def chunks(self, rows=65536):
        self.passes += 1
        yield from self.x.split(rows)


@pytest.mark.parametrize("family", FAMILIES)
def test_report_is_the_error_and_training_repeats(family):
    x, held = vectors(), vectors(300, seed=1)
    quantizer, again = FAMILIES[family](), FAMILIES[family]()
    report = train(quantizer, x, QUICK, validation=held)
    assert report.error == pytest.approx(error(quantizer, x), rel=1e-6)
    assert report.validation == pytest.approx(error(quantizer, held), rel=1e-6)
    assert report.error < 0.5 * float((x - x.mean(0)).square().sum(1).mean())
    train(again, Rows(x), QUICK, validation=Rows(held))
    assert same(quantizer, again)


@pytest.mark.parametrize("family", FAMILIES)
def test_chunks_change_nothing_but_the_order_of_sums(family):
    x = vectors(900)
    errors = []
    for chunk in (100_000, 200):
        quantizer = FAMILIES[family]()
        errors.append(train(quantizer, x, EMConfig(steps=4, rounds=3, chunk=chunk, perturbation=0.0)).error)
    assert errors[0] == pytest.approx(errors[1], rel=0.02)


def test_vector_training_is_lloyd():
    x = vectors(400)
    quantizer = VectorQuantizer(DIM, SIZE)
    report = train(quantizer, x, EMConfig(steps=5, patience=5, perturbation=0.0))
    book = quantizer.codebook.stored().detach().double().numpy()
    steps = [step.error for step in report.history]
    assert steps == sorted(steps, reverse=True)
    train(quantizer, x, EMConfig(steps=6, patience=6, perturbation=0.0))
    wanted, reached = slow.lloyd_step(x.double().numpy(), book, np.ones(400))
    np.testing.assert_allclose(quantizer.codebook.stored().detach().numpy(), wanted, rtol=ROUNDING, atol=ROUNDING)
    assert report.error == pytest.approx(reached, rel=ROUNDING)


def test_families_are_ranked():
    """With equal codes: additive <= residual and product, rotated <= product."""
    x = vectors(3000)
    made = {name: FAMILIES[name]() for name in ("optimized", "additive")}
    made["product"] = ProductQuantizer(levels(3, 2))
    made["residual"] = ResidualQuantizer(levels(), search=Beam(5))
    found = {name: train(quantizer, x, EMConfig(steps=10, rounds=6)).error for name, quantizer in made.items()}
    assert found["additive"] < min(found["residual"], found["product"])
    assert found["optimized"] < found["product"]


def test_additive_is_not_worse_than_the_product_where_a_product_is_best():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(2, 8, 3, generator=generator) * 5
    pick = torch.randint(0, 8, (2, 2000), generator=generator)
    x = torch.cat([centres[0][pick[0]], centres[1][pick[1]]], 1)
    x = x + 0.1 * torch.randn(x.shape, generator=generator)
    product, additive = ProductQuantizer(levels(2, 3)), AdditiveQuantizer(levels(2))
    assert train(additive, x, QUICK).error <= train(product, x, QUICK).error * (1 + ROUNDING)


def test_additive_starts_from_the_very_product_that_is_trained_alone():
    x = vectors(2000)
    alone = train(ProductQuantizer(levels(3, 2)), x, EMConfig(steps=20)).history
    within = train(AdditiveQuantizer(levels(3)), x, EMConfig(steps=20, rounds=1)).history
    assert [step.error for step in within if "product / blocks" in step.stage] == [step.error for step in alone]


@pytest.mark.parametrize("family", ["vector", "product", "optimized", "residual", "additive"])
def test_a_common_offset_changes_nothing(family):
    x = vectors()
    near, far = FAMILIES[family](), FAMILIES[family]()
    config = EMConfig(steps=3, rounds=3, patience=9)
    train(near, x, config)
    train(far, x + 5000, config)
    rounding = 2e-3 * DIM  # of float32 at 5000, in the squared error
    assert abs(error(far, x + 5000) - error(near, x)) < 0.02 * error(near, x) + rounding


def test_the_best_seed_is_kept():
    x, held = vectors(400), vectors(300, seed=1)
    found = {}
    for seed in range(3):
        found[seed] = train(VectorQuantizer(DIM, 12), x, EMConfig(steps=3, seed=seed), validation=held).validation
    quantizer = VectorQuantizer(DIM, 12)
    report = train(quantizer, x, EMConfig(steps=3, seeds=3), validation=held)
    assert report.seed == min(found, key=found.get)
    assert report.validation == min(found.values())
    assert error(quantizer, held) == pytest.approx(report.validation)


def test_training_stops_early():
    report = train(VectorQuantizer(DIM, 2), vectors(200), EMConfig(steps=500), validation=vectors(100, seed=1))
    assert 80 <= len(report.history) < 140  # noise ends after 80 passes
    assert report.history[-1].validation is not None


def test_cosine_training_represents_directions():
    x = vectors() * torch.logspace(-1, 1, 1500).unsqueeze(1)
    quantizer = VectorQuantizer(DIM, SIZE, geometry=Cosine())
    train(quantizer, x, QUICK)
    code = quantizer.encode(x)[:, 0]
    table = quantizer.codebook.stored().detach()
    unit = torch.nn.functional.normalize
    assert torch.equal(code, nearest(unit(x, dim=1), unit(table, dim=1)))
    assert (unit(x, dim=1) * unit(table[code], dim=1)).sum(1).mean() > 0.75


def test_progress_counts_to_the_end(capfd):
    seen = []
    train(FAMILIES["additive"](), vectors(300), QUICK, progress=seen.append)
    assert all(first.done <= second.done for first, second in itertools.pairwise(seen))
    assert seen[-1].done <= seen[-1].total
    assert seen[-1].done > 0.9 * seen[-1].total
    with ProgressBar("fit") as bar:
        train(FAMILIES["vector"](), vectors(300), QUICK, progress=bar)
    assert "vec/s" in capfd.readouterr().err


def test_fewer_vectors_than_codewords():
    for family in ("vector", "residual", "additive"):
        quantizer = FAMILIES[family]()
        assert train(quantizer, vectors(4), QUICK).error < 1e-6
        assert all(torch.isfinite(table).all() for table in tables(quantizer))


def test_what_cannot_be_trained_is_refused():
    broken = vectors(50)
    broken[17, 2] = torch.nan
    with pytest.raises(ValueError, match="vector 17 is not finite"):
        train(VectorQuantizer(DIM, 4), broken)
    with pytest.raises(ValueError, match="takes 6 features, the training vectors have 5"):
        train(VectorQuantizer(DIM, 4), broken[:, 1:])
    with pytest.raises(ValueError, match="no vectors"):
        train(VectorQuantizer(DIM, 4), broken[:0])
    with pytest.raises(ValueError, match="share a codebook"):
        train(ResidualQuantizer([VectorQuantizer(DIM, 4)] * 2), vectors(50))
    with pytest.raises(ValueError, match="BinaryQuantizer has no closed-form training"):
        train(BinaryQuantizer(DIM), vectors(50))
    for data in (broken, torch.cat([broken, broken])):
        with pytest.raises(ValueError, match="validation data: vector 17 is not finite"):
            train(VectorQuantizer(DIM, 4), vectors(50), validation=data)
    with pytest.raises(ValueError, match="validation data: there is nothing to train on: got no vectors"):
        train(VectorQuantizer(DIM, 4), vectors(50), validation=broken[:0])
    with pytest.raises(ValueError, match="training data: there is nothing to train on"):
        train(VectorQuantizer(DIM, 4, geometry=Cosine()), broken[:0])
    with pytest.raises(ValueError, match="weights must be"):
        train(VectorQuantizer(DIM, 4), vectors(50), weights=-torch.ones(50))
    with pytest.raises(ValueError, match="steps must be at least 1"):
        EMConfig(steps=0)


@pytest.mark.parametrize("data", [np.zeros((50, DIM), np.float32), "learn.npy"])
def test_arrays_and_paths_are_named_with_the_way_out(data, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the shape hook of the tests speaks first
    with pytest.raises(ValueError, match=f"got {type(data).__name__}: torch.from_numpy"):
        train(VectorQuantizer(DIM, 4), data)


def test_greedy_levels_are_trained_greedily():
    """The search of the quantizer has no say in what it is trained to."""
    made = [ResidualQuantizer(levels(), search=search) for search in (Greedy(), Beam(8))]
    reports = [train(quantizer, vectors(600), QUICK) for quantizer in made]
    assert same(*made)
    assert reports[1].error < reports[0].error


def test_codebooks_that_are_parameters_are_trained_alike():
    """Closed form keeps no graph, whatever the codebooks would learn from otherwise."""

    def made(**learning):
        parts = [VectorQuantizer(3, SIZE, **learning) for _ in range(2)]
        return ResidualQuantizer([ProductQuantizer(parts), VectorQuantizer(DIM, 4, **learning)])

    one, other = made(), made(learning=Gradient())
    train(one, vectors(400), QUICK)
    train(other, vectors(400), QUICK)
    assert same(one, other)
    assert all(parameter.grad_fn is None and parameter.requires_grad for parameter in other.parameters())


def test_noise_is_not_taken_for_a_lack_of_progress():
    """Annealing goes on to its end, and ends lower than where it began."""
    config = EMConfig(steps=10, rounds=20, patience=1, perturbation=1.0)
    report = train(FAMILIES["additive"](), vectors(1000), config)
    rounds = [step.validation for step in report.history if step.stage == "seed 0 / rounds"]
    assert len(rounds) >= 16, "the last of 18 rounds have no noise and may end early"
    assert max(rounds[:5]) > 1.001 * rounds[0], "the noise of the first rounds must be felt"
    assert rounds[-1] < rounds[0]


def test_noise_leads_to_better_codebooks():
    x = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0))
    plain, shaken = (
        train(VectorQuantizer(2, 256), x, EMConfig(steps=60, perturbation=perturbation)).error
        for perturbation in (0.0, 0.5)
    )
    assert shaken < 0.995 * plain


def test_codewords_go_from_cluster_to_cluster():
    """A small far cluster that the start gave nearly all codewords to must give them back; Lloyd alone cannot."""
    generator = torch.Generator().manual_seed(0)
    wide, narrow = torch.randn(4000, 2, generator=generator), torch.randn(4000, 2, generator=generator) / 30 + 100
    stream = VectorStream(torch.cat([wide, narrow]))
    start = torch.cat([wide[:4], narrow[:60]])
    found = {}
    for perturbation in (0.0, 0.5):
        run = Run(EMConfig(steps=100, patience=100, perturbation=perturbation))
        (found[perturbation],) = lloyd(run, "k-means", Viewed(stream, lambda chunk: [chunk.vectors]), lambda: [start])
    assert int((found[0.0] > 50).all(1).sum()) == 60
    # At high rate the number is in proportion to the standard deviation in two features: 2 of 64.
    assert 1 <= int((found[0.5] > 50).all(1).sum()) <= 4


@pytest.mark.parametrize(("count", "least", "most"), [(500, 0.5, 0.97), (20_000, 0.97, 1.01)])
def test_residual_levels_do_not_learn_few_vectors_by_heart(count, least, most):
    """Errors of fresh vectors of many features, relative to those of plain k-means on every level."""
    x, held, fresh = (
        torch.randn(rows, 32, generator=torch.Generator().manual_seed(rows)) for rows in (count, 300, 2000)
    )
    config = EMConfig(steps=10)
    shrunk, plain = ResidualQuantizer(levels(4, 32, size=64)), levels(4, 32, size=64)
    train(shrunk, x, config, validation=held)
    for level in plain:
        train(level, x, config, validation=held)
        x, held = (rest - level.decode(level.encode(rest)) for rest in (x, held))
    wanted, found = (error(quantizer, fresh) for quantizer in (ResidualQuantizer(plain), shrunk))
    assert least < found / wanted < most


def test_weights_may_have_any_scale():
    x, weights = vectors(400), torch.rand(400) + 0.5
    one, other = ResidualQuantizer(levels()), ResidualQuantizer(levels())
    train(one, x, QUICK, weights=weights, validation=vectors(100, seed=1))
    train(other, x, QUICK, weights=weights / 1024, validation=vectors(100, seed=1))
    for table, scaled in zip(tables(one), tables(other), strict=True):
        torch.testing.assert_close(scaled, table, rtol=ROUNDING, atol=ROUNDING)
