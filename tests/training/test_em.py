import itertools
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from codeword.functional.nearest import nearest
from codeword.quantizers import (
    AdditiveQuantizer,
    Beam,
    Cosine,
    Greedy,
    Normalized,
    ProductQuantizer,
    Refined,
    ResidualQuantizer,
    Rotated,
    VectorQuantizer,
)
from codeword.quantizers.binary import BinaryQuantizer
from codeword.training.em import EMConfig, train
from codeword.training.progress import ProgressBar
from codeword.training.rotation import train_rotated
from codeword.training.run import Run
from codeword.training.stream import VectorStream
from reference import lloyd as slow

DIM, SIZE = 6, 8
QUICK = EMConfig(steps=6, rounds=4)
ROUNDING = 1e-4  # relative, between sums of float32 in another order, over a few steps


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Threads cost more than they give on tensors of this size."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def vectors(count=1500, seed=0):
    """Correlated features of different scales."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(99))
    return torch.randn(count, DIM, generator=generator) @ mix * torch.tensor([1.0, 1, 2, 2, 3, 3])


def levels(count=3, dim=DIM, size=SIZE):
    return [VectorQuantizer(dim, size) for _ in range(count)]


FAMILIES = {
    "vector": lambda: VectorQuantizer(DIM, SIZE),
    "product": lambda: ProductQuantizer([VectorQuantizer(2, SIZE), VectorQuantizer(4, 5)]),
    "optimized": lambda: Rotated(ProductQuantizer(levels(3, 2))),
    "residual": lambda: ResidualQuantizer([VectorQuantizer(DIM, size) for size in (8, 5, 3)], search=Beam(4)),
    "additive": lambda: AdditiveQuantizer(levels(), search=Refined(Beam(5), sweeps=2)),
    "normalized": lambda: Normalized(VectorQuantizer(DIM, SIZE)),
    "groups of residuals": lambda: ProductQuantizer([ResidualQuantizer(levels(2, 3)), VectorQuantizer(3, 4)]),
    "residuals of groups": lambda: ResidualQuantizer([ProductQuantizer(levels(2, 3)), VectorQuantizer(DIM, 4)]),
}


class Rows:
    """Vectors that are only handed out in chunks."""

    def __init__(self, x):
        self.x, self.dim, self.passes = x, x.shape[1], 0

    def __len__(self):
        return len(self.x)

    def chunks(self, rows=65536):
        self.passes += 1
        yield from self.x.split(rows)


def error(quantizer, x):
    return float((x - quantizer.decode(quantizer.encode(x))).double().square().sum(1).mean())


def tables(quantizer):
    return [value for name, value in quantizer.state_dict().items() if name.endswith("table") or "rotation" in name]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(tables(one), tables(other), strict=True))


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
    report = train(quantizer, x, EMConfig(steps=5, patience=5))
    book = quantizer.codebook.stored().detach().double().numpy()
    steps = [step.error for step in report.history]
    assert steps == sorted(steps, reverse=True)
    train(quantizer, x, EMConfig(steps=6, patience=6))
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
    assert train(additive, x, QUICK).error <= train(product, x, QUICK).error * 1.001


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


def test_rotation_starts_from_the_identity():
    """Blocks that have nothing to do with one another stay as they are."""
    x = torch.randn(4000, DIM, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 1, 1, 9, 9, 9])
    found = train_rotated(VectorStream(x), [3, 3], [16, 16], Run(EMConfig(steps=10, rounds=3)))
    torch.testing.assert_close(found.rotation, torch.eye(DIM), atol=0.1, rtol=0)


@pytest.mark.parametrize("family", ["vector", "product", "optimized", "residual", "additive"])
def test_a_common_offset_changes_nothing(family):
    x = vectors()
    near, far = FAMILIES[family](), FAMILIES[family]()
    config = EMConfig(steps=3, rounds=3, patience=9)
    train(near, x, config)
    train(far, x + 5000, config)
    rounding = 2e-3 * DIM  # of float32 at 5000, in the squared error
    assert abs(error(far, x + 5000) - error(near, x)) < 0.02 * error(near, x) + rounding


def test_weights_count_like_repetition():
    x = vectors(500)
    times = torch.arange(500) % 3
    one, other = VectorQuantizer(DIM, 1), VectorQuantizer(DIM, 1)
    report = train(one, x, QUICK, weights=times.float())
    repeated = train(other, x.repeat_interleave(times, dim=0), QUICK)
    torch.testing.assert_close(one.codebook.stored(), other.codebook.stored(), rtol=ROUNDING, atol=ROUNDING)
    assert report.error == pytest.approx(error(one, x), rel=0.2)
    assert report.history[-1].error == pytest.approx(repeated.history[-1].error, rel=ROUNDING)


@pytest.mark.parametrize("family", ["vector", "product", "optimized", "residual", "additive"])
def test_vectors_of_no_weight_are_not_represented(family):
    x, outliers = vectors(800), 1e3 + vectors(200, seed=3)
    quantizer, clean = FAMILIES[family](), FAMILIES[family]()
    train(quantizer, torch.cat([x, outliers]), QUICK, weights=torch.cat([torch.ones(800), torch.zeros(200)]))
    train(clean, x, QUICK)
    assert error(quantizer, x) < 1.2 * error(clean, x)


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
    assert len(report.history) < 60
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


class KilledError(Exception):
    pass


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_killed_run_resumes_to_the_same_bits(family, share, tmp_path):
    x, held, path = vectors(400), vectors(200, seed=1), tmp_path / "run.safetensors"
    config = EMConfig(steps=3, rounds=3, seeds=2, checkpoint_seconds=0.0)
    whole, resumed = FAMILIES[family](), FAMILIES[family]()
    calls = []
    report = train(whole, x, config, validation=held, progress=calls.append)
    remaining = [int(share * len(calls))]

    def kill(_):
        remaining[0] -= 1
        if not remaining[0]:
            raise KilledError

    with pytest.raises(KilledError):
        train(resumed, x, config, validation=held, checkpoint=path, progress=kill)
    calls = []
    second = train(resumed, x, config, validation=held, checkpoint=path, progress=calls.append)
    assert same(whole, resumed)
    assert second.history == report.history
    third = FAMILIES[family]()
    assert train(third, x, config, validation=held, checkpoint=path).history == report.history
    assert same(whole, third)


def test_sigkill_leaves_a_checkpoint_or_none(tmp_path):
    path = tmp_path / "run.safetensors"
    code = f"""
