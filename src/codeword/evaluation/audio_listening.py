"""A signal as it comes back from real files at several settings of a model."""

import io
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from codeword.codecs.audio.choice import RateChoice
from codeword.codecs.audio.codec import AudioCodec
from codeword.codecs.rates import Kbps, Levels, Scale
from codeword.codecs.speech.codec import CompressedSpeech, SpeechCodec, SpeechRate
from codeword.data.audio_stream import AudioStream, stream_audio
from codeword.data.audio_wav import encode_pcm, wav_header

SoundCodec: TypeAlias = AudioCodec | SpeechCodec


class Listening(NamedTuple):
    """A signal as it comes back at one setting.

    Attributes:
        setting: What was asked for, such as ``scale=8``.
        kbps: Of its file.
        audio: The samples.
        depths: Levels that every frame spent.
        codes: Of every frame, -1 beyond its depth.
        num_bytes: Of its file.
    """

    setting: str
    kbps: float
    audio: Float[Tensor, " time"]
    depths: Int64[np.ndarray, " frames"]
    codes: Int64[np.ndarray, "frames levels"]
    num_bytes: int


def listen(codec: AudioCodec, signal: Float[Tensor, " time"], rates: Iterable[RateChoice]) -> tuple[Listening, ...]:
    """Compress a signal at several settings, to memory, and decompress it.

    Args:
        codec: The model.
        signal: One channel at its sample rate.
        rates: The settings.

    Raises:
        ValueError: If a setting does not suit the model.
    """
    return tuple(_heard(codec, signal, rate) for rate in rates)


def _heard(codec: AudioCodec, signal: Float[Tensor, " time"], rate: RateChoice) -> Listening:
    file = io.BytesIO()
    compressed = codec.compress(wave(signal, codec.sample_rate), file, rate)
    with codec.reader(io.BytesIO(file.getvalue())) as reader:
        codes = reader.read_all()[0]
    with codec.reader(io.BytesIO(file.getvalue())) as reader:
        audio = torch.cat([torch.zeros(1, 0), *codec.decompress(reader)], -1)[0]
    depths = np.count_nonzero(codes >= 0, axis=1)
    return Listening(setting(rate), compressed.kbps, audio, depths, codes, compressed.num_bytes)


def hear_speech(
    codec: SpeechCodec, signal: Float[Tensor, " time"], rate: SpeechRate
) -> tuple[CompressedSpeech, Float[Tensor, " time"]]:
    """What a file of a signal is, and the signal as it comes back.

    Args:
        codec: The model.
        signal: One channel at its sample rate.
        rate: What it may spend.
    """
    file = io.BytesIO()
    compressed = codec.compress(wave(signal, codec.sample_rate), file, rate)
    with codec.reader(io.BytesIO(file.getvalue())) as reader:
        return compressed, torch.cat(list(codec.decompress(reader)), -1)[0]


def wave(signal: Float[Tensor, " time"], rate: int) -> AudioStream:
    """A signal as a stream."""
    samples = encode_pcm(signal.unsqueeze(0).numpy(), 32)
    return stream_audio(io.BytesIO(wav_header(rate, 1, 32, len(samples)) + samples))


def setting(rate: RateChoice) -> str:
    """The name of a setting."""
    match rate:
        case Scale(value):
            return f"scale={value:g}"
        case Levels(count):
            return f"levels={count}"
        case Kbps(value):
            return f"kbps={value:g}"
