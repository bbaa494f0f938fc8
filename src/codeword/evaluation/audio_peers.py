"""Other codecs, through the programs that are installed, at the bytes of the files that they write.

::

    samples ─► .wav or .raw at the peer's rate ─► encoder ─► file, whose bytes count ─► decoder ─► samples
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from codeword.data.audio_resample import resample
from codeword.evaluation.audio_routes import Library, Programs, Route

_SPEECH_RATES = (8000, 16000, 24000, 48000)
_MUSIC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


class Peer(NamedTuple):
    """Another codec.

    Attributes:
        kbps: Rates to ask for.
        rates: Sample rates that it takes.
        routes: Ways to run it, the best first.
    """

    kbps: tuple[float, ...]
    rates: tuple[int, ...]
    routes: tuple[Route, ...]

    def route(self) -> Route | None:
        """The first way that is open."""
        return next((route for route in self.routes if not route.lacks()), None)

    def rates_near(self, wanted: Sequence[float]) -> tuple[float, ...]:
        """The rates to ask for that are nearest to some others, each once; all of them if there are no others."""
        if not wanted:
            return self.kbps
        return tuple(sorted({min(self.kbps, key=lambda own: abs(own - kbps)) for kbps in wanted}))

    def lacks(self) -> str:
        """What would open a way."""
        return " or ".join(dict.fromkeys(route.lacks() for route in self.routes))

    def code(self, signal: Float[Tensor, " time"], rate: int, kbps: float) -> tuple[int, Float[Tensor, " length"]]:
        """Bytes of the file, and the decoded signal at the rate of the original.

        Args:
            signal: One channel.
            rate: Its samples per second.
            kbps: What to ask for; one of ``kbps``.

        Raises:
            ValueError: In one line, if the codec fails.
        """
        route = self.route()
        if route is None:
            raise ValueError(f"{self.lacks()} is not installed")
        own = next((known for known in self.rates if known >= rate), self.rates[-1])
        samples = resample(signal.float().numpy()[None], rate, own)
        with tempfile.TemporaryDirectory() as folder:
            coded = route.code(Path(folder), samples, own, kbps)
        return coded.num_bytes, torch.from_numpy(resample(coded.audio, coded.rate, rate)[0])


def _ffmpeg(encoder: str, suffix: str, rate: tuple[str, str] = ("-b:a", "{bits}")) -> Programs:
    start, end = ("ffmpeg", "-nostdin", "-v", "error", "-y", "-i"), ("-c:a", "pcm_s16le", "{back}")
    return Programs(
        encode=(*start, "{wav}", "-c:a", encoder, *rate, "{coded}"),
        decode=(*start, "{coded}", *end),
        suffix=suffix,
        encoder=encoder,
    )


PEERS: Mapping[str, Peer] = {
    "opus": Peer(
        (6.0, 8.0, 12.0, 16.0, 24.0, 32.0),
        _SPEECH_RATES,
        (
            # Told the rate, the library spends nothing above it; opusenc makes 48 kHz of everything.
            _ffmpeg("libopus", ".opus"),
            Programs(
                encode=("opusenc", "--quiet", "--padding", "0", "--bitrate", "{kbps}", "{wav}", "{coded}"),
                decode=("opusdec", "--quiet", "--rate", "{rate}", "{coded}", "{back}"),
                suffix=".opus",
            ),
            Library("libopus", ".opus"),
        ),
    ),
    "aac": Peer(
        (8.0, 12.0, 16.0, 24.0, 32.0, 48.0),
        _MUSIC_RATES,
        (_ffmpeg("aac", ".aac"), Library("aac", ".aac")),
    ),
    "mp3": Peer(
        (8.0, 16.0, 24.0, 32.0, 48.0),
        _MUSIC_RATES,
        (
            Programs(
                encode=("lame", "--quiet", "-b", "{kbps}", "{wav}", "{coded}"),
                decode=("lame", "--quiet", "--decode", "{coded}", "{back}"),
                suffix=".mp3",
            ),
            _ffmpeg("libmp3lame", ".mp3"),
            Library("libmp3lame", ".mp3"),
        ),
    ),
    "lc3": Peer(
        (16.0, 24.0, 32.0, 48.0),
        (8000, 16000, 24000, 32000, 48000),
        (
            Programs(
                encode=("elc3", "-b", "{bits}", "{wav}", "{coded}"), decode=("dlc3", "{coded}", "{back}"), suffix=".lc3"
            ),
        ),
    ),
    "codec2": Peer(
        (0.7, 1.2, 1.6, 2.4, 3.2),
        (8000,),
        (
            Programs(
                encode=("c2enc", "{mode}", "{raw}", "{coded}"),
                decode=("c2dec", "{mode}", "{coded}", "{back}"),
                suffix=".c2",
                raw=True,
            ),
            _ffmpeg("libcodec2", ".c2", ("-mode", "{mode}")),
        ),
    ),
    "amr-wb": Peer(
        (6.6, 8.85, 12.65, 15.85, 19.85, 23.85),
        (16000,),
        (
            _ffmpeg("libvo_amrwbenc", ".amr"),
            Programs(
                encode=(
                    *("gst-launch-1.0", "-q", "filesrc", "location={wav}", "!", "wavparse", "!"),
                    *("voamrwbenc", "band-mode={place}", "!", "filesink", "location={coded}"),
                ),
                decode=("ffmpeg", "-nostdin", "-v", "error", "-f", "amrwb", "-i", "{coded}", "{back}"),
                suffix=".awb",
                modes=(6600, 8850, 12650, 14250, 15850, 18250, 19850, 23050, 23850),
            ),
        ),
    ),
}


def check_peers(names: Sequence[str]) -> None:
    """Refuse names of no peer.

    Raises:
        ValueError: Naming all there are.
    """
    for name in names:
        if name not in PEERS:
            raise ValueError(f"there is no peer {name!r}: choose from {', '.join(PEERS)}")
