"""What is told of an audio file without its model."""

import numpy as np
import pytest

from codeword.evaluation.inspection import inspect_path
from codeword.formats.audio_inspection import inspect_audio
from formats.audio_samples import AudioSample, sample_of, write


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.cw"


def test_rates_and_depths_are_those_of_the_codes(path):
    sample = AudioSample(frames=165, channels=2)
    path.write_bytes(sample.data())
    found = inspect_audio(path)
    depths = np.count_nonzero(sample.codes >= 0, axis=2)
    assert found.seconds == sample.num_samples / 16000
    assert found.kbps == pytest.approx(8 * path.stat().st_size / found.seconds / 1000)
    expected = [depths[:, start : start + 50].mean() for start in range(0, 165, 50)]
    assert np.allclose(found.depth_per_second, expected)
    present = sample.codes >= 0
    assert np.allclose(found.shares, present.mean(axis=(0, 1)))
    assert found.level_kbps[0] == pytest.approx(present[:, :, 0].mean() * 3 * 2 * 50 / 1000)


def test_seconds_without_frames_are_lost(path):
    sample = AudioSample(frames=200, depth=3)
    data = bytearray(sample.data(50))
    data[data.index(b"CHNK", data.index(b"CHNK") + 1) + 30] ^= 1
    path.write_bytes(data)
    found = inspect_audio(path)
    assert np.array_equal(found.depth_per_second, [3, np.nan, 3, 3], equal_nan=True)
    assert found.seconds == 3.0
    report = inspect_path(path)
    assert not report.intact
    assert any(line.endswith("every 1: 3.0 lost 3.0 3.0") for line in report.lines)


def test_range_coded_depths_need_the_tables(path):
    sample = sample_of("ranged-depth")
    path.write_bytes(sample.data())
    found = inspect_audio(path)
    assert found.depth_per_second is found.shares is found.level_kbps is None
    assert found.seconds == 70 * 320 / 16000  # where the signal ends is told by the last chunk alone
    text = "\n".join(inspect_path(path).lines)
    assert "depths: coded with tables of the model, which were not given" in text
    told = inspect_audio(path, sample.tables)
    assert told.seconds == sample.num_samples / 16000
    assert told.depth_per_second[0] == pytest.approx(np.count_nonzero(sample.codes[:, :50] >= 0) / 50)
    assert "level 2: 1.58 bits" in "\n".join(inspect_path(path, sample.tables).lines)


def test_a_constant_depth_is_known_without_tables(path):
    sample = sample_of("ranged")
    path.write_bytes(sample.data())
    found = inspect_audio(path)
    assert found.depth_per_second.tolist() == [2.0, 2.0]
    assert found.shares.tolist() == [1.0, 1.0, 0.0]
    assert found.seconds == sample.num_samples / 16000


def test_the_report_in_words(path):
    sample = AudioSample(frames=3500, sizes=(1024,) * 12, depth=12)
    path.write_bytes(sample.data(2000))
    lines = inspect_path(path).lines
    assert f"  model: {sample.header.model}" in lines
    assert "  length: 70.000 seconds at 16000 Hz, 1 channel" in lines
    assert "  frames: 50.000 per second, of 320 samples" in lines
    assert "  levels: 12 x 1024, constant depth 12" in lines
    assert "  payload: packed" in lines
    assert "  kbps: 6.026 in the file, 6.000 of it codes" in lines
    assert "  level 11: 10.00 bits, in 100.0 % of frames, 0.500 kbps packed" in lines
    assert "  depth from second 60 on, every 2: 12.0 12.0 12.0 12.0 12.0" in lines
    stereo = sample_of("ranged")
    path.write_bytes(stereo.data())
    assert any("2 channels, mid_side" in line for line in inspect_path(path).lines)


def test_silence_of_no_length(path):
    sample = AudioSample(known=False)
    path.write_bytes(write(sample.codes[:, :0], sample.header, num_samples=0))
    found = inspect_audio(path)
    assert (found.seconds, found.kbps, len(found.depth_per_second)) == (0.0, 0.0, 0)
    assert inspect_path(path).intact
