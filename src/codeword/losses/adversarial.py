"""Least-squares adversarial losses over several discriminators (Mao et al. 2017), and feature matching.

A discriminator's answer is the list of its feature maps; the last one is its verdict, a map that wants to be 1 on real
signals and 0 on made ones. A step of training judges three times::

    real, made --+--> discriminators(made.detach()), discriminators(real) --> discriminator_loss --> its optimizer
                 |
                 +--> discriminators(made), discriminators(real) under no_grad
                                   |              |
                                   +--> generator_loss, feature_matching_loss --> the generator's optimizer
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from codeword.functional.matmul import wide

Map = Float[Tensor, "_ _ ..."]  # items, channels and positions, other ones in each map


def discriminator_loss(made: Sequence[Sequence[Map]], real: Sequence[Sequence[Map]]) -> Float[Tensor, ""]:
    r"""What the discriminators D minimise, summed over them (Mao et al. 2017, equation 9, without its halves).

    .. math:: \sum_i \overline{D_i(\hat x)^2} + \overline{(1 - D_i(x))^2}

    Args:
        made: Feature maps of each discriminator for signals of the generator, which the caller detached.
        real: The same for real signals.
    """
    return torch.stack(
        [
            wide(fake[-1]).square().mean() + (1.0 - wide(true[-1])).square().mean()
            for fake, true in zip(made, real, strict=True)
        ]
    ).sum()


def generator_loss(made: Sequence[Sequence[Map]]) -> Float[Tensor, ""]:
    r"""What the generator minimises, summed over discriminators (Mao et al. 2017, equation 9).

    .. math:: \sum_i \overline{(1 - D_i(\hat x))^2}

    Args:
        made: Feature maps of each discriminator for signals of the generator.
    """
    return torch.stack([(1.0 - wide(fake[-1])).square().mean() for fake in made]).sum()


def feature_matching_loss(made: Sequence[Sequence[Map]], real: Sequence[Sequence[Map]]) -> Float[Tensor, ""]:
    r"""Mean absolute difference of feature maps, summed over maps and discriminators (Kumar et al. 2019, MelGAN).

    .. math:: \sum_i \sum_{l < L_i} \overline{|D_i^l(\hat x) - \mathrm{sg}[D_i^l(x)]|}

    The verdicts are left out, and real signals are detached.

    Args:
        made: Feature maps of each discriminator for signals of the generator.
        real: The same for real signals.
    """
    return torch.stack(
        [
            _l1(wide(of_made), wide(of_real.detach()))
            for fake, true in zip(made, real, strict=True)
            for of_made, of_real in zip(fake[:-1], true[:-1], strict=True)
        ]
    ).sum()


def _l1(x: Tensor, y: Tensor) -> Tensor:
    # Axes in the order of their strides: otherwise the derivative of channels-last maps walks through memory in jumps.
    order = sorted(range(x.dim()), key=x.stride, reverse=True)
    return (x.permute(order) - y.permute(order)).abs().mean()