import os, sys, torch
sys.path.insert(0, {str(Path(__file__).parent)!r}); sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from test_em import *
def kill(progress):
    if progress.last is not None and progress.last.number == 3:
        os.kill(os.getpid(), 9)
train(FAMILIES["residual"](), vectors(400), EMConfig(steps=4, checkpoint_seconds=0.0), checkpoint={str(path)!r},
      progress=kill)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert [file.name for file in tmp_path.iterdir()] == ["run.safetensors"]
    whole, resumed = FAMILIES["residual"](), FAMILIES["residual"]()
    train(whole, vectors(400), EMConfig(steps=4, checkpoint_seconds=0.0))
    train(resumed, vectors(400), EMConfig(steps=4, checkpoint_seconds=0.0), checkpoint=path)
    assert same(whole, resumed)


def test_foreign_and_damaged_checkpoints_are_refused(tmp_path):
    path = tmp_path / "run.safetensors"
    train(VectorQuantizer(DIM, 4), vectors(100), QUICK, checkpoint=path)
    with pytest.raises(ValueError, match="other data"):
        train(VectorQuantizer(DIM, 5), vectors(100), QUICK, checkpoint=path)
    with pytest.raises(ValueError, match="other data"):
        train(VectorQuantizer(DIM, 4), vectors(100, seed=7), QUICK, checkpoint=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="is no checkpoint"):
        train(VectorQuantizer(DIM, 4), vectors(100), QUICK, checkpoint=path)


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
    with pytest.raises(ValueError, match="BinaryQuantizer has no closed-form training"):
        train(BinaryQuantizer(DIM), vectors(50))
    with pytest.raises(ValueError, match="weights must be"):
        train(VectorQuantizer(DIM, 4), vectors(50), weights=-torch.ones(50))
    with pytest.raises(ValueError, match="steps must be at least 1"):
        EMConfig(steps=0)


RANKED = ("vector", "product", "optimized", "residual", "additive")


def work(rank, folder):
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    share = vectors(1200).split([700, 500])[rank]
    held = vectors(300, seed=1).split([100, 200])[rank]
    found = {}
    for family in RANKED:
        quantizer = FAMILIES[family]()
        found[family] = [train(quantizer, share, EMConfig(steps=4, rounds=3), validation=held).validation]
        found[family] += tables(quantizer)
    lonely = VectorQuantizer(DIM, 4)
    train(lonely, vectors(100) if rank else vectors(0), QUICK)
    found["lonely"] = tables(lonely)
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_train_what_one_does(tmp_path):
    torch.multiprocessing.start_processes(work, (str(tmp_path),), nprocs=2, start_method="spawn")
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert one.keys() == other.keys()
    for family, (first, *rest) in one.items():
        assert torch.equal(torch.as_tensor(first), torch.as_tensor(other[family][0]))
        assert all(torch.equal(a, b) for a, b in zip(rest, other[family][1:], strict=True))
    for family in RANKED:
        quantizer = FAMILIES[family]()
        alone = train(quantizer, vectors(1200), EMConfig(steps=4, rounds=3), validation=vectors(300, seed=1))
        assert one[family][0] == pytest.approx(alone.validation, rel=1e-3)


def test_greedy_levels_are_trained_greedily():
    """The search of the quantizer has no say in what it is trained to."""
    made = [ResidualQuantizer(levels(), search=search) for search in (Greedy(), Beam(8))]
    reports = [train(quantizer, vectors(600), QUICK) for quantizer in made]
    assert same(*made)
    assert reports[1].error < reports[0].error
