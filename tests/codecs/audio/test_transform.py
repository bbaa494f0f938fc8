import pytest
import torch

from codeword.codecs.audio.transform import AudioTransform
from codeword.codecs.audio.windows import windows
from contracts.audio_models import LAYOUTS, model, noise

CLOSE = 1e-5  # of full scale
TIES = 0.01  # share of frames where two codewords are equally near but for rounding


def encoded(transform, signal, *, block=None):
    parts = list(transform.encode(signal.split(block or max(1, signal.shape[-1]), -1)))
    return torch.cat([p.codes for p in parts], 1), torch.cat([p.importance for p in parts], 1)


def differing(codes, others):
    return float((codes != others).any(-1).float().mean())


def decoded(transform, codes, *, block=1000):
    return torch.cat(list(transform.decode(codes.split(block, 1))), -1)


@pytest.mark.parametrize("size", [1, 10, 200])
@pytest.mark.parametrize("block", [1, 7, 103])
def test_windows_tile_the_signal_whatever_the_blocks(size, block):
    signal = torch.arange(103)
    found = list(windows(signal.split(block), size, 4))
    assert torch.equal(torch.cat([w.values[w.skip : w.skip + w.count] for w in found]), signal)
    for one, other in zip(found, windows([signal], size, 4), strict=True):
        assert torch.equal(one.values, other.values)
    for number, window in enumerate(found):
        left, right = max(0, number * size - 4), min(103, number * size + window.count + 4)
        assert window.values.tolist() == list(range(left, right))


@pytest.mark.parametrize("name", LAYOUTS)
def test_windows_equal_the_whole(name):
    net = model(name)
    signal = noise(2, 320 * 120)
    whole = AudioTransform(net, seconds=60.0)
    parts = AudioTransform(net, seconds=0.3)
    codes, importance = encoded(whole, signal)
    with torch.no_grad():
        direct = net.analyse(signal.unsqueeze(1))
    torch.testing.assert_close(importance, direct.importance, atol=CLOSE, rtol=0)
    assert differing(codes, net.quantizer.quantizer.encode(direct.latents)) < TIES
    some_codes, some_importance = encoded(parts, signal)
    torch.testing.assert_close(some_importance, importance, atol=CLOSE, rtol=0)
    assert differing(some_codes, codes) < TIES
    wave = decoded(whole, codes)
    assert wave.shape == signal.shape
    assert wave.abs().max() > 1e-3
    torch.testing.assert_close(decoded(parts, codes), wave, atol=CLOSE, rtol=0)


@pytest.mark.parametrize("name", ["wave", "spectral"])
def test_codes_do_not_depend_on_blocks_channels_or_threads(name):
    transform = AudioTransform(model(name), seconds=0.4)
    signal = noise(2, 25_000)
    codes, importance = encoded(transform, signal)
    for block in (1000, 319, 12_345):
        again, same = encoded(transform, signal, block=block)
        assert torch.equal(again, codes)
        assert torch.equal(same, importance)
    alone, _ = encoded(transform, signal[1:])
    assert torch.equal(alone, codes[1:])
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        again, _ = encoded(transform, signal)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(again, codes)
    wave = decoded(transform, codes)
    assert torch.equal(decoded(transform, codes, block=3), wave)


@pytest.mark.parametrize("samples", [1, 319, 320, 321, 1281])
def test_any_length(samples):
    transform = AudioTransform(model("spectral"))
    codes, _ = encoded(transform, noise(1, samples))
    assert codes.shape[1] == -(-samples // 320)
    assert decoded(transform, codes).shape[-1] == codes.shape[1] * 320


def test_nothing_gives_nothing():
    transform = AudioTransform(model("wave"))
    assert list(transform.encode([])) == []
    assert list(transform.decode([])) == []
    assert list(transform.encode([torch.zeros(1, 0)])) == []


def test_causal_models_never_look_ahead():
    net = model("wave causal")
    signal = noise(1, 320 * 50)
    longer = torch.cat([signal, noise(1, 320 * 10, seed=5)], -1)
    with torch.no_grad():
        short, long = net.analyse(signal.unsqueeze(1)), net.analyse(longer.unsqueeze(1))
        torch.testing.assert_close(long.latents[:, :50], short.latents, atol=1e-6, rtol=0)
        torch.testing.assert_close(long.importance[:, :50], short.importance, atol=1e-6, rtol=0)
        made, more = net.synthesise(short.latents), net.synthesise(long.latents)
    torch.testing.assert_close(more[..., : 320 * 50], made, atol=1e-6, rtol=0)


def test_reach_is_enough_and_not_twice_too_much():
    for name, layout in LAYOUTS.items():
        net = model(name)
        encoder, decoder = net.encoder, net.decoder
        x = noise(1, 200 * layout.hop).unsqueeze(1).requires_grad_()
        (grad,) = torch.autograd.grad(encoder(x).latents[..., 100].sum(), x)
        seen = grad[0, 0].nonzero() / layout.hop
        most = max(100 - float(seen.min()), float(seen.max()) - 101)
        assert most <= layout.reach[0] <= 1.2 * most + 3
        z = noise(layout.latent, 200, seed=2).unsqueeze(0).requires_grad_()
        (grad,) = torch.autograd.grad(decoder(z)[..., 100 * layout.hop].sum(), z)
        seen = grad.abs().sum((0, 1)).nonzero()
        most = max(100 - int(seen.min()), int(seen.max()) - 100)
        assert most <= layout.reach[1] <= 1.2 * most + 3
