"""Depths of frames as they come, for a rate that was chosen beforehand."""

import math

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from codeword.codecs.audio.choice import RateChoice
from codeword.codecs.audio.model import AudioModel
from codeword.codecs.audio.reservoir import Reservoir, frame_costs
from codeword.codecs.rates import Kbps, Levels, Scale, check_depth
from codeword.codecs.sound import LATE
from codeword.functional.rate import depths_at


def check_rate(model: AudioModel, rate: RateChoice) -> None:
    """Refuse what a model cannot spend.

    Raises:
        ValueError: Naming what it can.
    """
    if not isinstance(rate, Kbps):
        check_depth(rate, model.levels, None if model.importance is None else model.quantizer.check_scale)
        return
    if rate.cap is not None and not rate.value <= rate.cap:
        raise ValueError(f"a cap of {rate.cap:g} kbps is below the rate of {rate.value:g}: ask for that or more")


class Spending:
    """Chooses how many levels the next frames of a signal spend, and never looks ahead.

    Args:
        model: Where the frames come from.
        rate: A scale, a constant depth, or a rate that a reservoir of four seconds keeps to on the average, with a cap
            or without.
        channels: Of the signal; they share the reservoir.

    Raises:
        ValueError: If the rate does not suit the model.
    """

    def __init__(self, model: AudioModel, rate: RateChoice, channels: int):
        check_rate(model, rate)
        self._rate, self._levels = rate, model.levels
        self._reservoir = _reservoir(model, rate, channels) if isinstance(rate, Kbps) else None

    def depths(self, importance: Float[Tensor, "channels frames"] | None) -> Int64[np.ndarray, "channels frames"] | int:
        """Depths of the next frames, one number for all if they are constant."""
        if isinstance(self._rate, Levels):
            return self._rate.count
        assert importance is not None
        values = importance.cpu().numpy()
        if self._reservoir is not None:
            return self._reservoir.spend(values)
        assert isinstance(self._rate, Scale)
        return depths_at(values, self._rate.value, self._levels)

    def settle(self, bits: int) -> None:
        """Tell how many bits the frames since the last call really took, see ``Reservoir.settle``."""
        if self._reservoir is not None:
            self._reservoir.settle(bits)


def _reservoir(model: AudioModel, rate: Kbps, channels: int) -> Reservoir:
    if model.importance is None:
        raise ValueError("a model of constant depth cannot follow a rate while streaming: choose levels")
    kbps, bits = rate.value, 1000 / model.frame_rate  # of a frame, for every kilobit a second
    income = bits * kbps
    costs = frame_costs(model.quantizer.quantizer.sizes)
    least = channels * costs[1] * model.frame_rate / 1000
    if kbps < least:
        raise ValueError(
            f"{kbps:g} kbps are too few for a stream: one level of every frame takes {least:.3f}, ask for that or more"
        )
    return Reservoir(
        costs,
        income,
        LATE * model.frame_rate * income,
        cap=math.inf if rate.cap is None else bits * rate.cap,
        scales=model.quantizer.scales,
        channels=channels,
    )
