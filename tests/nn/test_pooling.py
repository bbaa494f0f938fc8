import pytest
import torch

from codeword.nn.pooling import AttentivePooling, TokenPooling, mean_of_valid, pooled, widening

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


def test_quarters_are_of_what_is_no_padding():
    tokens = torch.arange(2 * 9 * 2, dtype=torch.float32).view(1, 18, 2).expand(2, -1, -1)
    valid = torch.ones(2, 18, dtype=torch.bool)
    valid[0, 12:] = False  # six steps of two bands
    found = pooled(tokens, "quarters", (9, 2), valid).view(2, 4, 2, 2)
    steps = tokens[0].view(9, 2, 2)
    for row, edges in ((0, ((0, 1), (1, 3), (3, 4), (4, 6))), (1, ((0, 2), (2, 4), (4, 6), (6, 9)))):
        for part, (first, end) in enumerate(edges):
            assert torch.allclose(found[row, part], steps[first:end].mean(0))
    assert torch.allclose(pooled(tokens, "bands", (9, 2), valid)[0].view(2, 2), steps[:6].mean(0))
    assert found.shape[1] * 2 * 2 == 2 * widening("quarters", (9, 2))


def test_fewer_steps_than_quarters():
    tokens = torch.arange(3.0).view(1, 3, 1)
    valid = torch.tensor([[True, True, False]])
    assert pooled(tokens, "quarters", (3,), valid).tolist() == [[0, 0, 1, 1]]
    assert pooled(tokens, "quarters", (3,), ~valid & False).tolist() == [[0, 0, 0, 0]]


def test_the_mean_of_bands_is_the_mean():
    tokens = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0))
    bands = pooled(tokens, "bands", (3, 2)).view(2, 2, 3)
    assert torch.allclose(bands.mean(1), pooled(tokens, "mean", (3, 2)), atol=TOLERANCE)
