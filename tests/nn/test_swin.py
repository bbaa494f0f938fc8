import math

import numpy as np
import pytest
import torch

from codeword.nn.swin import Swin, SwinBlock, Windows

DIM, HEADS = 8, 2
ROUNDING = 1e-5
CASES = {  # grid, window, shift
    "whole windows": ((4, 8), (4, 4), (0, 0)),
    "shifted on one axis": ((8, 4), (4, 4), (2, 0)),
    "shifted on both": ((6, 6), (3, 3), (2, 1)),
    "padded": ((6, 7), (4, 4), (0, 0)),
    "padded and shifted": ((5, 7), (3, 4), (2, 2)),
    "an axis inside of a window": ((3, 8), (4, 4), (2, 2)),
    "three axes": ((2, 5, 4), (2, 3, 2), (1, 1, 0)),
}


def stirred(module):
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return module.eval()


def patches(grid, count=2):
    return torch.randn(count, math.prod(grid), DIM, generator=torch.Generator().manual_seed(0))


def slow_attention(module, x, grid, window, shift, valid):
    """One softmax after the other, without windows: patches see one another unless the shifted lattice parts them."""
    places = torch.tensor(list(np.ndindex(grid)))
    moved = [0 if -(-g // w) == 1 else s for g, w, s in zip(grid, window, shift, strict=True)]
    cells = (places - torch.tensor(moved)).div(torch.tensor(window), rounding_mode="floor")
    q, k, v = (x @ module.qkv.weight.t() + module.qkv.bias).split(DIM, -1)
    out, width = torch.zeros_like(x), DIM // HEADS
    first, _, last = module.bias
    for item in range(len(x)):
        for a in range(len(places)):
            keys = [b for b in range(len(places)) if b == a or (valid[item, b] and torch.equal(cells[a], cells[b]))]
            away = (places[a] - places[keys]).float()
            biases = (away.sign() * (1 + away.abs()).log() @ first.weight.t() + first.bias).relu() @ last.weight.t()
            for head in range(HEADS):
                part, scale = slice(head * width, (head + 1) * width), min(math.exp(module.log_scale[head]), 100)
                one, others = q[item, a, part], k[item, keys, part]
                scores = scale * (others @ one) / (one.norm() * others.norm(dim=1)) + biases[:, head] + last.bias[head]
                weights = scores.exp() / scores.exp().sum()
                out[item, a, part] = weights @ v[item, keys, part]
    return out @ module.out.weight.t() + module.out.bias


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("grid", "window", "shift"), CASES.values(), ids=CASES)
@torch.no_grad()
def test_a_block_equals_the_loop_over_pairs(grid, window, shift, padded):
    torch.manual_seed(0)
    block, x = stirred(SwinBlock(DIM, HEADS, window=window, shift=shift)), patches(grid)
    valid = torch.ones(x.shape[:2], dtype=torch.bool)
    if padded:
        valid[0, -5:] = False
        valid[1] = False
    y = x + block.norm1(slow_attention(block.attention, x, grid, window, shift, valid))
    wanted = y + block.norm2(block.mlp(y))
    found = block(x, grid, valid if padded else None)
    assert found.isfinite().all()
    torch.testing.assert_close(found, wanted, atol=ROUNDING, rtol=0)


@pytest.mark.parametrize(("grid", "window", "shift"), CASES.values(), ids=CASES)
def test_windows_go_back(grid, window, shift):
    windows, x = Windows(grid, window, shift), patches(grid)
    assert torch.equal(windows.join(windows.split(x)), x)


def test_every_second_block_is_shifted_and_only_they_join_windows():
    grid = (8, 8)
    model, x = stirred(Swin(DIM, 2, HEADS)), patches(grid)
    assert [block.shift for block in model.blocks] == [(0, 0), (2, 0)]
    changed = x.clone()
    changed[:, 0] += 1
    moved = [(block(x, grid) != block(changed, grid)).any(-1)[0].view(grid) for block in model.blocks]
    first, second = (m.nonzero().amax(0).tolist() for m in moved)
    assert first == [3, 3]
    assert second == [1, 3]
    reached = (model(x, grid) != model(changed, grid)).any(-1)[0].view(grid)
    assert reached.nonzero().amax(0).tolist() == [5, 3]


def test_the_scale_ends_at_a_hundred():
    block, x = stirred(SwinBlock(DIM, HEADS, window=(4, 4), shift=(0, 0))), patches((4, 4))
    block.attention.log_scale.data.fill_(math.log(100.0))
    before = block(x, (4, 4))
    block.attention.log_scale.data.fill_(9.0)
    torch.testing.assert_close(block(x, (4, 4)), before)


def test_recomputed_blocks_have_the_same_gradient():
    torch.manual_seed(0)
    model, x = Swin(DIM, 2, HEADS), patches((6, 5))
    found = []
    for model.recompute in (False, True):
        model.zero_grad()
        model(x, (6, 5)).square().sum().backward()
        found.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert all(grad.abs().max() > 0 for grad in found[0][:-1])


@pytest.mark.parametrize("shift", [(4, 0), (-1, 0), (2,)])
def test_shifts_beyond_a_window_are_refused(shift):
    with pytest.raises(ValueError, match="shifted by less than their size"):
        SwinBlock(DIM, HEADS, window=(4, 4), shift=shift)
