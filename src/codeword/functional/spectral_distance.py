"""Distances of spectrograms at several resolutions, one number for each signal."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from codeword.functional.spectral import Mel, magnitude, mel_bands, stft

_WINDOWS = (32, 64, 128, 256, 512, 1024, 2048)
_BANDS = (5, 10, 20, 40, 80, 160, 320)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    r"""How two spectrograms of non-negative values X and Y are compared.

    .. math:: a \,\overline{|\log_{10} \max(X, \epsilon)^p - \log_{10} \max(Y, \epsilon)^p|} + b \,\overline{|X - Y|}

    The bars are means over frames and bins.

    Attributes:
        log_weight: The weight a of the logarithms.
        linear_weight: The weight b of the values themselves.
        power: The exponent p, inside the logarithm only: a factor on a.
        floor: The smallest value epsilon of which a logarithm is taken.
    """

    log_weight: float = 1.0
    linear_weight: float = 1.0
    power: float = 1.0
    floor: float = 1e-5

    def __post_init__(self) -> None:
        if self.floor <= 0:
            raise ValueError(f"floor must be positive, since its logarithm is taken, got {self.floor}")


@dataclass(frozen=True, kw_only=True)
class MelScales:
    """Mel spectrograms of several resolutions; the defaults are those DAC is trained and evaluated with.

    The defaults leave no band without a bin at rates from 16 to 44.1 kHz. Where other settings do, the band is at the
    floor in both signals, adds nothing to the sum and counts in the mean, as it does in DAC.

    Attributes:
        sample_rate: Samples per second.
        windows: Frame lengths in samples, all multiples of 4; the hop is a quarter.
        bands: Number of mel bands for each window.
        lowest: Lower end of the lowest band in hertz.
        highest: Upper end of the highest band in hertz; half the sample rate if None.
        comparison: How two spectrograms are compared.
    """

    sample_rate: int
    windows: tuple[int, ...] = _WINDOWS
    bands: tuple[int, ...] = _BANDS
    lowest: float = 0.0
    highest: float | None = None
    comparison: Comparison = Comparison(linear_weight=0.0)

    def __post_init__(self) -> None:
        _check_windows(self.windows)
        if len(self.windows) != len(self.bands):
            raise ValueError(f"windows and bands must be as many, got {len(self.windows)} and {len(self.bands)}")
        _ = self.mels

    @property
    def mels(self) -> tuple[Mel, ...]:
        """The spectrograms one by one."""
        return tuple(
            Mel(
                sample_rate=self.sample_rate,
                window=window,
                hop=window // 4,
                bands=bands,
                lowest=self.lowest,
                highest=self.highest,
            )
            for window, bands in zip(self.windows, self.bands, strict=True)
        )


@dataclass(frozen=True, kw_only=True)
class StftScales:
    """Magnitude spectrograms of several resolutions; the defaults are those of DAC.

    Attributes:
        windows: Frame lengths in samples, all multiples of 4; the hop is a quarter.
        comparison: How two spectrograms are compared.
    """

    windows: tuple[int, ...] = (2048, 512)
    comparison: Comparison = Comparison(power=2.0)

    def __post_init__(self) -> None:
        _check_windows(self.windows)


def _check_windows(windows: tuple[int, ...]) -> None:
    if not windows or any(window < 4 or window % 4 for window in windows):
        raise ValueError(f"windows must be one or more multiples of 4, since the hop is a quarter, got {windows}")


def mel_distance(
    estimate: Float[Tensor, "*batch time"], reference: Float[Tensor, "*batch time"], scales: MelScales
) -> Float[Tensor, "*batch"]:
    """Distance of mel spectrograms, summed over resolutions (Kumar et al. 2023, loss functions of DAC).

    Args:
        estimate: Samples.
        reference: Samples to compare with; more than half the longest window.
        scales: The resolutions.
    """
    total = reference.new_zeros(())
    for mel in scales.mels:
        mine, theirs = (mel_bands(magnitude(stft(x, mel.window, mel.hop)), mel) for x in (estimate, reference))
        total = total + compare(mine, theirs, scales.comparison)
    return total


def stft_distance(
    estimate: Float[Tensor, "*batch time"], reference: Float[Tensor, "*batch time"], scales: StftScales
) -> Float[Tensor, "*batch"]:
    """Distance of magnitude spectrograms, summed over resolutions (Engel et al. 2020, as in DAC).

    Args:
        estimate: Samples.
        reference: Samples to compare with; more than half the longest window.
        scales: The resolutions.
    """
    total = reference.new_zeros(())
    for window in scales.windows:
        mine, theirs = (magnitude(stft(x, window, window // 4)) for x in (estimate, reference))
        total = total + compare(mine, theirs, scales.comparison)
    return total


def compare(
    mine: Float[Tensor, "*batch frames bins"], theirs: Float[Tensor, "*batch frames bins"], comparison: Comparison
) -> Float[Tensor, "*batch"]:
    """The distance of two spectrograms that :class:`Comparison` defines."""
    total = mine.new_zeros(())
    if comparison.log_weight:
        logs = [x.clamp_min(comparison.floor).log10() for x in (mine, theirs)]
        total = total + comparison.log_weight * comparison.power * (logs[0] - logs[1]).abs().mean((-2, -1))
    if comparison.linear_weight:
        total = total + comparison.linear_weight * (mine - theirs).abs().mean((-2, -1))
    return total
