"""What trainers see of their data: weights, chunks, memory, several processes."""

import subprocess
import sys

import pytest
import torch

from codeword.quantizers import ProductQuantizer, ResidualQuantizer, Rotated, VectorQuantizer
from codeword.training.em import EMConfig, train
from codeword.training.stream import VectorStream
from contracts.families import DIM, FAMILIES, QUICK, error, levels, same, tables, vectors
from contracts.ranks import on_ranks

FAMILY = ("vector", "product", "optimized", "residual", "additive")
CHAOS = 1e-2  # relative, where a sum in another order may send a vector to another codeword
ROUNDING = 1e-4  # relative, between sums of float32 in another order, over a few steps
SHARE = 0.25  # of the bytes of the data, that the memory of a process may grow by with them


@pytest.mark.parametrize("family", FAMILIES)
def test_a_vector_of_weight_0_is_absent(family):
    """To the last bit; also if most are, and if they are not finite."""
    x, outliers = vectors(300), 1e3 + vectors(2000, seed=3)
    outliers[5] = torch.nan
    mixed, weights = torch.cat([x[:100], outliers, x[100:]]), torch.ones(2300)
    weights[100:2100] = 0
    quantizer, clean = FAMILIES[family](), FAMILIES[family]()
    train(quantizer, mixed, QUICK, weights=weights)
    train(clean, x, QUICK, weights=torch.ones(300))
    assert same(quantizer, clean)


def test_all_that_weigh_are_looked_at_however_few():
    x = torch.cat([50 + torch.randn(100_000, 2), torch.randn(50, 2)])
    quantizer = VectorQuantizer(2, 40)
    train(quantizer, x, EMConfig(steps=3, patience=3), weights=(torch.arange(len(x)) >= 100_000).float())
    assert error(quantizer, x[-50:]) < 0.05


@pytest.mark.parametrize(
    "made",
    [
        lambda: VectorQuantizer(4, 6),
        lambda: ProductQuantizer(levels(2, 2, 6)),
        lambda: Rotated(ProductQuantizer(levels(2, 2, 6))),
        lambda: ResidualQuantizer(levels(1, 4, 6)),
    ],
    ids=["vector", "product", "optimized", "residual"],
)
def test_weight_2_is_a_vector_given_twice(made):
    """Around a few far points every start ends at the same weighted means."""
    generator = torch.Generator().manual_seed(0)
    points = 20 * torch.randn(6, 4, generator=generator)
    x = points[torch.arange(300) % 6] + torch.randn(300, 4, generator=generator)
    times = 1 + 3 * (x[:, 0] > points[torch.arange(300) % 6, 0])
    config = EMConfig(steps=10, rounds=4, seeds=3)
    weighted = train(made(), x, config, weights=times.float())
    repeated = train(made(), x.repeat_interleave(times, dim=0), config)
    plain = train(made(), x, config)
    assert weighted.error == pytest.approx(repeated.error, rel=1e-3)
    assert abs(weighted.error / plain.error - 1) > 5e-3, "the weights must make a difference"


def test_moments_and_error_of_weighted_vectors():
    x, times = vectors(500), torch.arange(500) % 3
    weighted = VectorStream(x, times.float(), chunk=64)
    repeated = VectorStream(x.repeat_interleave(times, dim=0))
    assert len(weighted) == int((times > 0).sum())
    assert weighted.moments.weight == repeated.moments.weight == int(times.sum())
    torch.testing.assert_close(weighted.moments[1:], repeated.moments[1:], rtol=ROUNDING, atol=ROUNDING)
    one, other = VectorQuantizer(DIM, 1), VectorQuantizer(DIM, 1)
    report = train(one, x, QUICK, weights=times.float())
    assert report.error == pytest.approx(train(other, x.repeat_interleave(times, dim=0), QUICK).error, rel=ROUNDING)
    torch.testing.assert_close(tables(one), tables(other), rtol=ROUNDING, atol=ROUNDING)


def test_the_row_of_a_bad_vector_is_that_of_the_data():
    x = vectors(50)
    x[[10, 40]] = torch.inf
    weights = torch.ones(50)
    weights[:20] = 0
    with pytest.raises(ValueError, match="vector 40 is not finite"):
        _ = VectorStream(x, weights, chunk=7).moments


