"""Compress and decompress as a stranger would type them."""

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from codeword.cli.common import CODES, pairs, report_failures
from codeword.codecs.audio.codec import AudioCodec
from contracts.audio_models import RATE, model, noise

FIXTURES = Path(__file__).parents[1] / "fixtures"
SPEECH, LOOP = FIXTURES / "ru_0001.flac", FIXTURES / "loop_amen.flac"


@pytest.fixture(scope="module")
def net(one_thread, tmp_path_factory):
    """The folder of an audio model."""
    folder = tmp_path_factory.mktemp("net") / "model"
    codec = AudioCodec(model("spectral", levels=4, size=64))
    codec.learn_tables([[noise(1, 10 * RATE)]], [4.0, 8.0])
    codec.save_pretrained(folder)
    return folder


def test_there_and_back(run, net, tmp_path):
    ran = run(f"compress {SPEECH} {tmp_path}/a.cw --model {net} --scale 6")
    assert ran.code == 0
    assert ran.err == ""
    assert "16.08 seconds in" in ran.out
    assert f"in {(tmp_path / 'a.cw').stat().st_size} bytes" in ran.out
    ran = run(f"decompress {tmp_path}/a.cw {tmp_path}/a.wav --model {net}")
    assert ran.code == 0
    info = soundfile.info(tmp_path / "a.wav")
    assert (info.samplerate, info.channels) == (RATE, 1)
    assert info.frames == soundfile.info(SPEECH).frames
    ran = run(f"inspect {tmp_path}/a.cw --model {net}")
    assert "kind audio" in ran.out
    assert "intact: yes" in ran.out


def test_another_rate_two_channels_and_a_part(run, net, tmp_path):
    assert run(f"compress {LOOP} {tmp_path}/b.cw --model {net} --levels 3").code == 0
    ran = run(f"decompress {tmp_path}/b.cw {tmp_path}/b.flac --model {net} --start 0.5 --stop 1 --levels 2")
    assert "0.50 seconds, 2 channels at 16000 Hz" in ran.out
    assert soundfile.info(tmp_path / "b.flac").frames == RATE // 2


def test_pipes_carry_what_files_do(net, tmp_path):
    def piped(arguments, data):
        command = [sys.executable, "-m", "codeword", *arguments.split(), "--model", str(net)]
        done = subprocess.run(command, input=data, capture_output=True, check=True)
        return done.stdout, done.stderr.decode()

    codes, told = piped("compress - - --scale 6", SPEECH.read_bytes())
    assert "16.08 seconds" in told
    wave, told = piped("decompress - -", codes)
    assert "16.08 seconds" in told
    audio, rate = soundfile.read(io.BytesIO(wave))
    (tmp_path / "codes.cw").write_bytes(codes)
    assert (rate, len(audio)) == (RATE, soundfile.info(SPEECH).frames)
    assert np.abs(audio).max() > 0


def test_folders_go_on_where_they_stopped(run, net, tmp_path):
    source = tmp_path / "in"
    (source / "deep").mkdir(parents=True)
    (source / "a.flac").write_bytes(LOOP.read_bytes())
    (source / "deep" / "b.flac").write_bytes(LOOP.read_bytes())
    (source / "bad.wav").write_bytes(b"no audio at all")
    (source / "notes.txt").write_text("left alone")
    ran = run(f"compress {source} {tmp_path}/out --model {net} --scale 4")
    assert ran.code == 2
    assert "bad.wav" in ran.err
    assert "1 of 3 files failed" in ran.err
    made = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert made == ["a.flac.cw", "deep/b.flac.cw"]
    times = [(tmp_path / "out" / name).stat().st_mtime_ns for name in made]
    again = run(f"compress {source} {tmp_path}/out --model {net} --scale 4")
    assert "2 of 3 files are in" in again.err
    assert "1 of 1 files failed" in again.err
    assert [(tmp_path / "out" / name).stat().st_mtime_ns for name in made] == times
    assert run(f"decompress {tmp_path}/out {tmp_path}/back --model {net}").code == 0
    assert (tmp_path / "back" / "deep" / "b.flac.wav").is_file()


