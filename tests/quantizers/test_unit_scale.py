"""The rule of BRIDLE's code, stage by stage, and how it moves codewords."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import codeword
from codeword import Cosine, DirectionAverage, Keep, ResidualQuantizer, UnitScale, VectorQuantizer
from codeword.pretraining.tokenizer import ColdTokenizer, fit
from codeword.training.em import train
from codeword.training.run import EMConfig
from contracts.steps import vectors

DIM, SIZE, LEVELS = 6, 12, 3
ROUNDING = 1e-5


def published(**options):
    return ResidualQuantizer(
        [UnitScale(VectorQuantizer(DIM, SIZE, geometry=Cosine(), **options)) for _ in range(LEVELS)]
    )


def seeded(scale=3.0, **options):
    torch.manual_seed(0)
    quantizer, x = published(**options).train(), scale * vectors(200, DIM)
    codeword.seed(quantizer, x)
    return quantizer, x


def loop(x, tables):
    """Codes, what is left and the directions that stages see, of one vector after the other in float64."""
    codes, rests, seen = [], [], []
    for row in x.double().numpy():
        rest, mine, directions = row, [], []
        for table in tables:
            unit = table / np.linalg.norm(table, axis=1, keepdims=True)
            direction = rest / np.linalg.norm(rest)
            distances = [((direction - c) ** 2).sum() for c in unit]
            mine.append(int(np.argmin(distances)))
            directions.append(direction)
            rest = rest - unit[mine[-1]]
        codes.append(mine)
        rests.append(rest)
        seen.append(directions)
    return np.array(codes), np.array(rests), np.array(seen)


def stored(quantizer):
    return [stage.quantizer.codebook.vectors.detach().double().numpy() for stage in quantizer.stages]


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_codes_and_residuals_are_those_of_the_loop(scale):
    quantizer, x = seeded(scale)
    quantizer.eval()
    codes, rests, _ = loop(x, stored(quantizer))
    assert (quantizer.encode(x).numpy() == codes).all(1).mean() > 0.99
    same = torch.from_numpy((quantizer.encode(x).numpy() == codes).all(1))
    left = (x - quantizer.decode(quantizer.encode(x)))[same]
    np.testing.assert_allclose(left.numpy(), rests[same.numpy()], rtol=0, atol=ROUNDING * max(1, scale))
    for table in quantizer.codebooks():
        torch.testing.assert_close(table.norm(dim=1), torch.ones(SIZE))


def test_losses_are_of_directions_and_the_gradient_passes_by():
    quantizer, x = seeded()
    x.requires_grad_()
    out = quantizer(x)
    codes, _, seen = loop(x.detach(), stored(quantizer))
    tables = stored(quantizer)
    expected = sum(0.25 * ((seen[:, level] - table[codes[:, level]]) ** 2).mean() for level, table in enumerate(tables))
    assert float(out.loss.detach()) == pytest.approx(expected, rel=1e-4)
    (gradient,) = torch.autograd.grad(out.vectors.sum(), x, retain_graph=True)
    assert torch.equal(gradient, torch.ones_like(x))
    (gradient,) = torch.autograd.grad(out.loss, x)
    assert (gradient != 0).any()


@pytest.mark.parametrize("unit", [False, True])
def test_codewords_move_towards_mean_directions(unit):
    quantizer, x = seeded(learning=DirectionAverage(decay=0.8, unit=unit), revival=Keep())
    before = stored(quantizer)
    quantizer(x)
    codeword.update(quantizer)
    codes, _, seen = loop(x, before)
    for level, (old, new) in enumerate(zip(before, stored(quantizer), strict=True)):
        for k in range(SIZE):
            mine = seen[codes[:, level] == k, level]
            goal = old[k]
            if len(mine):
                mean = mine.mean(0)
                goal = 0.8 * old[k] + 0.2 * mean / np.linalg.norm(mean)
                goal = goal / np.linalg.norm(goal) if unit else goal
            np.testing.assert_allclose(new[k], goal, rtol=0, atol=ROUNDING)


def test_one_vector_moves_a_codeword_as_far_as_many():
    for rows in (1, 50):
        learning = DirectionAverage(decay=0.5)
        quantizer = VectorQuantizer(2, 2, geometry=Cosine(), learning=learning, revival=Keep()).train()
        quantizer.codebook.assign(torch.eye(2))
        quantizer(torch.tensor([[7.0, 7.1]]).expand(rows, -1))
        codeword.update(quantizer)
        torch.testing.assert_close(quantizer.codebook.vectors[1], torch.tensor([0.3518, 0.8568]), rtol=0, atol=1e-3)
        assert torch.equal(quantizer.codebook.vectors[0], torch.tensor([1.0, 0.0]))


def test_training_in_closed_form_finds_directions():
    x = 30.0 * vectors(400, DIM)
    quantizer = UnitScale(VectorQuantizer(DIM, SIZE, geometry=Cosine()))
    train(quantizer, x, EMConfig(steps=5))
    units = F.normalize(x, dim=1)
    alone = VectorQuantizer(DIM, SIZE, geometry=Cosine())
    train(alone, units, EMConfig(steps=5))
    torch.testing.assert_close(quantizer.codebooks()[0], F.normalize(alone.codebooks()[0], dim=1))


def test_long_vectors_get_an_ensemble_of_one_direction_and_true_residuals_do_not():
    x = 30.0 * vectors(400, DIM)
    true = ResidualQuantizer([VectorQuantizer(DIM, SIZE) for _ in range(LEVELS)])
    cosines = []
    for quantizer in (published(), true):
        train(quantizer, x, EMConfig(steps=5))
        codes = quantizer.encode(x)
        codes[:, 1:] = -1
        left = x - quantizer.decode(codes)
        cosines.append(float(F.cosine_similarity(left, x).mean()))
    assert cosines[0] > 0.99
    assert cosines[1] < 0.7


def test_a_tokenizer_takes_it():
    tokenizer = ColdTokenizer(1, (2, 3), published())
    x = torch.randn(40, 1, 4, 6, generator=torch.Generator().manual_seed(0))
    fit(tokenizer, [(x, None)], EMConfig(steps=3))
    codes, _, _ = loop(tokenizer.eval().latents(x).flatten(0, 1), stored(tokenizer.quantizer))
    assert (tokenizer.encode(x).flatten(0, 1).numpy() == codes).all(1).mean() > 0.99
    assert len(tokenizer.fingerprint()) == 64


def test_what_goes_by_distance_is_refused():
    with pytest.raises(ValueError, match=r"build it with geometry=Cosine\(\)"):
        UnitScale(VectorQuantizer(2, 3))
    with pytest.raises(ValueError, match=r"must be in \[0, 1\), got 1"):
        DirectionAverage(decay=1.0)
