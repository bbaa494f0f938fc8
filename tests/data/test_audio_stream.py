import io
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.data.audio_errors import AudioError
from codeword.data.audio_files import audio_info, read_audio
from codeword.data.audio_resample import mix, resample, resample_blocks, resampled_length
from codeword.data.audio_stream import stream_audio, stream_samples
from codeword.data.audio_writer import AudioWriter
from contracts.audio_samples import MEDIA, SNDFILE, SPEECH, pipe, signal, write

STREAMED = 1e-6  # difference of samples resampled in blocks, full scale 1


def joined(stream):
    return torch.cat([torch.zeros(stream.channels, 0), *stream], 1)


@pytest.mark.parametrize("suffix", [*SNDFILE, *MEDIA])
@pytest.mark.parametrize("kind", ["path", "file", "pipe"])
def test_blocks_are_the_file(suffix, kind, tmp_path):
    if (suffix, kind) in (("g722", "file"), ("g722", "pipe")):
        pytest.skip("only its name tells G.722")
    path = write(tmp_path / f"a.{suffix}", signal())
    whole = read_audio(path)
    if kind == "path":
        blocks = list(stream_audio(path, block=777))
    elif kind == "file":
        with path.open("rb") as file:
            blocks = list(stream_audio(file, block=777))
    else:
        with pipe(path.read_bytes()) as end:
            blocks = list(stream_audio(end, block=777))
    assert {block.shape[1] for block in blocks[:-1]} == {777}
    assert torch.equal(torch.cat(blocks, 1), whole)


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize("block", [100, 4096, 10**6])
def test_resampled_blocks_are_the_whole_resampled(rate, block):
    stream = stream_audio(SPEECH, rate=rate, block=block)
    assert stream.source_rate == 16000
    audio = joined(stream)
    assert audio.shape[1] == stream.frames == -(-257278 * rate // 16000)
    wanted = resample(read_audio(SPEECH).numpy(), 16000, rate)
    assert np.abs(audio.numpy() - wanted).max() <= STREAMED


@settings(max_examples=60, deadline=None)
@given(
    frames=st.integers(0, 3000),
    rates=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    block=st.integers(1, 700),
)
def test_the_length_is_the_ratio_rounded_up(frames, rates, block):
    audio = signal(frames, 1)
    rate_in, rate_out = (800 * rate for rate in rates)
    parts = list(resample_blocks((audio[:, i : i + block] for i in range(0, frames, block)), rate_in, rate_out, 1))
    length = sum(part.shape[1] for part in parts)
    assert length == resampled_length(frames, rate_in, rate_out) == int(np.ceil(frames * rate_out / rate_in - 1e-9))
    assert resample(audio, rate_in, rate_out).shape == (1, length)


def test_resampling_keeps_tones_and_time():
    time = np.arange(44100) / 44100
    tone = np.sin(2 * np.pi * 1000 * time, dtype=np.float32)[None]
    out = resample(tone, 44100, 16000)
    wanted = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    assert np.abs(out[0, 100:-100] - wanted[100:-100]).max() < 1e-4


def test_channels_are_mixed_and_copied():
    audio = signal(50, 8)
    assert np.allclose(mix(audio, 1)[0], audio.mean(0), atol=1e-6)
    assert np.array_equal(mix(audio[:1], 2), np.stack([audio[0], audio[0]]))
    assert np.allclose(mix(audio, 2), np.stack([audio[::2].mean(0), audio[1::2].mean(0)]), atol=1e-6)
    assert mix(audio, 8) is audio


def test_a_stream_is_mixed_before_it_is_resampled(tmp_path):
    path = write(tmp_path / "a.wav", signal(5000, 3))
    mono = joined(stream_audio(path, rate=16000, channels=1))
    assert np.abs(mono.numpy() - resample(read_audio(path).numpy().mean(0, keepdims=True), 44100, 16000)).max() < 1e-6
    assert joined(stream_audio(path, channels=6)).shape == (6, 5000)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_wav_through_a_pipe(subtype, channels, tmp_path):
    path = write(tmp_path / "a.wav", signal(70001, channels), subtype=subtype)
    with pipe(path.read_bytes()) as end:
        stream = stream_audio(end)
        assert torch.equal(joined(stream), read_audio(path))
        assert stream.frames == 70001


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_wav_from_a_pipe_may_not_know_its_length(size, tmp_path):
    path = write(tmp_path / "a.wav", signal())
    raw, whole = bytearray(path.read_bytes()), read_audio(path)
    raw[4:8] = raw[40:44] = size.to_bytes(4, "little")
    with pipe(bytes(raw)) as end:
        stream = stream_audio(end)
        assert stream.frames is None
        assert torch.equal(joined(stream), whole)


def test_a_flac_from_a_pipe_may_not_know_its_length(tmp_path):
    path = write(tmp_path / "a.flac", signal())
    raw, whole = bytearray(path.read_bytes()), read_audio(path)
    raw[21] &= 0xF0
    raw[22:26] = bytes(4)
    with pipe(bytes(raw)) as end:
        stream = stream_audio(end)
        assert stream.frames is None
        assert torch.equal(joined(stream), whole)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_blocks_come_before_the_pipe_has_ended(suffix, tmp_path):
    """The rest is sent only after the first block has arrived."""
    raw = write(tmp_path / f"a.{suffix}", signal(300000, 1)).read_bytes()
    reading, writing = os.pipe()
    arrived, waited = threading.Event(), []

    def feed():
        with os.fdopen(writing, "wb") as end:
            end.write(raw[:20000])  # 10,000 frames or more
            end.flush()
            waited.append(arrived.wait(10))
            end.write(raw[20000:])

    feeder = threading.Thread(target=feed)
    feeder.start()
    with os.fdopen(reading, "rb", buffering=0) as end:
        blocks = iter(stream_audio(end, block=1000))
        assert next(blocks).shape == (1, 1000)
        arrived.set()
        assert sum(block.shape[1] for block in blocks) == 299000
    feeder.join()
    assert waited == [True]


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_a_named_pipe_is_a_pipe(suffix, tmp_path):
    path = write(tmp_path / f"a.{suffix}", signal())
    os.mkfifo(tmp_path / "pipe")
    feeder = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(path.read_bytes()))
    feeder.start()
    audio = joined(stream_audio(tmp_path / "pipe"))
    feeder.join()
    assert torch.equal(audio, read_audio(path))


