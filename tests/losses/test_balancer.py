from pathlib import Path

import pytest
import torch

from codeword.losses.balancer import Balancer
from contracts.ranks import on_ranks
from reference.balancer import balance

SINGLE = 1e-5  # of float32 sums of a few numbers of order 1
WEIGHTS = {"near": 2.0, "far": 1.0, "other": 0.5}


def outputs(seed, items=4):
    return torch.randn(items, 3, 5, generator=torch.Generator().manual_seed(seed))


def losses(x):
    """Means over the batch of three scales."""
    return {"near": x.square().mean(), "far": 1000 * (x - 1).abs().mean(), "other": 1e-3 * x.sin().mean()}


def gradient_of(balancer, x, named=losses, **keywords):
    x = x.clone().requires_grad_()
    value = balancer(named(x), x, **keywords)
    value.backward()
    return x.grad


def gradients(x, named=losses):
    x = x.clone().requires_grad_()
    return {
        name: torch.autograd.grad(loss, x, retain_graph=True)[0].flatten(1).tolist() for name, loss in named(x).items()
    }


@pytest.mark.parametrize(("decay", "total_norm"), [(0.0, 1.0), (0.5, 3.0), (0.999, 1.0)])
def test_equals_a_loop(decay, total_norm):
    balancer = Balancer(WEIGHTS, decay=decay, total_norm=total_norm)
    steps = [outputs(seed) * (1 + seed) for seed in range(5)]
    expected = balance([gradients(x) for x in steps], WEIGHTS, decay, total_norm)
    for x, balanced in zip(steps, expected, strict=True):
        assert (gradient_of(balancer, x).flatten(1) - torch.tensor(balanced)).abs().max() < SINGLE * total_norm


def test_a_loss_may_come_later():
    def early(x):
        return {"near": losses(x)["near"]}

    balancer = Balancer(WEIGHTS, decay=0.9)
    steps = [outputs(seed) for seed in range(4)]
    named = [early, early, losses, losses]
    expected = balance([gradients(x, f) for x, f in zip(steps, named, strict=True)], WEIGHTS, 0.9, 1.0)
    for x, f, balanced in zip(steps, named, expected, strict=True):
        assert (gradient_of(balancer, x, f).flatten(1) - torch.tensor(balanced)).abs().max() < SINGLE


def test_shares_are_the_weights_whatever_the_scale():
    balancer = Balancer(WEIGHTS, decay=0.0)
    x = outputs(0)
    for name, weight in WEIGHTS.items():
        alone = gradient_of(Balancer({name: weight}, decay=0.0), x, lambda x, name=name: {name: losses(x)[name]})
        assert (len(x) * alone).flatten(1).norm(dim=1).mean() == pytest.approx(1, rel=SINGLE)

    def rescaled(x):
        return {name: 7**i * loss for i, (name, loss) in enumerate(losses(x).items())}

    assert torch.allclose(gradient_of(balancer, x), gradient_of(balancer, x, rescaled), atol=SINGLE)


def test_value_is_that_of_the_scaled_losses_and_others_can_be_added():
    balancer = Balancer({"near": 1.0}, decay=0.0)
    x = outputs(1).requires_grad_()
    near = x.square().mean()
    value = balancer({"near": near}, x)
    (gradient,) = torch.autograd.grad(near, x, retain_graph=True)
    scale = 1 / (len(x) * gradient).flatten(1).norm(dim=1).mean()
    assert value.item() == pytest.approx((scale * near).item(), rel=SINGLE)
    (value + 3 * x.sum()).backward()
    assert x.grad is not None
    assert torch.allclose(x.grad, scale * gradient + 3, atol=SINGLE)


def test_accumulated_parts_are_one_large_batch():
    whole, parts = Balancer(WEIGHTS, decay=0.9), Balancer(WEIGHTS, decay=0.9)
    for seed in range(3):
        x = outputs(seed, items=6)
        gradient_of(whole, x)
        for i, part in enumerate(x.split(2)):
            gradient_of(parts, part, ends_step=i == 2)
        for one, two in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True):
            assert torch.allclose(one, two, rtol=SINGLE)
    steady, x = 0.3 * outputs(9, items=2), outputs(9, items=2)
    repeated = steady.repeat(2, 1, 1)
    large = gradient_of(Balancer(WEIGHTS), repeated)
    small = Balancer(WEIGHTS)
    pieces = [gradient_of(small, steady, ends_step=last) / 2 for last in (False, True)]
    assert torch.allclose(large, torch.cat(pieces), atol=SINGLE)


def test_state_goes_through_a_checkpoint():
    first = Balancer(WEIGHTS, decay=0.9)
    for seed in range(3):
        gradient_of(first, outputs(seed), ends_step=seed < 2)  # in the middle of a step
    second = Balancer(WEIGHTS, decay=0.9)
    second.load_state_dict(first.state_dict())
    for seed in (3, 4):
        assert torch.equal(gradient_of(first, outputs(seed)), gradient_of(second, outputs(seed)))


def test_silence_and_infinity_leave_the_averages_alone():
    balancer = Balancer({"near": 1.0, "far": 1.0}, decay=0.9)

    def of_nothing(x):
        return {"near": 0.0 * x.sum(), "far": x.square().mean()}

    assert gradient_of(balancer, outputs(0), of_nothing).isfinite().all()
    state = {name: value.clone() for name, value in balancer.state_dict().items()}
    gradient_of(balancer, outputs(1) * torch.inf, lambda x: {"far": x.square().mean()})
    for name, value in balancer.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_half_precision_output():
    balancer = Balancer(WEIGHTS)
    x = outputs(0).bfloat16()
    assert gradient_of(balancer, x).dtype == torch.bfloat16


def on_one_rank(rank: int):
    balancer = Balancer(WEIGHTS, decay=0.9)
    found = [gradient_of(balancer, outputs(seed, items=6)[3 * rank : 3 * rank + 3]) for seed in range(3)]
    return {"gradients": torch.stack(found), "norms": balancer.norms, "seen": balancer.seen}


def test_ranks_share_their_norms(tmp_path: Path):
    balancer = Balancer(WEIGHTS, decay=0.9)
    expected = torch.stack([gradient_of(balancer, outputs(seed, items=6)) for seed in range(3)])
    ranks = on_ranks(on_one_rank, tmp_path)
    for i, result in enumerate(ranks):
        # A rank has the gradient of a mean over its half; data-parallel training halves it.
        assert torch.allclose(result["gradients"] / 2, expected[:, 3 * i : 3 * i + 3], atol=SINGLE)
        assert torch.allclose(result["norms"], balancer.norms, rtol=SINGLE)
        assert torch.equal(result["seen"], balancer.seen)


@pytest.mark.parametrize(
    ("weights", "decay", "message"),
    [
        ({}, 0.9, "weights must be 0 or more and not all 0, got {}"),
        ({"a": 0.0}, 0.9, "weights must be 0 or more and not all 0"),
        ({"a": 1.0, "b": -1.0}, 0.9, "weights must be 0 or more"),
        ({"a": 1.0}, 1.0, "decay must be 0 or more and below 1, got 1.0"),
    ],
)
def test_impossible_settings(weights, decay, message):
    with pytest.raises(ValueError, match=message):
        Balancer(weights, decay=decay)


def test_impossible_calls():
    balancer = Balancer({"a": 1.0})
    x = outputs(0).requires_grad_()
    with pytest.raises(ValueError, match="losses without a weight: b; known: a"):
        balancer({"b": x.sum()}, x)
    with pytest.raises(ValueError, match="the output has no gradient to balance"):
        balancer({"a": x.sum()}, x.detach())
