"""Codes of several levels as one sequence of tokens, or as delayed streams, for language models over codes.

``flatten_levels`` gives every level its own range of one vocabulary and lays the levels out one after another; sizes
8 and 4 make 12 tokens::

    codes (time, levels)    3 1         by vector   3 9  0 11  7 8
                            0 3         by level    3 0 7  9 11 8
                            7 0

``delay_levels`` keeps the levels side by side, each starting a step after the one before::

    codes    a1 a2 a3       delayed    a1 a2 a3 pad         every step of the model gives one code of each level, and
             b1 b2 b3                  pad b1 b2 b3         level b sees a of the same vector
"""

from collections.abc import Sequence
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Int
from torch import Tensor

Order = Literal["vector", "level"]
_MOST_TOKENS = (1 << 63) - 1


def flatten_levels(
    codes: Int[Tensor, "*batch time levels"], sizes: Sequence[int], *, order: Order = "vector", first: int = 0
) -> Int[Tensor, "*batch tokens"]:
    r"""Codes as one sequence over one vocabulary of ``first + sum(sizes)`` tokens.

    .. math:: \text{token} = \text{first} + \sum_{j < m} K_j + k_m

    Looks at the values once, which waits for an accelerator.

    Args:
        codes: Codes; -1 where a level is absent, which stays -1.
        sizes: Codebook size of every level, as in ``quantizer.sizes``.
        order: By ``"vector"``: all levels of a vector, then the next; by ``"level"``: all vectors of a level first.
        first: The token of code 0 of level 0; those below are free for beginning, end and padding.

    Returns:
        Tokens, ``time * levels`` of them, in int64.

    Raises:
        ValueError: If codes have another number of levels, or lie outside their codebook.
    """
    starts = _starts(sizes, first, order)
    if codes.shape[-1] != len(sizes):
        raise ValueError(f"codes have {codes.shape[-1]} levels, but there are {len(sizes)} sizes: {tuple(sizes)}")
    codes = codes.long()
    outside = (codes < -1) | (codes >= torch.tensor(tuple(sizes), device=codes.device))
    if outside.any():
        value, level = int(codes[outside][0]), int(outside.nonzero()[0, -1])
        raise ValueError(f"level {level} holds the code {value}, outside its codebook of size {sizes[level]}")
    tokens = torch.where(codes >= 0, codes + torch.tensor(starts, device=codes.device), -1)
    return rearrange(tokens, f"... time level -> ... ({'time level' if order == 'vector' else 'level time'})")


def unflatten_levels(
    tokens: Int[Tensor, "*batch tokens"], sizes: Sequence[int], *, order: Order = "vector", first: int = 0
) -> Int[Tensor, "*batch time levels"]:
    """The exact inverse of ``flatten_levels``, of the same ``sizes``, ``order`` and ``first``.

    Raises:
        ValueError: If the number of tokens is no multiple of the number of levels, or a token belongs to another
            level than its place says, as a language model may have it.
    """
    starts = _starts(sizes, first, order)
    if tokens.shape[-1] % len(sizes):
        raise ValueError(f"{tokens.shape[-1]} tokens do not make vectors of {len(sizes)} levels")
    pattern = "(time level)" if order == "vector" else "(level time)"
    tokens = rearrange(tokens.long(), f"... {pattern} -> ... time level", level=len(sizes))
    codes = tokens - torch.tensor(starts, device=tokens.device)
    absent = tokens == -1
    outside = ~absent & ((codes < 0) | (codes >= torch.tensor(tuple(sizes), device=codes.device)))
    if outside.any():
        value, level = int(tokens[outside][0]), int(outside.nonzero()[0, -1])
        last = starts[level] + sizes[level] - 1
        raise ValueError(f"token {value} stands where level {level} has the tokens {starts[level]} to {last}, or -1")
    return torch.where(absent, -1, codes)


def delay_levels(
    codes: Int[Tensor, "*batch time levels"], pad: int, *, delays: Sequence[int] | None = None
) -> Int[Tensor, "*batch steps levels"]:
    r"""Levels shifted in time against one another: the delay pattern (Copet et al. 2023, MusicGen, section 2.2).

    .. math:: y_{t m} = k_{t - d_m, m}, \qquad \text{pad where } t - d_m \text{ lies outside}

    Args:
        codes: Codes of any integers, -1 included.
        pad: What stands where a level has not begun or has ended.
        delays: Steps by which each level comes later, at least 0; by default 0, 1, 2, ...

    Returns:
        ``time + max(delays)`` steps, of the dtype of ``codes``.
    """
    delays = _delays(codes.shape[-1], delays)
    time = codes.shape[-2]
    delayed = codes.new_full((*codes.shape[:-2], time + max(delays), codes.shape[-1]), pad)
    for level, delay in enumerate(delays):
        delayed[..., delay : delay + time, level] = codes[..., level]
    return delayed


def undelay_levels(
    delayed: Int[Tensor, "*batch steps levels"], *, delays: Sequence[int] | None = None
) -> Int[Tensor, "*batch time levels"]:
    """The exact inverse of ``delay_levels``; what stands in the place of the padding is dropped unread.

    Raises:
        ValueError: If there are fewer steps than the longest delay.
    """
    delays = _delays(delayed.shape[-1], delays)
    time = delayed.shape[-2] - max(delays)
    if time < 0:
        raise ValueError(f"{delayed.shape[-2]} steps are too few for delays {tuple(delays)}: no vector is complete")
    parts = [delayed[..., delay : delay + time, level] for level, delay in enumerate(delays)]
    return torch.stack(parts, dim=-1)


def _starts(sizes: Sequence[int], first: int, order: str) -> list[int]:
    """The token of code 0 of every level."""
    if not sizes or min(sizes) < 1 or first < 0 or order not in ("vector", "level"):
        raise ValueError(
            'tokens need at least one level, sizes of at least 1, first of at least 0 and order "vector" or "level", '
            f"got sizes {tuple(sizes)}, first={first}, order={order!r}"
        )
    if first + sum(sizes) > _MOST_TOKENS:
        raise ValueError(
            f"{first + sum(sizes):.3g} tokens are more than int64 numbers: spread the features over more codes "
            "(features_per_code of ScalarQuantizer, bits_per_code of BinaryQuantizer)"
        )
    return [first + sum(sizes[:level]) for level in range(len(sizes))]


def _delays(levels: int, delays: Sequence[int] | None) -> Sequence[int]:
    delays = range(levels) if delays is None else delays
    if len(delays) != levels or not delays or min(delays) < 0:
        raise ValueError(f"delays are one number of at least 0 for each of {levels} levels, got {tuple(delays)}")
    return delays
