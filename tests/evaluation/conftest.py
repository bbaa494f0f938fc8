"""An evaluation of a small audio model, made once, and its report."""

from pathlib import Path
from typing import NamedTuple

import pytest
import soundfile

from codeword.codecs.audio.codec import AudioCodec
from codeword.codecs.rates import Levels, Scale
from codeword.evaluation.audio import AudioMeasures, evaluate
from codeword.evaluation.audio_recordings import Recordings, open_recordings
from codeword.evaluation.audio_report import write_report
from codeword.evaluation.audio_results import AudioEvaluation
from contracts.audio_models import RATE, model

SPEECH = Path(__file__).parents[1] / "fixtures" / "ru_0001.flac"
NAMES = ("<b>one&'\"two.flac", "plain.flac")
RATES = (Scale(3.0), Scale(8.0), Scale(20.0), Levels(1), Levels(3))


class Reported(NamedTuple):
    """A report with what it was made of."""

    path: Path
    evaluation: AudioEvaluation
    codec: AudioCodec
    recordings: Recordings


@pytest.fixture(scope="package")
def reported(one_thread, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    speech, _ = soundfile.read(SPEECH, dtype="float32")
    (folder / "sound").mkdir()
    for number, name in enumerate(NAMES):
        soundfile.write(folder / "sound" / name, speech[(number + 1) * RATE :][: 7 * RATE + 100], RATE)
    codec = AudioCodec(model("spectral", levels=4, size=64))
    recordings = open_recordings(folder / "sound", RATE)
    measures = AudioMeasures(rates=RATES, metrics=("si_sdr", "mel"))
    evaluation = evaluate(codec, recordings, measures, command="evaluate <these>")
    write_report(evaluation, codec, recordings, folder / "report.html")
    return Reported(folder / "report.html", evaluation, codec, recordings)
