"""Losses balanced by the gradients they send into the network's output, not by their values."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from codeword.functional.matmul import wide
from codeword.functional.ranks import sum_over_ranks_

_TINY = 1e-12  # below any norm of a gradient that matters: a loss without gradient asks for nothing


class Balancer(nn.Module):
    r"""The gradient balancer of EnCodec (Défossez et al. 2022, section 3.4).

    A loss is multiplied so that its share of the gradient at the output x, averaged over steps and items, is its
    weight, whatever its scale:

    .. math:: \frac{\partial L}{\partial x} =
        \sum_i R \, \frac{w_i}{\sum_j w_j} \, \frac{g_i}{\langle n_i \rangle_\beta},
        \qquad g_i = \frac{\partial \ell_i}{\partial x}, \qquad n_i = \frac1B \sum_b |B \, g_{ib}|

    :math:`\langle \cdot \rangle_\beta` is a moving average over steps, corrected for its start, the current step
    included. ::

        losses {name: l_i} --> g_i at x --> norms --> averages (buffers) --> scales --> one loss to call backward on

    Averages move once per optimizer step and are buffers, so that a checkpoint holds them; the same norms are used on
    all data-parallel ranks. A gradient that is not finite stays out of the averages.

    Args:
        weights: The weights w_i; they need not sum to 1.
        decay: The decay beta of the averages.
        total_norm: The reference norm R.

    Note:
        The released code does not multiply by B inside the norm, so that its balanced gradient is that of a sum over
        the batch. Here it is that of a mean: steps over accumulated parts of a batch, and averages over ranks, give
        the same as one large batch.
    """

    norms: Tensor
    seen: Tensor
    pending: Tensor

    def __init__(self, weights: Mapping[str, float], *, decay: float = 0.999, total_norm: float = 1.0):
        super().__init__()
        if not weights or min(weights.values()) < 0 or not sum(weights.values()) > 0:
            raise ValueError(f"weights must be 0 or more and not all 0, got {dict(weights)}")
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be 0 or more and below 1, got {decay}")
        self.weights = dict(weights)
        self.decay = decay
        self.total_norm = total_norm
        self.register_buffer("norms", torch.zeros(len(weights)))  # decayed sums of norms
        self.register_buffer("seen", torch.zeros(len(weights)))  # decayed numbers of steps in them
        self.register_buffer("pending", torch.zeros(len(weights), 2))  # this step: sums of norms, numbers of items

    def forward(
        self, losses: Mapping[str, Float[Tensor, ""]], output: Float[Tensor, "items ..."], *, ends_step: bool = True
    ) -> Float[Tensor, ""]:
        """One loss: the sum of the scaled losses in value, with the balanced gradient at the output.

        Args:
            losses: Means over the batch by name; those that are missing have no share in this step.
            output: What all of them were computed from, and everything that learns from them is behind.
            ends_step: False for all but the last of the parts over which a step accumulates.

        Raises:
            ValueError: If a loss has no weight, or the output has no gradient.
        """
        if unknown := losses.keys() - self.weights.keys():
            raise ValueError(f"losses without a weight: {', '.join(sorted(unknown))}; known: {', '.join(self.weights)}")
        if not output.requires_grad:
            raise ValueError("the output has no gradient to balance: in evaluation report the losses themselves")
        names = [name for name in self.weights if name in losses]
        gradients = [torch.autograd.grad(losses[name], output, retain_graph=True)[0] for name in names]
        averages = self._averages(names, gradients, ends_step=ends_step)
        shares = averages.new_tensor([self.weights[name] for name in names])
        scales = self.total_norm * shares / shares.sum().clamp_min(_TINY) / averages.clamp_min(_TINY)
        total = torch.stack([wide(losses[name].detach()) for name in names]) @ scales
        balanced = sum(
            (scale * wide(grad) for scale, grad in zip(scales, gradients, strict=True)), start=output.new_zeros(())
        )
        return total + _Directed.apply(output, balanced)

    @torch.no_grad()
    def _averages(self, names: list[str], gradients: list[Tensor], *, ends_step: bool) -> Tensor:
        items = len(gradients[0])
        places = torch.tensor([list(self.weights).index(name) for name in names], device=self.norms.device)
        norms = torch.stack([wide(grad).reshape(items, -1).norm(dim=1).sum() * items for grad in gradients])
        usable = norms.isfinite()
        now = torch.stack([norms.where(usable, 0.0), items * usable.to(norms.dtype)], dim=1)
        self.pending.index_add_(0, places, sum_over_ranks_(now).to(self.pending.dtype))

        sums, counts = self.pending.unbind(1)
        present = counts > 0
        moved = torch.where(present, self.decay * self.norms + sums / counts.clamp_min(1.0), self.norms)
        steps = torch.where(present, self.decay * self.seen + 1.0, self.seen)
        if ends_step:
            self.norms.copy_(moved)
            self.seen.copy_(steps)
            self.pending.zero_()
        return (moved / steps.clamp_min(_TINY))[places]


class _Directed(torch.autograd.Function):
    """Zero in value, a given tensor in derivative."""

    @staticmethod
    def forward(output: Tensor, gradient: Tensor) -> Tensor:  # pyrefly: ignore
        return gradient.new_zeros(())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.dtype = inputs[0].dtype

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyrefly: ignore
        (gradient,) = ctx.saved_tensors
        return (grad * gradient).to(ctx.dtype), None
