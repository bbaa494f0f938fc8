import pytest
import torch

from codeword.nn.pooling import AttentivePooling, TokenPooling, mean_of_valid

TOLERANCE = 1e-5


def made():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(3, 7, 8, generator=generator)
    valid = torch.ones(3, 6, dtype=torch.bool)
    valid[0, 2:] = False
    return tokens, valid


@pytest.mark.parametrize("kind", ["mean", "cls", "attentive"])
def test_padding_changes_nothing(kind):
    tokens, valid = made()
    torch.manual_seed(0)
    pool = TokenPooling(kind, 8, 1, 2)
    other = tokens.clone()
    other[0, 3:] = 99.0
    assert torch.allclose(pool(tokens, valid), pool(other, valid), atol=TOLERANCE)
    assert torch.allclose(pool(tokens, valid)[1:], pool(tokens)[1:], atol=TOLERANCE)
    assert torch.allclose(pool(tokens, valid)[:1], pool(tokens[:1, :3]), atol=TOLERANCE)


def test_what_is_pooled():
    tokens, valid = made()
    assert torch.equal(TokenPooling("cls", 8, 1, 2)(tokens), tokens[:, 0])
    assert torch.allclose(TokenPooling("mean", 8, 1, 2)(tokens, valid)[0], tokens[0, 1:3].mean(0), atol=TOLERANCE)
    assert torch.equal(mean_of_valid(tokens[:, 1:], torch.zeros_like(valid)), torch.zeros(3, 8))


def test_attention_is_a_softmax_over_patches():
    tokens, _ = made()
    torch.manual_seed(1)
    pool = AttentivePooling(8, 2)
    with torch.no_grad():
        pool.query.copy_(3 * torch.randn(2, 4))
    keys, values = pool.key_value(pool.norm(tokens)).split(8, -1)
    parts = []
    for head in range(2):
        span = slice(4 * head, 4 * head + 4)
        weights = (keys[..., span] @ pool.query[head] / 4**0.5).softmax(1)
        parts.append((weights.unsqueeze(-1) * values[..., span]).sum(1))
    assert torch.allclose(pool(tokens), pool.out(torch.cat(parts, 1)), atol=TOLERANCE)


def test_nothing_but_padding_gives_something_finite():
    tokens, valid = made()
    assert AttentivePooling(8, 2)(tokens[:, 1:], torch.zeros_like(valid)).isfinite().all()


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="cls token"):
        TokenPooling("cls", 8, 0, 2)
    with pytest.raises(ValueError, match="heads"):
        AttentivePooling(8, 3)
