"""The report of an audio model holds what was measured, and what is heard is what was measured."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from codeword.codecs.rates import Scale
from codeword.evaluation import audio_takes
from codeword.evaluation.audio_figures import figures
from codeword.evaluation.audio_listening import listen
from codeword.evaluation.audio_report import write_report
from codeword.evaluation.audio_results import AudioEvaluation, ClipInfo, Point
from codeword.evaluation.audio_scores import METRICS
from codeword.evaluation.audio_takes import chosen_points, comparisons, loudest, spread
from codeword.evaluation.intervals import interval
from codeword.evaluation.players import flac
from evaluation.outline import Outline

STEP = 2.0**-15  # of samples of 16 bits


def _point(system, setting, kind, kbps, **metrics):
    means = {name: interval([float(value), value + 1.0]) for name, value in metrics.items()}
    return Point(system=system, setting=setting, kind=kind, kbps=interval([kbps]), metrics=means, per_clip=())


def _evaluation(*points):
    return AudioEvaluation(model="0", sample_rate=16000, levels=8, clips=(ClipInfo("a", 1.0),), points=points)


def _many():
    variable = [_point("codeword", f"scale={n}", "variable", n / 2, si_sdr=n, mel=9 - n) for n in range(1, 9)]
    constant = [
        _point("codeword", f"levels={n}", "constant", n / 2 + 0.1, si_sdr=n - 1, mel=10 - n) for n in range(1, 9)
    ]
    peers = [
        _point(name, f"{kbps} kbps", "peer", float(kbps), si_sdr=kbps / 2)
        for name in ("opus", "mp3", "aac")
        for kbps in (3, 6, 12, 24)
    ]
    return _evaluation(*variable, *constant, *peers)


def test_the_page_is_whole_and_alone(reported):
    outline, text = Outline(reported.path), reported.path.read_text(encoding="utf-8")
    assert all(link.startswith("data:") for link in outline.links)
    assert "http" not in re.sub(r'"data:[^"]*"', "", text)
    assert "url(" not in text
    told = " ".join(outline.text)
    for name in (
        *(clip.name for clip in reported.evaluation.clips),
        "evaluate <these>",
        reported.codec.fingerprint[:16],
    ):
        assert name in told


def test_the_same_evaluation_gives_the_same_page(reported, tmp_path):
    write_report(reported.evaluation, reported.codec, reported.recordings, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == reported.path.read_bytes()


def test_every_number_is_in_the_table(reported):
    rows = figures(reported.evaluation).rows()
    assert len(rows) == 1 + len(reported.evaluation.points)
    for row, point in zip(rows[1:], reported.evaluation.points, strict=True):
        assert float(row[2].split()[0]) == pytest.approx(point.kbps.mean, abs=0.006)
        for name, cell in zip(("si_sdr", "mel"), row[3:], strict=True):
            mean, reach = (float(part) for part in cell.replace("\N{MINUS SIGN}", "-").split(" \N{PLUS-MINUS SIGN} "))
            exact = point.metrics[name]
            assert mean == pytest.approx(exact.mean, abs=0.6 * 10 ** -METRICS[name].digits)
            assert mean + reach == pytest.approx(exact.high, abs=1.1 * 10 ** -METRICS[name].digits)
    page = Outline(reported.path)
    assert all(cell in page.text for row in rows for cell in row)


def test_what_is_heard_is_what_was_measured(reported):
    codec, evaluation = reported.codec, reported.evaluation
    text = reported.path.read_text(encoding="utf-8")
    sounds = [
        soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="float32")[0]
        for data in re.findall(r'src="data:audio/flac;base64,([^"]*)"', text)
    ]
    takes = [take for comparison in comparisons(evaluation, codec, reported.recordings) for take in comparison.takes]
    points = chosen_points(evaluation)
    assert len(sounds) == len(takes) == len(evaluation.clips) * (1 + len(points))
    for sound, take in zip(sounds, takes, strict=True):
        assert np.abs(sound - take.audio.clamp(-1, 1).numpy()).max() <= STEP
    for number, clip in enumerate(evaluation.clips):
        own = takes[number * (1 + len(points)) :]
        for take, point in zip(own[1:], points, strict=False):
            assert take.title.startswith(f"{point.per_clip[number]['kbps']:.2f} kbps, {point.kind}"), clip


def test_an_excerpt_is_cut_from_the_whole(reported):
    (comparison, *_) = comparisons(reported.evaluation, reported.codec, reported.recordings)
    signal, hop = reported.recordings.read(0), reported.codec.model.hop
    (at,) = [take for take in comparison.takes if "scale=8," in take.detail]
    start = round(float(re.findall(r"from ([\d.]+) s", comparison.detail)[0]) * reported.codec.model.sample_rate)
    (heard,) = listen(reported.codec, signal, [Scale(8.0)])
    frames = slice(round(start / hop), round(start / hop) + len(at.depths))
    first = frames.start * hop
    assert torch.equal(comparison.takes[0].audio, signal[first : first + len(at.audio)])
    assert torch.equal(at.audio, heard.audio[first : first + len(at.audio)])
    assert (at.depths == heard.depths[frames]).all()
    assert len(at.depths) == len(at.audio) / hop


def test_sound_keeps_to_its_bytes(reported, monkeypatch):
    def sounds():
        found = comparisons(reported.evaluation, reported.codec, reported.recordings)
        return [take for comparison in found for take in comparison.takes]

    def num_bytes(takes):
        return sum(len(flac(take.audio, 16000)) for take in takes)

    whole = sounds()
    assert {len(take.audio) for take in whole} == {6 * 16000}
    budget = num_bytes([take for take in whole if take.title == "Original"]) * len(whole) // 4
    monkeypatch.setattr(audio_takes, "_BYTES", budget)
    short = sounds()
    assert {len(take.audio) for take in short} == {3 * 16000}
    assert num_bytes([take for take in short if take.title == "Original"]) * len(short) / 2 <= 1.1 * budget


def test_another_model_is_refused(reported, tmp_path):
    other = replace(reported.evaluation, model="0" * 64)
    with pytest.raises(ValueError, match=r"the evaluation is of model 0{16}, this is [0-9a-f]{16}"):
        write_report(other, reported.codec, reported.recordings, tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()


def test_rates_to_hear_reach_from_the_lowest_to_the_highest_and_face_their_like():
    points = chosen_points(_many())
    assert [point.kbps.mean for point in points] == sorted(point.kbps.mean for point in points)
    told = {
        kind: [point.setting for point in points if point.kind == kind] for kind in ("variable", "constant", "peer")
    }
    assert told == {
        "variable": ["scale=1", "scale=3", "scale=6", "scale=8"],
        "constant": ["levels=3", "levels=6"],
        "peer": ["3 kbps", "3 kbps"],
    }
    only = _evaluation(*(point for point in _many().points if point.kind == "constant"))
    assert [point.setting for point in chosen_points(only)] == ["levels=1", "levels=3", "levels=6", "levels=8"]


@pytest.mark.parametrize(
    ("count", "most", "places"), [(0, 3, []), (2, 3, [0, 1]), (3, 3, [0, 1, 2]), (9, 3, [0, 4, 8])]
)
def test_spread(count, most, places):
    assert spread(count, most) == places


@pytest.mark.parametrize("begins", [0, 3100, 9000])
def test_the_loudest_stretch_is_found(begins):
    signal = torch.full((10_000,), 0.01)
    signal[begins : begins + 1000] = 1.0
    start = loudest(signal, 1000)
    assert 0 <= start <= 9000
    assert abs(start - begins) <= 100
    assert loudest(signal, 10_000) == loudest(signal, 20_000) == 0


def test_bits_for_the_same_quality():
    rows = figures(_many()).bd_rows()
    assert rows[0] == ["bits of variable depth", "SI-SDR", "log-mel distance"]
    told = {row[0]: row[1:] for row in rows[1:]}
    assert set(told) == {"beside constant depth", "beside Opus", "beside MP3", "beside AAC"}
    constant = [float(cell.replace("\N{MINUS SIGN}", "-").removesuffix(" %")) for cell in told["beside constant depth"]]
    assert all(-60 < saved < -5 for saved in constant)
    assert constant[0] == pytest.approx(constant[1], abs=0.11)
    assert told["beside Opus"][1] == "\N{EN DASH}"
    constant = figures(_evaluation(*(point for point in _many().points if point.kind != "variable")))
    assert constant.bd_rows()[0][0] == "bits of constant depth"
    assert [row[0] for row in constant.bd_rows()[1:]] == ["beside Opus", "beside MP3", "beside AAC"]
