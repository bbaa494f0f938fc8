"""What the models that come with codeword decode of stored files, on any processor and with any number of threads."""

from pathlib import Path

import numpy as np
import pytest
import torch

from codeword.codecs.audio.codec import AudioCodec
from codeword.codecs.audio.storage import SPEECH
from codeword.codecs.image.codec import BitsPerPixel, ImageCodec
from codeword.codecs.image.storage import PHOTOS
from codeword.codecs.rates import Kbps
from codeword.codecs.speech.codec import SpeechCodec
from codeword.codecs.speech.storage import ENVELOPES
from codeword.data.audio_stream import stream_audio
from codeword.data.audio_writer import AudioWriter
from codeword.data.image_files import read_image
from codeword.formats.image import ImageFileReader

TESTS = Path(__file__).parents[1]
GOLDEN = TESTS / "golden"
RATES = {"audio": Kbps(3.0), "speech": Kbps(16.4)}
TOLERANCE = 1e-4  # of full scale, as the pages promise
CODECS = {
    "audio": lambda: AudioCodec.open(Path(SPEECH)),
    "speech": lambda: SpeechCodec.open(Path(ENVELOPES)),
    "image": lambda: ImageCodec.open(Path(PHOTOS)),
}


def write_sound(codec, path, rate, home):
    part = next(iter(stream_audio(TESTS / "fixtures/ru_0001.flac", rate=16000, channels=1, block=3 * 16000)))
    with AudioWriter(home / "part.wav", rate=16000, channels=1) as writer:
        writer.write(part[:, -16000:])
    with path.open("wb") as file:
        codec.compress(stream_audio(home / "part.wav", rate=16000, channels=1), file, rate)


def write_image(codec, path):
    sheet = read_image(TESTS / "fixtures/photo_crops_pd_32x64.png", channels=3)
    with path.open("wb") as file:
        codec.compress(sheet[:, :100, :150], file, BitsPerPixel(0.6))


def decoded(name, codec, path):
    """Between -1 and 1, or between 0 and 1."""
    if name == "image":
        with ImageFileReader(path, tables=codec.tables) as reader:
            return codec.decompress(reader).numpy() / 255
    with codec.reader(path) as reader:
        return torch.cat(list(codec.decompress(reader)), -1).numpy()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", list(CODECS))
def test_stored_files_sound_and_look_as_they_did(name, threads, tmp_path, update_golden):
    codec, path = CODECS[name](), GOLDEN / f"shipped_{name}.cw"
    expected = path.with_suffix(".npy")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        if update_golden:
            write_image(codec, path) if name == "image" else write_sound(codec, path, RATES[name], tmp_path)
            found = decoded(name, codec, path)
            np.save(expected, np.round(found * 255).astype(np.uint8) if name == "image" else found.astype(np.float16))
        found = decoded(name, codec, path)
    finally:
        torch.set_num_threads(before)
    wanted = np.load(expected)
    if name == "image":
        differences = np.abs(found * 255 - wanted)
        assert differences.max() < 1.5
        assert (differences > 0.5).mean() < 0.001
        return
    rounding = np.abs(wanted.astype(np.float32)) / 2048  # of half precision
    assert (np.abs(found - wanted) <= TOLERANCE + rounding).all()
