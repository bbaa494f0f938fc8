import numpy as np
import pytest
import torch

from codeword.quantizers import ProductQuantizer, Rotated
from codeword.training.em import train
from codeword.training.rotation import train_rotated
from codeword.training.run import EMConfig, Run
from codeword.training.stream import VectorStream
from contracts.families import DIM, levels, vectors
from reference import lloyd as slow


def mean_error(found, x, widths):
    """By loops over blocks, in float64."""
    turned = x.double() @ found.rotation.double().t()
    blocks = zip(turned.split(widths, 1), found.tables, strict=True)
    return sum(
        float(np.mean([np.square(row - table.double().numpy()).sum(1).min() for row in block.numpy()]))
        for block, table in blocks
    )


def test_rotation_is_orthonormal_and_best():
    x = vectors(2000)
    quantizer = Rotated(ProductQuantizer(levels(3, 2)))
    train(quantizer, x, EMConfig(steps=10, rounds=60, tolerance=0.0))
    rotation = quantizer.rotation.double()
    torch.testing.assert_close(rotation @ rotation.t(), torch.eye(DIM).double(), atol=1e-5, rtol=0)
    mean = x.mean(0)
    turned = quantizer.quantizer.decode(quantizer.encode(x)) - rotation.float() @ mean
    best = slow.procrustes((x - mean).double().numpy(), turned.double().numpy())
    near = 0.02  # the alternation creeps at its end
    np.testing.assert_allclose(rotation.numpy(), best, atol=near)


def test_blocks_that_are_best_as_they_stand_stay():
    """Two lists of points, one a block: no rotation can do better than none."""
    generator = torch.Generator().manual_seed(0)
    points = 9 * torch.randn(2, 16, 3, generator=generator)
    x = torch.cat([block[torch.randint(16, (4000,), generator=generator)] for block in points], 1)
    x = x + 0.1 * torch.randn(x.shape, generator=generator)
    found = train_rotated(VectorStream(x - x.mean(0)), [3, 3], [16, 16], Run(EMConfig(steps=10, rounds=3)))
    torch.testing.assert_close(found.rotation, torch.eye(DIM), atol=0.01, rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_a_rotation_of_the_data_costs_little(seed):
    """Independent features of falling scale, rotated at random: what the axes were can be found again."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(4000, 8, generator=generator) * torch.logspace(0, -1, 8)
    turn, _ = torch.linalg.qr(torch.randn(8, 8, generator=generator))
    errors = []
    for data in (x, x @ turn):
        stream = VectorStream(data - data.mean(0))
        found = train_rotated(stream, [4, 4], [16, 16], Run(EMConfig(rounds=20)))
        errors.append(mean_error(found, data - data.mean(0), [4, 4]))
    assert errors[1] == pytest.approx(errors[0], rel=0.03)
    plain = ProductQuantizer(levels(2, 4, 16))
    assert max(errors) < 0.8 * train(plain, x, EMConfig()).error, "sharing the variance is worth a fifth here"


def test_unequal_blocks_share_all_axes():
    x = vectors(600)
    found = train_rotated(VectorStream(x - x.mean(0)), [1, 3, 2], [4, 8, 5], Run(EMConfig(steps=3, rounds=3)))
    assert [tuple(table.shape) for table in found.tables] == [(4, 1), (8, 3), (5, 2)]
    torch.testing.assert_close(found.rotation @ found.rotation.t(), torch.eye(DIM), atol=1e-5, rtol=0)


def test_features_without_variance():
    x = vectors(300)
    x[:, 2:5] = 0
    quantizer = Rotated(ProductQuantizer(levels(3, 2)))
    report = train(quantizer, x, EMConfig(steps=4, rounds=4))
    assert torch.isfinite(quantizer.rotation).all() and report.error < float(x.square().sum(1).mean())
