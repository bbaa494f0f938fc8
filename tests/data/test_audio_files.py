import os
import shutil
import sys

import numpy as np
import pytest
import soundfile
import torch

from codeword.data.audio_errors import AudioError
from codeword.data.audio_files import audio_info, read_audio
from contracts.audio_samples import CHOIR, MEDIA, SNDFILE, SPEECH, signal, write

AAC_NOISE = 2e-4  # mean squared error: what the decoder's noise substitution differs by after a seek
CODED = 0.03  # root mean square error of a coded signal, full scale 1


@pytest.mark.parametrize("suffix", [*SNDFILE, *MEDIA])
def test_a_part_is_the_slice_of_the_whole(suffix, tmp_path):
    path = write(tmp_path / f"a.{suffix}", signal())
    info, whole = audio_info(path), read_audio(path)
    assert whole.dtype == torch.float32
    assert whole.shape == (info.channels, info.frames)
    assert 0 <= info.frames - 50001 <= 3000  # encoders pad
    for start, frames in [(0, 1), (1, 900), (12345, 4000), (30001, 900), (49000, 9000), (info.frames, 5), (99999, 5)]:
        part, wanted = read_audio(path, start, frames), whole[:, start : start + frames]
        assert part.shape == wanted.shape
        if suffix == "m4a":
            assert (part - wanted).square().sum() <= AAC_NOISE * max(part.numel(), 1)
        else:
            torch.testing.assert_close(part, wanted, rtol=0, atol=1e-7)
    assert torch.equal(read_audio(path, 30001, None)[:, -1], whole[:, -1]) or suffix == "m4a"


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus", "mp3", "mka"])
def test_samples_are_those_that_were_written(suffix, tmp_path):
    audio = signal()
    read = read_audio(write(tmp_path / f"a.{suffix}", audio)).numpy()[:, :50001]
    assert np.sqrt(np.mean((read - audio) ** 2)) < (2e-5 if suffix in ("wav", "flac", "mka") else CODED)


def test_a_sample_of_an_m4a_is_in_its_place_after_a_seek(tmp_path):
    path = write(tmp_path / "a.m4a", signal())
    whole, part = read_audio(path), read_audio(path, 40000, 2000)
    errors = {lag: float((part - whole[:, 40000 + lag : 42000 + lag]).square().mean()) for lag in range(-3, 4)}
    assert min(errors, key=errors.__getitem__) == 0


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM"])
def test_any_kind_of_wav_has_full_scale_one(subtype, tmp_path):
    audio = signal(4000, 1)
    read = read_audio(write(tmp_path / "a.wav", audio, subtype=subtype)).numpy()
    assert np.abs(read[:, :4000] - audio).max() < {"PCM_U8": 0.01, "ULAW": 0.02, "IMA_ADPCM": 0.1}.get(subtype, 1e-4)


def test_real_recordings():
    assert audio_info(SPEECH) == (257278, 16000, 1)
    assert audio_info(CHOIR).seconds == pytest.approx(69305 / 44100)
    assert torch.equal(read_audio(CHOIR, 60000, 100), read_audio(CHOIR)[:, 60000:60100])


@pytest.mark.parametrize(("rate", "channels"), [(192000, 8), (8000, 1), (1, 1)])
def test_unusual_rates_and_channels(rate, channels, tmp_path):
    path = write(tmp_path / "a.wav", signal(500, channels), rate)
    assert audio_info(path) == (500, rate, channels)
    assert read_audio(path).shape == (channels, 500)


@pytest.mark.parametrize("suffix", ["wav", "aiff", "au"])
def test_no_samples_are_no_samples(suffix, tmp_path):
    path = write(tmp_path / f"a.{suffix}", signal(0))
    assert audio_info(path) == (0, 44100, 2)
    assert read_audio(path).shape == (2, 0)
    assert read_audio(path, 5, 5).shape == (2, 0)


def test_a_flac_that_does_not_know_its_length_is_read_to_its_end(tmp_path):
    audio = signal()
    path = write(tmp_path / "a.flac", audio)
    raw = bytearray(path.read_bytes())
    raw[21] &= 0xF0
    raw[22:26] = bytes(4)  # the number of frames in STREAMINFO, as encoders leave it that write to a pipe
    whole = read_audio(path)
    path.write_bytes(raw)
    assert audio_info(path).frames == 50001
    assert torch.equal(read_audio(path), whole)
    assert torch.equal(read_audio(path, 49000, 2000), whole[:, 49000:51000])


