"""Audio to codes and back while it comes, with causal models."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from codeword.codecs.audio.choice import RateChoice
from codeword.codecs.audio.model import AudioModel
from codeword.codecs.audio.spending import Spending
from codeword.codecs.audio.transform import CodedFrames
from codeword.codecs.rates import Levels
from codeword.functional.rate import codes_at
from codeword.functional.threads import one_thread
from codeword.nn.memory import Memory
from codeword.nn.seanet import WaveDecoder
from codeword.nn.spectral import SpectralDecoder

_SECONDS = 4.0  # of a block that are computed at once, so that scratch memory is bounded


class StreamingEncoder:
    """Samples to codes, frame by frame.

    ::

        block ──► whole frames ──► networks ──► latents ──► codes of all levels ──► CodedFrames
                     │ rest          │ memory                        ▲
                     ▼               ▼                  depth, by scale, levels or reservoir
                  next block      next block

    What it returns, end to end, is what the model makes of the whole signal, but for rounding: 1e-5 in importance, and
    codes that differ only where two codewords are as good as equally near. Channels are coded one by one. Memory does
    not grow.

    Args:
        model: A causal model; its weight norm is removed.
        rate: What frames may spend, all levels if not given. For a rate in kbps a frame costs the logarithms of its
            depth and codes, as packed without headers.
        channels: Of the signal.

    Attributes:
        latency: Samples that the encoder may be behind: m samples in, the codes of at least m - ``latency`` are out.
            One less than the hop, since the first sample of a frame waits for its last one.

    Raises:
        ValueError: If the model looks ahead or cannot spend the rate.
    """

    def __init__(self, model: AudioModel, rate: RateChoice | None = None, *, channels: int = 1):
        self.model, self.rate, self.channels = _causal(model), rate or Levels(model.levels), channels
        self.latency = model.hop - 1
        self._begin()

    def push(self, block: Float[Tensor, "channels _"]) -> CodedFrames:
        """The next samples, any number of them; returns the frames that are complete, perhaps none.

        Raises:
            ValueError: If a sample is not finite, or the channels are others; the stream goes on as if without them.
        """
        _check_channels(block, self.channels)
        if not block.isfinite().all():
            raise ValueError("samples must be finite, got a NaN or an infinity: leave it out, or send silence")
        joined = torch.cat([self._rest, block], -1)
        whole = joined.shape[-1] // self.model.hop * self.model.hop
        self._rest = joined[:, whole:].clone()
        return self._encode(joined[:, :whole])

    def finish(self) -> CodedFrames:
        """The last frame, filled up with silence, if samples wait for it; the next push begins another signal."""
        last = self._encode(F.pad(self._rest, (0, -self._rest.shape[-1] % self.model.hop)))
        self._begin()
        return last

    def _begin(self) -> None:
        self._memories = [Memory() for _ in range(self.channels)]
        self._spending = Spending(self.model, self.rate, self.channels)
        self._rest = torch.zeros(self.channels, 0, device=next(self.model.parameters()).device)

    @torch.inference_mode()
    @one_thread()
    def _encode(self, samples: Tensor) -> CodedFrames:
        codes = [torch.zeros(self.channels, 0, self.model.levels, dtype=torch.int64, device=samples.device)]
        importance = [torch.zeros(self.channels, 0, device=samples.device)]
        for part in samples.split(_frames_at_once(self.model) * self.model.hop, -1):
            if part.shape[-1]:
                coded = self._part(part)
                depths = self._spending.depths(coded.importance)
                codes.append(torch.from_numpy(codes_at(coded.codes.cpu().numpy(), depths)).to(samples.device))
                importance += [] if coded.importance is None else [coded.importance]
        varies = self.model.importance is not None
        return CodedFrames(torch.cat(codes, 1), torch.cat(importance, 1) if varies else None)

    def _part(self, samples: Tensor) -> CodedFrames:
        """Codes of all levels of whole frames."""
        codes: list[Tensor] = []
        importance: list[Tensor] = []
        for memory, channel in zip(self._memories, samples, strict=True):
            with memory.used():
                analysed = self.model.analyse(channel.view(1, 1, -1))
            codes.append(self.model.quantizer.quantizer.encode(analysed.latents[0]))
            if analysed.importance is not None:
                importance.append(analysed.importance[0])
        return CodedFrames(torch.stack(codes), torch.stack(importance) if importance else None)


class StreamingDecoder:
    """Codes to samples, as soon as no frame to come can change them.

    ::

        codes ──► latents ──► networks ──► samples ──► final ones
                                 │ memory     │ open ones
                                 ▼            ▼
                              next block   finish()

    What it returns, end to end, is what the model makes of all codes, within 1e-5 of full scale.

    Args:
        model: A causal model; its weight norm is removed.
        channels: Of the signal.

    Attributes:
        latency: Samples that the decoder is behind: of k frames in, all but the last ``latency`` samples are out. None
            in a ``WaveLayout``; in a ``SpectralLayout``, whose frames overlap, the length of a frame less the hop.
            With the encoder before it, m samples in, at least m less the sum of both latencies are out; and no sample
            of the output depends on more than that many samples after it.

    Raises:
        ValueError: If the model looks ahead.
    """

    def __init__(self, model: AudioModel, *, channels: int = 1):
        self.model, self.channels = _causal(model), channels
        assert isinstance(model.decoder, WaveDecoder | SpectralDecoder)  # the others are never causal
        self.latency = model.decoder.lag
        self._begin()

    @torch.inference_mode()
    def push(self, codes: Int[Tensor, "channels frames levels"]) -> Float[Tensor, "channels _"]:
        """The next frames, any number of them, -1 beyond their depth; returns the samples that are final."""
        _check_channels(codes, self.channels)
        final = [self._open[:, :0]]
        for part in codes.split(_frames_at_once(self.model), 1):
            if part.shape[1]:
                made = torch.stack([self._part(*one) for one in zip(self._memories, part, strict=True)])
                done = max(0, made.shape[-1] - self.latency)
                self._open = made[:, done:].clone()
                final.append(made[:, :done])
        return torch.cat(final, -1)

    def finish(self) -> Float[Tensor, "channels _"]:
        """The last samples, as they are if no frame follows; the next push begins another signal."""
        rest = self._open
        self._begin()
        return rest

    def _begin(self) -> None:
        self._memories = [Memory() for _ in range(self.channels)]
        self._open = torch.zeros(self.channels, 0, device=next(self.model.parameters()).device)

    def _part(self, memory: Memory, codes: Tensor) -> Tensor:
        with memory.used():
            return self.model.synthesise(self.model.quantizer.quantizer.decode(codes).unsqueeze(0))[0, 0]


def _causal(model: AudioModel) -> AudioModel:
    if model.layout.padding != "causal":
        raise ValueError(
            f'a model with padding="{model.layout.padding}" looks ahead: to stream, train one with padding="causal"; '
            "AudioTransform codes this one in windows"
        )
    model.remove_weight_norm()
    return model.eval()


def _check_channels(block: Tensor, channels: int) -> None:
    if len(block) != channels:
        raise ValueError(f"this stream has {channels} channels, got a block of {len(block)}: set channels={len(block)}")


def _frames_at_once(model: AudioModel) -> int:
    return max(1, round(_SECONDS * model.frame_rate))
