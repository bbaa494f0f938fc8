r"""Gradient estimators: how a derivative crosses the nearest-codeword search, as pure functions.

Everywhere x is the input, c its codeword (or the sum of its codewords), ``r = |x - c|`` and
``e = (c - x) / r``.
The value of every function but ``noise_substitution`` and ``directional`` is exactly c.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from codeword.functional.matmul import wide

_OPPOSITE = 1e-4  # sums of unit vectors below this are rounding, which has no direction
_TINY = 1e-20  # keeps 0 / 0 out; squares of float32 numbers below 1e-19 vanish anyway


def straight_through(
    x: Float[Tensor, "*batch dim"], codeword: Float[Tensor, "*batch dim"]
) -> Float[Tensor, "*batch dim"]:
    r"""The codeword in value, the identity in derivative (Bengio et al. 2013; van den Oord et al. 2017, section 3.2).

    .. math:: \hat x = x + \mathrm{sg}[c - x], \quad \partial \hat x / \partial x = I, \quad
        \partial \hat x / \partial c = 0

    Note:
        The value is the codeword to the last bit, which ``x + (c - x)`` is not, and shares its memory.
    """
    codeword = codeword.detach().to(x.dtype)
    if not (x.requires_grad and torch.is_grad_enabled()):
        return codeword
    return _Carry.apply(x, (codeword,))


class _Carry(torch.autograd.Function):
    """One tensor in value, another in derivative, without any arithmetic.

    A tensor as large as the batch costs more to write than the search that chose it. The value comes inside a tuple:
    a result that is an argument itself would be a view, which nobody may change in place, as ReLU(inplace=True) does.
    """

    @staticmethod
    def forward(source: Tensor, value: tuple[Tensor]) -> Tensor:  # pyrefly: ignore
        # A compiler finds arguments inside tuples too, but its copies cost nothing.
        return value[0].clone() if torch.compiler.is_compiling() else value[0].detach()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, tuple[Tensor]], output: Tensor) -> None:
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, None]:  # pyrefly: ignore
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
    x, codeword = wide(x), wide(codeword)
    difference = x.detach() - codeword.detach()
    sides = [  # one tensor, saved once, on the way to each side alone
        _Carry.apply(side, (difference,)) if side.requires_grad and torch.is_grad_enabled() else difference
        for side in (x, codeword)
    ]
    losses, errors = _WeighedSquare.apply(*sides, codebook, commitment)
    return WeighedError(losses, errors)


class _WeighedSquare(torch.autograd.Function):
    """The square of a difference that is given twice, with another weight for each in derivative."""

    @staticmethod
    def forward(of_x: Tensor, of_codeword: Tensor, codebook: float, commitment: float) -> tuple[Tensor, Tensor]:  # pyrefly: ignore
        with torch.autocast(of_x.device.type, enabled=False):
            errors = (of_x.unsqueeze(-2) @ of_x.unsqueeze(-1)).reshape(of_x.shape[:-1])
        return errors * ((codebook + commitment) / of_x.shape[-1]), errors

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float, float], output: tuple[Tensor, Tensor]) -> None:
        of_x, of_codeword, codebook, commitment = inputs
        ctx.save_for_backward(of_x, of_codeword)
        ctx.weights = commitment, -codebook
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:  # pyrefly: ignore
        of_x, of_codeword = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated again: the codeword stands behind a minus in the difference
            of_codeword = 2.0 * of_codeword.detach() - of_codeword
        scale = grad.unsqueeze(-1) * (2.0 / of_x.shape[-1])
        to_x, to_codeword = (
            side * (scale * weight) if needed and weight else None
            for side, weight, needed in zip((of_x, of_codeword), ctx.weights, ctx.needs_input_grad, strict=False)
        )
        return to_x, to_codeword, None, None


def noise_substitution(
    x: Float[Tensor, "*batch dim"],
    codeword: Float[Tensor, "*batch dim"],
    noise: Float[Tensor, "*batch dim"],
    weight: Float[Tensor, " dim"] | None = None,
) -> Float[Tensor, "*batch dim"]:
    r"""The quantization error replaced by noise of the same length (Vali and Backstrom 2022, equation 9).

    .. math:: \hat x = x + \frac{|w \circ (x - c)|}{|v|} \, v \circ w^{-1}, \qquad v \sim N(0, I)

    Nothing is detached: with ``u = v / |v|`` and g the derivative of the loss by the output (w = 1),
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
        Unlike the paper the scale is bounded, since ``|c| / |x|`` explodes near the origin, and at x = 0 or c = 0,
        where there is no rotation, the derivative is the identity. Opposite vectors are reflected:
        :math:`R = I - 2 \hat x \hat x^\top`.
    """
    codeword = codeword.detach().to(x.dtype)
    if not (x.requires_grad and torch.is_grad_enabled()):
        return codeword
    start = x.detach()
    length, goal = (torch.linalg.vector_norm(v, dim=-1, keepdim=True) for v in (start, codeword))
    move = x - start  # zero in value, the identity in derivative
    x_hat, c_hat = F.normalize(start, dim=-1, eps=_TINY), F.normalize(codeword, dim=-1, eps=_TINY)
    middle = x_hat + c_hat
    span = torch.linalg.vector_norm(middle, dim=-1, keepdim=True)
    middle = torch.where(span > _OPPOSITE, middle / span.clamp_min(_TINY), 0.0)
    turned = (
        move - 2.0 * middle * (middle * move).sum(-1, keepdim=True) + 2.0 * c_hat * (x_hat * move).sum(-1, keepdim=True)
    )
    scale = (goal / length.clamp_min(_TINY)).clamp_max(largest_scale)
    return codeword + torch.where((length > 0) & (goal > 0), scale * turned, move)
