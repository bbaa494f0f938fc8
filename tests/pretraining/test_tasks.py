import copy
from dataclasses import replace

import pytest
import torch

from codeword.nn.vit import VisionTransformer
from codeword.pretraining.cache import TokenCache
from codeword.pretraining.estimator import Estimator, EstimatorConfig
from codeword.pretraining.masking import RandomMask
from codeword.pretraining.predictor import Predictor
from codeword.pretraining.tasks import CachedTokens, EncoderTask, OnlineTokens, PhaseConfig, TokenizerTask
from codeword.pretraining.tokenizer import TrainedTokenizer
from codeword.training.logging import read_log
from codeword.training.loop import LOG, train
from codeword.training.loop_config import LoopConfig
from contracts.pretraining import CONFIG, DECODER, DIM, SIZES, cold, quantizer, samples

PHASE = PhaseConfig(batch=8, views=2, learning_rate=3e-3, mask=RandomMask(0.5))
LOOP = LoopConfig(steps=6, progress=False, accelerator="cpu", log_every=1, checkpoint_every=2, validate_every=3)


def encoder_task(tokens=None):
    torch.manual_seed(0)
    tokenizer = cold()
    tokens = OnlineTokens(tokenizer) if tokens is None else tokens
    return EncoderTask(Predictor(CONFIG, DECODER, SIZES), tokens, tokenizer, samples(20), samples(10, 4), PHASE)


def tokenizer_task():
    torch.manual_seed(0)
    tokenizer = TrainedTokenizer(CONFIG, quantizer())
    estimator = Estimator(EstimatorConfig(dim=16, depth=1, heads=2), DIM, CONFIG.dim)
    return TokenizerTask(tokenizer, estimator, VisionTransformer(CONFIG), samples(20), samples(10, 4), PHASE)


def losses(folder, key="loss"):
    return [line[key] for line in read_log(folder / LOG) if line["group"] == "train"]


@pytest.mark.parametrize("make", [encoder_task, tokenizer_task])
def test_every_phase_learns(make, tmp_path):
    task = make()
    train(task, replace(LOOP, steps=60, validate_every=60, checkpoint_every=60), tmp_path)
    found = losses(tmp_path)
    assert sum(found[-10:]) < 0.9 * sum(found[:10])


@pytest.mark.parametrize("make", [encoder_task, tokenizer_task])
def test_a_stopped_phase_goes_on_to_the_same_numbers(make, tmp_path):
    whole, parts = make(), make()
    train(whole, LOOP, tmp_path / "whole")
    train(parts, replace(LOOP, steps=3), tmp_path / "parts")
    again = make()
    train(again, LOOP, tmp_path / "parts")
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    ours, theirs = whole.state_dict(), again.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_is_frozen_stays_to_the_last_bit(tmp_path):
    encoder, tokenizer = encoder_task(), tokenizer_task()
    for task, frozen in ((encoder, encoder.tokenizer.module), (tokenizer, tokenizer.teacher.module)):
        before = copy.deepcopy(frozen.state_dict())
        train(task, LOOP, tmp_path / type(task).__name__)
        assert all(torch.equal(before[name], value) for name, value in frozen.state_dict().items())
        assert not frozen.training
        names = {id(parameter) for group in task.optimizers()[0].param_groups for parameter in group["params"]}
        assert not names & {id(parameter) for parameter in frozen.parameters()}
        assert not any(
            value.data_ptr() == other.data_ptr() for value in frozen.parameters() for other in task.parameters()
        )


def test_cached_tokens_train_as_those_made_online(tmp_path):
    cache = TokenCache(tmp_path / "tokens", cold(), samples(20), PHASE.views)
    cache.fill()
    train(encoder_task(), LOOP, tmp_path / "online")
    train(encoder_task(CachedTokens(cache)), LOOP, tmp_path / "cached")
    assert losses(tmp_path / "online") == losses(tmp_path / "cached")


def test_validation_is_always_the_same_and_weighs_every_sample_alike():
    task = encoder_task().eval()
    with torch.no_grad():
        first = task.validate()
        assert first == task.validate()
    assert set(first) == {"loss", "accuracy_0", "accuracy_1"}
