"""Sums over clips: what one system at one setting spends, and what it is worth."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from codeword.codecs.audio.choice import RateChoice
from codeword.codecs.audio.codec import AudioCodec
from codeword.codecs.rates import Kbps, Levels
from codeword.codecs.speech.codec import SpeechCodec
from codeword.entropy.depths import DepthCoder
from codeword.entropy.frames import FrameTables
from codeword.entropy.range_coder import MessageWriter
from codeword.evaluation.audio_listening import hear_speech, listen, setting
from codeword.evaluation.audio_peers import Peer
from codeword.evaluation.audio_results import Kind, Point
from codeword.evaluation.audio_scores import Scorer
from codeword.evaluation.intervals import interval
from codeword.functional import usage
from codeword.functional.radix import radix_bits


class OwnTally:
    """Our own model at one setting, clip after clip."""

    failure = ""

    def __init__(self, codec: AudioCodec, rate: RateChoice) -> None:
        self._codec, self._rate = codec, rate
        constant = isinstance(rate, Levels) or codec.model.importance is None
        self._kind: Kind = "constant" if constant else "variable"
        self._counts = [torch.zeros(size, dtype=torch.int64) for size in codec.model.quantizer.quantizer.sizes]
        self._depths = np.zeros(codec.model.levels + 1, dtype=np.int64)
        self._num_bytes = self._depth_bytes = 0
        self._per_clip: list[dict[str, float]] = []

    def add(self, signal: Float[Tensor, " time"], scorer: Scorer) -> None:
        """Code a clip."""
        heard = listen(self._codec, signal, [self._rate])[0]
        codes = torch.from_numpy(heard.codes)
        self._counts = [
            counts + usage.histogram(codes[:, level], len(counts)) for level, counts in enumerate(self._counts)
        ]
        self._depths += np.bincount(heard.depths, minlength=len(self._depths))
        self._num_bytes += heard.num_bytes
        if self._kind == "variable":
            self._depth_bytes += depth_bytes(heard.depths, self._codec.model.levels, self._codec.tables)
        self._per_clip.append({"kbps": heard.kbps, **scorer(signal, heard.audio)})

    def point(self) -> Point:
        """All clips together."""
        frames = max(int(self._depths.sum()), 1)
        codes = {
            "usage": tuple(float(usage.perplexity_share(counts)) if counts.any() else 0.0 for counts in self._counts),
            "depths": tuple((self._depths[1:] / frames).tolist()),
            "mean_levels": float(self._depths @ np.arange(len(self._depths))) / frames,
            "depth_share": self._depth_bytes / max(self._num_bytes, 1),
        }
        return _point("codeword", setting(self._rate), self._kind, self._per_clip, codes)


class SpeechTally:
    """Our own codec of speech at one rate, clip after clip."""

    failure = ""

    def __init__(self, codec: SpeechCodec, rate: Kbps) -> None:
        self._codec, self._rate = codec, rate
        self._per_clip: list[dict[str, float]] = []

    def add(self, signal: Float[Tensor, " time"], scorer: Scorer) -> None:
        """Code a clip."""
        compressed, back = hear_speech(self._codec, signal, self._rate)
        self._per_clip.append({"kbps": compressed.kbps, **scorer(signal, back)})

    def point(self) -> Point:
        """All clips together."""
        return _point("codeword", setting(self._rate), "lines", self._per_clip)


class PeerTally:
    """A peer at one rate, clip after clip."""

    def __init__(self, name: str, peer: Peer, kbps: float, rate: int) -> None:
        self._name, self._peer, self._kbps, self._rate = name, peer, kbps, rate
        self._per_clip: list[dict[str, float]] = []
        self.failure = ""

    def add(self, signal: Float[Tensor, " time"], scorer: Scorer) -> None:
        """Code a clip; after a failure the setting is of no more use."""
        try:
            num_bytes, back = self._peer.code(signal, self._rate, self._kbps)
            scores = scorer(signal, back)
        except (ValueError, OSError) as error:
            self.failure = f"{self._name} (at {self._kbps:g} kbps {error})"
        else:
            self._per_clip.append({"kbps": 8e-3 * num_bytes * self._rate / len(signal), **scores})

    def point(self) -> Point:
        """All clips together."""
        return _point(self._name, f"{self._kbps:g} kbps", "peer", self._per_clip)


def depth_bytes(depths: Int64[np.ndarray, " frames"], levels: int, tables: FrameTables | None) -> int:
    """Bytes that depths take in a file by themselves: range-coded with the tables, or packed where that is shorter."""
    packed = -(-radix_bits((len(depths),), (levels + 1,)) // 8)
    if tables is None or tables.depth is None:
        return packed
    coder, message = DepthCoder(tables.depth), MessageWriter()
    coder.write(message, depths[None], coder.cheapest_set(depths[None]))
    return min(len(message.data()), packed)


def _point(
    system: str, asked: str, kind: Kind, per_clip: Sequence[dict[str, float]], codes: Mapping[str, Any] | None = None
) -> Point:
    names = dict.fromkeys(name for clip in per_clip for name in clip)
    means = {name: interval([clip[name] for clip in per_clip if name in clip]) for name in names}
    return Point(
        system=system,
        setting=asked,
        kind=kind,
        kbps=means.pop("kbps"),
        metrics=means,
        per_clip=tuple(per_clip),
        **(codes or {}),
    )