@pytest.mark.parametrize(
    ("names", "made"),
    [
        (("a.wav.cw", "b.mp3.cw", "c.cw", "d.WAV.cw"), ("a.wav", "b.mp3.wav", "c.wav", "d.WAV")),
        (("a.wav.cw", "a.cw"), ("a.wav.cw.wav", "a.cw.wav")),  # neither may be lost
        (("a.wav.cw", "a.cw", "a.cw.wav.cw"), ("a.wav.cw.wav", "a.cw.wav", "a.cw.wav.cw.wav")),
        (("a.cw", ".b.cw", "._a.wav.cw"), ("a.wav",)),
    ],
)
def test_files_of_a_folder_have_their_names_again(tmp_path, names, made):
    (tmp_path / "deep").mkdir()
    for name in names:
        (tmp_path / "deep" / name).touch()
    found = pairs(tmp_path, tmp_path / "out", ".wav", CODES, overwrite=False)
    folders = tmp_path / "deep", tmp_path / "out" / "deep"
    shown = [name for name in names if not name.startswith(".")]
    assert sorted(found) == sorted((folders[0] / a, folders[1] / b) for a, b in zip(shown, made, strict=True))


def test_originals_beside_their_codes_are_not_in_the_way(run, net, tmp_path):
    (tmp_path / "a.wav").write_bytes(LOOP.read_bytes())
    assert run(f"compress {tmp_path} {tmp_path} --model {net} --scale 4").code == 0
    assert run(f"decompress {tmp_path} {tmp_path} --model {net} --overwrite").code == 0
    assert (tmp_path / "a.wav").read_bytes() == LOOP.read_bytes()
    assert (tmp_path / "a.wav.cw.wav").is_file()
    (tmp_path / "codes").mkdir()
    (tmp_path / "a.wav.cw").rename(tmp_path / "codes" / "a.wav.cw")
    assert run(f"decompress {tmp_path}/codes {tmp_path} --model {net} --overwrite").code == 0
    assert (tmp_path / "a.wav").read_bytes() == LOOP.read_bytes()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_a_file_that_is_too_large_does_not_stop_the_others(tmp_path, capsys, error):
    def do(pair, _):
        done.append(pair[0].name)
        if pair[0].name == "a":
            raise error

    done = []
    with pytest.raises(ValueError, match="1 of 2 files failed"):
        report_failures([(tmp_path / name, tmp_path / "out" / name) for name in "ab"], do)
    assert done == ["a", "b"]
    assert f"{tmp_path}/a: there is not enough memory" in capsys.readouterr().err


def test_a_reader_that_went_away_is_no_fault_of_a_file(tmp_path):
    def do(pair, _):
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        report_failures([(tmp_path / "a", tmp_path / "b")], do)


def test_each_file_of_a_folder_is_told_its_place(tmp_path):
    places = []
    work = [(tmp_path / name, tmp_path / "out" / name) for name in "abc"]
    report_failures(work, lambda pair, place: places.append((pair[0].name, place)))
    assert places == [("a", "1 of 3"), ("b", "2 of 3"), ("c", "3 of 3")]


def test_a_model_is_trained_from_recordings(run, tmp_path):
    for number in range(2):
        (tmp_path / "in").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "in" / f"{number}.wav", noise(1, 3 * RATE, seed=number)[0].numpy(), RATE)
    line = f"train audio {tmp_path}/in --out {tmp_path}/m --recipe smoke --steps 1 --workers 0"
    ran = run(f"{line} --dry-run")
    assert ran.code == 0
    assert "nothing was written" in ran.out
    assert not (tmp_path / "m").exists()
    ran = run(line)
    assert ran.code == 0
    assert "4 levels, 1 steps" in ran.out
    assert run(f"compress {tmp_path}/in/0.wav {tmp_path}/a.cw --model {tmp_path}/m").code == 0
    assert "exists already" in run(line).err
    assert "give a folder of audio files" in run(f"train audio {tmp_path}/none --out {tmp_path}/n").err


