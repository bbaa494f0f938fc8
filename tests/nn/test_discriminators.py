import copy

import pytest
import torch

from codeword.losses.adversarial import discriminator_loss, feature_matching_loss, generator_loss
from codeword.nn.discriminators import Discriminator, DiscriminatorConfig, from_descript, normalised
from reference import discriminators as slow

EXACT = 1e-10  # of float64 feature maps of order 1
SMALL = DiscriminatorConfig(
    periods=(2, 3),
    period_widths=(4, 6, 8),
    windows=(64, 32),
    bands=(0.0, 0.3, 1.0),
    spectral_width=4,
    spectral_layers=2,
)


def noise(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loaded(config=SMALL):
    found = slow.state(
        config.periods,
        config.period_widths,
        config.windows,
        len(config.bands) - 1,
        config.spectral_width,
        config.spectral_layers,
    )
    judge = Discriminator(config).double()
    judge.load_state_dict(from_descript(found))
    return judge, found


@pytest.mark.parametrize("time", [240, 241, 245])  # a whole number of periods and of hops, and none
def test_equals_the_published_layout_through_the_key_map(time):
    judge, found = loaded()
    audio = noise(0, 2, 1, time) * 0.1 + 0.3
    maps = judge(audio)
    y = slow.normalised(audio)
    expected = [slow.folded(found, f"discriminators.{i}", y, period) for i, period in enumerate(SMALL.periods)]
    expected += [
        slow.banded(found, f"discriminators.{i + 2}", y, window, SMALL.bands) for i, window in enumerate(SMALL.windows)
    ]
    assert len(maps) == len(expected) == 4
    for i, (ours, theirs) in enumerate(zip(maps, expected, strict=True)):
        assert len(ours) == len(theirs)
        for mine, published in zip(ours, theirs, strict=True):
            other = published.transpose(-1, -2) if i < 2 else published
            assert mine.shape == other.shape
            assert (mine - other).abs().max() < EXACT * other.abs().max()


def test_default_is_the_size_of_the_published_one():
    with torch.device("meta"):
        judge = Discriminator()
    found = slow.state((2, 3, 5, 7, 11), (32, 128, 512, 1024, 1024), (), 0, 0, 0) | {
        key.replace("discriminators.", "discriminators.5."): value
        for key, value in slow.state((), (), (2048, 1024, 512), 5, 32, 3).items()
    }
    own = judge.state_dict()
    shapes = sorted(tuple(value.shape) for value in from_descript(found).values())
    assert sorted(tuple(value.shape) for value in own.values()) == shapes
    assert sum(p.numel() for p in judge.parameters()) == sum(value.numel() for value in found.values())


def test_leading_axes_are_items():
    judge, _ = loaded()
    audio = noise(1, 3, 2, 200)
    maps, flat = judge(audio), judge(audio.reshape(6, 200))
    assert all(torch.equal(x, y) for xs, ys in zip(maps, flat, strict=True) for x, y in zip(xs, ys, strict=True))
    assert maps[0][0].shape[0] == 6


def test_level_and_offset_do_not_matter_and_silence_is_silent():
    judge, _ = loaded()
    audio = noise(2, 1, 200)
    for x, y in zip(judge(audio), judge(0.01 * audio + 5.0), strict=True):
        assert (x[-1] - y[-1]).abs().max() < 1e-4  # 1e-9 beside a peak of 0.03
    assert normalised(audio).abs().max().item() == pytest.approx(0.8)
    assert torch.equal(normalised(torch.full((2, 9), 0.5)), torch.zeros(2, 9))


def test_derivatives_by_finite_differences():
    judge, _ = loaded()
    real = judge(noise(3, 2, 100))

    def losses(x):
        made = judge(x)
        return torch.stack([generator_loss(made), feature_matching_loss(made, real), discriminator_loss(made, real)])

    assert torch.autograd.gradcheck(losses, noise(4, 2, 100).requires_grad_(), fast_mode=True)


def test_every_parameter_learns():
    judge = Discriminator(SMALL)
    audio = noise(5, 2, 200).float()
    discriminator_loss(judge(audio.flip(-1)), judge(audio)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in judge.parameters())


def test_frozen_maps_are_the_same_and_teach_only_the_audio():
    judge, _ = loaded()
    audio = noise(8, 2, 200).requires_grad_()
    other = audio.detach().clone().requires_grad_()
    maps, frozen = judge(audio), judge.frozen(other)
    for some, same in zip(maps, frozen, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(some, same, strict=True))
    generator_loss(frozen).backward()
    assert all(p.grad is None for p in judge.parameters())
    generator_loss(maps).backward()
    assert audio.grad is not None
    assert other.grad is not None
    assert torch.allclose(other.grad, audio.grad, rtol=0, atol=EXACT)


def test_learns_to_tell_signals_apart():
    torch.manual_seed(0)
    judge = Discriminator(SMALL)
    optimizer = torch.optim.AdamW(judge.parameters(), 1e-2)
    time = torch.arange(400) / 400
    losses = []
    for step in range(30):
        real = torch.sin(2 * torch.pi * (20 + step) * time + torch.arange(4)[:, None])
        made = noise(step, 4, 400).float()
        loss = discriminator_loss(judge(made), judge(real))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_copies_and_restores():
    judge, _ = loaded()
    audio = noise(6, 2, 200)
    other = Discriminator(SMALL).double()
    other.load_state_dict(judge.state_dict())
    for twin in (other, copy.deepcopy(judge)):
        assert all(torch.equal(x[-1], y[-1]) for x, y in zip(judge(audio), twin(audio), strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"periods": (), "windows": ()}, "periods and windows are both empty"),
        ({"windows": (30,)}, "windows must be multiples of 4"),
        ({"bands": (0.0, 0.5, 0.5)}, "bands must grow from 0 to 1 at most"),
        ({"bands": (0.0, 1.5)}, "bands must grow from 0 to 1 at most"),
        ({"windows": (8,), "bands": (0.0, 0.1, 1.0)}, "a window of 8 leaves a band of .* without a bin"),
    ],
)
def test_impossible_configurations(change, message):
    with pytest.raises(ValueError, match=message):
        DiscriminatorConfig(**change)


def test_too_short_a_signal():
    judge, _ = loaded()
    with pytest.raises(ValueError, match="39 samples are too few for frames of 64: at least 40 are needed"):
        judge(noise(7, 1, 39))
    with pytest.raises(ValueError, match="2 samples are too few for a period of 2: at least 3"):
        judge(noise(7, 1, 2))
