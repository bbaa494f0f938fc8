"""Other codecs: real ones where they are installed, and pretenders on the path."""

import shutil
import sys

import pytest
import torch

from codeword.data.audio_files import read_audio
from codeword.evaluation import audio_routes
from codeword.evaluation.audio_peers import PEERS, Peer
from codeword.evaluation.audio_routes import Library, Programs
from codeword.evaluation.audio_scores import Scorer
from contracts.audio_models import RATE
from contracts.audio_samples import SPEECH

PRETENDER = "import shutil, sys; arguments = sys.argv[1:]; "
COPIES = "shutil.copy(arguments[-2], arguments[-1])"
# Seconds of speech at which every codec must be at least this good, and at most so many kbps above what was asked.
BOUNDS = {
    "opus": (24.0, 15, 4),
    "aac": (48.0, 15, 6),
    "mp3": (48.0, 20, 4),
    "lc3": (32.0, 12, 4),
    "amr-wb": (23.85, 5, 2),
}


@pytest.fixture(scope="module")
def speech():
    return read_audio(SPEECH, 6 * RATE, 2 * RATE)[0]


@pytest.fixture
def path(tmp_path, monkeypatch):
    """An empty folder that is all of the path; a function that puts programs there."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def put(name, program):
        script = tmp_path / name
        script.write_text(f"#!{sys.executable}\n{PRETENDER}{program}\n")
        script.chmod(0o755)

    return put


def route_of(peer, kind):
    return [route for route in PEERS[peer].routes if isinstance(route, kind) and not route.lacks()]


def test_rates_near_others_come_once_each_and_in_order():
    assert PEERS["codec2"].rates_near(()) == (0.7, 1.2, 1.6, 2.4, 3.2)
    assert PEERS["codec2"].rates_near((6.0, 3.0, 1.5)) == (1.6, 3.2)
    assert PEERS["opus"].rates_near((1.5,)) == (6.0,)


def test_without_programs_and_libraries_a_peer_says_what_it_lacks(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert {name: peer.route() for name, peer in PEERS.items()} == dict.fromkeys(PEERS)
    assert PEERS["opus"].lacks() == "ffmpeg or opusenc or codeword[media]"
    assert PEERS["lc3"].lacks() == "elc3"
    with pytest.raises(ValueError, match="elc3 is not installed"):
        PEERS["lc3"].code(torch.zeros(RATE), RATE, 16.0)


def test_half_a_pair_of_programs_is_none(path):
    path("elc3", COPIES)
    assert PEERS["lc3"].lacks() == "dlc3"


def test_an_ffmpeg_without_an_encoder_lacks_it(path):
    path("ffmpeg", "print(' A....D aac  AAC')")
    assert PEERS["amr-wb"].lacks() == "libvo_amrwbenc in ffmpeg or gst-launch-1.0"
    assert isinstance(PEERS["aac"].route(), Programs)


def test_a_pipeline_is_told_the_place_of_a_rate(path, tmp_path, speech):
    asked = tmp_path / "asked.txt"
    path(
        "gst-launch-1.0",
        f"open({str(asked)!r}, 'w').write(arguments[7]); shutil.copy(arguments[2][9:], arguments[-1][9:])",
    )
    path("ffmpeg", "print() if '-encoders' in arguments else " + COPIES)
    assert PEERS["amr-wb"].code(speech, RATE, 15.85)[0] > 2 * len(speech)
    assert asked.read_text() == "band-mode=4"


def test_bytes_are_those_of_the_file_and_samples_those_of_the_decoder(path, speech):
    path("elc3", COPIES)
    path("dlc3", COPIES)
    num_bytes, back = PEERS["lc3"].code(speech, RATE, 16.0)
    assert num_bytes == 44 + 2 * len(speech)  # the pretender keeps the WAV as it is
    assert float((back - speech).abs().max()) <= 2**-15


def test_samples_without_a_header_go_there_and_back(path, speech):
    path("c2enc", "open('/dev/null'); assert arguments[0] == '700C', arguments; " + COPIES)
    path("c2dec", COPIES)
    num_bytes, back = PEERS["codec2"].code(speech, RATE, 0.7)
    assert num_bytes == 2 * len(speech) // 2  # 16 bits at 8 kHz
    assert Scorer(("si_sdr",), RATE)(speech, back)["si_sdr"] > 8  # all that is lost is above 4 kHz


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("sys.exit('elc3: cannot do that')", "elc3 ended with 1: elc3: cannot do that"),
        ("print(3)", "elc3 ended with 0: no file"),
        ("import time; time.sleep(30)", "elc3 took longer than 0 s"),
    ],
)
def test_programs_that_fail_are_told_in_one_line(path, monkeypatch, program, message):
    path("elc3", program)
    path("dlc3", COPIES)
    if "longer" in message:
        monkeypatch.setattr(audio_routes, "_PATIENCE", 0.3)
        monkeypatch.setattr(audio_routes, "_PATIENCE_PER_SECOND", 0.0)
    with pytest.raises(ValueError, match=message) as failed:
        PEERS["lc3"].code(torch.zeros(RATE), RATE, 16.0)
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize("name", BOUNDS)
def test_real_programs_keep_speech_and_their_rates(name, speech):
    kbps, least, more = BOUNDS[name]
    routes = route_of(name, Programs)
    if not routes:
        pytest.skip(f"no {PEERS[name].lacks()} here")
    for route in routes:
        num_bytes, back = Peer((kbps,), PEERS[name].rates, (route,)).code(speech, RATE, kbps)
        assert Scorer(("si_sdr",), RATE)(speech, back)["si_sdr"] > least
        assert 0.7 * kbps < 8e-3 * num_bytes / 2 < kbps + more


@pytest.mark.skipif(shutil.which("c2enc") is None, reason="no c2enc here")
def test_codec2_keeps_its_rate_and_the_words(speech):
    num_bytes, back = PEERS["codec2"].code(speech, RATE, 3.2)
    assert 8e-3 * num_bytes / 2 == pytest.approx(3.2, rel=0.05)
    assert Scorer(("stoi",), RATE)(speech, back)["stoi"] > 0.7


@pytest.mark.parametrize("name", ["opus", "aac", "mp3"])
def test_the_library_stands_in_for_programs(name, speech):
    (library,) = route_of(name, Library)
    kbps, least, more = BOUNDS[name]
    num_bytes, back = Peer((kbps,), PEERS[name].rates, (library,)).code(speech, RATE, kbps)
    assert Scorer(("si_sdr",), RATE)(speech, back)["si_sdr"] > least
    assert 0.7 * kbps < 8e-3 * num_bytes / 2 < kbps + more


def test_what_the_library_cannot_do_is_told(tmp_path, speech):
    with pytest.raises(ValueError, match="libopus of PyAV"):
        Library("libopus", ".opus").code(tmp_path, speech.numpy()[None], 11025, 16.0)
