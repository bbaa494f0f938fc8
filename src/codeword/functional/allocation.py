r"""From the importance of a frame to the number of levels it spends (Chae and Lee 2024, section 3).

Everywhere p is the importance, l the scale, :math:`u_k = l\,p - k` and k = 0, 1, ... the level.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def depth(
    importance: Float[Tensor, "*batch"], scale: Float[Tensor, "*#batch"] | float, levels: int
) -> Int[Tensor, "*batch"]:
    r"""Levels that frames spend: :math:`\min(\lfloor l\,p \rfloor + 1, N)`, at least one (equations 3 and 4)."""
    return (importance.float() * scale).floor().long().clamp(0, levels - 1) + 1


def margins(
    importance: Float[Tensor, "*batch"], scale: Float[Tensor, "*#batch"] | float, levels: int
) -> Float[Tensor, "*batch levels"]:
    """How far frames are beyond the threshold of every level: all u_k."""
    x = importance.float() * scale
    return x.unsqueeze(-1) - torch.arange(levels, device=x.device)


def hard_gate(margin: Float[Tensor, "*batch levels"]) -> Float[Tensor, "*batch levels"]:
    """1 where a level is spent, without gradient (equation 4); its sum is ``depth``."""
    return (margin >= 0).to(margin.dtype)


def smooth_gate(
    margin: Float[Tensor, "*batch levels"], alpha: float, *, shift: float = 0.5
) -> Float[Tensor, "*batch levels"]:
    r"""The smooth stand-in for the threshold (equation 7), in a form that no alpha overflows.

    .. math:: f_\alpha(u) = \tfrac{1}{2\alpha} \left[ \mathrm{softplus}\,\alpha(2v + 1) -
        \mathrm{softplus}\,\alpha(2v - 1) \right], \qquad v = u + \tfrac12 - s

    It rises from 0 to 1 and its derivative integrates to 1; over all levels the derivatives add up to about 1 wherever
    the importance lies. With a large alpha it becomes the clamp of u + 1/2 (s = 1/2), or of u (s = 1).

    Args:
        margin: The u_k.
        alpha: How steep; the paper tries 0.1 to 8.
        shift: s; 1/2 is the published code, where f(0) = 1/2; 1 has the limit that the paper states.
    """
    v = margin + (0.5 - shift)
    return (F.softplus(alpha * (2 * v + 1)) - F.softplus(alpha * (2 * v - 1))) / (2 * alpha)


def clamp_gate(margin: Float[Tensor, "*batch levels"]) -> Float[Tensor, "*batch levels"]:
    """The baseline: a ramp from 0 to 1 (equation 6), which gives every frame a gradient from one level alone."""
    return margin.clamp(0.0, 1.0)


def straight_gate(
    hard: Float[Tensor, "*batch levels"], soft: Float[Tensor, "*batch levels"]
) -> Float[Tensor, "*batch levels"]:
    """One gate in value, another in derivative (equations 8 and 9)."""
    return hard + (soft - soft.detach())
