from dataclasses import replace

import pytest
import torch

from codeword.pretraining.estimator import EstimatorConfig
from codeword.pretraining.joint import JointConfig
from codeword.pretraining.masking import RandomMask
from codeword.pretraining.phase import PhaseConfig
from codeword.pretraining.pipeline import Networks, Phase, PipelineConfig, Pretraining
from codeword.pretraining.storage import load_tokenizer, read_predictor
from codeword.training.checkpoint import load_checkpoint
from codeword.training.logging import read_log
from codeword.training.loop_config import LoopConfig
from contracts.pretraining import CONFIG, DECODER, DIM, SIZES, Unfiled, samples

NETWORKS = Networks(
    encoder=CONFIG,
    decoder=DECODER,
    tokenizer=CONFIG,
    estimator=EstimatorConfig(dim=16, depth=1, heads=2),
    codebooks=SIZES,
    code_dim=DIM,
)
LOOP = LoopConfig(steps=1, progress=False, accelerator="cpu", log_every=1, checkpoint_every=2, validate_every=2)
CONFIGURED = PipelineConfig(
    networks=NETWORKS,
    encoder=Phase(epochs=2.0, warmup=0.5, config=PhaseConfig(batch=8, views=2, mask=RandomMask(0.5)), loop=LOOP),
    tokenizer=Phase(epochs=1.0, config=PhaseConfig(batch=8), loop=LOOP),
    fit_samples=24,
)
PARTS = ["encoder-1", "tokenizer-2", "encoder-2"]


def pretraining(folder, config=CONFIGURED, learned=None):
    return Pretraining(config, samples(16) if learned is None else learned, samples(8, 4), folder)


def weights(folder, name):
    module = load_tokenizer(folder / name)[0] if name.startswith("tokenizer") else read_predictor(folder / name)
    return module.state_dict()


def equal(ours, theirs):
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


class KilledError(Exception):
    """In place of a kill."""


class Dying(Unfiled):
    """Samples that can be asked so many times."""

    def __init__(self, times):
        self.inner, self.left = samples(16), times
        self.grid = self.inner.grid

    def __len__(self):
        return len(self.inner)

    def inputs(self, numbers, views):
        self.left -= 1
        if self.left < 0:
            raise KilledError
        return self.inner.inputs(numbers, views)

    def configuration(self):
        return self.inner.configuration()


def test_parts_come_in_their_order_and_are_kept(tmp_path):
    run = pretraining(tmp_path)
    assert [part.name for part in run.run()] == PARTS
    assert [part.name for part in pretraining(tmp_path).run() if part.outcome is None] == ["encoder-1", "encoder-2"]
    assert equal(run.predictor.state_dict(), weights(tmp_path, "encoder-2"))
    assert run.tokenizer.fingerprint() == load_tokenizer(tmp_path / "tokenizer-2")[0].fingerprint()
    assert not list(tmp_path.glob("*/checkpoint.safetensors"))
    steps = [line["step"] for line in read_log(tmp_path / "encoder-1.training" / "log.jsonl") if "loss" in line]
    assert max(steps) == 4  # 2 epochs of 16 samples, 8 a step


@pytest.mark.parametrize("iterations", [1, 3])
def test_any_number_of_iterations(tmp_path, iterations):
    names = [part.name for part in pretraining(tmp_path, replace(CONFIGURED, iterations=iterations)).run()]
    assert names == ["encoder-1", "tokenizer-2", "encoder-2", "tokenizer-3", "encoder-3"][: 2 * iterations - 1]


@pytest.mark.parametrize("times", range(2, 15, 4))
def test_a_killed_run_ends_with_the_same_weights(tmp_path, times):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for _ in pretraining(whole).run():
        pass
    with pytest.raises(KilledError):
        for _ in pretraining(parts, learned=Dying(times)).run():
            pass
    for _ in pretraining(parts).run():
        pass
    assert all(equal(weights(whole, name), weights(parts, name)) for name in ("tokenizer-1", *PARTS))


def test_an_encoder_goes_on_from_the_one_before(tmp_path):
    still = replace(CONFIGURED.encoder, config=replace(CONFIGURED.encoder.config, learning_rate=0.0))
    for _ in pretraining(tmp_path, replace(CONFIGURED, encoder=still)).run():
        pass
    assert equal(weights(tmp_path, "encoder-1"), weights(tmp_path, "encoder-2"))


def test_what_a_phase_does_not_train_stays_as_it_was(tmp_path):
    run = pretraining(tmp_path)
    parts = run.run()
    next(parts)
    teacher, cold = weights(tmp_path, "encoder-1"), weights(tmp_path, "tokenizer-1")
    next(parts)
    assert equal(run.predictor.state_dict(), teacher)
    trained = {name: value.clone() for name, value in run.tokenizer.state_dict().items()}
    next(parts)
    assert equal(run.tokenizer.state_dict(), trained)
    assert equal(weights(tmp_path, "tokenizer-1"), cold)


def test_tokens_made_online_are_those_of_the_cache(tmp_path):
    online = replace(CONFIGURED.encoder, config=replace(CONFIGURED.encoder.config, views=None))
    for _ in pretraining(tmp_path / "cached").run():
        pass
    for _ in pretraining(tmp_path / "online", replace(CONFIGURED, encoder=online)).run():
        pass
    assert equal(weights(tmp_path / "cached", "encoder-2"), weights(tmp_path / "online", "encoder-2"))
    assert not list((tmp_path / "online").glob("tokens-*"))


def test_a_dry_run_writes_nothing(tmp_path):
    assert [part.name for part in pretraining(tmp_path / "run").dry_run()] == ["encoder", "tokenizer"]
    assert not (tmp_path / "run").exists()


def test_an_interrupted_phase_has_a_checkpoint(tmp_path):
    with pytest.raises(KilledError):
        for _ in pretraining(tmp_path, learned=Dying(5)).run():
            pass
    state = load_checkpoint(tmp_path / "encoder-1.training" / "checkpoint.safetensors")
    assert state["step"] == 2


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIGURED, joint=JointConfig(every=2)),
        replace(CONFIGURED, cold_places=True),
        replace(CONFIGURED, networks=replace(NETWORKS, published_rule=True)),
        replace(CONFIGURED, networks=replace(NETWORKS, codebooks=(16,))),
    ],
    ids=["joint", "places", "published rule", "one level"],
)
def test_what_is_compared_with_runs_and_goes_on(tmp_path, config):
    whole = pretraining(tmp_path / "whole", config)
    names = [part.name for part in whole.run()]
    assert names == (PARTS if config.joint is None else ["encoder-1", "encoder-2"])
    with pytest.raises(KilledError):
        for _ in pretraining(tmp_path / "parts", config, Dying(11)).run():
            pass
    parts = pretraining(tmp_path / "parts", config)
    for _ in parts.run():
        pass
    assert equal(whole.predictor.state_dict(), parts.predictor.state_dict())
    assert whole.tokenizer.fingerprint() == parts.tokenizer.fingerprint()


def test_a_phase_lasts_epochs_or_visits():
    phase = replace(CONFIGURED.encoder, epochs=3.0, warmup=1.0)
    assert phase.fitted(100).steps == 38  # 300 samples, 8 a step
    assert phase.fitted(100).schedule.warmup == 13
    short = replace(phase, visits=80, loop=replace(phase.loop, validate_every=1000)).fitted(100)
    assert (short.steps, short.validate_every) == (10, 10)
    assert phase.fitted(100).validate_every == phase.loop.validate_every == 2
    with pytest.raises(ValueError, match="at least one iteration, got 0"):
        replace(CONFIGURED, iterations=0)
