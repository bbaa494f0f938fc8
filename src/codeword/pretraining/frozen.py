"""What a phase uses and cannot change."""

import hashlib
from functools import cached_property
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class Frozen(Generic[M]):
    """A module that a phase uses and cannot change: no module itself, so that no mode, optimizer or checkpoint has it.

    Args:
        module: Set to evaluation.
    """

    def __init__(self, module: M):
        self.module = module.eval().requires_grad_(False)

    def beside(self, x: Tensor) -> M:
        """The module, moved to where a tensor is."""
        return self.module.to(x.device)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of all weights and buffers by name."""
        digest = hashlib.sha256(type(self.module).__name__.encode())
        for name, value in sorted(self.module.state_dict().items()):
            digest.update(
                name.encode() + value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            )
        return digest.hexdigest()
