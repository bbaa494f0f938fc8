r"""Gradient estimators: how a derivative crosses the nearest-codeword search, as pure functions.

Everywhere x is the input, c its codeword (or the sum of its codewords), r = |x - c| and e = (c - x) / r.
The value of every function but ``noise_substitution`` and ``directional`` is exactly c.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from codeword.functional.matmul import wide

_TINY = 1e-20  # keeps 0 / 0 out; squares of float32 numbers below 1e-19 vanish anyway


def straight_through(
    x: Float[Tensor, "*batch dim"], codeword: Float[Tensor, "*batch dim"]
) -> Float[Tensor, "*batch dim"]:
    r"""The codeword in value, the identity in derivative (Bengio et al. 2013; van den Oord et al. 2017, section 3.2).

    .. math:: \hat x = x + \mathrm{sg}[c - x], \quad \partial \hat x / \partial x = I, \quad
        \partial \hat x / \partial c = 0

    Note:
        The value is the codeword to the last bit, which ``x + (c - x)`` is not.
    """
    codeword = codeword.detach().to(x.dtype)
    if not (x.requires_grad and torch.is_grad_enabled()):
        return codeword
    return _StraightThrough.apply(x, codeword)


class _StraightThrough(torch.autograd.Function):
    """No arithmetic at all: a tensor as large as the batch costs more to write than the search that chose it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codeword: Tensor) -> Tensor:  # pyrefly: ignore
        return codeword.view_as(codeword)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyrefly: ignore
        return grad, None


class WeighedError(NamedTuple):
    """What :func:`weighed_error` returns.

    Attributes:
        losses: The loss of each vector.
        errors: Squared distances, without gradient.
    """

    losses: Float[Tensor, "*batch"]
    errors: Float[Tensor, "*batch"]


def weighed_error(
    x: Float[Tensor, "*batch dim"], codeword: Float[Tensor, "*batch dim"], *, codebook: float, commitment: float
) -> WeighedError:
    r"""The codebook loss and the commitment loss in one pass (van den Oord et al. 2017, equation 3).

    .. math:: \ell = \tfrac1D \left( \alpha\, |\mathrm{sg}[x] - c|^2 + \beta\, |x - \mathrm{sg}[c]|^2 \right)

    In float32 at least, also under autocast.

    Args:
        x: Vectors.
        codeword: Their codewords.
        codebook: The weight alpha.
        commitment: The weight beta.
    """
    losses, errors = _WeighedError.apply(wide(x), wide(codeword), codebook, commitment)
    return WeighedError(losses, errors)


