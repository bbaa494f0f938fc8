"""Rate control that never looks ahead: for pipes, for live audio, for files that are too long to be kept.

Every frame pays a fixed number of bits into a reservoir and spends some of them. The fuller the reservoir, the larger
the scale; what a reservoir cannot hold is lost, what it does not hold cannot be spent::

    bits_per_frame ──► reservoir (0 .. size) ──► depth of the frame
                            │ how full              ▲
                            └──────► scale ─────────┘
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64

_REACH = 2.0  # octaves by which an empty or a full reservoir moves the scale
_LEARNING = 0.5  # octaves by which the scale drifts while a full reservoir would run out
_LEAST_RATIO = 1 / 16  # even if a chunk of silence took next to nothing


def frame_costs(sizes: Sequence[int], *, varies: bool = True) -> tuple[float, ...]:
    """Bits of a frame of one channel at depth 0, 1, ..., with its depth where that varies."""
    depth_bits = math.log2(len(sizes) + 1) if varies else 0.0
    return tuple(depth_bits + sum(map(math.log2, sizes[:depth])) for depth in range(len(sizes) + 1))


class Reservoir:
    """Chooses the depths of frames as they come.

    *Never too much*: the frames of any stretch cost at most ``bits_per_frame`` times their number, plus ``size``. *On
    the average*: as long as the target lies within the reach of the scales, the reservoir neither fills up nor runs
    dry for long, so that T frames cost ``bits_per_frame`` times T, but for at most ``size``; on importance that stays
    alike it returns to half full, and what differs goes to 0 as 1 / T.

    Costs are those of ``costs``. Where the file takes other bits, tell :meth:`settle` after every chunk: the difference
    is paid back, and later frames are charged what such frames really took. From the end of a chunk to the end of
    another the promises then hold for the bits of the file, but for what one chunk was misjudged by.

    Args:
        costs: Bits of a frame of one channel at depth 0, 1, ..., levels; ascending.
        bits_per_frame: Average bits of a frame, all channels together.
        size: Bits that the reservoir holds; it begins half full.
        cap: Bits that no frame may exceed.
        scales: Least and greatest scale; 1 and 6 levels if not given.
        channels: Channels, which share the reservoir and the scale.
    """

    def __init__(
        self,
        costs: Sequence[float],
        bits_per_frame: float,
        size: float,
        *,
        cap: float = math.inf,
        scales: tuple[float, float] | None = None,
        channels: int = 1,
    ) -> None:
        self.levels = len(costs) - 1
        least = channels * costs[1]
        if not least <= min(bits_per_frame, cap):
            raise ValueError(
                f"a frame of depth 1 takes {least:g} bits, more than the {min(bits_per_frame, cap):g} that it may: "
                "ask for a higher rate or cap"
            )
        if not size >= bits_per_frame:
            raise ValueError(f"a reservoir holds at least one frame of {bits_per_frame:g} bits, got a size of {size:g}")
        self._costs = tuple(costs)
        self._income, self._size, self._cap, self._channels = bits_per_frame, size, cap, channels
        low, high = (1.0, 6.0 * self.levels) if scales is None else scales
        self._lowest, self._highest = math.log2(low), math.log2(high)
        # The scale at which frames of importance 1/2 cost what comes in.
        affordable = sum(channels * cost <= bits_per_frame for cost in costs) - 1
        self._log_scale = min(max(math.log2(2 * affordable - 1), self._lowest), self._highest)
        self.fill = size / 2
        self._ratio = 1.0  # of the bits that frames really take to ``costs``
        self._nominal = self._charged = 0.0  # since the last chunk

    @property
    def scale(self) -> float:
        """The scale of the next frame."""
        octaves = self._log_scale + _REACH * (2 * self.fill / self._size - 1)
        return 2.0 ** min(max(octaves, self._lowest), self._highest)

    def spend(self, importance: Float[np.ndarray, "channels frames"]) -> Int64[np.ndarray, "channels frames"]:
        """Depths of the next frames; how they are cut into blocks makes no difference."""
        if len(importance) != self._channels:
            raise ValueError(f"this reservoir is for {self._channels} channels, got {len(importance)}")
        if not importance.size:
            return np.zeros(importance.shape, dtype=np.int64)
        return np.array([self._frame(frame) for frame in importance.T.tolist()], dtype=np.int64).T

    def settle(self, spent: float | int) -> None:
        """Tell how many bits the frames since the last call really took, headers included; 0 if they still wait."""
        if spent and self._nominal:
            self.fill = min(self.fill + self._charged - spent, self._size)
            self._ratio = max(spent / self._nominal, _LEAST_RATIO)
            self._nominal = self._charged = 0.0

    def _frame(self, importance: list[float]) -> list[int]:
        costs, scale = self._costs, self.scale
        depths = [min(int(scale * p) + 1, self.levels) for p in importance]
        self.fill = min(self.fill + self._income, self._size)
        budget = min(self.fill, self._cap) / self._ratio
        cost = sum(costs[depth] for depth in depths)
        while cost > budget and max(depths) > 1:
            # The step that a falling scale would take back first: that with the greatest critical scale.
            _, channel = max(
                ((depth - 1) / max(p, 1e-30), channel)
                for channel, (depth, p) in enumerate(zip(depths, importance, strict=True))
            )
            depths[channel] -= 1
            cost = sum(costs[depth] for depth in depths)
        self.fill -= self._ratio * cost
        self._nominal, self._charged = self._nominal + cost, self._charged + self._ratio * cost
        drift = _LEARNING * self._income / self._size * (2 * self.fill / self._size - 1)
        self._log_scale = min(max(self._log_scale + drift, self._lowest), self._highest)
        return depths
