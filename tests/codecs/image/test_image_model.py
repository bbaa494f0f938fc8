import pytest
import torch

from codeword.codecs.image.layout import PatchLayout, ResidualLayout
from codeword.codecs.image.model import ImageModel
from codeword.nn.patch_codec import assign_axes
from codeword.quantizers import ProductQuantizer, ResidualQuantizer, VectorQuantizer
from codeword.quantizers.storage import read_module, write_module

SMALL = ResidualLayout(latent=8, width=16, inner=4)


def model(layout=SMALL, quantizer=None, channels=3):
    torch.manual_seed(0)
    made = ImageModel(channels, layout, quantizer or VectorQuantizer(layout.latent, 16))
    made.train()(torch.rand(8, channels, 16, 16))  # seeds codebooks
    return made.eval()


@pytest.mark.parametrize("size", [(1, 1), (3, 9), (16, 4), (17, 30)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_size_come_back_in_their_size(size, channels):
    made, images = model(channels=channels), torch.rand(2, channels, *size)
    codes = made.encode(images)
    assert codes.shape == (2, -(-size[0] // 4), -(-size[1] // 4), 1)
    assert made.decode(codes, size).shape == images.shape
    torch.testing.assert_close(made.decode(codes, size), made(images).vectors)


@pytest.mark.parametrize(
    "layout",
    [
        SMALL,
        ResidualLayout(latent=8, width=16, inner=4, blocks=1, halvings=3),
        PatchLayout(latent=8, patch=4, dim=6, inner=6, encoder_blocks=1, decoder_blocks=2),
    ],
)
def test_reach_is_what_networks_depend_on(layout):
    """A changed pixel changes latents as far as the reach, one beyond it none; and likewise back."""
    encoder, decoder = layout.encoder(1).double(), layout.decoder(1).double()
    for network in (encoder, decoder):
        if hasattr(network, "last"):  # begins with nothing
            torch.nn.init.normal_(network.last.weight)
    count = 2 * max(layout.reach) + 3
    middle, generator = count // 2, torch.Generator().manual_seed(0)
    latents = torch.randn(1, 8, count, count, generator=generator, dtype=torch.float64).requires_grad_()
    pixels = torch.rand(1, 1, *[layout.step * count] * 2, generator=generator, dtype=torch.float64).requires_grad_()
    encoder(pixels)[..., middle, middle].sum().backward()
    touched = pixels.grad.abs().sum((0, 1)).reshape(count, layout.step, count, layout.step).sum((1, 3)) > 0
    assert _spread(touched, middle) == layout.reach[0]
    first = layout.step * middle
    decoder(latents)[..., first : first + layout.step, first : first + layout.step].sum().backward()
    assert _spread(latents.grad.abs().sum((0, 1)) > 0, middle) == layout.reach[1]


def _spread(touched, middle):
    places = touched.nonzero()
    return int((places - middle).abs().max())


@pytest.mark.parametrize("channels", [1, 3])
def test_a_patch_layout_begins_as_an_orthonormal_transform(channels):
    values = 16 * channels
    layout = PatchLayout(latent=values, patch=4, dim=6, inner=6)
    made = ImageModel(channels, layout, VectorQuantizer(values, 4))
    assign_axes(made.encoder, made.decoder, torch.linalg.qr(torch.randn(values, values))[0])
    images = torch.rand(2, channels, 9, 14)
    torch.testing.assert_close(made.synthesise(made.analyse(images).latents, (9, 14)), images, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match=f"a patch has {values} values, a latent 1 to as many features: got 49"):
        ImageModel(channels, PatchLayout(latent=49, patch=4), VectorQuantizer(49, 4))


def test_importance_decides_how_much_is_spent():
    torch.manual_seed(0)
    made = ImageModel(3, SMALL, ResidualQuantizer([VectorQuantizer(8, 16) for _ in range(4)]), importance=8)
    images = torch.rand(2, 3, 20, 12)
    made.train()(images)
    made.eval()
    importance = made.analyse(images).importance
    assert importance.shape == (2, 5, 3)
    for scale in (1.0, 5.0, 24.0):
        codes = made(images, scale).codes
        wanted = ((importance * scale).floor() + 1).clamp(1, 4)
        assert torch.equal((codes >= 0).sum(-1), wanted.long())
    assert torch.equal(made(images, torch.tensor([1.0, 24.0])).codes[0], made(images, 1.0).codes[0])
    made(images, 5.0).vectors.square().sum().backward()
    assert all(part.grad is not None for part in made.importance.parameters())
    with pytest.raises(ValueError, match="scales lie between 1 and 24"):
        made(images, 30.0)
    with pytest.raises(ValueError, match="no importance net"):
        model()(torch.rand(1, 3, 8, 8), 2.0)


def test_networks_are_those_of_the_paper():
    made = ImageModel()
    assert made.step == 4 and made.layout.latent == 64
    shapes = [tuple(weight.shape) for weight in made.encoder.parameters() if weight.ndim == 4]
    assert shapes[:3] == [(64, 3, 4, 4), (128, 64, 4, 4), (128, 128, 3, 3)]
    assert shapes[3:7] == [(32, 128, 3, 3), (128, 32, 1, 1)] * 2
    assert shapes[7:] == [(64, 128, 1, 1)]
    assert made(torch.rand(1, 3, 32, 32)).codes.shape == (1, 8, 8, 1)


@pytest.mark.parametrize(
    "quantizer",
    [
        lambda: ResidualQuantizer([VectorQuantizer(8, 16) for _ in range(3)]),
        lambda: ProductQuantizer([VectorQuantizer(4, 16) for _ in range(2)]),
    ],
)
def test_any_quantizer_is_a_bottleneck_and_models_come_back(quantizer, tmp_path):
    made, images = model(quantizer=quantizer()), torch.rand(2, 3, 12, 8)
    write_module(tmp_path, made, "image")
    again = read_module(tmp_path, "image")
    assert torch.equal(again.encode(images), made.encode(images))
    assert torch.equal(again.decode(made.encode(images)), made.decode(made.encode(images)))


def test_it_learns():
    torch.manual_seed(0)
    made, images = ImageModel(1, SMALL), torch.rand(16, 1, 4, 4).repeat_interleave(4, -1).repeat_interleave(4, -2)
    optimizer = torch.optim.Adam(made.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        found = made(images)
        losses.append((found.vectors - images).square().mean())
        optimizer.zero_grad()
        (losses[-1] + found.loss).backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="latents have 8 features, the quantizer is of 4"):
        ImageModel(3, SMALL, VectorQuantizer(4, 16))
    with pytest.raises(ValueError, match="3-channel images, got 1"):
        model().encode(torch.rand(1, 1, 8, 8))
