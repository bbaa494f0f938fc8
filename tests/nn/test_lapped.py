import math

import numpy as np
import pytest
import torch

from codeword.nn.lapped import LappedDecoder, LappedEncoder, LappedTransform, assign_axes, compand, expand

HOP, LATENT = 16, 10
ROUNDING = 1e-5


def waves(samples, seed=0):
    return torch.randn(2, samples, generator=torch.Generator().manual_seed(seed))


def pair(latent=LATENT, *, axes=None):
    torch.manual_seed(0)
    sizes = {"dim": 8, "inner": 16, "blocks": 2, "latent": latent}
    encoder, decoder = LappedEncoder(HOP, **sizes), LappedDecoder(HOP, **sizes)
    assign_axes(encoder, decoder, torch.linalg.qr(torch.randn(HOP, HOP))[0][:latent] if axes is None else axes)
    return encoder, decoder


def test_lines_are_the_sums_of_the_definition():
    x = waves(2 * HOP)
    n, k = np.arange(2 * HOP)[None], np.arange(HOP)[:, None]
    window = np.sin(math.pi / (2 * HOP) * (n + 0.5))
    cosines = math.sqrt(2 / HOP) * window * np.cos(math.pi / HOP * (n + 0.5 + HOP / 2) * (k + 0.5))
    wanted = np.einsum("kn,bn->bk", cosines, x.double().numpy())
    np.testing.assert_allclose(LappedTransform(HOP)(x)[:, 0].numpy(), wanted, atol=ROUNDING)


def test_the_inverse_gives_back_all_but_the_ends_and_keeps_energy():
    transform, x = LappedTransform(HOP), waves(12 * HOP)
    back = transform.inverse(transform(x))
    torch.testing.assert_close(back[:, HOP:-HOP], x[:, HOP:-HOP], atol=ROUNDING, rtol=0)
    quiet = torch.nn.functional.pad(x[:, : 8 * HOP], (HOP, HOP))
    torch.testing.assert_close(transform(quiet).square().sum((1, 2)), quiet.square().sum(1), rtol=1e-4, atol=0)


@pytest.mark.parametrize("overlap", [2, 8, HOP])
def test_frames_may_overlap_less(overlap):
    transform, x = LappedTransform(HOP, overlap), waves(12 * HOP)
    torch.testing.assert_close(transform.inverse(transform(x))[:, HOP:-HOP], x[:, HOP:-HOP], atol=ROUNDING, rtol=0)
    reached = transform.basis.abs().amax(0) > 0
    assert int(reached.sum()) == HOP + overlap
    with pytest.raises(ValueError, match="an overlap is even, and at most the hop 16, got 18"):
        LappedTransform(HOP, 18)


def test_companding_is_undone():
    x = torch.linspace(-3, 3, 601)
    assert (expand(compand(x)) - x).abs().max() < 1e-3
    assert compand(torch.zeros(1)) == 0
    x.requires_grad_()
    compand(x).sum().backward()
    assert x.grad.isfinite().all()


def test_a_new_codec_with_all_axes_is_transparent():
    """Ends included: they overlap with the frames made from silence."""
    encoder, decoder = pair(HOP)
    x = torch.nn.functional.pad(waves(6 * HOP), (HOP, HOP)).unsqueeze(1)
    torch.testing.assert_close(decoder(encoder(x).latents), x, atol=2e-3, rtol=0)


def test_a_frame_reaches_its_surroundings_and_no_further():
    encoder, _ = pair()
    torch.nn.init.normal_(encoder.last.weight)
    x = waves(40 * HOP).unsqueeze(1)
    changed = x.clone()
    changed[..., 20 * HOP : 21 * HOP] += 1
    moved = (encoder(x).latents - encoder(changed).latents).abs().amax((0, 1)) > 1e-6
    touched = moved.nonzero().flatten()
    assert int(touched.min()) == 20 - 7  # two blocks of three frames to each side, and half a window
    assert int(touched.max()) == 20 + 7


@pytest.mark.parametrize("hop", [0, 15])
def test_odd_hops_are_refused(hop):
    with pytest.raises(ValueError, match="needs an even hop"):
        LappedTransform(hop)
