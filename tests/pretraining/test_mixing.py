from dataclasses import dataclass, replace

import pytest
import torch

from codeword.pretraining.label_mixing import LabelMixing, Mixture, Mixup
from codeword.pretraining.mixing import AddedNoise, WithPartner, mixed
from codeword.quantizers.config import register
from contracts.pretraining import PHASE, cold, encoder_task, samples


@register
@dataclass(frozen=True)
class Halves(LabelMixing):
    """A share that is drawn, and values that tell both samples apart."""

    def __call__(self, x, other, generator):
        share = float(torch.rand((), generator=generator))
        return Mixture(share * x + (1 - share) * other, share)


MIXING = (WithPartner(rule=Mixup(), probability=0.7), AddedNoise(probability=0.7))
TASK = replace(PHASE, mixing=MIXING)


def taken(task, count, world_size=1, start=0):
    """The next batches of all ranks."""
    ranks = [task.batches(start, rank, world_size) for rank in range(world_size)]
    return [next(stream) for _ in range(count) for stream in ranks]


def test_the_encoder_sees_what_is_mixed_and_tokens_are_those_of_the_sample_alone():
    task, tokenizer = encoder_task(phase=TASK), cold()
    seen = []
    task.predictor.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    found = []
    task.predictor.register_forward_pre_hook(lambda module, inputs: found.append(inputs[1]))
    for batch in taken(task, 3):
        plain = samples(20).inputs(batch.drawn.samples, batch.drawn.views).values
        task.step(batch, 0)
        assert torch.equal(batch.inputs.values, plain)
        assert torch.equal(found[-1], tokenizer.encode(plain))
        assert torch.equal(seen[-1], batch.seen)
        changed = (batch.seen != plain).flatten(1).any(1).float().mean()
        assert 0.5 <= changed <= 1


def test_without_mixing_nothing_is_held_twice():
    assert taken(encoder_task(), 1)[0].seen is None


def test_validation_sees_samples_as_they_are():
    with torch.no_grad():
        assert encoder_task(phase=TASK).eval().validate() == encoder_task().eval().validate()


def test_what_is_mixed_depends_neither_on_ranks_nor_on_batches():
    whole = torch.cat([batch.seen for batch in taken(encoder_task(phase=TASK), 3)])
    ranks = torch.cat([batch.seen for batch in taken(encoder_task(phase=TASK), 3, world_size=2)])
    smaller = torch.cat([batch.seen for batch in taken(encoder_task(phase=replace(TASK, batch=2)), 12)])
    resumed = torch.cat([batch.seen for batch in taken(encoder_task(phase=TASK), 2, start=1)])
    assert torch.equal(ranks, whole)
    assert torch.equal(smaller, whole)
    assert torch.equal(resumed, whole[8:])
    others = taken(encoder_task(phase=replace(TASK, seed=1)), 3)
    assert not torch.equal(torch.cat([batch.seen for batch in others]), whole)


def test_the_partner_is_the_next_sample():
    x = torch.arange(4.0).view(4, 1, 1, 1).expand(-1, 1, 2, 2)
    found = mixed(x[:3], x[3:], (WithPartner(rule=Halves(), probability=1.0),), [1, 2, 3])[:, 0, 0, 0]
    over = found - torch.arange(3.0)  # the partner's share
    assert ((over > 0) & (over <= 0.5)).all()
    assert torch.equal(mixed(x[:3], x[3:], (WithPartner(rule=Halves(), probability=0.0),), [1, 2, 3]), x[:3])


def test_the_sample_has_the_larger_share_of_what_the_rule_draws():
    rule = WithPartner(rule=Halves())
    for seed in range(20):
        drawn = float(torch.rand((), generator=torch.Generator().manual_seed(seed)))
        found = rule(torch.ones(1, 2), torch.zeros(1, 2), torch.Generator().manual_seed(seed))
        torch.testing.assert_close(found, torch.full((1, 2), max(drawn, 1 - drawn)))


def test_noise_is_as_strong_as_drawn():
    x, generator = torch.zeros(1, 100, 100), torch.Generator().manual_seed(0)
    found = torch.stack([AddedNoise(most=0.6)(x, x, generator).std() for _ in range(60)])
    assert found.max() < 0.61
    assert abs(float(found.mean()) - 0.3) < 0.06


@pytest.mark.parametrize("wrong", [{"most": -1.0}, {"probability": 1.5}])
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=r"got \w+=(-1\.0|1\.5)"):
        AddedNoise(**wrong)
