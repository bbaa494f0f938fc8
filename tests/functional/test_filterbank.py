from itertools import pairwise

import kaldi_native_fbank as kaldi
import numpy as np
import pytest
import torch

from codeword.data.audio_files import read_audio
from codeword.functional.filterbank import FLOOR, MelConfig, frame_counts, log_mel
from contracts.audio_samples import FIXTURES

CLOSE = 1e-3  # nat
QUIET = 17.0  # nat below the loudest band of the frame: from here on float32 rounds in either
CLOSE_IN_QUIET = 1e-2  # nat
SAMPLES = 24000


def by_kaldi(audio, config):
    options = kaldi.FbankOptions()
    frame, mel = options.frame_opts, options.mel_opts
    frame.samp_freq, frame.dither, frame.window_type = config.rate, 0.0, config.window
    frame.preemph_coeff, frame.frame_length_ms, frame.frame_shift_ms = (
        config.preemphasis,
        config.frame_ms,
        config.shift_ms,
    )
    frame.snip_edges = frame.remove_dc_offset = True
    mel.num_bins, mel.low_freq, mel.high_freq = config.bins, config.low, config.top
    options.use_energy, options.htk_compat = False, True
    computer = kaldi.OnlineFbank(options)
    computer.accept_waveform(config.rate, audio.tolist())
    computer.input_finished()
    return np.stack([computer.get_frame(number) for number in range(computer.num_frames_ready)])


CONFIGS = {
    "bridle": MelConfig(),
    "kaldi": MelConfig(window="povey", bins=80),
    "speech": MelConfig(bins=23, low=60.0, high=7600.0, preemphasis=0.9),
    "plain": MelConfig(preemphasis=0.0, frame_ms=32.0, shift_ms=8.0),
    "8k": MelConfig(rate=8000, bins=40),
    "22k": MelConfig(rate=22050),
    "48k": MelConfig(rate=48000, bins=64, frame_ms=20.0),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("name", ["ru_0001", "ambi_choir", "perc_bell"])
def test_it_is_the_filterbank_of_kaldi(name, config):
    """The rates are those of the configurations: the same samples, played at another speed."""
    audio = read_audio(FIXTURES / f"{name}.flac")[:1, :SAMPLES]
    ours, theirs = log_mel(audio, config.rate, config)[0].numpy(), by_kaldi(audio[0], config)
    assert ours.shape == theirs.shape
    error = np.abs(ours - theirs)
    loud = theirs > theirs.max(1, keepdims=True) - QUIET
    assert loud.mean() > 0.5
    assert error[loud].max() < CLOSE
    assert error.max() < CLOSE_IN_QUIET


@pytest.mark.parametrize("length", [400, 559, 560, 4000])
def test_there_are_as_many_frames_as_kaldi_has(length):
    audio = torch.randn(1, length, generator=torch.Generator().manual_seed(0))
    count = log_mel(audio, 16000).shape[1]
    assert count == len(by_kaldi(audio[0], MelConfig()))
    assert frame_counts(torch.tensor([length]), MelConfig()).tolist() == [count]
    assert MelConfig().samples(count) <= length < MelConfig().samples(count + 1)


def test_valid_frames_hold_nothing_of_the_padding():
    config = MelConfig(bins=20)
    lengths = torch.tensor([0, 399, 400, 1000, 1359])
    counts = frame_counts(lengths, config)
    assert counts.tolist() == [0, 0, 1, 4, 6]
    audio = torch.randn(5, 1400, generator=torch.Generator().manual_seed(1))
    padded = audio * (torch.arange(1400) < lengths[:, None])
    whole, cut = log_mel(audio, 16000, config), log_mel(padded, 16000, config)
    for clip, count in enumerate(counts.tolist()):
        assert torch.equal(whole[clip, :count], cut[clip, :count])
        assert not torch.equal(whole[clip, count], cut[clip, count])


def test_silence_is_the_floor_and_a_tone_lies_where_it_should():
    assert torch.equal(log_mel(torch.full((2, 800), 0.3), 16000), torch.full((2, 3, 128), FLOOR).log())
    loudest = [
        log_mel(torch.sin(torch.arange(800) * (2 * torch.pi * hertz / 16000))[None], 16000)[0, 0].argmax().item()
        for hertz in (300, 1000, 3000, 7000)
    ]
    assert all(a < b for a, b in pairwise(loudest))
    mel = 1127 * np.log1p(np.array([20, 8000, 1000]) / 700)
    assert loudest[1] == pytest.approx((mel[2] - mel[0]) / (mel[1] - mel[0]) * 129 - 1, abs=1)


def test_its_gradient_is_that_of_small_changes():
    config = MelConfig(rate=800, bins=4, low=0.0)
    audio = torch.randn(2, 40, generator=torch.Generator().manual_seed(2), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: log_mel(x, 800, config), audio)
    silent = torch.zeros(1, 400, requires_grad=True)
    log_mel(silent, 16000).sum().backward()
    assert silent.grad.eq(0).all()


def test_it_is_differentiable_after_use_in_inference_mode():
    config = MelConfig(bins=17)
    with torch.inference_mode():
        log_mel(torch.ones(1, 400), 16000, config)
    audio = torch.randn(1, 400, generator=torch.Generator().manual_seed(3)).requires_grad_()
    log_mel(audio, 16000, config).sum().backward()
    assert audio.grad.ne(0).any()


def test_low_precision_stays_outside():
    audio = torch.randn(1, 4000, generator=torch.Generator().manual_seed(4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(log_mel(audio, 16000), log_mel(audio, 16000).float())
    assert log_mel(audio.bfloat16(), 16000).dtype == torch.float32


def test_it_can_be_exported_for_any_batch():
    class Front(torch.nn.Module):
        def forward(self, audio):
            return log_mel(audio, 16000)

    audio = torch.randn(3, 1600, generator=torch.Generator().manual_seed(5))
    program = torch.export.export(Front(), (audio[:2],), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    assert torch.equal(program.module()(audio), log_mel(audio, 16000))


def test_what_it_cannot_do_is_told():
    with pytest.raises(ValueError, match="44100 hertz for a filterbank at 16000 hertz: resample"):
        log_mel(torch.zeros(1, 44100), 44100)
    with pytest.raises(ValueError, match="399 samples are too few"):
        log_mel(torch.zeros(1, 399), 16000)
    with pytest.raises(ValueError, match="1 bin"):
        MelConfig(bins=0)
    with pytest.raises(ValueError, match="half the rate"):
        MelConfig(rate=8000, high=8000.0)
