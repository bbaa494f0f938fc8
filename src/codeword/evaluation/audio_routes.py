"""Ways to run another codec: programs that are installed, or the FFmpeg that PyAV brings along."""

import shutil
import subprocess
import wave
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float32

from codeword.data.audio_files import audio_info, read_audio
from codeword.data.audio_wav import encode_pcm

_PATIENCE, _PATIENCE_PER_SECOND = 60.0, 4.0  # seconds that a program may take

Mono: TypeAlias = Float32[np.ndarray, "1 time"]


class Coded(NamedTuple):
    """What a codec made of a signal.

    Attributes:
        num_bytes: Length of the file.
        audio: The signal decoded again.
        rate: Its samples per second.
    """

    num_bytes: int
    audio: Mono
    rate: int


@dataclass(frozen=True, kw_only=True)
class Programs:
    """Two programs, their arguments with ``{wav}`` or ``{raw}``, ``{coded}``, ``{back}``, and the rate asked for.

    Attributes:
        encode: With ``{kbps}``, ``{bits}`` per second, ``{mode}``, what Codec2 calls its rates, or ``{place}``.
        decode: With ``{rate}`` where a program has to be told.
        suffix: Of the coded file.
        raw: Whether they read and write samples without a header.
        encoder: What FFmpeg must have been built with.
        modes: Rates, in bits per second, of which ``{place}`` tells the one that is asked for.
    """

    encode: tuple[str, ...]
    decode: tuple[str, ...]
    suffix: str
    raw: bool = False
    encoder: str = ""
    modes: tuple[int, ...] = ()

    def lacks(self) -> str:
        """What is not installed; empty if nothing is."""
        for program in dict.fromkeys((self.encode[0], self.decode[0])):
            if shutil.which(program) is None:
                return program
        built_in = not self.encoder or f" {self.encoder} " in _ffmpeg_encoders(shutil.which("ffmpeg") or "")
        return "" if built_in else f"{self.encoder} in ffmpeg"

    def code(self, folder: Path, audio: Mono, rate: int, kbps: float) -> Coded:
        """Write a file into an empty folder and read it again.

        Raises:
            ValueError: In one line, if that fails.
        """
        kind = "raw" if self.raw else "wav"
        source, coded, back = folder / f"in.{kind}", folder / f"coded{self.suffix}", folder / f"back.{kind}"
        bits = round(1000 * kbps)
        words = {
            kind: str(source),
            "coded": str(coded),
            "back": str(back),
            "rate": str(rate),
            "kbps": f"{kbps:g}",
            "bits": str(bits),
            "mode": "700C" if bits == 700 else str(bits),
            "place": str(self.modes.index(bits)) if bits in self.modes else "",
        }
        if self.raw:
            source.write_bytes(encode_pcm(audio, 16))
        else:
            _write_wav(source, audio, rate)
        seconds = audio.shape[1] / rate
        _run([word.format(**words) for word in self.encode], coded, seconds)
        _run([word.format(**words) for word in self.decode], back, seconds)
        if self.raw:
            samples = np.frombuffer(back.read_bytes(), "<i2").astype(np.float32)[None] / np.float32(2.0**15)
            return Coded(coded.stat().st_size, samples, rate)
        return Coded(coded.stat().st_size, read_audio(back)[:1].numpy(), audio_info(back).rate)


@dataclass(frozen=True)
class Library:
    """An encoder of the FFmpeg that PyAV brings, the extra ``media``.

    Attributes:
        codec: FFmpeg's name of the encoder.
        suffix: Of a file, which tells the container.
    """

    codec: str
    suffix: str

    def lacks(self) -> str:
        """What is not installed; empty if nothing is."""
        try:
            import av
        except ImportError:
            return "codeword[media]"
        return "" if self.codec in av.codecs_available else f"{self.codec} in PyAV"

    def code(self, folder: Path, audio: Mono, rate: int, kbps: float) -> Coded:
        """Write a file into an empty folder and read it again.

        Raises:
            ValueError: In one line, if that fails.
        """
        coded = folder / f"coded{self.suffix}"
        self._encode(coded, audio, rate, round(1000 * kbps))
        return Coded(coded.stat().st_size, read_audio(coded)[:1].numpy(), audio_info(coded).rate)

    def _encode(self, path: Path, audio: Mono, rate: int, bits: int) -> None:
        import av

        try:
            with av.open(str(path), "w") as file:
                stream: Any = file.add_stream(self.codec, rate=rate, layout="mono")
                stream.bit_rate = bits
                frame: Any = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio), format="fltp", layout="mono")
                frame.sample_rate = rate
                context = stream.codec_context
                context.open()
                fit = av.AudioResampler(
                    format=context.format, layout="mono", rate=rate, frame_size=context.frame_size or None
                )
                for part in [*fit.resample(frame), *fit.resample(None), None]:
                    file.mux(stream.encode(part))
        except av.FFmpegError as error:
            raise ValueError(f"{self.codec} of PyAV: {error.strerror or error}") from error


Route: TypeAlias = Programs | Library


@lru_cache(maxsize=4)
def _ffmpeg_encoders(program: str) -> str:
    command = [program, "-hide_banner", "-encoders"]
    try:
        told = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told.stdout.decode(errors="replace")


def _write_wav(path: Path, audio: Mono, rate: int) -> None:
    """The plainest header there is, since some programs take no other."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(encode_pcm(audio, 16))


def _run(command: list[str], made: Path, seconds: float) -> None:
    """Run a program that has to make a file.

    Raises:
        ValueError: In one line, if it fails or takes too long.
    """
    patience = _PATIENCE + _PATIENCE_PER_SECOND * seconds
    try:
        ended = subprocess.run(command, capture_output=True, timeout=patience, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"{command[0]} took longer than {patience:.0f} s") from error
    if ended.returncode or not made.exists():
        lines = ended.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError(f"{command[0]} ended with {ended.returncode}: {lines[-1].strip() if lines else 'no file'}")