def test_a_sample_holds_no_vector_twice():
    x = torch.arange(4000.0).unsqueeze(1)
    for count in (100, 1000, 9000):
        drawn, _ = VectorStream(x, chunk=300).sample(count, 0)
        assert len(drawn.unique()) == len(drawn)
        assert 0.9 * min(count, 4000) <= len(drawn) <= min(count, 4000)


PROGRAM = """
import resource, sys, torch
sys.path.insert(0, sys.argv[1])
from codeword.quantizers import *
from codeword.training.em import EMConfig, train
torch.set_num_threads(1)

class Drawn:
    dim = 64
    def __init__(self, count): self.count = count
    def __len__(self): return self.count
    def chunks(self, rows):
        for start in range(0, self.count, rows):
            generator = torch.Generator().manual_seed(start)
            yield torch.randn(min(rows, self.count - start), 64, generator=generator)

def run(count):
    parts = lambda dim: [VectorQuantizer(dim, 16) for _ in range(2)]
    for quantizer in (ResidualQuantizer(parts(64)), AdditiveQuantizer(parts(64))):
        train(quantizer, Drawn(count), EMConfig(steps=1, rounds=1, chunk=4096))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

print(-run(40_000) + run(200_000))
"""


def test_memory_does_not_grow_with_the_data():
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, "src"], capture_output=True, text=True, check=False, timeout=120
    )
    assert not result.returncode, result.stderr[-2000:]
    assert int(result.stdout) < SHARE * 160_000 * 64 * 4


def work(rank):
    share = vectors(1200).split([700, 500])[rank]
    held = vectors(300, seed=1).split([100, 200])[rank]
    found = {}
    for family in FAMILY:
        quantizer = FAMILIES[family]()
        found[family] = [train(quantizer, share, EMConfig(steps=4, rounds=3), validation=held).validation]
        found[family] += tables(quantizer)
    lonely = VectorQuantizer(DIM, 4)
    train(lonely, vectors(100) if rank else vectors(0), QUICK)
    found["lonely"] = tables(lonely)
    bad = share.clone()
    if rank:
        bad[3] = torch.nan
    try:
        train(VectorQuantizer(DIM, 4), bad, QUICK)
    except ValueError as message:
        found["refused"] = str(message)
    return found


def resumed(rank, path):
    """Stopped in the middle and gone on, beside one that was not."""
    share = vectors(1200).split([700, 500])[rank]
    config = EMConfig(steps=4, rounds=3, checkpoint_seconds=0.0)
    whole, again = (FAMILIES["residual"]() for _ in range(2))

    def stop(progress):
        if progress.last is not None and progress.last.stage == "seed 0 / level 1":
            raise KeyboardInterrupt

    train(whole, share, config)
    try:
        train(again, share, config, checkpoint=path, progress=stop)
    except KeyboardInterrupt:
        torch.distributed.barrier()
    seen = []
    train(again, share, config, checkpoint=path, progress=seen.append)
    return [same(whole, again), seen[0].skipped > 0]


def work_and_resume(rank, path):
    return {**work(rank), "resumed": resumed(rank, path)}


def test_two_ranks_train_what_one_does(tmp_path):
    (tmp_path / "ranks").mkdir()
    path = str(tmp_path / "run.safetensors")
    one, other = on_ranks(work_and_resume, tmp_path / "ranks", prepare=path.__str__)
    assert one["resumed"] == other["resumed"] == [True, True]
    assert "vector of another process is not finite" in one.pop("refused")
    assert "vector 3 is not finite" in other.pop("refused")
    for family in (*FAMILY, "lonely"):
        for first, second in zip(one[family], other[family], strict=True):
            assert torch.equal(torch.as_tensor(first), torch.as_tensor(second))
    for family in FAMILY:
        alone = train(FAMILIES[family](), vectors(1200), EMConfig(steps=4, rounds=3), validation=vectors(300, seed=1))
        assert one[family][0] == pytest.approx(alone.validation, rel=CHAOS)
