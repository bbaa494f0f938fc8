"""An audio model on recordings: what is read, what is spent, what is told."""

import io
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from codeword.codecs.audio.codec import AudioCodec
from codeword.codecs.rates import Kbps, Levels, Scale
from codeword.data.audio_errors import AudioError
from codeword.data.audio_stream import stream_audio
from codeword.evaluation.audio import AudioMeasures, evaluate, usual_rates
from codeword.evaluation.audio_listening import listen
from codeword.evaluation.audio_recordings import Selection, open_recordings
from codeword.evaluation.audio_tally import depth_bytes
from codeword.formats.audio import AudioFileReader
from codeword.metrics import audio
from contracts.audio_models import RATE, model, noise
from contracts.audio_samples import SPEECH

RATES = (Kbps(1.0), Levels(3), Scale(8.0), Levels(1), Scale(3.0))


@pytest.fixture(scope="module")
def codec(one_thread):
    made = AudioCodec(model("spectral", levels=4, size=64))
    made.learn_tables([[noise(1, 10 * RATE, seed=seed)] for seed in (1, 2)], [3.0, 8.0])
    return made


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """A folder of a stereo and a mono file of different rates, a short one, and one that is no audio."""
    folder = tmp_path_factory.mktemp("sounds")
    speech, _ = soundfile.read(SPEECH, dtype="float32")
    (folder / "deep").mkdir()
    soundfile.write(folder / "a.wav", speech[4 * RATE : 7 * RATE], RATE)
    soundfile.write(folder / "deep" / "b.flac", noise(2, 8000 * 2).numpy().T, 8000)
    soundfile.write(folder / "c.wav", speech[: RATE // 2], RATE)
    (folder / "d.wav").write_bytes(b"no audio at all")
    return folder


@pytest.fixture(scope="module")
def found(codec, sounds):
    return evaluate(codec, open_recordings(sounds, RATE), AudioMeasures(rates=RATES))


def test_what_is_read_is_the_middle_mixed_and_resampled(sounds):
    recordings = open_recordings(sounds, RATE, Selection(seconds=1.0))
    assert [recordings.info(number) for number in range(2)] == [("a.wav@1.00", 1.0), ("deep/b.flac@0.50", 1.0)]
    whole, _ = soundfile.read(sounds / "a.wav", dtype="float32")
    assert torch.equal(recordings.read(0), torch.from_numpy(whole[RATE : 2 * RATE]))
    noises, _ = soundfile.read(sounds / "deep" / "b.flac", dtype="float32")
    assert len(recordings.read(1)) == RATE
    assert float(recordings.read(1)[::2].std()) == pytest.approx(noises.mean(1).std(), rel=0.05)
    assert sorted("half a second" if "less than 1" in told else "no audio" for told in recordings.skipped) == [
        "half a second",
        "no audio",
    ]


def test_recordings_are_chosen_evenly_by_split_or_alone(sounds, tmp_path):
    rows = [f"{name}.wav,{split}" for name, split in zip("0123456", "tvvvvvv", strict=True)]
    for number in range(7):
        soundfile.write(tmp_path / f"{number}.wav", np.zeros(RATE), RATE)
    (tmp_path / "list.csv").write_text("\n".join(["path,split", *rows]))

    def names(**which):
        opened = open_recordings(tmp_path / "list.csv", RATE, Selection(**which))
        return "".join(opened.info(number).name[0] for number in range(len(opened)))

    assert names() == "0123456"
    assert names(clips=3) == "135"
    assert names(clips=1) == "3"
    assert names(split="t") == "0"
    assert len(open_recordings(sounds / "a.wav", RATE)) == 1
    with pytest.raises(AudioError, match=r"nothing to evaluate on: .*c\.wav lasts 0\.50 s, less than 1"):
        open_recordings(sounds / "c.wav", RATE)
    with pytest.raises(ValueError, match="clips must be 1 or more, got 0"):
        Selection(clips=0)
    with pytest.raises(ValueError, match=r"seconds must be 1 or more, got 0\.5"):
        Selection(seconds=0.5)


def test_rates_are_bytes_on_the_disk(codec, found, sounds, tmp_path):
    for point in found.points:
        rate = {"scale": Scale, "levels": lambda n: Levels(int(n)), "kbps": Kbps}
        kind, value = point.setting.split("=")
        with stream_audio(sounds / "a.wav") as stream, (tmp_path / "a.cw").open("wb") as file:
            codec.compress(stream, file, rate[kind](float(value)))
        assert point.per_clip[0]["kbps"] == pytest.approx(8e-3 * (tmp_path / "a.cw").stat().st_size / 3)
        with AudioFileReader(tmp_path / "a.cw", tables=codec.tables) as reader:
            (back,) = torch.cat(list(codec.decompress(reader)), -1)
        whole, _ = soundfile.read(sounds / "a.wav", dtype="float32")
        aligned = audio.align(torch.from_numpy(whole), back, RATE // 4)
        expected = float(audio.si_sdr(aligned.reference, aligned.estimate))
        assert point.per_clip[0]["si_sdr"] == pytest.approx(expected, abs=1e-6)


def test_points_stand_in_order_and_intervals_hold_their_means(found, codec):
    assert [point.kind for point in found.points] == ["variable"] * 3 + ["constant"] * 2
    for kind in ("variable", "constant"):
        rates = [point.kbps.mean for point in found.points if point.kind == kind]
        assert rates == sorted(rates)
    for point in found.points:
        assert len(point.per_clip) == len(found.clips) == 2
        for name, (mean, low, high) in {"kbps": point.kbps, **point.metrics}.items():
            assert mean == pytest.approx(np.mean([clip[name] for clip in point.per_clip]))
            assert low <= mean <= high
    assert (found.model, found.levels, found.sample_rate) == (codec.fingerprint, 4, RATE)
    assert len(found.skipped) == 2
    assert found.machine["versions"]["torch"]


def test_depths_and_usage_are_those_of_the_codes(found, codec, sounds):
    recordings = open_recordings(sounds, RATE)
    heard = [listen(codec, recordings.read(number), [Scale(8.0)])[0] for number in range(2)]
    depths = np.concatenate([clip.depths for clip in heard])
    (point,) = (point for point in found.points if point.setting == "scale=8")
    assert point.mean_levels == pytest.approx(depths.mean())
    assert point.depths == pytest.approx([np.mean(depths == depth) for depth in (1, 2, 3, 4)])
    assert len(set(depths.tolist())) > 1
    codes = np.concatenate([clip.codes for clip in heard])
    for level, share in enumerate(point.usage):
        counts = np.bincount(codes[codes[:, level] >= 0, level])
        odds = counts[counts > 0] / counts.sum()
        assert share == pytest.approx(2 ** -(odds * np.log2(odds)).sum() / 64)
    (flat,) = (point for point in found.points if point.setting == "levels=3")
    assert (flat.mean_levels, flat.depths, flat.usage[3], flat.depth_share) == (3.0, (0, 0, 1, 0), 0.0, 0.0)


def test_bytes_of_depths_are_near_their_entropy_and_below_fixed_cost(codec):
    (heard,) = listen(codec, noise(1, 20 * RATE, seed=9)[0], [Scale(8.0)])
    own = depth_bytes(heard.depths, 4, codec.tables)
    counts = np.bincount(heard.depths)
    odds = counts[counts > 0] / counts.sum()
    bound = -(odds * np.log2(odds)).sum() * len(heard.depths) / 8
    assert 0.5 * bound < own < 1.3 * bound
    packed = depth_bytes(heard.depths, 4, None)
    assert depth_bytes(np.arange(100) * 3 % 4 + 1, 4, codec.tables) <= depth_bytes(np.arange(100) % 4 + 1, 4, None)
    assert packed == pytest.approx(np.log2(5) * len(heard.depths) / 8, rel=0.02)
    assert own < packed


def test_what_one_listens_to_is_what_was_stored(codec):
    signal = noise(1, RATE + 77)[0]
    for heard, rate in zip(listen(codec, signal, RATES), RATES, strict=True):
        file = io.BytesIO()
        soundfile.write(wave := io.BytesIO(), signal.numpy(), RATE, format="WAV", subtype="FLOAT")
        wave.seek(0)
        with stream_audio(wave) as stream:
            assert codec.compress(stream, file, rate).kbps == heard.kbps
        assert heard.num_bytes == len(file.getvalue())
        assert heard.audio.shape == signal.shape
        assert heard.codes.shape == (-(-len(signal) // codec.model.hop), 4)
        assert heard.depths.tolist() == (heard.codes >= 0).sum(1).tolist()


def test_files_without_tables_are_packed_and_larger(codec, sounds, found):
    recordings = open_recordings(sounds, RATE)
    packed = evaluate(AudioCodec(codec.model), recordings, AudioMeasures(rates=(Levels(3),), metrics=()))
    (ranged,) = (point for point in found.points if point.setting == "levels=3")
    assert packed.points[0].kbps.mean > ranged.kbps.mean
    assert packed.points[0].metrics == {}


def test_usual_rates_suit_the_model():
    varied, flat = (AudioCodec(model("spectral", levels=4, size=64, kernels=k)) for k in ((5, 3, 3, 3, 1), None))
    assert usual_rates(varied)[:7] == tuple(Scale(4 * s) for s in (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0))
    assert usual_rates(varied)[7:] == usual_rates(flat) == tuple(Levels(n) for n in (1, 2, 3, 4))
    many = AudioCodec(model("spectral", levels=12, size=64, kernels=None))
    assert usual_rates(many) == tuple(Levels(n) for n in (1, 2, 4, 6, 8, 10, 12))


def test_progress_reaches_the_end_and_bad_settings_come_before_work(codec, sounds):
    seen = []
    measures = AudioMeasures(rates=(Levels(1), Levels(2)), metrics=("waveform",))
    evaluate(codec, open_recordings(sounds, RATE), measures, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == pytest.approx((5.0, 5.0))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    for wrong, message in (
        (AudioMeasures(rates=(Levels(5),)), "choose 1 to 4, got 5"),
        (AudioMeasures(peers=("opvs",)), "there is no peer 'opvs': choose from opus"),
        (AudioMeasures(metrics=("snr2",)), "there is no metric 'snr2'"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(codec, open_recordings(sounds, RATE), wrong)


def test_a_file_that_breaks_off_is_left_out_and_told(codec, sounds, tmp_path):
    (tmp_path / "good.wav").write_bytes((sounds / "a.wav").read_bytes())
    soundfile.write(tmp_path / "bad.wav", np.full(2 * RATE, np.nan), RATE, subtype="FLOAT")
    measures = AudioMeasures(rates=(Levels(1),), metrics=("waveform",))
    found = evaluate(codec, open_recordings(tmp_path, RATE), measures)
    assert [clip.name for clip in found.clips] == ["good.wav"]
    assert len(found.points[0].per_clip) == 1
    assert "bad.wav: frame 0 of channel 0 is not finite" in found.skipped[0]


def test_peers_are_measured_named_where_absent_and_dropped_where_they_fail(codec, sounds, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("elc3", "dlc3"):
        failing = "if '32000' in arguments: sys.exit('too much')\n" if name == "elc3" else ""
        script = "import shutil, sys\narguments = sys.argv[1:]\n" + failing + "shutil.copy(*arguments[-2:])\n"
        (tmp_path / name).write_text(f"#!{sys.executable}\n{script}")
        (tmp_path / name).chmod(0o755)
    measures = AudioMeasures(rates=(Levels(1),), metrics=("si_sdr",), peers=("codec2", "lc3"))
    found = evaluate(codec, open_recordings(sounds, RATE), measures)
    assert found.peers_absent == ("codec2 (no c2enc or ffmpeg)", "lc3 (at 32 kbps elc3 ended with 1: too much)")
    assert [(point.system, point.setting) for point in found.points] == [
        ("codeword", "levels=1"),
        *(("lc3", f"{kbps} kbps") for kbps in (16, 24, 48)),
    ]
    assert found.points[1].per_clip[0]["kbps"] == pytest.approx(8e-3 * (44 + 2 * 3 * RATE) / 3)
    assert found.points[1].metrics["si_sdr"].mean > 60  # the pretender loses what 16 bits do
    assert found.points[1].usage is None
    some = evaluate(codec, open_recordings(sounds, RATE), replace(measures, peer_kbps=(1.5, 21.0, 1e3)))
    assert [point.setting for point in some.points] == ["levels=1", "16 kbps", "24 kbps", "48 kbps"]