def test_a_flac_that_announces_more_than_it_holds_is_truncated(tmp_path):
    path = write(tmp_path / "a.flac", signal())
    raw = bytearray(path.read_bytes())
    raw[22:26] = (50001 + 1000).to_bytes(4, "big")
    path.write_bytes(raw)
    with pytest.raises(AudioError, match="51001 frames from frame 0 are announced, 50001 can be decoded"):
        read_audio(path)
    assert read_audio(path, 0, 50001).shape == (2, 50001)


def test_a_wav_of_unknown_length_is_read_to_its_end(tmp_path):
    path = write(tmp_path / "a.wav", signal())
    raw, whole = bytearray(path.read_bytes()), read_audio(path)
    raw[4:8] = raw[40:44] = b"\xff" * 4
    path.write_bytes(raw)
    assert torch.equal(read_audio(path), whole)


def bad_files(folder):
    suffixes = ("wav", "flac", "m4a", "mp3", "ogg", "opus")
    good = {suffix: write(folder / f"good.{suffix}", signal()).read_bytes() for suffix in suffixes}
    nan = signal(4000, 1)
    nan[0, 3000] = np.nan
    write(folder / "nan.wav", nan, subtype="FLOAT")
    contents = {
        "empty.wav": b"",
        "text.wav": b"this is no audio, whatever its name says\n" * 50,
        "text.m4a": b"this is no audio, whatever its name says\n" * 50,
        "text.mp3": b"this is no audio, whatever its name says\n" * 50,
        "zeros.flac": bytes(5000),
        "cut.wav": good["wav"][:50000],
        "head.wav": good["wav"][:30],
        "cut.flac": good["flac"][: len(good["flac"]) // 2],
        "cut.mp3": good["mp3"][: len(good["mp3"]) // 2],
        "head.flac": good["flac"][:20],
        "hole.flac": good["flac"][:30000] + bytes(20000) + good["flac"][50000:],
        "hole.ogg": good["ogg"][: len(good["ogg"]) // 2] + bytes(9000) + good["ogg"][len(good["ogg"]) // 2 + 9000 :],
        "hole.opus": good["opus"][: len(good["opus"]) // 2] + bytes(9000),
        "head.m4a": good["m4a"][:200],
        "picture.png": (CHOIR.parent / "photo_crops_pd_32x64.png").read_bytes(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "folder.wav").mkdir()
    return [*contents, "nan.wav", "missing.wav", "folder.wav"]


def test_every_bad_file_is_refused_in_one_line_that_names_it(tmp_path):
    for name in bad_files(tmp_path):
        with pytest.raises(AudioError) as caught:
            read_audio(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.wav", "no such file"),
        ("folder.wav", "is a directory"),
        ("empty.wav", "is empty"),
        ("cut.wav", "truncated: 150048 bytes"),
        ("cut.flac", "truncated or damaged"),
        ("cut.mp3", "of what its header announces are missing"),
        ("hole.flac", "damaged"),
        ("text.wav", "no audio"),
        ("text.mp3", "no frame of audio"),
        ("picture.png", "holds no audio"),
        ("nan.wav", "frame 3000 of channel 0 is not finite"),
    ],
)
def test_the_line_says_what_is_wrong(name, words, tmp_path):
    bad_files(tmp_path)
    with pytest.raises(AudioError, match=words):
        read_audio(tmp_path / name)


def test_what_may_not_be_read_says_so(tmp_path):
    path = write(tmp_path / "a.wav", signal(100))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root reads everything")
    with pytest.raises(AudioError, match="permission"):
        read_audio(path)


def test_a_bad_place_is_reported_where_it_is_read(tmp_path):
    audio = signal(4000, 1)
    audio[0, 3000] = np.inf
    path = write(tmp_path / "a.wav", audio, subtype="FLOAT")
    assert read_audio(path, 0, 3000).shape == (1, 3000)
    with pytest.raises(AudioError, match="frame 3000"):
        read_audio(path, 2500, 1000)


def test_huge_samples_are_not_taken_for_infinite_ones(tmp_path):
    audio = np.full((1, 3000), 3e38, np.float32)
    assert torch.equal(read_audio(write(tmp_path / "a.wav", audio, subtype="FLOAT")), torch.from_numpy(audio))


@pytest.mark.parametrize(("start", "frames"), [(-1, 5), (0, -5)])
def test_a_part_begins_and_lasts_0_or_more(start, frames):
    with pytest.raises(ValueError, match="0 frames or more"):
        read_audio(SPEECH, start, frames)


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "a.m4a", signal())
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match=r"a\.m4a.*codeword\[media\]"):
        audio_info(path)


def test_names_do_not_decide(tmp_path):
    path = write(tmp_path / "a.flac", signal())
    other = shutil.copy(path, tmp_path / "b.wav")
    assert torch.equal(read_audio(other), read_audio(path))
    assert soundfile.info(other).format == "FLAC"
