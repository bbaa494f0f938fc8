import math

import numpy as np
import pytest
import torch

from codeword.nn.positions import Positions, resized, sincos, sinusoid

ROUNDING = 1e-6
GRIDS = {"audio": (16, 8), "image": (7, 7), "video": (4, 6, 5), "series": (12,)}


def alike(grid, dim=48):
    """Cosines between all pairs of patches, and their distances in patches on the grid, in row-major order."""
    table = torch.nn.functional.normalize(sincos(grid, dim), dim=1)
    places = torch.tensor(list(np.ndindex(grid)), dtype=torch.float)
    return table @ table.t(), places


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_neighbours_on_every_axis_are_the_most_alike(grid):
    cosines, places = alike(grid)
    apart = (places[:, None] - places[None]).abs()
    neighbours = cosines[apart.sum(-1) == 1]
    far = cosines[apart.sum(-1) >= 3]
    assert neighbours.min() > far.max()
    for axis, length in enumerate(grid):
        along = (apart.sum(-1) == apart[..., axis]) & (apart[..., axis] > 0)
        by_step = [cosines[along & (apart[..., axis] == step)].mean() for step in range(1, min(4, length))]
        assert by_step == sorted(by_step, reverse=True)


def test_a_grid_in_the_wrong_order_is_noticed():
    """Positions of (8, 16) on patches in the order of (16, 8), the fault of AudioMAE's and BRIDLE's code."""
    right, places = alike((16, 8))
    wrong, _ = alike((8, 16))
    apart = (places[:, None] - places[None]).abs()
    after = (apart[..., 0] == 1) & (apart[..., 1] == 0)
    far = apart.sum(-1) >= 3
    assert right[after].min() > right[far].max()
    assert wrong[after].min() < wrong[far].max()


def test_two_axes_have_the_layout_of_mae():
    """Columns before rows; sines before cosines; waves from 1 to 10000."""
    rows, columns, dim = 3, 5, 24
    table = sincos((rows, columns), dim).numpy()
    for row in range(rows):
        for column in range(columns):
            wanted = []
            for place in (column, row):
                angles = [place / 10000 ** (j / (dim // 4)) for j in range(dim // 4)]
                wanted += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            np.testing.assert_allclose(table[row * columns + column], wanted, atol=ROUNDING)


def test_the_sinusoid_is_that_of_videomae():
    count, dim = 9, 10
    angles = np.array([[i / 10000 ** (2 * (j // 2) / dim) for j in range(dim)] for i in range(count)])
    angles[:, 0::2], angles[:, 1::2] = np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])
    np.testing.assert_allclose(sinusoid(count, dim).numpy(), angles, atol=ROUNDING)


@pytest.mark.parametrize(("grid", "dim", "shares"), [((3, 3, 3), 32, (12, 10, 10)), ((4, 4), 6, (4, 2))])
def test_what_cannot_be_shared_evenly_goes_to_the_last_axes(grid, dim, shares):
    """A patch at the origin has sine 0 and cosine 1; one step on an axis moves the features of that axis alone."""
    table = sincos(grid, dim)
    assert table[0].sum() == dim // 2
    start = 0
    for axis, share in zip(reversed(range(len(grid))), shares, strict=True):
        step = math.prod(grid[axis + 1 :])
        moved = (table[step] != table[0]).nonzero().flatten()
        assert moved.min() >= start
        assert moved.max() < start + share
        assert (table[step] - table[0]).square().sum() > 0.1
        start += share
    assert start == dim


@pytest.mark.parametrize(("grid", "dim"), [((4, 4), 7), ((4, 4, 4), 4)])
def test_features_that_cannot_be_shared_are_refused(grid, dim):
    with pytest.raises(ValueError, match="need an even dim"):
        sincos(grid, dim)


def test_resizing_keeps_the_extent():
    """A ramp stays one, and ends where it did; between is a straight line, whatever the axes are."""
    ramp = torch.arange(8.0).unsqueeze(1).expand(8, 2)
    finer = resized(ramp, (8,), (16,))
    torch.testing.assert_close(finer[1:-1, 0], torch.arange(16.0)[1:-1] / 2 - 0.25)
    for grid, new in [((6, 4), (12, 4)), ((4, 6, 4), (4, 12, 4))]:
        axis = len(grid) - 2
        coordinate = torch.tensor(list(np.ndindex(grid)))[:, axis : axis + 1].float()
        moved = resized(coordinate, grid, new)
        wanted = (torch.tensor(list(np.ndindex(new)))[:, axis : axis + 1].float() - 0.5) / 2
        inner = (wanted > 1) & (wanted < 4)
        torch.testing.assert_close(moved[inner], wanted[inner], atol=0.05, rtol=0)
    table = sincos((4, 6), 16)
    assert resized(table, (4, 6), (4, 6)) is table
    with pytest.raises(ValueError, match="cannot be resized"):
        resized(table, (4, 5), (8, 8))


def test_positions_of_other_sizes_are_stretched_or_continued():
    stretched, continued = (Positions("sincos", (8, 4), 16, other_sizes=way) for way in ("stretched", "continued"))
    torch.testing.assert_close(continued((5, 4)), sincos((8, 4), 16)[:20])
    torch.testing.assert_close(continued((11, 4))[:32], sincos((8, 4), 16))
    torch.testing.assert_close(stretched((16, 4)), resized(sincos((8, 4), 16), (8, 4), (16, 4)))
    assert stretched.state_dict() == {}
    assert set(Positions("table", (8, 4), 16).state_dict()) == {"table"}
    with pytest.raises(ValueError, match="end with their table"):
        Positions("sinusoid", (8, 4), 16, other_sizes="continued")
