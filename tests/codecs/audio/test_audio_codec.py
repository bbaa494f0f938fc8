import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from codeword.codecs.audio.codec import AudioCodec
from codeword.codecs.audio.storage import write_audio
from codeword.codecs.rates import Kbps, Levels, Scale
from codeword.data.audio_stream import stream_audio
from codeword.data.audio_writer import AudioWriter
from codeword.formats.audio import AudioFileReader
from contracts.audio_models import RATE, model, noise

LEVELS = 6
RESERVOIR = 4.0  # seconds


@pytest.fixture(scope="module")
def codec():
    made = AudioCodec(model("spectral", levels=LEVELS, size=64))
    made.learn_tables([[speech()[:1]], [speech(seed=3)[:1]]], [3.0, 6.0, 12.0])
    return made


@pytest.fixture(scope="module")
def fixed():
    return AudioCodec(model("spectral", levels=LEVELS, size=64, kernels=None))


def speech(seconds=70.0, channels=2, seed=1):
    """Noise that comes and goes, so that importance does."""
    x = noise(channels, round(seconds * RATE), seed=seed)
    t = torch.arange(x.shape[-1]) / RATE
    x = x * (0.05 + torch.sin(2 * t).abs() ** 3)
    return x if channels < 2 else torch.stack([x[0], 0.7 * x[0] + 0.3 * x[1]])


def source(signal, rate=RATE):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "signal.wav"
        with AudioWriter(path, rate=rate, channels=len(signal), bits=32) as writer:
            writer.write(signal)
        return stream_audio(path)  # open from now on


def compressed(codec, signal, rate, **options):
    file = io.BytesIO()
    report = codec.compress(source(signal), file, rate, **options)
    assert report.num_bytes == len(file.getvalue())
    file.seek(0)
    return report, file


def decompressed(codec, file, **options):
    file.seek(0)
    with AudioFileReader(file, tables=codec.tables) as reader:
        return torch.cat(list(codec.decompress(reader, **options)), -1)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("samples", [0, 1, 320, 12_345])
@pytest.mark.parametrize("streaming", [False, True])
def test_any_signal_comes_back_at_its_length(codec, channels, samples, streaming):
    signal = noise(channels, samples)
    report, file = compressed(codec, signal, Scale(6.0), streaming=streaming)
    assert report.seconds == samples / RATE
    made = decompressed(codec, file) if samples else torch.zeros(channels, 0)
    assert made.shape == signal.shape


def test_whole_files_and_streams_decode_alike(codec):
    signal = speech(10.0)
    wanted = decompressed(codec, compressed(codec, signal, Scale(6.0))[1])
    assert wanted.abs().max() > 1e-3
    assert torch.equal(decompressed(codec, compressed(codec, signal, Scale(6.0), streaming=True)[1]), wanted)