class _WeighedError(torch.autograd.Function):
    """One difference saved, and as many products as there are gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codeword: Tensor, codebook: float, commitment: float) -> tuple[Tensor, Tensor]:  # pyrefly: ignore
        difference = x - codeword
        with torch.autocast(x.device.type, enabled=False):
            errors = (difference.unsqueeze(-2) @ difference.unsqueeze(-1)).reshape(x.shape[:-1])
        ctx.save_for_backward(difference)
        ctx.weights = codebook, commitment
        ctx.mark_non_differentiable(errors)
        return errors * ((codebook + commitment) / x.shape[-1]), errors

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:  # pyrefly: ignore
        (difference,) = ctx.saved_tensors
        scale = grad.unsqueeze(-1) * (2.0 / difference.shape[-1])
        codebook, commitment = ctx.weights
        to_x = difference * (scale * commitment) if ctx.needs_input_grad[0] else None
        to_codeword = difference * (scale * -codebook) if ctx.needs_input_grad[1] and codebook else None
        return to_x, to_codeword, None, None


def noise_substitution(
    x: Float[Tensor, "*batch dim"],
    codeword: Float[Tensor, "*batch dim"],
    noise: Float[Tensor, "*batch dim"],
    weight: Float[Tensor, " dim"] | None = None,
) -> Float[Tensor, "*batch dim"]:
    r"""The quantization error replaced by noise of the same length (Vali and Backstrom 2022, equation 9).

    .. math:: \hat x = x + \frac{|w \circ (x - c)|}{|v|} \, v \circ w^{-1}, \qquad v \sim N(0, I)

    Nothing is detached: with u = v / |v| and g the derivative of the loss by the output (w = 1),
    :math:`\partial L / \partial c = e \langle u, g \rangle` and
    :math:`\partial L / \partial x = g - e \langle u, g \rangle`.

    Args:
        x: Vectors.
        codeword: Their codewords, differentiable in the codebook.
        noise: Standard normal numbers.
        weight: Positive weight of each feature, the w of equation 9.

    Note:
        An error of exactly zero gives x and finite derivatives; the published code gives NaN there.
    """
    error = x - codeword
    if weight is not None:
        error = error * weight
    direction = noise / torch.linalg.vector_norm(noise, dim=-1, keepdim=True).clamp_min(_TINY)
    if weight is not None:
        direction = direction / weight
    return x + torch.linalg.vector_norm(error, dim=-1, keepdim=True) * direction


def directional(
    x: Float[Tensor, "*batch dim"],
    codeword: Float[Tensor, "*batch dim"],
    noise: Float[Tensor, "*batch dim"],
    variance: float,
) -> Float[Tensor, "*batch dim"]:
    r"""A step of the error's length in a detached, slightly noisy direction to the codeword (DiVeQ, Vali et al. 2025).

    .. math:: \hat x = x + |c - x| \; \mathrm{sg}\!\left[\frac{c - x + n}{|c - x + n|}\right], \qquad
        n \sim N(0, \sigma^2 I)

    Args:
        x: Vectors.
        codeword: Their codewords, differentiable in the codebook.
        noise: Standard normal numbers, scaled here.
        variance: The variance sigma^2.

    Note:
        ``variance`` is used as a variance; the released code hands it over as a standard deviation.
    """
    error = codeword - x
    towards = error.detach() + noise * variance**0.5
    direction = towards / torch.linalg.vector_norm(towards, dim=-1, keepdim=True).clamp_min(_TINY)
    return x + torch.linalg.vector_norm(error, dim=-1, keepdim=True) * direction


def rotation(
    x: Float[Tensor, "*batch dim"], codeword: Float[Tensor, "*batch dim"], largest_scale: float
) -> Float[Tensor, "*batch dim"]:
    r"""The codeword in value; in derivative the rotation from x to it (Fifty et al. 2025, equation 4).

    .. math:: \partial \hat x / \partial x = \min\!\left(\tfrac{|c|}{|x|}, s\right) R, \quad
        R = I - 2 r r^\top + 2 \hat c \hat x^\top, \quad r = \frac{\hat x + \hat c}{|\hat x + \hat c|}

    Args:
        x: Vectors.
        codeword: Their codewords.
        largest_scale: The bound s of the scale.

    Note:
        Unlike the paper the scale is bounded, since |c| / |x| explodes near the origin, and at x = 0 or c = 0, where
        there is no rotation, the derivative is the identity. Opposite vectors turn by the reflection limit of R.
    """
    codeword = codeword.detach().to(x.dtype)
    if not (x.requires_grad and torch.is_grad_enabled()):
        return codeword
    start = x.detach()
    length, goal = (torch.linalg.vector_norm(v, dim=-1, keepdim=True) for v in (start, codeword))
    move = x - start  # zero in value, the identity in derivative
    x_hat, c_hat = F.normalize(start, dim=-1, eps=_TINY), F.normalize(codeword, dim=-1, eps=_TINY)
    middle = F.normalize(x_hat + c_hat, dim=-1, eps=_TINY)
    turned = (
        move - 2.0 * middle * (middle * move).sum(-1, keepdim=True) + 2.0 * c_hat * (x_hat * move).sum(-1, keepdim=True)
    )
    scale = (goal / length.clamp_min(_TINY)).clamp_max(largest_scale)
    return codeword + torch.where((length > 0) & (goal > 0), scale * turned, move)
