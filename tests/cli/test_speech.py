"""Compress and decompress with the codec for speech as a stranger would type it."""

import io
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile

from codeword.codecs.speech.codec import SpeechCodec
from codeword.evaluation.audio_results import AudioEvaluation
from contracts.speech_models import speech_codec

FIXTURES = Path(__file__).parents[1] / "fixtures"
SPEECH, LOOP = FIXTURES / "ru_0001.flac", FIXTURES / "loop_amen.flac"


@pytest.fixture(scope="module")
def net(one_thread, tmp_path_factory):
    """The folder of a speech model."""
    folder = tmp_path_factory.mktemp("net") / "model"
    speech_codec().save_pretrained(folder)
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_and_back(run, net, home):
    ran = run(f"compress {SPEECH} a.cw --codec speech --kbps 24 --model {net}")
    assert (ran.code, ran.err) == (0, "")
    size = (home / "a.cw").stat().st_size
    assert f"a.cw: 16.08 seconds in {size} bytes" in ran.out
    assert 8e-3 * size / 16.08 == pytest.approx(24.0, rel=0.01)
    ran = run(f"decompress a.cw a.wav --model {net}")
    assert (ran.code, ran.err) == (0, "")
    audio, rate = soundfile.read(home / "a.wav")
    wanted, _ = soundfile.read(SPEECH)
    assert rate == 16000 and len(audio) == len(wanted)
    assert np.square(audio - wanted).mean() < 0.2 * np.square(wanted).mean()
    ran = run("inspect a.cw")
    assert "length: 16.080 seconds at 16000 Hz, 1 channel" in ran.out and "intact: yes" in ran.out
    assert "speech model for 16000 Hz" in run(f"inspect {net}").out


def test_two_channels_become_one_and_a_part_is_decoded(run, net, home):
    assert run(f"compress {LOOP} b.cw --model {net}").code == 0
    ran = run(f"decompress b.cw b.flac --model {net} --start 0.5 --stop 1")
    assert "0.50 seconds, 1 channel at 16000 Hz" in ran.out
    assert soundfile.info(home / "b.flac").frames == 8000


def test_pipes_carry_what_files_do(net, home):
    def piped(arguments, data):
        command = [sys.executable, "-m", "codeword", *arguments.split(), "--model", str(net), "--codec", "speech"]
        done = subprocess.run(command, input=data, capture_output=True, check=True)
        return done.stdout, done.stderr.decode()

    codes, told = piped("compress - - --kbps 20", SPEECH.read_bytes())
    assert "16.08 seconds" in told
    wave, told = piped("decompress - -", codes)
    assert "16.08 seconds" in told
    audio, rate = soundfile.read(io.BytesIO(wave))
    assert (rate, len(audio)) == (16000, soundfile.info(SPEECH).frames)
    (home / "codes.cw").write_bytes(codes)
    subprocess.run([sys.executable, "-m", "codeword", "inspect", "codes.cw"], check=True, capture_output=True)


def test_damage_is_named_and_salvaged(run, net, home):
    run(f"compress {SPEECH} a.cw --kbps 24 --model {net}")
    data = bytearray((home / "a.cw").read_bytes())
    data[len(data) // 2] ^= 255
    (home / "a.cw").write_bytes(data)
    ran = run(f"decompress a.cw a.wav --model {net}")
    assert ran.code == 2 and "--salvage reads what is intact" in ran.err
    assert not (home / "a.wav").exists()
    ran = run(f"decompress a.cw a.wav --model {net} --salvage")
    assert ran.code == 0 and "s are lost" in ran.err
    assert soundfile.info(home / "a.wav").frames >= 16000


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("compress {speech} a.cw --model {net} --levels 3", "--levels is not for the codec speech: leave it out"),
        ("compress {speech} a.cw --model {net} --bpp 1", "--bpp is not for the codec speech"),
        ("compress {speech} a.cw --model {net} --codec image", "is a model of the codec speech, not image"),
        ("compress {speech} a.cw --model {net} --kbps -3", "a rate in kbps is positive and at most 1000000"),
        ("compress {speech} a.cw --codec speech --model nowhere", "there is no model nowhere"),
        ("compress {speech} a.cw --codec opus", "invalid choice"),
        ("compress {speech} a.wav --codec speech --model {net}", "would be audio by its name"),
        ("decompress b.cw a.wav --model {net} --levels 2", "--levels is not for the codec speech"),
        ("decompress b.cw a.wav --model {net} --codec audio", "codec speech, not audio"),
        ("decompress b.cw a.wav --model {net} --start 20", "the signal is 16.0799 seconds long"),
    ],
)
def test_mistakes_are_one_line(run, net, home, line, said):
    run(f"compress {SPEECH} b.cw --model {net}")
    ran = run(line.format(speech=SPEECH, net=net))
    assert ran.code == 2
    assert said in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert sorted(path.name for path in home.iterdir()) == ["b.cw"]


