"""Waveforms of any length to codes and importance, and codes to waveforms, window by window."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from codeword.codecs.audio.model import AudioModel
from codeword.codecs.audio.windows import Window, windows
from codeword.functional.threads import one_thread

_SECONDS = 4.0  # length of a window, before its surroundings


class CodedFrames(NamedTuple):
    """A piece of a signal in codes.

    Attributes:
        codes: Of all levels: a greedy residual code of fewer levels is a prefix.
        importance: Of every frame; ``None`` from a model of constant depth.
    """

    codes: Int[Tensor, "channels frames levels"]
    importance: Float[Tensor, "channels frames"] | None


class AudioTransform:
    """A model on signals of any length.

    Every window is computed on its own, one channel at a time, on a grid that depends on the model alone: codes do not
    depend on how a signal was read, nor on what else is coded beside it.

    Args:
        model: A trained model; its weight norm is removed.
        seconds: Length of a window.
    """

    def __init__(self, model: AudioModel, *, seconds: float = _SECONDS):
        model.remove_weight_norm()
        self.model = model.eval()
        self.frames = max(1, round(seconds * model.frame_rate))

    def encode(self, blocks: Iterable[Float[Tensor, "channels _"]]) -> Iterator[CodedFrames]:
        """Codes of a signal; silence fills up the last frame.

        Args:
            blocks: The signal at the model's sample rate, cut anywhere.
        """
        hop = self.model.hop
        for window in windows(_whole_frames(blocks, hop), self.frames * hop, self.model.reach[0] * hop):
            yield self._encode(window, hop)

    def decode(self, blocks: Iterable[Int[Tensor, "channels _ levels"]]) -> Iterator[Float[Tensor, "channels _"]]:
        """The waveform of codes, -1 beyond a frame's depth.

        Args:
            blocks: Codes, cut anywhere.
        """
        turned = (block.transpose(1, 2) for block in blocks)  # windows run along the last axis
        for window in windows(turned, self.frames, self.model.reach[1]):
            yield self._decode(window)

    @torch.inference_mode()
    @one_thread()
    def _encode(self, window: Window, hop: int) -> CodedFrames:
        frames = slice(window.skip // hop, (window.skip + window.count) // hop)
        codes: list[Tensor] = []
        importance: list[Tensor] = []
        for channel in window.values:
            analysed = self.model.analyse(channel.view(1, 1, -1))
            codes.append(self.model.quantizer.quantizer.encode(analysed.latents[0, frames]))
            if analysed.importance is not None:
                importance.append(analysed.importance[0, frames])
        return CodedFrames(torch.stack(codes), torch.stack(importance) if importance else None)

    @torch.inference_mode()
    def _decode(self, window: Window) -> Tensor:
        hop, quantizer = self.model.hop, self.model.quantizer.quantizer
        samples = slice(window.skip * hop, (window.skip + window.count) * hop)
        made: list[Tensor] = []
        for channel in window.values:
            latents = quantizer.decode(channel.t())
            wave = self.model.synthesise(latents.unsqueeze(0))[0, 0]
            # The published transposed convolutions with odd strides end a few samples early.
            made.append(F.pad(wave, (0, channel.shape[-1] * hop - len(wave)))[samples])
        return torch.stack(made)


def _whole_frames(blocks: Iterable[Tensor], hop: int) -> Iterator[Tensor]:
    """A signal with zeros after it, up to a whole number of frames."""
    length, channels = 0, 1
    for block in blocks:
        length, channels = length + block.shape[-1], block.shape[0]
        yield block
    if length % hop:
        yield torch.zeros(channels, hop - length % hop)
