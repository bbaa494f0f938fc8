"""Random numbers keyed by row: the same vector draws the same numbers however a batch is split over processes.

A counter-based generator (Salmon et al. 2011 state the idea) made of integer tensor operations, so that it
runs on any device, inside a compiled graph, and needs no state but its key.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

_LOW = 0xFFFFFFFF


def fresh_key(like: Tensor) -> Int[Tensor, ""]:
    """A key drawn from PyTorch's own generator: ``torch.manual_seed`` rules it, checkpointing restores it."""
    return torch.randint(0, 1 << 62, (), device=like.device)


def row_uniform(
    key: Int[Tensor, ""], rows: int, columns: int, *, first_row: int | Tensor = 0
) -> Float[Tensor, "rows columns"]:
    """Uniform numbers in (0, 1) for rows from ``first_row`` on, each a function of (key, row, column)."""
    row = torch.arange(rows, device=key.device).unsqueeze(1) + first_row
    column = torch.arange(columns, device=key.device).unsqueeze(0)
    mixed = _mix_(_mix_(_mix_(key & _LOW) ^ (key >> 32)) + row) + column * 0x9E3779B1
    # 24 bits fill a float32 mantissa; the half keeps the end 0 out, and rounds the largest number up to 1.
    bits = _mix_(_mix_(mixed)).bitwise_right_shift_(8)
    return bits.to(torch.float32).add_(0.5).mul_(2.0**-24).clamp_max_(1.0 - 2.0**-24)


def row_normal(
    key: Int[Tensor, ""], rows: int, columns: int, *, first_row: int | Tensor = 0
) -> Float[Tensor, "rows columns"]:
    """Standard normal numbers (Box-Muller), each a function of (key, row, column)."""
    half = (columns + 1) // 2
    uniform = row_uniform(key, rows, 2 * half, first_row=first_row)
    radius = uniform[:, :half].log().mul_(-2.0).sqrt_()
    angle = 2.0 * math.pi * uniform[:, half:]
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :columns]


def _mix_(value: Tensor) -> Tensor:
    """A 32-bit finaliser in int64 arithmetic, where products of 32-bit numbers wrap without harm; in place."""
    value.bitwise_and_(_LOW)
    value.bitwise_xor_(value >> 16).mul_(0x7FEB352D).bitwise_and_(_LOW)
    value.bitwise_xor_(value >> 15).mul_(0x846CA68B).bitwise_and_(_LOW)
    return value.bitwise_xor_(value >> 16)
