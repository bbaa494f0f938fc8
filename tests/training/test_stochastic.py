from dataclasses import replace

import numpy as np
import pytest
import torch

import codeword
from codeword import (
    Directional,
    Gradient,
    Keep,
    KMeans,
    MovingAverage,
    NoiseSubstitution,
    ProductQuantizer,
    ReplaceUnused,
    ResidualQuantizer,
    ReviveDead,
    Rotation,
    SimVQ,
    StraightThrough,
    Uniform,
    VectorQuantizer,
)
from codeword.data.vectors import open_vectors, write_vectors
from codeword.functional.kmeans import kmeans
from codeword.training.logging import read_log
from codeword.training.loop import LOG
from codeword.training.loop_config import LoopConfig
from codeword.training.stochastic import Fresh, Shuffled, VectorTask, published_level, train_stochastic
from reference import nsvq_script

QUIET = LoopConfig(steps=50, progress=False, accelerator="cpu", log_every=1, validate_every=25)
DRIFT = 2e-4  # float32 against float64 over 50 steps of Adam, whose first steps amplify rounding


def gaussian(count, *, seed, dim=4):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def test_fresh_batches_belong_to_their_number():
    source = Fresh(gaussian, seed=3)
    assert torch.equal(source.batch(7, 16), source.batch(7, 16))
    assert not torch.equal(source.batch(7, 16), source.batch(8, 16))
    assert not torch.equal(source.batch(7, 16), Fresh(gaussian, seed=4).batch(7, 16))


def test_shuffled_epochs_hold_every_row_once():
    source = Shuffled(torch.arange(12.0).unsqueeze(1), seed=1)
    epochs = [torch.cat([source.batch(number, 4) for number in range(3 * e, 3 * e + 3)]).flatten() for e in range(2)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(12))
    assert not torch.equal(*epochs)
    assert torch.equal(Shuffled(torch.arange(12.0).unsqueeze(1), seed=1).batch(4, 4), source.batch(4, 4))
    with pytest.raises(ValueError, match="12 vectors fill no batch of 13"):
        source.batch(0, 13)


def test_a_file_is_as_good_as_a_matrix(tmp_path):
    x = gaussian(40, seed=0)
    write_vectors(tmp_path / "x.npy", [x], dim=4)
    assert torch.equal(Shuffled(open_vectors(tmp_path / "x.npy")).batch(3, 8), Shuffled(x).batch(3, 8))


def test_ranks_share_a_batch():
    task = VectorTask(VectorQuantizer(4, 8), Fresh(gaussian), batch_size=6)
    shares = [next(task.batches(5, rank, 2)) for rank in (0, 1)]
    assert torch.equal(torch.cat(shares), next(task.batches(5, 0, 1)))
    with pytest.raises(ValueError, match="a batch of 6 vectors does not divide over 4 processes"):
        next(task.batches(0, 0, 4))


def test_noise_substitution_alone_is_adam_on_the_error(tmp_path):
    """The noise cancels in |x - output|^2 (facts of the paper's equation 9), so the noisy run is the plain one."""
    quantizer = published_level(4, 8)
    start = kmeans(gaussian(256, seed=9), 8, steps=0)
    quantizer.codebook.assign(start)
    task = VectorTask(quantizer, Fresh(gaussian), batch_size=64)
    train_stochastic(task, QUIET, tmp_path)
    batches = [Fresh(gaussian).batch(number, 64).numpy() for number in range(50)]
    expected = list(nsvq_script.train(batches, start.numpy()))
    lines = read_log(tmp_path / LOG)
    np.testing.assert_allclose([line["loss"] for line in lines], [loss for loss, _ in expected], rtol=DRIFT)
    np.testing.assert_allclose([line["mse"] for line in lines], [loss for loss, _ in expected], rtol=DRIFT)
    np.testing.assert_allclose(quantizer.codebook.stored().detach(), expected[-1][1], atol=DRIFT)


ALONE = {
    "straight-through": lambda: VectorQuantizer(4, 16, learning=Gradient(), estimator=StraightThrough()),
    "rotation": lambda: VectorQuantizer(4, 16, learning=Gradient(), estimator=Rotation()),
    "noise substitution": lambda: published_level(4, 16, steps=200),
    "directional": lambda: VectorQuantizer(4, 16, learning=Gradient(0.0, 0.0), estimator=Directional()),
    "moving average": lambda: VectorQuantizer(4, 16, learning=MovingAverage(decay=0.9)),
    "product": lambda: ProductQuantizer(
        [VectorQuantizer(2, 4, learning=Gradient(0.0, 0.0)) for _ in range(2)], estimator=NoiseSubstitution()
    ),
    "residual": lambda: ResidualQuantizer(
        [VectorQuantizer(4, 4, learning=Gradient(0.0, 0.0), seeding=KMeans(seed=s)) for s in range(2)],
        estimator=NoiseSubstitution(),
    ),
}


@pytest.mark.parametrize("name", ALONE)
def test_every_estimator_approaches_k_means(name):
    torch.manual_seed(0)
    held = gaussian(4096, seed=1 << 20)
    # 4 bits per vector: the codebook that k-means finds on plenty of data is the yardstick for one codebook of 16.
    table = kmeans(gaussian(8192, seed=77), 16, steps=30)
    best = float((held - table[torch.cdist(held, table).argmin(1)]).square().mean())
    task = VectorTask(ALONE[name](), Fresh(gaussian), batch_size=256, learning_rate=1e-2, validation=held)
    outcome = train_stochastic(task, replace(QUIET, steps=200))
    margin = 1.25 if name in ("product", "residual") else 1.1
    assert best * 0.98 <= outcome.best <= best * margin
    with torch.no_grad():
        error = (task.quantizer.decode(task.quantizer.encode(held)) - held).square().mean()
    assert float(error) == pytest.approx(outcome.best, rel=1e-6)