def test_mid_and_side_are_undone(codec):
    """A signal without difference between its channels decodes to one without."""
    one = speech(5.0, channels=1)
    made = decompressed(codec, compressed(codec, torch.cat([one, one]), Levels(4))[1])
    silent = decompressed(codec, compressed(codec, torch.zeros(1, one.shape[-1]), Levels(4))[1])
    torch.testing.assert_close(made[0] - made[1], 2 * silent[0], atol=1e-5, rtol=0)
    mono = decompressed(codec, compressed(codec, one, Levels(4))[1])
    torch.testing.assert_close(made.mean(0), mono[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_rate_is_met_within_a_percent(codec, channels):
    signal = speech(channels=channels)
    low, high = (compressed(codec, signal, Scale(scale))[0].kbps for scale in codec.model.quantizer.scales)
    for share in (0.2, 0.5, 0.8):
        wanted = low + share * (high - low)
        report, _ = compressed(codec, signal, Kbps(wanted))
        assert abs(report.kbps / wanted - 1) < 0.01
        assert report.note == ""


def test_a_rate_out_of_reach_is_told(codec):
    signal = speech(10.0)
    high = compressed(codec, signal, Scale(codec.model.quantizer.scales[1]))[0]
    report, _ = compressed(codec, signal, Kbps(100.0))
    assert report.num_bytes == high.num_bytes
    assert "nearest" in report.note


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_a_stream_keeps_to_its_rate(codec, share):
    signal = speech(channels=1)
    low, high = (compressed(codec, signal, Scale(scale))[0].kbps for scale in codec.model.quantizer.scales)
    wanted = low + share * (high - low)
    report, file = compressed(codec, signal, Kbps(wanted), streaming=True)
    late = (8 * len(file.getvalue()) / 1000 - wanted * report.seconds) / wanted
    assert abs(late) <= RESERVOIR, "headers, checksums and the footer, which grows with the file, are paid for, too"
    assert report.note == ""


def test_importance_decides_where_bits_go(codec):
    signal = speech(20.0, channels=1)
    _, file = compressed(codec, signal, Scale(6.0))
    with AudioFileReader(file, tables=codec.tables) as reader:
        depths = (reader.read_all() >= 0).sum(-1)[0]
    with torch.no_grad():
        importance = codec.model.analyse(signal.unsqueeze(0)).importance[0].numpy()
    assert depths.min() >= 1
    assert np.corrcoef(depths, importance)[0, 1] > 0.9


def test_a_part_equals_the_whole(codec):
    _, file = compressed(codec, speech(12.0), Scale(6.0))
    whole = decompressed(codec, file)
    part = decompressed(codec, file, start=3.21, stop=7.5)
    torch.testing.assert_close(part, whole[:, round(3.21 * RATE) : round(7.5 * RATE)], atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="12 seconds long"):
        decompressed(codec, file, start=3.0, stop=13.0)


def test_fewer_levels_equal_a_shallower_file(codec):
    signal = speech(5.0)
    made = decompressed(codec, compressed(codec, signal, Levels(5))[1], levels=2)
    assert torch.equal(made, decompressed(codec, compressed(codec, signal, Levels(2))[1]))


def test_constant_depth_models(fixed):
    signal = speech(10.0, channels=1)
    report, file = compressed(fixed, signal, Levels(3))
    assert report.kbps == pytest.approx(3 * 6 * 50 / 1000, rel=0.2)
    assert decompressed(fixed, file).shape == signal.shape
    near, _ = compressed(fixed, signal, Kbps(report.kbps))
    assert near.num_bytes == report.num_bytes
    with pytest.raises(ValueError, match="constant depth"):
        compressed(fixed, signal, Scale(3.0))
    with pytest.raises(ValueError, match="constant depth"):
        compressed(fixed, signal, Kbps(1.0), streaming=True)


@pytest.mark.parametrize(
    ("rate", "match"),
    [
        (Scale(0.5), "between 1 and 36"),
        (Levels(0), "1 to 6"),
        (Levels(7), "1 to 6"),
    ],
)
def test_impossible_rates_are_refused(codec, rate, match):
    with pytest.raises(ValueError, match=match):
        compressed(codec, speech(1.0), rate)


@pytest.mark.parametrize(
    ("spent", "match"),
    [
        ({"scale": 37.0}, "between 1 and 36"),
        ({"scale": torch.tensor([2.0, 0.5])}, "between 1 and 36"),
        ({"depth": 0}, "choose 1 to 6, got 0"),
        ({"depth": torch.tensor([3, 7])}, "got 3 to 7"),
    ],
)
def test_the_model_itself_refuses_them_too(codec, spent, match):
    with pytest.raises(ValueError, match=match):
        codec.model(noise(2, 3200).unsqueeze(1), **spent)


def test_a_signal_at_another_rate_is_refused(codec):
    with pytest.raises(ValueError, match="works at 16000 Hz, the signal is at 44100 Hz"):
        codec.compress(source(speech(1.0), rate=44100), io.BytesIO(), Scale(6.0))


def test_another_model_is_refused(codec, fixed):
    _, file = compressed(codec, speech(1.0), Scale(6.0))
    with pytest.raises(ValueError, match="written with model"):
        decompressed(AudioCodec(fixed.model, codec.tables), file)


def test_saved_codecs_read_the_same_files(codec, tmp_path):
    codec.save_pretrained(tmp_path / "m")
    again = AudioCodec.from_pretrained(tmp_path / "m")
    assert again.fingerprint == codec.fingerprint
    signal = speech(5.0)
    _, file = compressed(codec, signal, Scale(6.0))
    report, other = compressed(again, signal, Scale(6.0))
    assert other.getvalue() == file.getvalue()
    assert report.levels > 1
    assert torch.equal(decompressed(again, other), decompressed(codec, file))


def test_half_precision_takes_half_the_room(codec, tmp_path):
    for name, half in (("whole", False), ("half", True)):
        (tmp_path / name).mkdir()
        write_audio(tmp_path / name, codec.model, codec.tables, half=half)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.55 * sizes[0]
    half = AudioCodec.from_pretrained(tmp_path / "half")
    assert all(p.dtype == torch.float32 for p in half.model.parameters())
    signal = speech(5.0, channels=1)
    close = decompressed(half, compressed(half, signal, Levels(1))[1])
    assert close.shape == signal.shape


def test_damaged_models_are_refused(codec, tmp_path):
    with pytest.raises(ValueError, match="no codeword model"):
        AudioCodec.from_pretrained(tmp_path)
    codec.save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "tables.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"tables.safetensors is damaged"):
        AudioCodec.from_pretrained(tmp_path / "m")


def test_salvage_is_silent_where_frames_were_lost(codec):
    signal = speech(130.0, channels=1)
    _, file = compressed(codec, signal, Scale(6.0))
    intact = decompressed(codec, file)
    data = bytearray(file.getvalue())
    data[len(data) // 2] ^= 0xFF
    with AudioFileReader(io.BytesIO(bytes(data)), tables=codec.tables) as reader:
        blocks, report = codec.salvage(reader)
        made = torch.cat(list(blocks), -1)
    assert len(report.missing) == 1
    first, last = (frame * 320 for frame in report.missing[0])
    assert not made[:, first:last].any()
    far = first - 320 * codec.model.reach[1]
    torch.testing.assert_close(made[:, :far], intact[:, :far], atol=1e-5, rtol=0)
    assert intact[:, first:last].any()