@pytest.mark.parametrize("cut", [0, 3, 30, 44, 1001, 60000])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_pipe_that_breaks_off_is_an_error(cut, suffix, tmp_path):
    raw = write(tmp_path / f"a.{suffix}", signal()).read_bytes()
    with pipe(raw[:cut]) as end, pytest.raises(AudioError, match="the stream") as caught:
        joined(stream_audio(end))
    assert "\n" not in str(caught.value)


def test_nothing_but_noise_is_an_error():
    with pipe(np.random.default_rng(0).bytes(100000)) as end, pytest.raises(AudioError, match="no audio"):
        stream_audio(end)
    with pytest.raises(AudioError, match="empty"):
        stream_audio(io.BytesIO())


def test_a_nan_is_named_with_its_place_in_the_stream(tmp_path):
    audio = signal(200000, 1)
    audio[0, 150000] = np.nan
    path = write(tmp_path / "a.wav", audio, subtype="FLOAT")
    with pytest.raises(AudioError, match="frame 150000"):
        joined(stream_audio(path, rate=16000))
    with pipe(path.read_bytes()) as end, pytest.raises(AudioError, match="frame 150000"):
        joined(stream_audio(end))


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_no_samples_give_no_blocks(suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    with AudioWriter(path, rate=44100, channels=2):
        pass
    stream = stream_audio(path, rate=16000)
    assert (stream.channels, stream.rate) == (2, 16000)
    assert list(stream) == []
    with pipe(path.read_bytes()) as end:
        assert list(stream_audio(end)) == []


@pytest.mark.parametrize("setting", ["rate", "channels", "block"])
def test_settings_are_at_least_1(setting):
    with pytest.raises(ValueError, match=setting):
        stream_audio(SPEECH, **{setting: 0})


@pytest.mark.parametrize("kind", [torch.from_numpy, np.asarray, np.float64], ids=["torch", "numpy", "64 bits"])
def test_samples_of_the_caller_are_a_stream(kind):
    whole = read_audio(SPEECH)[:, :30001]
    given = (kind(part.numpy()) for part in whole.split(441, 1))
    stream = stream_samples(given, 16000, rate=8000, channels=2, block=777)
    assert (stream.source_rate, stream.source_channels, stream.frames) == (16000, 1, None)
    found = list(stream)
    assert {block.shape for block in found[:-1]} == {(2, 777)}
    wanted = resample(mix(whole.numpy(), 2), 16000, 8000)
    assert np.abs(torch.cat(found, 1).numpy() - wanted).max() <= STREAMED


def test_samples_are_taken_as_they_come():
    def microphone():
        for number in range(100):
            taken.append(number)
            yield torch.zeros(1, 160)

    taken = []
    blocks = iter(stream_samples(microphone(), 16000, block=320))
    next(blocks)
    assert len(taken) == 2


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (torch.zeros(2, 9), r"\(1, time\).*\(2, 9\)"),
        (torch.zeros(9), r"\(1, time\).*\(9,\)"),
        (np.zeros((1, 9), np.int16), "int16"),
        (torch.zeros(1, 9, dtype=torch.int32), "int32"),
        (torch.full((1, 9), torch.nan), "frame 5 of channel 0"),
    ],
)
def test_other_blocks_of_samples_are_refused(second, says):
    with pytest.raises(ValueError, match=says):
        joined(stream_samples(iter([torch.zeros(1, 5), second]), 16000))


