import pytest
import torch

from codeword.pretraining.masking import BandMask, RandomMask, TubeMask, thinned

KEY = torch.tensor(7)
RULES = [(RandomMask(0.8), (64, 8)), (BandMask(0.7, 0.3), (64, 8)), (TubeMask(0.9), (8, 14, 14))]


@pytest.mark.parametrize(
    ("rule", "grid", "kept"),
    [
        (RandomMask(0.8), (64, 8), 102),  # the numbers of the paper's three modalities
        (RandomMask(0.8), (14, 14), 39),
        (TubeMask(0.9), (8, 14, 14), 160),
        (BandMask(0.7, 0.3), (64, 8), 19 * 6),
        (RandomMask(0.999), (3, 3), 1),
        (RandomMask(0.0), (3, 3), 9),
    ],
)
def test_so_many_stay_visible(rule, grid, kept):
    found = rule.draw(grid, 5, KEY)
    assert found.visible.shape[1] == kept
    patches = torch.cat(found, 1).sort(1).values
    assert torch.equal(patches, torch.arange(patches.shape[1]).expand(5, -1))
    assert all((part.diff(dim=1) > 0).all() for part in found)


@pytest.mark.parametrize(("rule", "grid"), RULES)
def test_a_row_is_its_own_whatever_the_batch(rule, grid):
    whole = rule.draw(grid, 6, KEY)
    parts = [rule.draw(grid, 2, KEY, first_row=row) for row in (0, 2, 4)]
    assert torch.equal(whole.visible, torch.cat([part.visible for part in parts]))
    assert not torch.equal(whole.visible[0], whole.visible[1])
    assert not torch.equal(whole.visible, rule.draw(grid, 6, KEY + 5).visible)


def test_all_patches_have_the_same_chance():
    visible = RandomMask(0.75).draw((4, 4), 8000, KEY).visible
    shares = torch.bincount(visible.flatten(), minlength=16) / 8000
    assert (shares - 0.25).abs().max() < 0.025


def test_bands_are_whole_and_independent():
    visible = BandMask(0.5, 0.5).draw((6, 4), 200, KEY).visible
    seen = torch.zeros(200, 24).scatter(1, visible, 1.0).view(200, 6, 4)
    times, frequencies = seen.amax(2), seen.amax(1)
    assert torch.equal(seen, times.unsqueeze(2) * frequencies.unsqueeze(1))
    # The rows of one axis say nothing about those of the other.
    assert (torch.corrcoef(torch.cat([times, frequencies], 1).t())[:6, 6:].abs() < 0.25).all()


def test_tubes_are_the_same_at_all_times():
    visible = TubeMask(0.9).draw((8, 5, 5), 4, KEY).visible.view(4, 8, -1)
    assert torch.equal(visible, visible[:, :1] + 25 * torch.arange(8).view(1, 8, 1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomMask(1.0), "ratio is a share, 0 or more and below 1, got 1.0"),
        (lambda: TubeMask(0.5).draw((4, 4), 1, KEY), "time, height and width, got one of 2 axes"),
        (lambda: BandMask().draw((4, 4, 4), 1, KEY), "time and frequency, got one of 3 axes"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_share_of_the_masked_patches_is_predicted():
    key = torch.tensor(3)
    whole = RandomMask(0.75).draw((8, 8), 40, key)
    part = thinned(whole, 0.25, key)
    assert part.masked.shape == (40, 12)
    assert torch.equal(part.visible, whole.visible)
    assert (part.masked.diff() > 0).all()
    for some, all_of_them in zip(part.masked.tolist(), whole.masked.tolist(), strict=True):
        assert set(some) < set(all_of_them)
    counts = torch.bincount(part.masked.flatten(), minlength=64)
    assert counts.max() < 3 * counts.float().mean()
    rows = thinned(RandomMask(0.75).draw((8, 8), 10, key, first_row=30), 0.25, key, first_row=30)
    assert torch.equal(rows.masked, part.masked[30:])
    assert thinned(whole, 1.0, key) is whole
    assert thinned(whole, 1e-9, key).masked.shape == (40, 1)