def test_published_level_replaces_until_the_last_tenth():
    level = published_level(4, 8, steps=5000, seed=2)
    assert level.codebook.revival.last_step == 4500
    assert level.codebook.stored().abs().max() <= 1 / 8
    assert not torch.equal(level.codebook.stored(), published_level(4, 8, seed=3).codebook.stored())


def test_another_batch_size_does_not_go_on(tmp_path):
    def task(size):
        return VectorTask(published_level(4, 8), Fresh(gaussian), batch_size=size)

    train_stochastic(task(8), replace(QUIET, steps=2), tmp_path)
    with pytest.raises(codeword.training.checkpoint.CheckpointError, match="batch_size=8, now it is 16"):
        train_stochastic(task(16), QUIET, tmp_path)


def test_dry_run_and_defaults():
    task = VectorTask(published_level(4, 8), Fresh(gaussian), validation=gaussian(64, seed=5))
    before = task.quantizer.codebook.stored().detach().clone()
    outcome = train_stochastic(task, replace(QUIET, steps=20_000), dry_run=True)
    assert outcome.step == 2 and outcome.best is not None
    assert torch.equal(before, task.quantizer.codebook.stored())


@pytest.mark.parametrize(("rows", "size"), [(0, 4), (1, 4), (5, 1)])
def test_few_validation_vectors_and_one_codeword(rows, size):
    quantizer = VectorQuantizer(4, size, learning=Gradient())
    task = VectorTask(quantizer, Fresh(gaussian), batch_size=8, validation=gaussian(rows, seed=1) if rows else None)
    outcome = train_stochastic(task, replace(QUIET, steps=3, validate_every=1))
    assert outcome.step == 3 and (outcome.best is None) == (rows == 0)


def alive(**settings):
    """A codebook whose unused words move often."""
    return VectorQuantizer(4, 24, revival=ReviveDead(threshold=0.7, hits=1.0), **settings)


RESUMED = {
    **ALONE,
    "revived average": lambda: alive(learning=MovingAverage(decay=0.8)),
    "revived parameter": lambda: alive(learning=Gradient()),
    "replaced": lambda: VectorQuantizer(
        4,
        24,
        learning=Gradient(0.0, 0.0),
        estimator=NoiseSubstitution(),
        revival=ReplaceUnused(period=4, threshold=0.6),
    ),
    "frozen table": lambda: VectorQuantizer(4, 16, learning=SimVQ(), seeding=Uniform(), revival=Keep()),
    "additive": lambda: codeword.AdditiveQuantizer(
        [VectorQuantizer(4, 4, learning=Gradient(0.0, 0.0), seeding=KMeans(seed=s)) for s in range(2)],
        estimator=NoiseSubstitution(),
    ),
}


class Interrupted:
    """Batches that end in an interruption."""

    def __init__(self, source, number):
        self.source, self.number = source, number

    def batch(self, number, size):
        if number == self.number:
            raise KeyboardInterrupt
        return self.source.batch(number, size)


@pytest.mark.parametrize("name", RESUMED)
def test_an_interrupted_run_goes_on_to_the_same_bits(name, tmp_path):
    config = replace(QUIET, steps=30, checkpoint_every=7, validate_every=10, accumulate=2, keep_best=False)
    made, states = Shuffled(gaussian(300, seed=0)), []
    torch.manual_seed(0)
    start = RESUMED[name]().state_dict()
    for folder, stops in (("whole", []), ("stopped", [23, 31, 53])):
        for stop in [*stops, None]:
            torch.manual_seed(len(states))  # the state of the process must not matter
            quantizer = RESUMED[name]()
            quantizer.load_state_dict(start)
            source = made if stop is None else Interrupted(made, stop)
            task = VectorTask(quantizer, source, batch_size=32, learning_rate=1e-2, validation=gaussian(50, seed=1))
            if stop is None:
                train_stochastic(task, config, tmp_path / folder)
            else:
                with pytest.raises(KeyboardInterrupt):
                    train_stochastic(task, config, tmp_path / folder)
        states.append(quantizer.state_dict())
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key
    assert (tmp_path / "whole" / LOG).read_bytes() == (tmp_path / "stopped" / LOG).read_bytes()


def test_what_cannot_be_trained_is_refused():
    source, held = Fresh(gaussian), gaussian(8, seed=1)
    for settings, message in (
        ({"validation": held[:0]}, "there are no validation vectors"),
        ({"validation": held[:, :3]}, r"takes 4 features, the validation vectors have shape \(8, 3\)"),
        ({"learning_rate": 0.0}, "learning rate must be positive, got 0"),
        ({"batch_size": 0}, "a batch needs at least 1 vector, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            VectorTask(VectorQuantizer(4, 8), source, **settings)
    broken = gaussian(64, seed=0)
    broken[9, 1] = torch.nan
    task = VectorTask(VectorQuantizer(4, 8), Shuffled(broken), batch_size=64)
    with pytest.raises(codeword.training.loop.DivergedError, match="the loss became nan at step 1, batch 0"):
        train_stochastic(task, QUIET)
    task = VectorTask(VectorQuantizer(4, 8), source, validation=broken)
    with pytest.raises(codeword.training.loop.DivergedError, match="the validation loss became nan at step 25"):
        train_stochastic(task, QUIET)