def test_tensors_of_any_kind_are_samples():
    given = [torch.full((1, 4), 0.5, dtype=torch.bfloat16), torch.full((1, 4), 0.25, requires_grad=True)]
    assert joined(stream_samples(given, 16000)).tolist() == [4 * [0.5] + 4 * [0.25]]


@pytest.mark.parametrize("first", [torch.zeros(9), torch.tensor(0.5), torch.zeros(0, 9)])
def test_a_first_block_of_another_shape_is_refused(first):
    with pytest.raises(ValueError, match=r"floats of shape \(channels, time\), got torch.float32 of shape"):
        stream_samples(iter([first]), 16000)


def test_no_samples_are_refused():
    with pytest.raises(AudioError, match="no block"):
        stream_samples([], 16000)
    with pytest.raises(ValueError, match="source_rate"):
        stream_samples([torch.zeros(1, 5)], 0)


def test_memory_does_not_grow_with_length(tmp_path):
    """200 seconds of stereo in 32-bit floats are 70 MB; blocks of them are not."""
    code = (
        "import resource, sys\nfrom codeword.data.audio_stream import stream_audio\n"
        "import numpy, soundfile\n"
        "f = soundfile.SoundFile(sys.argv[1], 'w', 44100, 2, 'PCM_16')\n"
        "for _ in range(200): f.write(numpy.zeros((44100, 2), 'float32'))\n"
        "f.close()\n"
        "next(iter(stream_audio(sys.argv[1], rate=16000)))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "n = sum(b.shape[1] for b in stream_audio(sys.argv[1], rate=16000))\n"
        "n += sum(b.shape[1] for b in stream_audio(open(sys.argv[1], 'rb'), rate=16000))\n"
        "print(n, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    out = subprocess.run([sys.executable, "-c", code, tmp_path / "a.wav"], capture_output=True, check=True).stdout
    frames, megabytes = map(int, out.split())
    assert frames == 2 * 200 * 16000
    assert megabytes < 30


def test_it_closes_its_file(tmp_path):
    path = write(tmp_path / "a.wav", signal())
    with stream_audio(path) as stream:
        assert stream.frames == 50001
    for _ in range(2):
        next(iter(stream_audio(path, block=10)))  # given up in the middle: no ResourceWarning
    assert audio_info(path).frames == 50001
