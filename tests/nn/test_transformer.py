import math

import pytest
import torch

from codeword.nn.transformer import Attention, DropPath, Transformer, TransformerBlock

DIM, HEADS = 16, 4
ROUNDING = 1e-5


def tokens(count=6, seed=0):
    return torch.randn(3, count, DIM, generator=torch.Generator().manual_seed(seed))


def stirred(module):
    """A module whose biases and norms are not those of the start."""
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return module.eval()


def slow_attention(module, x, valid):
    """One softmax at a time."""
    out = torch.zeros_like(x)
    bias = module.qkv.bias if module.q_bias is None else torch.cat([module.q_bias, torch.zeros(DIM), module.v_bias])
    qkv = x @ module.qkv.weight.t() + (0 if bias is None else bias)
    q, k, v = qkv.split(DIM, -1)
    width = DIM // HEADS
    for item in range(len(x)):
        for head in range(HEADS):
            part = slice(head * width, (head + 1) * width)
            for place in range(x.shape[1]):
                keys = [other for other in range(x.shape[1]) if valid[item, other]]
                scores = [float(q[item, place, part] @ k[item, other, part]) / math.sqrt(width) for other in keys]
                total = sum(math.exp(score) for score in scores)
                for score, other in zip(scores, keys, strict=True):
                    out[item, place, part] += math.exp(score) / total * v[item, other, part]
    return out @ module.out.weight.t() + module.out.bias


@pytest.mark.parametrize("bias", ["full", "qv", "none"])
@torch.no_grad()
def test_attention_is_a_softmax_over_the_valid_keys(bias):
    module, x = stirred(Attention(DIM, HEADS, bias=bias)), tokens()
    valid = torch.ones(3, 6, dtype=torch.bool)
    torch.testing.assert_close(module(x), slow_attention(module, x, valid), atol=ROUNDING, rtol=0)
    valid[0, 4:] = valid[2, :3] = False
    torch.testing.assert_close(module(x, valid), slow_attention(module, x, valid), atol=ROUNDING, rtol=0)


@torch.no_grad()
def test_a_block_is_what_its_picture_says():
    block, x = stirred(TransformerBlock(DIM, HEADS, mlp_ratio=3.0)), tokens()

    def norm(layer, y):
        centred = y - y.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * layer.weight + layer.bias

    def gelu(y):
        return y * 0.5 * (1 + torch.erf(y / math.sqrt(2)))

    y = x + slow_attention(block.attention, norm(block.norm1, x), torch.ones(3, 6, dtype=torch.bool))
    wide, back = block.mlp[0], block.mlp[2]
    wanted = y + gelu(norm(block.norm2, y) @ wide.weight.t() + wide.bias) @ back.weight.t() + back.bias
    assert wide.weight.shape == (3 * DIM, DIM)
    torch.testing.assert_close(block(x), wanted, atol=ROUNDING, rtol=0)


def test_padding_changes_no_valid_token_and_a_row_of_padding_sees_itself():
    model, x = stirred(Transformer(DIM, 2, HEADS)), tokens().requires_grad_()
    valid = torch.ones(3, 6, dtype=torch.bool)
    valid[0, 4:], valid[1] = False, False
    out = model(x, valid).tokens
    with torch.no_grad():
        torch.testing.assert_close(out[:1, :4], model(x[:1, :4]).tokens, atol=ROUNDING, rtol=0)
        torch.testing.assert_close(out[1:2], model(x[1:2]).tokens, atol=ROUNDING, rtol=0)
    out.square().sum().backward()
    assert out.isfinite().all()
    assert x.grad.isfinite().all()


def test_a_bias_on_keys_changes_nothing():
    module, x = stirred(Attention(DIM, HEADS)), tokens()
    before = module(x)
    module.qkv.bias.data[DIM : 2 * DIM] += 5
    torch.testing.assert_close(module(x), before, atol=1e-4, rtol=0)


def test_drop_path_leaves_out_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    drop, x = DropPath(0.25), torch.ones(4000, 3, 2)
    out = drop(x)
    rates = out[:, 0, 0]
    assert torch.equal(out, rates.view(-1, 1, 1).expand_as(out))
    assert set(rates.tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs(float((rates == 0).float().mean()) - 0.25) < 0.03
    assert drop.eval()(x) is x
    for rate in (-0.1, 1.0):
        with pytest.raises(ValueError, match="left out at a rate"):
            DropPath(rate)


def test_drop_path_rises_over_the_blocks():
    rates = [block.drop.rate for block in Transformer(DIM, 5, HEADS, drop_path=0.2).blocks]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert Transformer(DIM, 1, HEADS, drop_path=0.2).blocks[0].drop.rate == 0


@torch.no_grad()
def test_hidden_states_are_those_between_the_blocks():
    model, x = stirred(Transformer(DIM, 3, HEADS)), tokens()
    out = model(x, hidden=True)
    assert model(x).hidden == ()
    assert torch.equal(out.hidden[0], x)
    for block, before, after in zip(model.blocks, out.hidden[:-1], out.hidden[1:], strict=True):
        assert torch.equal(block(before), after)
    assert torch.equal(model.norm(out.hidden[-1]), out.tokens)
    assert torch.equal(Transformer(DIM, 0, HEADS, final_norm=False)(x).tokens, x)


def test_recomputed_blocks_have_the_same_gradient_and_keep_less():
    torch.manual_seed(0)
    model, x = Transformer(DIM, 3, HEADS, drop_path=0.5), tokens()
    found = []
    for recompute in (False, True):
        model.recompute = recompute
        model.zero_grad()
        torch.manual_seed(1)
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, kept=kept: kept.append(t.numel()) or t, lambda t: t):
            loss = model(x).tokens.square().mean() + model(x).tokens[:, 0].sum()
        loss.backward()
        found.append(([p.grad.clone() for p in model.parameters()], sum(kept)))
    (plain, all_kept), (again, few_kept) = found
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))
    assert few_kept < all_kept / 4


def test_heads_that_do_not_divide_the_features_are_refused():
    with pytest.raises(ValueError, match="cannot be shared among 3 heads"):
        Attention(DIM, 3)
