import numpy as np
import pytest
import torch
import torch.nn.functional as F

from codeword.nn.patches import PatchEmbedding, grid_of, patchify, unpatchify

INPUTS = {
    "audio": ((2, 1, 12, 6), (4, 2)),
    "image": ((2, 3, 8, 6), (2, 3)),
    "video": ((2, 3, 4, 6, 4), (2, 3, 2)),
    "series": ((2, 3, 12), (4,)),
}
ROUNDING = 1e-5


def inputs(shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("shape", "patch"), INPUTS.values(), ids=INPUTS)
def test_patches_are_blocks_in_row_major_order_and_go_back(shape, patch):
    x = inputs(shape)
    patches = patchify(x, patch)
    grid = grid_of(shape[2:], patch)
    assert patches.shape[1] == np.prod(grid)
    for number, place in enumerate(np.ndindex(grid)):
        block = tuple(slice(p * side, (p + 1) * side) for p, side in zip(place, patch, strict=True))
        assert torch.equal(patches[:, number], x[(slice(None), slice(None), *block)].flatten(1))
    assert torch.equal(unpatchify(patches, patch, shape[2:]), x)


@pytest.mark.parametrize(("shape", "patch"), INPUTS.values(), ids=INPUTS)
def test_the_embedding_is_a_strided_convolution(shape, patch):
    embed, x = PatchEmbedding(shape[1], patch, 5), inputs(shape)
    torch.nn.init.normal_(embed.linear.bias)
    convolve = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(patch)]
    kernel = embed.linear.weight.view(5, shape[1], *patch)
    wanted = convolve(x, kernel, embed.linear.bias, stride=patch).flatten(2).transpose(1, 2)
    torch.testing.assert_close(embed(x), wanted, atol=ROUNDING, rtol=0)
    visible = torch.tensor([[2, 0], [1, 1]])
    torch.testing.assert_close(embed(x, visible), wanted[[[0], [1]], visible], atol=ROUNDING, rtol=0)


def test_overlapping_patches_are_a_convolution_too():
    embed, x = PatchEmbedding(1, (4, 4), 5, stride=(3, 2)), inputs((2, 1, 12, 9))
    kernel = embed.linear.weight.view(5, 1, 4, 4)
    wanted = F.conv2d(x, kernel, stride=(3, 2)).flatten(2).transpose(1, 2)
    assert grid_of((12, 9), (4, 4), (3, 2)) == (3, 3)
    torch.testing.assert_close(embed(x), wanted, atol=ROUNDING, rtol=0)


def test_the_embedding_starts_as_a_linear_map_of_a_patch():
    weight = PatchEmbedding(3, (8, 8), 64).linear.weight.detach()
    reach = (6 / (3 * 64 + 64)) ** 0.5
    assert weight.abs().max() <= reach
    assert 0.9 < float(weight.std()) / (reach / 3**0.5) < 1.1


@pytest.mark.parametrize("size", [(15, 8), (16, 9), (0, 8)])
def test_a_size_that_is_no_multiple_is_refused_once(size):
    with pytest.raises(ValueError, match=r"is no multiple of the patch \(4, 4\): pad or crop.*\(\d+, \d+\)$"):
        patchify(torch.zeros(1, 1, *size), (4, 4))


def test_patches_of_another_input_are_refused():
    with pytest.raises(ValueError, match="do not make"):
        unpatchify(torch.zeros(1, 6, 16), (4, 4), (8, 8))
    with pytest.raises(ValueError, match="one per axis"):
        patchify(torch.zeros(1, 1, 8, 8), (4, 4, 4))
    with pytest.raises(ValueError, match="no multiple"):
        grid_of((3, 8), (4, 4), (2, 2))
