import numpy as np
import pytest
import torch

from codeword.codecs.speech.lines import LineModel
from codeword.entropy.tables import TOTAL
from codeword.functional.bands import DEAD, NUM_CELLS, middle_of


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = LineModel(3)
    torch.nn.init.normal_(made.out.weight, std=0.3)
    return made


def test_probabilities_are_those_of_the_mixture(model):
    ratio, band = torch.tensor([-2.0, 1.0, 6.0]), torch.tensor([0, 1, 2])
    weights, widths = (part.detach().double() for part in model.mixture(ratio, band))
    numbers = torch.arange(-400, 401, dtype=torch.float64)
    for place in range(3):
        edges = [torch.sigmoid((numbers[:, None] + side) / widths[place]) for side in (0.5, -0.5)]
        mass = (weights[place].exp() * (edges[0] - edges[1])).sum(1)
        assert float(mass.sum()) == pytest.approx(1.0, abs=1e-6)
        values = torch.tensor([0.0, 3.0, -3.0, 0.4])
        found = model.mixture(ratio[place].expand(4), band[place].expand(4)).bits(values).double()
        wanted = -mass[[400, 403, 397]].log2()
        torch.testing.assert_close(found[:3], wanted, atol=1e-4, rtol=1e-4)
        assert found[1] == found[2]


def test_a_dead_zone_takes_from_its_neighbours(model):
    numbers = torch.arange(-400, 401).float()
    mixture = model.mixture(torch.full(numbers.shape, 1.0), torch.tensor(1))
    plain, dead = (torch.exp2(-mixture.bits(numbers, zone).detach().double()) for zone in (0.0, 0.1))
    assert float(dead.sum()) == pytest.approx(1.0, abs=1e-5)
    assert dead[400] > plain[400] and dead[401] < plain[401]


def test_no_value_costs_infinity_and_gradients_are_finite(model):
    values = torch.tensor([0.0, 1e4, -1e6], requires_grad=True)
    bits = model.mixture(torch.full((3,), -8.0), torch.zeros(3, dtype=torch.long)).bits(values)
    assert bits.isfinite().all() and (bits >= 0).all()
    bits.sum().backward()
    assert values.grad.isfinite().all()


def test_tables_are_the_mixture_in_integers(model):
    tables = model.tables()
    assert len(tables) == 3 and all(len(row) == NUM_CELLS for row in tables)
    for band, cell in [(0, 0), (1, 12), (2, 25), (0, NUM_CELLS - 1)]:
        counts = tables[band][cell]
        assert int(counts.sum()) == TOTAL and counts.min() >= 1
        assert len(counts) % 2 == 0  # the last one is what lies beyond
        most = len(counts) // 2 - 1
        numbers = torch.arange(-most, most + 1).float()
        assert np.array_equal(counts[:-1], counts[:-1][::-1]) or np.abs(counts[:-1] - counts[:-1][::-1]).max() <= 1
        bits = model.mixture(torch.full(numbers.shape, middle_of(cell)), torch.tensor(band)).bits(numbers, DEAD)
        likely = bits.detach().numpy() < 11
        ideal = -np.log2(counts[:-1] / TOTAL)
        assert np.abs(ideal - bits.detach().numpy())[likely].max() < 0.06


def test_training_finds_the_distribution_of_laplacian_lines():
    torch.manual_seed(0)
    made = LineModel(1)
    optimizer = torch.optim.Adam(made.parameters(), 1e-2)
    lines = torch.distributions.Laplace(0.0, 1.0).sample((6000,))
    ratio = torch.rand(6000) * 12 - 4
    values = (lines * torch.exp2(ratio / 2) / 2**0.5).round()
    band = torch.zeros(6000, dtype=torch.long)
    for _ in range(150):
        bits = made.mixture(ratio, band).bits(values).mean()
        optimizer.zero_grad()
        bits.backward()
        optimizer.step()
    edges = [
        torch.distributions.Laplace(0.0, 1.0).cdf((values + side) * 2**0.5 / torch.exp2(ratio / 2))
        for side in (0.5, -0.5)
    ]
    best = -(edges[0] - edges[1]).clamp_min(1e-12).log2().mean()
    assert float(bits.detach()) < float(best) + 0.06
