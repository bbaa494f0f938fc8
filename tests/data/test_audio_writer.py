import os
import struct
import threading

import numpy as np
import pytest
import soundfile
import torch

from codeword.data.audio_errors import AudioError
from codeword.data.audio_files import audio_info, read_audio
from codeword.data.audio_stream import stream_audio
from codeword.data.audio_wav import wav_header
from codeword.data.audio_writer import AudioWriter
from codeword.formats.errors import WriteError
from contracts.audio_samples import pipe, signal


def write(path, audio, blocks=3000, **settings):
    with AudioWriter(path, rate=44100, channels=len(audio), **settings) as writer:
        for block in torch.from_numpy(audio).split(blocks, 1):
            writer.write(block)
    return writer


@pytest.mark.parametrize(
    ("suffix", "bits", "error"),
    [("wav", 16, 2**-16), ("wav", 24, 2**-24), ("wav", 32, 0), ("flac", 16, 2**-15), ("flac", 24, 2**-23)],
)
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_what_is_written_is_read(suffix, bits, error, channels, tmp_path):
    audio = signal(70001, channels) / 4
    writer = write(tmp_path / f"a.{suffix}", audio, bits=bits)
    assert writer.frames == 70001
    assert audio_info(tmp_path / f"a.{suffix}") == (70001, 44100, channels)
    # Tones and noise stay far below full scale, where float32 and 24 bits are exact to the step.
    assert np.abs(read_audio(tmp_path / f"a.{suffix}").numpy() - audio).max() <= error * 1.01
    assert {"wav": "WAV", "flac": "FLAC"}[suffix] == soundfile.info(tmp_path / f"a.{suffix}").format


def test_ogg_keeps_length_and_sound(tmp_path):
    audio = signal()
    write(tmp_path / "a.ogg", audio, blocks=50001)
    read = read_audio(tmp_path / "a.ogg").numpy()
    assert read.shape == audio.shape
    assert np.sqrt(np.mean((read - audio) ** 2)) < 0.02


def test_blocks_do_not_show(tmp_path):
    audio = signal()
    for suffix in ("wav", "flac"):
        write(tmp_path / f"a.{suffix}", audio, blocks=17)
        write(tmp_path / f"b.{suffix}", audio, blocks=50001)
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_beyond_full_scale_is_cut_and_counted(suffix, tmp_path):
    audio = np.array([[0.5, 1.0, 1.5, -1.0, -7.0]], np.float32)
    assert write(tmp_path / f"a.{suffix}", audio).cut == 2
    read = read_audio(tmp_path / f"a.{suffix}").numpy()[0]
    assert np.allclose(read, [0.5, 1.0, 1.0, -1.0, -1.0], atol=2**-14)
    assert write(tmp_path / "a.wav", audio, bits=32).cut == 0
    assert np.array_equal(read_audio(tmp_path / "a.wav").numpy(), audio)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_an_interrupted_write_leaves_what_was_there(suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    write(path, signal(1000))
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), AudioWriter(path, rate=44100, channels=1) as writer:
        writer.write(torch.zeros(1, 5000))
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_nothing_is_a_file_without_samples(suffix, tmp_path):
    write(tmp_path / f"a.{suffix}", signal(0))
    assert read_audio(tmp_path / f"a.{suffix}").shape == (2, 0)


def test_a_pipe_gets_a_wav_whose_length_is_open(tmp_path):
    reading, writing = os.pipe()

    def produce():
        with os.fdopen(writing, "wb") as end, AudioWriter(end, rate=8000, channels=1, bits=24) as writer:
            for number in range(10):
                writer.write(torch.full((1, 1001), number / 16))

    producer = threading.Thread(target=produce)
    producer.start()
    with os.fdopen(reading, "rb") as end:
        raw = end.read()
    producer.join()
    wanted = (torch.arange(10) / 16).repeat_interleave(1001)[None]
    with pipe(raw) as end:
        stream = stream_audio(end)
        assert (stream.rate, stream.channels, stream.frames) == (8000, 1, None)
        assert torch.equal(torch.cat(list(stream), 1), wanted)
    (tmp_path / "a.wav").write_bytes(raw)
    assert torch.equal(read_audio(tmp_path / "a.wav"), wanted)


def test_an_open_file_is_written_from_where_it_stands(tmp_path):
    with (tmp_path / "a").open("wb") as file:
        file.write(b"before")
        with AudioWriter(file, rate=8000, channels=1) as writer:
            writer.write(torch.zeros(1, 3))
        file.write(b"after")
    raw = (tmp_path / "a").read_bytes()
    assert (raw[:6], raw[-5:]) == (b"before", b"after")
    (tmp_path / "b.wav").write_bytes(raw[6:-5])
    assert read_audio(tmp_path / "b.wav").shape == (1, 3)


def test_more_than_4_gb_become_an_rf64(tmp_path):
    size = 5 * 2**30
    head = wav_header(48000, 2, 16, size)
    assert len(head) == len(wav_header(48000, 2, 16, None)) == len(wav_header(48000, 2, 16, 1000)) == 80
    with (tmp_path / "a.wav").open("wb") as file:
        file.write(head)
        file.truncate(80 + size)  # sparse: it takes no room
    assert audio_info(tmp_path / "a.wav") == (size // 4, 48000, 2)
    assert soundfile.info(tmp_path / "a.wav").frames == size // 4
    assert torch.equal(read_audio(tmp_path / "a.wav", size // 4 - 5), torch.zeros(2, 5))


def test_sizes_of_a_wav_are_exact(tmp_path):
    write(tmp_path / "a.wav", signal(7, 1), bits=24)
    raw = (tmp_path / "a.wav").read_bytes()
    assert struct.unpack("<I", raw[4:8])[0] == len(raw) - 8
    assert struct.unpack("<I", raw[76:80])[0] == 21
    assert len(raw) == 80 + 22  # chunks are padded to even sizes


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("a.xyz", {}, "cannot write '.xyz'"),
        ("a", {}, "cannot write ''"),
        ("a.flac", {"bits": 32}, "16, 24"),
        ("a.wav", {"channels": 0}, "1 or more"),
        ("a.flac", {"channels": 9}, "cannot hold 9 channels"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(name, settings, words, tmp_path):
    with (
        pytest.raises(AudioError, match=words) as caught,
        AudioWriter(tmp_path / name, **{"rate": 8000, "channels": 1} | settings),
    ):
        pass
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(WriteError, match="no such file"), AudioWriter(tmp_path / "no" / "a.wav", rate=1, channels=1):
        pass


@pytest.mark.parametrize("block", [torch.zeros(2, 5), torch.full((1, 5), torch.nan)])
def test_blocks_must_fit(block, tmp_path):
    with pytest.raises(AudioError), AudioWriter(tmp_path / "a.wav", rate=8000, channels=1) as writer:
        writer.write(block)
    assert list(tmp_path.iterdir()) == []
