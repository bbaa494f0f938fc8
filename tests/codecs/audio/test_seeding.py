import torch

from codeword.codecs.audio.layout import LappedLayout
from codeword.codecs.audio.model import AudioModel
from codeword.codecs.audio.seeding import can_seed, seed
from codeword.data.audio_stream import stream_audio
from codeword.functional.similarity import si_sdr
from contracts.audio_models import model

HOP = 320


def new(levels=3, size=16):
    torch.manual_seed(0)
    layout = LappedLayout(dim=16, inner=32, encoder_blocks=1, decoder_blocks=1, latent=32)
    return AudioModel(16000, layout, levels=levels, size=size, code_dim=None)


def speech(request):
    path = request.config.rootpath / "tests/fixtures/ru_0001.flac"
    whole = torch.cat(list(stream_audio(path, rate=16000, channels=1)), -1)
    return whole[:, : whole.shape[-1] // HOP * HOP].unsqueeze(0)


def test_a_seeded_model_is_a_codec_before_any_step(request):
    made, audio = new(levels=6, size=64), speech(request)
    seed(made, [audio])
    made.eval()
    with torch.no_grad():
        ratios = [float(si_sdr(made(audio, depth=depth).vectors, audio).mean()) for depth in (1, 3, 6)]
        whole = float(si_sdr(made.synthesise(made.analyse(audio).latents), audio).mean())
    assert ratios == sorted(ratios)
    assert ratios[-1] > 2.0
    assert whole > ratios[-1] + 1.0


def test_axes_are_orthonormal_and_hold_the_most_energy(request):
    made, audio = new(), speech(request)
    seed(made, [audio], steps=1)
    axes = made.encoder.linear.weight.detach()
    torch.testing.assert_close(axes @ axes.t(), torch.eye(32), atol=1e-5, rtol=0)
    lines = made.encoder.lines(audio).flatten(0, 1)
    kept = (lines @ axes.t()).square().sum()
    others = torch.linalg.qr(torch.randn(HOP, 32, generator=torch.Generator().manual_seed(1)))[0]
    assert kept > (lines @ others).square().sum()
    largest = lines.square().sum(0).topk(32).values.sum()
    assert kept >= largest * (1 - 1e-5)


def test_only_models_with_linear_parts_are_seeded():
    assert can_seed(new())
    assert not can_seed(model("spectral"))
