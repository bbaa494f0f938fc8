"""The models that come with codeword: what their cards say, and that they are found without a path."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import audio_shipped, image_shipped, speech_shipped
from PIL import Image

from codeword.codecs.audio.codec import AudioCodec
from codeword.codecs.audio.storage import SPEECH
from codeword.codecs.image.codec import ImageCodec
from codeword.codecs.image.storage import PHOTOS
from codeword.codecs.speech.codec import SpeechCodec
from codeword.codecs.speech.storage import ENVELOPES
from codeword.data.audio_stream import stream_audio
from codeword.functional.similarity import si_sdr

ROOT = Path(__file__).parents[2]
SENTENCE = ROOT / "tests" / "fixtures" / "ru_0001.flac"


def crop():
    """Half of the sheet of photos."""
    with Image.open(ROOT / "tests/fixtures/photo_crops_pd_32x64.png") as sheet:
        return np.asarray(sheet.convert("RGB"))[:128]


def samples(path):
    return torch.cat(list(stream_audio(path, rate=16000, channels=1)), -1)


@pytest.mark.parametrize(
    ("measured", "name", "codec"),
    [
        (audio_shipped, SPEECH, AudioCodec),
        (speech_shipped, ENVELOPES, SpeechCodec),
        (image_shipped, PHOTOS, ImageCodec),
    ],
)
def test_it_is_small_and_its_card_says_what_was_measured(measured, name, codec):
    assert sum(path.stat().st_size for path in measured.FOLDER.iterdir()) < 8e6
    results = json.loads((ROOT / "results" / f"{measured.__name__.rpartition('.')[2]}.json").read_text())
    assert (measured.FOLDER / "README.md").read_text() == measured.card(results["rows"], results["steps"])
    opened = codec.from_pretrained(name)
    assert results["model"] == opened.fingerprint
    assert opened.tables is not None


def test_the_neural_speech_model_is_what_its_page_says():
    model = AudioCodec.from_pretrained(SPEECH).model
    assert (model.sample_rate, model.frame_rate, model.levels, model.size) == (16000, 50.0, 12, 1024)


def test_speech_goes_through_without_naming_a_model(run, tmp_path):
    original, ratios = samples(SENTENCE), []
    for kbps in (1.5, 3, 6):
        coded, back = tmp_path / f"{kbps}.cw", tmp_path / f"{kbps}.wav"
        assert run(f"compress {SENTENCE} {coded} --kbps {kbps}").code == 0
        assert run(f"decompress {coded} {back}").code == 0
        seconds = original.shape[-1] / 16000
        assert 8 * coded.stat().st_size / seconds < 1010 * kbps
        ratios.append(float(si_sdr(samples(back), original)))
    assert ratios == sorted(ratios)
    assert ratios[-1] > 3.0


def test_speech_under_envelopes_goes_through_without_naming_a_model(run, tmp_path):
    original, errors = samples(SENTENCE), []
    seconds = original.shape[-1] / 16000
    for kbps in (8, 16.4, 32):
        coded, back = tmp_path / f"{kbps}.cw", tmp_path / f"{kbps}.wav"
        assert run(f"compress {SENTENCE} {coded} --codec speech --kbps {kbps}").code == 0
        assert run(f"decompress {coded} {back}").code == 0
        assert 8e-3 * coded.stat().st_size / seconds == pytest.approx(kbps, rel=0.01)
        errors.append(float((samples(back) - original).square().mean() / original.square().mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.05


def test_photos_go_through_without_naming_a_model(run, tmp_path):
    photo, sizes, errors = crop(), [], []
    Image.fromarray(photo).save(tmp_path / "a.png")
    for bpp in (0.3, 0.6, 1.2):
        coded, back = tmp_path / f"{bpp}.cw", tmp_path / f"{bpp}.png"
        assert run(f"compress {tmp_path / 'a.png'} {coded} --bpp {bpp}").code == 0
        assert run(f"decompress {coded} {back}").code == 0
        sizes.append(coded.stat().st_size)
        with Image.open(back) as found:
            errors.append(np.square(np.asarray(found) / 255 - photo / 255).mean())
    assert sizes == sorted(sizes) and errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.006


def test_an_own_model_of_the_same_name_goes_first_and_no_other_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / SPEECH).mkdir()
    assert AudioCodec.open(Path(SPEECH)).sample_rate == 16_000
    (tmp_path / SPEECH / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"is no codeword model|does not describe"):
        AudioCodec.open(Path(SPEECH))
