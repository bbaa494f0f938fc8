import warnings

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from codeword.functional.spectral import (
    Mel,
    frames,
    hann,
    hertz_to_mel,
    log_mel,
    magnitude,
    mel_filters,
    mel_spectrogram,
    mel_to_hertz,
    num_frames,
    overlap_add,
    stft,
)
from reference import spectra as slow

EXACT = 1e-12  # of float64 values of order 1
SINGLE = 1e-5  # of float32 spectra of order 10
CPU = torch.device("cpu")


def noise(seed, *shape, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("edges", ["centred", "strided", "inner"])
@pytest.mark.parametrize(("window", "hop", "time"), [(16, 4, 61), (32, 8, 64), (12, 3, 40), (15, 4, 40), (8, 8, 33)])
def test_transform_equals_its_definition(edges, window, hop, time):
    if edges == "strided" and (hop * 4 != window or hop % 2):
        pytest.skip("DAC defines these edges for a hop of a quarter, and rounds where it is odd")
    audio = noise(0, 2, 3, time)
    spectrum = stft(audio, window, hop, edges)
    assert spectrum.shape == (2, 3, num_frames(time, window, hop, edges), window // 2 + 1)
    expected = slow.stft(audio[1, 2], window, hop, edges)
    assert np.abs(spectrum[1, 2].numpy() - expected).max() < EXACT * window
    single = stft(audio.float(), window, hop, edges)
    assert single.dtype == torch.complex64
    assert (single - spectrum).abs().max() < SINGLE


def test_centred_transform_is_that_of_torch():
    audio = noise(1, 3, 500, dtype=torch.float32)
    window = torch.hann_window(64)
    expected = torch.stft(audio, 64, 16, window=window, return_complex=True).transpose(-1, -2)
    assert (stft(audio, 64, 16) - expected).abs().max() < SINGLE


@pytest.mark.parametrize("time", [5, 6, 7, 8, 9, 100])
def test_strided_frames_are_as_many_as_strides(time):
    assert frames(noise(2, time), 8, 2, "strided").shape == (-(-time // 2), 8)


@pytest.mark.parametrize("edges", ["centred", "strided", "inner"])
@pytest.mark.parametrize(("window", "hop"), [(8, 2), (9, 2), (8, 3), (4, 6)])
def test_derivatives_of_the_transform(edges, window, hop):
    audio = noise(3, 2, 19).requires_grad_()
    assert gradcheck(lambda x: stft(x, window, hop, edges), audio, fast_mode=True)
    assert gradcheck(lambda x: magnitude(stft(x, window, hop, edges)), audio, fast_mode=True)


def test_second_derivatives():
    audio = noise(4, 20).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: magnitude(stft(x, 8, 2)), audio)


@pytest.mark.parametrize(("window", "hop", "time"), [(8, 2, 30), (8, 3, 30), (4, 6, 30), (8, 2, 31)])
def test_overlap_add_is_the_adjoint_of_framing(window, hop, time):
    audio = noise(5, 2, time)
    cut = frames(audio, window, hop, "inner")
    weights = noise(6, *cut.shape)
    back = overlap_add(weights, hop, time)
    assert (back * audio).sum() == pytest.approx((weights * cut).sum().item(), rel=EXACT)


def test_magnitude_is_safe_at_zero_and_equal_to_the_absolute_value_elsewhere():
    silent = torch.zeros(4, 5, dtype=torch.complex64, requires_grad=True)
    magnitude(silent).sum().backward()
    assert silent.grad is not None
    assert silent.grad.abs().max() == 0
    assert magnitude(silent).max().item() == pytest.approx(1e-12)
    spectrum = torch.view_as_complex(noise(7, 6, 7, 2))
    assert (magnitude(spectrum) - spectrum.abs()).abs().max() < EXACT


@pytest.mark.parametrize(("scale", "norm"), [("slaney", True), ("slaney", False), ("htk", False), ("htk", True)])
@pytest.mark.parametrize(
    ("rate", "window", "bands", "ends"),
    [
        (16000, 512, 40, (0.0, None)),
        (44100, 2048, 320, (0.0, None)),
        (22050, 1024, 80, (20.0, 8000.0)),
        (44100, 32, 5, (0.0, None)),
    ],
)
def test_filters_equal_the_formulas(scale, norm, rate, window, bands, ends):
    mel = Mel(
        sample_rate=rate, window=window, hop=1, bands=bands, lowest=ends[0], highest=ends[1], scale=scale, norm=norm
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filters = mel_filters(mel, torch.float64, CPU)
    expected = slow.mel_filters(rate, window, bands, *ends, scale, norm)
    assert np.abs(filters.numpy() - expected).max() < EXACT


def test_filters_equal_another_library():
    library = pytest.importorskip("transformers.audio_utils")
    for scale, norm in (("slaney", "slaney"), ("htk", None)):
        expected = library.mel_filter_bank(257, 80, 0.0, 8000.0, 16000, norm=norm, mel_scale=scale)
        mel = Mel(sample_rate=16000, window=512, hop=128, bands=80, scale=scale, norm=norm is not None)
        assert np.abs(mel_filters(mel, torch.float64, CPU).numpy() - expected).max() < EXACT


def test_scales_by_hand_and_back():
    assert hertz_to_mel(np.array([0.0, 200.0, 1000.0, 6400.0])) == pytest.approx([0, 3, 15, 42])
    assert hertz_to_mel(np.array([0.0, 700.0]), "htk") == pytest.approx([0, 2595 * np.log10(2)])
    hertz = np.linspace(0, 22050, 100)
    for scale in ("slaney", "htk"):
        assert mel_to_hertz(hertz_to_mel(hertz, scale), scale) == pytest.approx(hertz, rel=1e-12, abs=1e-9)


def test_mel_spectrogram_and_its_logarithm():
    audio = noise(8, 2, 700)
    mel = Mel(sample_rate=8000, window=64, hop=16, bands=10)
    filters = slow.mel_filters(8000, 64, 10)
    power = Mel(sample_rate=8000, window=64, hop=16, bands=10, power=2.0)
    magnitudes = np.abs(slow.stft(audio[0], 64, 16))
    assert np.abs(mel_spectrogram(audio, mel)[0].numpy() - magnitudes @ filters).max() < EXACT
    assert np.abs(mel_spectrogram(audio, power)[0].numpy() - magnitudes**2 @ filters).max() < EXACT
    expected = np.log10(np.maximum(magnitudes @ filters, 0.01))
    assert np.abs(log_mel(audio, mel, floor=0.01)[0].numpy() - expected).max() < EXACT


def test_empty_bands_and_silence_lie_on_the_floor():
    mel = Mel(sample_rate=44100, window=32, hop=8, bands=10)
    empty = mel_filters(mel, torch.float64, CPU).sum(0) == 0
    assert 0 < empty.sum() < 10
    logs = log_mel(noise(9, 100), mel)
    assert (logs[:, empty] == -5).all()
    assert (logs[:, ~empty] > -5).all()
    assert (log_mel(torch.zeros(100), mel) == -5).all()


def test_half_precision_is_computed_in_single():
    audio = noise(10, 200).bfloat16()
    assert torch.equal(stft(audio, 32, 8), stft(audio.float(), 32, 8))
    mel = Mel(sample_rate=8000, window=32, hop=8, bands=8)
    with torch.autocast("cpu", torch.bfloat16):
        within = log_mel(audio, mel)
    assert within.dtype == torch.float32
    assert torch.equal(within, log_mel(audio.float(), mel))


def test_tables_are_kept_and_serve_training_after_inference():
    audio = noise(11, 100, dtype=torch.float32).requires_grad_()
    mel = Mel(sample_rate=8123, window=36, hop=9, bands=7)  # that no other test uses
    with torch.inference_mode():
        log_mel(audio, mel)
    log_mel(audio, mel).sum().backward()
    assert hann(36, torch.float32, CPU) is hann(36, torch.float32, CPU)
    assert hann(36, torch.float64, CPU).dtype == torch.float64


@pytest.mark.parametrize(("edges", "least"), [("centred", 17), ("strided", 20), ("inner", 32)])
def test_least_length(edges, least):
    stft(torch.zeros(least), 32, 8, edges)
    with pytest.raises(
        ValueError, match=rf"{least - 1} samples are too few for frames of 32: at least {least} are needed"
    ):
        stft(torch.zeros(least - 1), 32, 8, edges)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bands": 0}, "sample_rate, window, hop and bands must be 1 or more"),
        ({"highest": 4001.0}, "bands must lie between 0 and half the sample rate 8000, got 0.0 to 4001.0"),
        ({"lowest": 4000.0}, "bands must lie between 0 and half the sample rate 8000, got 4000.0 to 4000.0"),
    ],
)
def test_impossible_mels(change, message):
    with pytest.raises(ValueError, match=message):
        Mel(**{"sample_rate": 8000, "window": 32, "hop": 8, "bands": 8, **change})


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch warns about its own parts
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_compiles_whole():
    mel = Mel(sample_rate=8000, window=32, hop=8, bands=8)
    audio = noise(12, 2, 400, dtype=torch.float32)
    compiled = torch.compile(lambda x: log_mel(x, mel), fullgraph=True, backend="aot_eager")
    ours, theirs = audio.clone().requires_grad_(), audio.clone().requires_grad_()
    compiled(ours).sum().backward()
    log_mel(theirs, mel).sum().backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    assert (ours.grad - theirs.grad).abs().max() < SINGLE * theirs.grad.abs().max()
