import pytest
import torch

from codeword.functional.usage import entropy
from codeword.pretraining.tokenizer import ColdTokenizer, TrainedTokenizer, fit
from codeword.training.run import EMConfig
from contracts.pretraining import CONFIG, DIM, PATCH, SIZES, cold, quantizer, samples


def both():
    torch.manual_seed(0)
    return [cold(), TrainedTokenizer(CONFIG, quantizer())]


@pytest.mark.parametrize("kind", [0, 1])
def test_latents_have_length_one_and_codes_are_those_of_true_residuals(kind):
    tokenizer = both()[kind]
    inputs = samples(6).inputs(range(6), [0] * 6)
    fit(tokenizer, [inputs], EMConfig(steps=2))
    tokenizer.eval()
    latents = tokenizer.latents(inputs.values)
    assert latents.shape == (6, 6, DIM)
    torch.testing.assert_close(latents.norm(dim=-1), torch.ones(6, 6))
    codes = tokenizer.encode(inputs.values)
    residual = latents.detach()
    for level, table in enumerate(tokenizer.quantizer.codebooks()):
        assert torch.equal(codes[..., level], torch.cdist(residual, table).argmin(-1))
        residual = residual - table[codes[..., level]]


def test_padding_gets_no_codes_and_is_not_fitted():
    tokenizer, inputs = cold(), samples(4).inputs(range(4), [0] * 4)
    valid = torch.arange(6) < torch.tensor([[6], [3], [1], [0]])
    codes = tokenizer.encode(inputs.values, valid)
    assert torch.equal((codes >= 0).all(-1), valid)
    one = ColdTokenizer(1, PATCH, quantizer())
    other = ColdTokenizer(1, PATCH, quantizer())
    wild = inputs.values.clone()
    wild[3] = 1e3
    assert fit(one, [(inputs.values, valid)], EMConfig(steps=2)) == fit(other, [(wild, valid)], EMConfig(steps=2))


def test_a_cold_code_does_not_know_its_place():
    """Of patches that are drawn alike wherever they are, the place tells nothing about the code."""
    tokenizer = cold()
    noise = torch.rand(2000, 1, 12, 8, generator=torch.Generator().manual_seed(3))
    codes = tokenizer.encode(noise)[..., 0]
    whole = entropy(torch.bincount(codes.flatten(), minlength=SIZES[0]))
    placed = torch.stack([entropy(torch.bincount(codes[:, place], minlength=SIZES[0])) for place in range(6)]).mean()
    assert whole - placed < 0.01


def test_fingerprints_tell_all_that_decides():
    tokenizer = cold()
    assert tokenizer.fingerprint() == cold().fingerprint()
    assert tokenizer.fingerprint() != cold(seed=1).fingerprint()
    before = tokenizer.fingerprint()
    table = tokenizer.quantizer.stages[1].codebook
    table.assign(table.table.detach() + 0.1)
    assert tokenizer.fingerprint() != before


def test_a_cold_projection_is_never_trained():
    tokenizer = cold()
    assert "projection" in tokenizer.state_dict()
    assert all(name.startswith("quantizer.") for name, _ in tokenizer.named_parameters())


def test_an_offset_tells_soft_patches_from_loud_ones():
    """Without it a direction is all there is; with it what is nearly 0 has one direction, whatever its noise."""
    plain, offset = (ColdTokenizer(1, PATCH, quantizer(), offset=value) for value in (0.0, 1.0))
    x = torch.randn(8, 1, 12, 8, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(plain.latents(x), plain.latents(5 * x))
    alike = (offset.latents(x) * offset.latents(5 * x)).sum(-1)
    assert alike.mean() < 0.9
    quiet = offset.latents(0.001 * x).flatten(0, 1)
    assert (quiet @ quiet.t()).min() > 0.999
    spread = plain.latents(0.001 * x).flatten(0, 1)
    assert (spread @ spread.t()).min() < 0
    beside = offset.constant.norm() / plain.project(torch.randn(400, 1, 12, 8), None).square().sum(-1).mean().sqrt()
    assert 0.8 < beside < 1.25
    assert offset.fingerprint() != plain.fingerprint()
