import io
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from codeword.codecs.rates import Kbps
from codeword.codecs.speech.codec import SpeechCodec
from codeword.data.audio_stream import stream_audio
from codeword.evaluation.inspection import inspect_path
from codeword.recipes.speech import recipe, resume_folder, train


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for number in range(4):
        noise = np.convolve(rng.standard_normal(24_000), [1, 0.8], "same")
        soundfile.write(folder / f"{number}.wav", 0.05 * noise * np.sin(np.arange(24_000) / 3000) ** 2, 16000)
    return folder


def quick(name="smoke"):
    made = recipe(name, steps=4)
    return replace(made, seconds=0.5, batch=2, loop=replace(made.loop, validate_every=4, progress=False))


@pytest.mark.parametrize("name", ["smoke", "residual-12", "product-12", "additive-12"])
def test_a_model_is_trained_kept_and_used(name, recordings, tmp_path):
    made = train(quick(name), recordings, tmp_path / "model")
    assert not resume_folder(tmp_path / "model").exists()
    codec = SpeechCodec.open(tmp_path / "model")
    assert codec.tables.fingerprint() == made.codec.tables.fingerprint()
    lines = inspect_path(tmp_path / "model").lines
    assert "speech model for 16000 Hz" in lines[0] and "50 per second of 320 lines in 16 bands" in lines[1]
    audio, _ = soundfile.read(recordings / "0.wav", dtype="float32")
    files = []
    for one in (made.codec, codec):
        file = io.BytesIO()
        done = one.compress(stream_audio(recordings / "0.wav", rate=16000, channels=1), file, Kbps(24.0))
        assert done.kbps == pytest.approx(24.0, rel=0.01)
        files.append(file.getvalue())
    assert files[0] == files[1]
    back = torch.cat(list(codec.decompress(codec.reader(io.BytesIO(files[0])))), 1)[0].numpy()
    assert back.shape == audio.shape
    assert np.square(back - audio).mean() < 0.5 * np.square(audio).mean()


def test_an_interrupted_training_goes_on(recordings, tmp_path):
    whole = train(quick(), recordings, tmp_path / "whole")
    config = quick()
    parts = replace(config, loop=replace(config.loop, checkpoint_every=1))
    seen = []

    class StopError(Exception):
        pass

    from codeword.codecs.speech.training import SpeechTask

    step = SpeechTask.step

    def failing(self, batch, phase):
        seen.append(batch.number)
        if len(seen) == 3:
            raise StopError
        return step(self, batch, phase)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(StopError):
        patch.setattr(SpeechTask, "step", failing)
        train(parts, recordings, tmp_path / "parts")
    assert resume_folder(tmp_path / "parts").is_dir() and not (tmp_path / "parts").exists()
    again = train(parts, recordings, tmp_path / "parts")
    assert again.codec.tables.fingerprint() == whole.codec.tables.fingerprint()


def test_what_is_no_codec_is_said(recordings, tmp_path):
    with pytest.raises(ValueError, match="there is no model"):
        SpeechCodec.open(tmp_path / "gone")
    train(quick(), recordings, tmp_path / "model")
    (tmp_path / "model" / "tables.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is damaged, restore the model"):
        SpeechCodec.open(tmp_path / "model")
    found = train(quick(), recordings, tmp_path / "dry", dry_run=True)
    assert found.outcome.step >= 1 and not (tmp_path / "dry").exists()
