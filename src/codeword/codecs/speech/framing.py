"""Samples to lines and back while they come; what is kept between two calls is shorter than two windows."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from codeword.codecs.speech.model import SpeechModel
from codeword.functional.threads import one_thread


class LineAnalysis:
    """Samples to lines: end to end those of ``SpeechModel.analyse``, but for rounding.

    Sums are made in 64 bits and rounded, so that lines do not depend on how samples are cut into blocks.

    Args:
        model: Whose transform.

    Attributes:
        num_samples: Samples so far.
    """

    def __init__(self, model: SpeechModel):
        self._model, self._flat = model, (model.hop - model.delay) // 2
        self._rest = torch.zeros(model.before)
        self.num_samples = self._frames = 0

    def push(self, samples: Float[Tensor, " _"]) -> Float[Tensor, "frames lines"]:
        """The next samples, any number of them; returns the frames that are complete, perhaps none."""
        joined = torch.cat([self._rest, samples])
        # A window ends with zeros, whatever the samples there will be.
        count = max(0, (len(joined) + self._flat) // self._model.hop - 1)
        lines = self._lines(F.pad(joined, (0, self._flat)), count)
        self._rest = joined[count * self._model.hop :].clone()
        self.num_samples, self._frames = self.num_samples + len(samples), self._frames + count
        return lines

    def finish(self) -> Float[Tensor, "frames lines"]:
        """The last frames, one at least, as if silence followed."""
        count = self._model.num_frames(self.num_samples) - self._frames
        return self._lines(F.pad(self._rest, (0, (count + 1) * self._model.hop - len(self._rest))), count)

    @torch.inference_mode()
    @one_thread()
    def _lines(self, samples: Tensor, count: int) -> Tensor:
        hop = self._model.hop
        if not count:
            return samples.new_zeros(0, hop)
        return self._model.transform(samples[: (count + 1) * hop].double().unsqueeze(0))[0].float()


class LineSynthesis:
    """Lines to samples, as soon as no frame to come can change them.

    Of k frames k hops of samples are out, less those that neighbouring windows share.

    Args:
        model: Whose transform.
    """

    def __init__(self, model: SpeechModel):
        self._model, self._flat = model, (model.hop - model.delay) // 2
        self._last = torch.zeros(1, model.hop)
        self._skip = model.delay  # what the first frame has alone belongs to the silence before

    @torch.inference_mode()
    @one_thread()
    def push(self, lines: Float[Tensor, "frames lines"]) -> Float[Tensor, " _"]:
        """The next frames, any number of them; returns the samples that are final."""
        hop = self._model.hop
        wide = self._model.transform.inverse(torch.cat([self._last, lines]).unsqueeze(0))[0]
        made = wide[hop + self._flat : (len(lines) + 1) * hop + self._flat]
        skipped = min(self._skip, len(made))
        self._skip -= skipped
        self._last = torch.cat([self._last, lines])[-1:].clone()
        return made[skipped:]
