"""Evaluation of an audio model as a stranger would type it."""

import json

import pytest
import soundfile

from codeword.codecs.audio.codec import AudioCodec
from codeword.evaluation.audio_results import AudioEvaluation
from contracts.audio_models import RATE, model, noise


@pytest.fixture(scope="module")
def net(one_thread, tmp_path_factory):
    """The folder of an audio model, and one of recordings."""
    folder = tmp_path_factory.mktemp("measured")
    codec = AudioCodec(model("spectral", levels=4, size=64))
    codec.learn_tables([[noise(1, 10 * RATE)]], [4.0])
    codec.save_pretrained(folder / "model")
    (folder / "in").mkdir()
    for number in range(2):
        soundfile.write(folder / "in" / f"{number}.wav", noise(1, 2 * RATE, seed=number)[0].numpy(), RATE)
    return folder


def test_a_table_and_a_file_of_results(run, net, tmp_path):
    line = f"evaluate audio {net}/model {net}/in --scales 4 8 --levels 2 --kbps 1 --metrics si_sdr waveform"
    line += " --peer-kbps 6 --seconds 1"
    ran = run(f"{line} --out {tmp_path}/r.json")
    assert (ran.code, ran.err) == (0, "")
    assert "recordings: 2, 2 seconds in one channel at 16000 Hz" in ran.out
    for words in ("scale=4", "scale=8", "levels=2", "kbps=1", "SI-SDR (dB)", "waveform L1", "level 4"):
        assert words in ran.out
    found = AudioEvaluation.read(tmp_path / "r.json")
    assert found.command == line.replace("evaluate", "codeword evaluate").replace(
        "--scales 4 8 --levels 2 --kbps 1", "--scales 4.0 8.0 --levels 2 --kbps 1.0"
    ).replace("6 --seconds 1", "6.0 --seconds 1.0")
    assert [clip.seconds for clip in found.clips] == [1.0, 1.0]
    again = run(f"{found.command.removeprefix('codeword ')} --out {tmp_path}/again.json")
    assert again.out == ran.out
    assert json.loads((tmp_path / "again.json").read_text())["points"] == json.loads(found.to_json())["points"]
    refused = run(f"{line} --out {tmp_path}/r.json")
    assert (refused.code, refused.err) == (
        2,
        f"codeword: {tmp_path}/r.json exists already: choose another name, or pass --overwrite\n",
    )


def test_packed_files_whole_recordings_and_a_page(run, net, tmp_path):
    line = f"evaluate audio {net}/model {net}/in/0.wav --levels 4 --metrics waveform --seconds 0"
    sizes = {}
    for more in ("", " --packed"):
        assert run(f"{line}{more} --out {tmp_path}/r.json --report {tmp_path}/r.html --overwrite").code == 0
        found = AudioEvaluation.read(tmp_path / "r.json")
        assert [clip.seconds for clip in found.clips] == [2.0]
        sizes[more] = found.points[0].kbps.mean
        assert (tmp_path / "r.html").read_bytes().startswith(b"<!doctype html>")
    assert sizes[""] < sizes[" --packed"]


def test_absent_peers_are_told_and_no_error(run, net, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    line = f"evaluate audio {net}/model {net}/in --levels 1 --metrics waveform --clips 1 --peers lc3 codec2 amr-wb"
    ran = run(line)
    assert ran.code == 0
    assert "not measured: lc3 (no elc3)" in ran.out
    assert "not measured: amr-wb (no ffmpeg or gst-launch-1.0)" in ran.out
    assert "recordings: 1" in ran.out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{net}/model {net}/none", "{net}/none: no such file or directory: give an audio file"),
        ("{net}/none {net}/in", "there is no model {net}/none"),
        ("{net}/model {net}/model", "{net}/model holds no audio: looked for"),
        ("{net}/model {net}/in --scales 100", "scales lie between 1 and 24 for 4 levels"),
        ("{net}/model {net}/in --levels 5", "this model has 4 levels: choose 1 to 4, got 5"),
        ("{net}/model {net}/in --kbps 0", "a rate in kbps is positive and at most 1000000, got 0"),
        ("{net}/model {net}/in --metrics pesk", "there is no metric 'pesk': choose from si_sdr"),
        ("{net}/model {net}/in --peers evs", "there is no peer 'evs': choose from opus"),
        ("{net}/model {net}/in --clips 0", "clips must be 1 or more, got 0"),
        ("{net}/model {net}/in --seconds 0.2", "seconds must be 1 or more, got 0.2"),
        ("{net}/model {net}/in --seconds nan", "seconds must be 1 or more, got nan"),
        ("{net}/model {net}/in --split test", "no clip has split 'test'"),
        ("{net}/model {net}/in --out {net}/no/r.json", "the folder {net}/no does not exist"),
        ("{net}/model {net}/in --report {net}/in", "{net}/in is a folder: give the name of a file"),
        ("{net}/model {net}/in --scale 4", "evaluate audio has no option --scale, perhaps --scales"),
        ("{net}/model", "missing from codeword evaluate audio: RECORDINGS"),
    ],
)
def test_mistakes_are_one_line(run, net, line, message):
    ran = run(f"evaluate audio {line.format(net=net)}")
    assert ran.code == 2
    assert ran.err.startswith("codeword: ")
    assert message.format(net=net) in ran.err
    assert ran.err.count("\n") == 1