def test_a_damaged_file_is_salvaged(run, net, tmp_path):
    soundfile.write(tmp_path / "long.wav", noise(1, 130 * RATE)[0].numpy(), RATE)
    assert run(f"compress {tmp_path}/long.wav {tmp_path}/c.cw --model {net} --scale 6").code == 0
    data = bytearray((tmp_path / "c.cw").read_bytes())
    data[len(data) // 2] ^= 255
    (tmp_path / "c.cw").write_bytes(data)
    ran = run(f"decompress {tmp_path}/c.cw {tmp_path}/c.wav --model {net}")
    assert ran.code == 2
    assert "chunk" in ran.err
    assert "--salvage reads what is intact" in ran.err
    assert not (tmp_path / "c.wav").exists()
    ran = run(f"decompress {tmp_path}/c.cw {tmp_path}/c.wav --model {net} --salvage")
    assert ran.code == 0
    assert "40.00 to 80.00 s are lost" in ran.err
    audio, _ = soundfile.read(tmp_path / "c.wav")
    assert not audio[41 * RATE : 79 * RATE].any()
    assert audio[: 39 * RATE].any()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("compress nowhere.wav a.cw", "nowhere.wav: no such file"),
        ("compress {fixtures}/sift_pd.npz a.cw", "is no audio"),
        ("compress {speech} a.cw --kbps 2 --levels 3", "--kbps and --levels contradict"),
        ("compress {speech} a.cw --scale 99", "between 1 and 24"),
        ("compress {speech} a.cw --levels 5", "choose 1 to 4"),
        ("compress {speech} a.cw --kbps -1", "positive"),
        ("compress {speech} nofolder/a.cw", "does not exist"),
        ("compress {speech} {fixtures}", "is a folder"),
        ("compress {fixtures}/ {speech}", "is a file"),
        ("compress {fixtures}/ -", "is standard output"),
        ("decompress {speech} a.wav", "FLAC"),
        ("decompress {speech} a.wav --stop inf", "a number with an end"),
        ("decompress {speech} a.wav --start nan", "a number with an end"),
        ("decompress {speech} a.wav --salvage --levels 2", "leave out --levels"),
        ("decompress nowhere.cw a.wav", "nowhere.cw"),
    ],
)
def test_mistakes_are_one_line(run, net, tmp_path, monkeypatch, line, message):
    monkeypatch.chdir(tmp_path)
    ran = run(f"{line.format(fixtures=FIXTURES, speech=SPEECH)} --model {net}")
    assert ran.code == 2
    assert message in ran.err
    assert ran.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays(run, net, tmp_path):
    (tmp_path / "a.cw").write_text("mine")
    ran = run(f"compress {SPEECH} {tmp_path}/a.cw --model {net}")
    assert ran.code == 2
    assert "--overwrite" in ran.err
    assert (tmp_path / "a.cw").read_text() == "mine"
    assert run(f"compress {SPEECH} {tmp_path}/a.cw --model {net} --overwrite").code == 0


def test_a_pipe_is_capped_and_told_when_its_rate_is_out_of_reach(run, net, tmp_path):
    command = [sys.executable, "-m", "codeword", "compress", "-", str(tmp_path / "p.cw"), "--model", str(net)]
    sound = io.BytesIO()
    soundfile.write(sound, np.tile(soundfile.read(SPEECH)[0], 2), RATE, format="WAV")

    def piped(*more):
        (tmp_path / "p.cw").unlink(missing_ok=True)
        return subprocess.run([*command, *more], check=True, input=sound.getvalue(), capture_output=True)

    assert b"50 kbps was asked for" in piped("--kbps", "50").stderr
    deepest = []
    # Where no frame may take more than the average, silence is not made up for.
    for cap, note in (((), b""), (("--cap", "0.7"), b"model or cap allow no nearer rate")):
        said = piped("--kbps", "0.7", *cap).stderr.strip()
        assert said.endswith(note) if note else said == b""
        ran = run(f"inspect {tmp_path}/p.cw --model {net}")
        deepest.append(float(re.search(r"level 3: .* in ([0-9.]+) % of frames", ran.out).group(1)))
    # A frame may take 14 bits: two levels of 6, hardly three, and never four.
    assert deepest[0] > 0
    assert deepest[1] == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("compress {speech} {tmp}/a.cw --model {net} --kbps 2 --cap 3", "--cap belongs to --kbps and a pipe"),
        (
            "compress {speech} {tmp}/a.wav --model {net}",
            "a.wav would be audio by its name, codes are written",
        ),
        ("train audio {tmp} --out {tmp}/m --preset dapz", "there is no preset 'dapz': there are daps, musdb18"),
        ("train audio {tmp} --out {tmp}/m --preset vctk", "holds no audio"),
    ],
)
def test_more_mistakes_are_one_line(run, net, tmp_path, line, message):
    ran = run(line.format(speech=SPEECH, tmp=tmp_path, net=net))
    assert ran.code == 2
    assert len(ran.err.splitlines()) == 1
    assert re.search(message, ran.err)


def test_an_audio_model_is_inspected(run, net):
    ran = run(f"inspect {net}")
    assert ran.code == 0
    assert "audio model for 16000 Hz" in ran.out
    assert "4 x 64, variable depth" in ran.out
    assert "codes are range-coded" in ran.out
    assert "audio model" in run("inspect speech-16k").out


def test_models_can_be_read_by_others(net):
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in net.iterdir())
