import numpy as np
import pytest
import torch
from scipy.signal import correlate2d

from codeword.functional import image_similarity
from codeword.functional.image_similarity import ms_ssim, psnr, ssim, ssim_and_ms_ssim

WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])


def pair(*shape, seed=0, noise=0.1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(shape, generator=generator, dtype=torch.float64)
    return x, (x + noise * torch.randn(shape, generator=generator, dtype=torch.float64)).clamp(0, 1)


def plain_maps(x, y, peak):
    """Luminance and contrast of one channel, by the definition."""
    steps = np.arange(-5, 6)
    bell = np.exp(-(steps[:, None] ** 2 + steps[None] ** 2) / 4.5)
    bell /= bell.sum()

    def mean(values):
        return correlate2d(values, bell, mode="valid")

    mx, my = mean(x), mean(y)
    vx, vy, both = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    return (2 * mx * my + c1) / (mx**2 + my**2 + c1), (2 * both + c2) / (vx + vy + c2)


def test_psnr_is_that_of_a_known_error():
    x = torch.zeros(2, 3, 4, 5)
    y = x + torch.tensor([0.1, 0.01]).view(2, 1, 1, 1)
    assert torch.allclose(psnr(x, y), torch.tensor([20.0, 40.0]), atol=1e-4)
    assert torch.allclose(psnr(255 * x, 255 * y, peak=255.0), torch.tensor([20.0, 40.0]), atol=1e-4)
    assert psnr(x, x).isinf().all()


@pytest.mark.parametrize("peak", [1.0, 255.0])
def test_ssim_is_its_definition(peak):
    x, y = pair(2, 3, 19, 23)
    found = ssim(peak * x, peak * y, peak=peak)
    for row in range(2):
        maps = [plain_maps(peak * x[row, c].numpy(), peak * y[row, c].numpy(), peak) for c in range(3)]
        assert float(found[row]) == pytest.approx(np.mean([a * b for a, b in maps]), abs=1e-10)


@pytest.mark.parametrize("scales", [1, 3, 5])
def test_ms_ssim_is_its_definition(scales):
    x, y = pair(1, 2, 180, 177)
    exponents = WEIGHTS[:scales] / WEIGHTS[:scales].sum()
    wanted = []
    for channel in range(2):
        a, b, value = x[0, channel].numpy(), y[0, channel].numpy(), 1.0
        for scale, exponent in enumerate(exponents):
            luminance, contrast = plain_maps(a, b, 1.0)
            value *= (contrast if scale < scales - 1 else luminance * contrast).mean() ** exponent
            a, b = (
                v[: v.shape[0] // 2 * 2, : v.shape[1] // 2 * 2].reshape(v.shape[0] // 2, 2, -1, 2).mean((1, 3))
                for v in (a, b)
            )
        wanted.append(value)
    assert float(ms_ssim(x, y, scales=scales)) == pytest.approx(np.mean(wanted), abs=1e-10)


@pytest.mark.parametrize("piece", [1, 700, 10_000])
def test_pieces_are_the_whole(monkeypatch, piece):
    x, y = pair(2, 3, 183, 179)
    both = ssim(x, y), ms_ssim(x, y)
    monkeypatch.setattr(image_similarity, "_PIECE", piece)
    for found, wanted in zip(ssim_and_ms_ssim(x, y), both, strict=True):
        assert torch.allclose(found, wanted, rtol=0, atol=1e-12)
    assert torch.allclose(ssim(x, y), both[0], rtol=0, atol=1e-12)


def test_no_images_have_no_similarity():
    x = torch.zeros(0, 3, 200, 200)
    assert ssim(x, x).shape == ms_ssim(x, x).shape == psnr(x, x).shape == (0,)


def test_more_noise_is_less_alike_and_nothing_is_more_alike_than_the_same():
    x, _ = pair(1, 1, 40, 40)
    found = [float(ssim(x, pair(1, 1, 40, 40, noise=noise)[1])) for noise in (0.0, 0.05, 0.2)]
    assert found[0] == pytest.approx(1.0) and found[0] > found[1] > found[2]


def test_bright_flat_images_keep_their_digits():
    x = torch.full((1, 1, 32, 32), 250.0) + torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 1e-2
    exact = ssim(x.double(), x.flip(-1).double(), peak=255.0)
    assert torch.allclose(ssim(x, x.flip(-1), peak=255.0).double(), exact, atol=1e-5)


def test_gradients_reach_both_images():
    x, y = pair(1, 1, 24, 24)
    assert torch.autograd.gradcheck(lambda a: ssim(a, y[..., :12, :12]), x[..., :12, :12].requires_grad_())
    x.requires_grad_()
    ms_ssim(x, y, scales=2).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.abs().sum() > 0


def test_what_is_reversed_counts_as_nothing_and_leaves_gradients_finite():
    x = pair(1, 1, 24, 24)[0].requires_grad_()
    found = ms_ssim(x, 1 - x, scales=2)
    found.sum().backward()
    assert found.tolist() == [0.0]
    assert x.grad is not None and x.grad.isfinite().all()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: ssim(x, x), "11 x 11 pixels at least, got 40 x 10"),
        (lambda x: ms_ssim(x.repeat(1, 1, 1, 3), x.repeat(1, 1, 1, 3)), "176 x 176 .* or take 2 scales"),
        (lambda x: ms_ssim(x, x, scales=6), "1 to 5 scales, got 6"),
    ],
)
def test_images_that_are_too_small_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call(torch.rand(1, 1, 40, 10))