def test_rate_and_quality_of_a_model(run, net, home):
    line = f"evaluate audio {net} {SPEECH} --kbps 12 24 --metrics weighted_snr si_sdr --seconds 2"
    ran = run(f"{line} --out r.json --report r.html")
    assert (ran.code, ran.err) == (0, "")
    assert "weighted SNR (dB)" in ran.out and "kbps=24" in ran.out
    found = AudioEvaluation.read(home / "r.json")
    worse, better = found.points
    for point, kbps in ((worse, 12.0), (better, 24.0)):
        assert point.kbps.mean == pytest.approx(kbps, rel=0.02)
    for metric in ("weighted_snr", "si_sdr"):
        assert worse.metrics[metric].mean < better.metrics[metric].mean
    page = (home / "r.html").read_text()
    assert "Envelope" in page and "how many levels every frame spends" not in page
    usual = run(f"evaluate audio {net} {SPEECH} --metrics waveform --seconds 1")
    assert all(f"kbps={kbps}" in usual.out for kbps in (8, 9.6, 13.2, 16.4, 24.4, 32))
    for more, said in [
        ("--levels 2", "a codec for speech is asked for rates in kbps, got levels=2"),
        ("--packed", "--packed is not for a codec of speech"),
    ]:
        ran = run(f"evaluate audio {net} {SPEECH} {more}")
        assert ran.code == 2 and said in ran.err


@pytest.mark.parametrize("written", ["-", "b.cw"])
@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_ends_what_is_recorded_and_keeps_it(net, home, written, times):
    """The first Ctrl-C waits for the recorder to end, the second for the block that comes."""
    sound = np.random.default_rng(0).normal(0, 3000, 160_000).astype("<i2").tobytes()
    wave = io.BytesIO()
    soundfile.write(wave, np.zeros(0, dtype=np.int16), 16000, format="WAV", subtype="PCM_16")
    head = bytearray(wave.getvalue())
    head[4:8] = head[40:44] = b"\xff" * 4  # a length that nobody knows
    command = [sys.executable, "-m", "codeword", "compress", "--model", str(net), "-", written, "--kbps", "20"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdin.write(bytes(head) + sound[:96_000])
        process.stdin.flush()
        while written != "-" and not list(home.glob(".*b.cw*")):
            time.sleep(0.1)
        first = process.stdout.read(8) if written == "-" else b""
        time.sleep(1.0)
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
        with suppress(BrokenPipeError):
            process.stdin.write(sound[96_000:])
        if times == 1:
            process.stdin.close()
        data = first + process.stdout.read()
        said = process.stderr.read().decode()
        assert process.wait() == 0, said
        with suppress(BrokenPipeError):
            process.stdin.close()
    if written == "-":
        Path("b.cw").write_bytes(data)
    codec = SpeechCodec.open(net)
    with codec.reader(Path("b.cw")) as reader:
        seconds = sum(block.shape[1] for block in codec.decompress(reader)) / 16000
    assert "what was recorded is kept" in said
    assert (times == 1 and seconds == 10.0) or (times == 2 and 0.2 < seconds < 4.0), seconds


def test_a_pipe_that_comes_in_pieces_says_what_it_is(run, net, home):
    run(f"compress {SPEECH} a.cw --model {net} --kbps 20")
    data = Path("a.cw").read_bytes()
    command = [sys.executable, "-m", "codeword", "decompress", "--model", str(net), "-", "b.wav"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(data[:20])
        process.stdin.flush()
        time.sleep(4.0)
        process.stdin.write(data[20:])
        process.stdin.close()
        assert process.wait() == 0
    run(f"decompress a.cw c.wav --model {net}")
    assert Path("b.wav").read_bytes() == Path("c.wav").read_bytes()
