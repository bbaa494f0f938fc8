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
    mixed = _mix(_mix(_mix(key & _LOW) ^ (key >> 32)) + row) + column * 0x9E3779B1
    # 24 bits fill a float32 mantissa; the half keeps the end 0 out, and rounds the largest number up to 1.
    return (((_mix(_mix(mixed)) >> 8).to(torch.float32) + 0.5) * 2.0**-24).clamp_max(1.0 - 2.0**-24)


def row_normal(
    key: Int[Tensor, ""], rows: int, columns: int, *, first_row: int | Tensor = 0
) -> Float[Tensor, "rows columns"]:
    """Standard normal numbers (Box-Muller), each a function of (key, row, column)."""
    half = (columns + 1) // 2
    uniform = row_uniform(key, rows, 2 * half, first_row=first_row)
    radius = torch.sqrt(-2.0 * torch.log(uniform[:, :half]))
    angle = 2.0 * math.pi * uniform[:, half:]
    return torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)[:, :columns]


def _mix(value: Tensor) -> Tensor:
    """A 32-bit finaliser in int64 arithmetic, where products of 32-bit numbers wrap without harm."""
    value = value & _LOW
    value = ((value ^ (value >> 16)) * 0x7FEB352D) & _LOW
    value = ((value ^ (value >> 15)) * 0x846CA68B) & _LOW
    return value ^ (value >> 16)
