"""Weights, gradients and an optimizer's moments divided among processes (FSDP2; Zhao et al. 2023, ZeRO-3).

::

                    gather a block's weights               mean of its gradients
    rank 0  rows 0.. ─┐                                     ┌─► rows 0.. ──► step on them
                      ├─► block ──► forward, backward ──►───┤
    rank 1  rows n.. ─┘                                     └─► rows n.. ──► step on them

Blocks of transformers are whole one after the other, the weights that are in no block together. Codebooks stay whole on
every rank, since their update works on tables, and so do single numbers.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from codeword.functional.ranks import broadcast_, rank, sum_over_ranks_, world_size
from codeword.nn.swin import SwinBlock
from codeword.nn.transformer import TransformerBlock
from codeword.quantizers.update import codebooks_of

M = TypeVar("M", bound=nn.Module)


def twin(module: M) -> M:
    """A module with copies of its parts and weights; everything else it refers to, such as its data, is shared.

    Raises:
        ValueError: If a part cannot be copied.
    """
    parts = vars(nn.Module())
    shared = {id(value): value for name, value in vars(module).items() if name not in parts}
    try:
        return copy.deepcopy(module, shared)
    except (TypeError, RuntimeError) as error:
        raise ValueError(_refusal(module, f"its parts cannot be copied ({_line(error)})")) from error


def shard(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Divide a module's weights, as rank 0 has them, in place and block by block; they move to the mesh's device.

    Raises:
        ValueError: If a weight cannot be divided.
    """
    blocks = [part for part in module.modules() if isinstance(part, TransformerBlock | SwinBlock)]
    books = {id(parameter) for book in codebooks_of(module) for parameter in book.parameters()}
    whole = {parameter for parameter in module.parameters() if id(parameter) in books or not parameter.ndim}
    _check_untied(module, blocks, whole)
    device = torch.empty(0, device=mesh.device_type).device
    options: dict[str, Any] = {"mesh": mesh["data_parallel"], "ignored_params": whole, "reshard_after_forward": True}
    try:
        for unit in (*blocks, module):
            _spread(unit, device)
            fully_shard(unit, **options)
    except (AssertionError, NotImplementedError) as error:
        raise ValueError(_refusal(module, _line(error))) from error
    return module


def check_optimizers(task: nn.Module, optimizers: Iterable[Optimizer]) -> None:
    """Refuse a task whose twin has optimizers of the weights of the task itself.

    Raises:
        ValueError: If it has.
    """
    stale = {id(parameter) for parameter in task.parameters()}
    for optimizer in optimizers:
        if any(id(parameter) in stale for group in optimizer.param_groups for parameter in group["params"]):
            raise ValueError(_refusal(task, "its optimizers() must make them of the weights it has at that moment"))


def check_unused(task: nn.Module) -> None:
    """Refuse a task whose twin has been trained with gradients that came to the task itself.

    Raises:
        ValueError: If one came.
    """
    for name, parameter in task.named_parameters():
        if parameter.grad is not None:
            raise ValueError(_refusal(task, f"its step reaches {name} by another way than through its own attributes"))


def step_one_by_one(optimizers: Iterable[Optimizer]) -> None:
    """Let groups with divided and whole weights be stepped weight by weight: no operator takes lists of both."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if len({isinstance(weight, DTensor) for weight in group["params"]}) > 1:
                group |= {name: False for name in ("foreach", "fused") if name in group}


@contextmanager
def whole_weights(module: nn.Module) -> Iterator[None]:
    """Inside, all weights are whole, and forwards exchange nothing: ranks may make different numbers of them."""
    units = [part for part in module.modules() if isinstance(part, FSDPModule)]
    for unit in units:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()
    try:
        yield
    finally:
        for unit in units:
            unit.reshard()
            unit.set_reshard_after_forward(True, recurse=False)


def own_part(value: Tensor) -> Tensor:
    """What this rank has of a tensor, in the same memory."""
    return value.to_local() if isinstance(value, DTensor) else value


def gathered(state: object, *, everywhere: bool = False) -> Any:
    """A state with whole tensors on the processor in place of divided ones; all ranks must call it.

    Args:
        state: Mappings, lists and tuples of tensors and other values.
        everywhere: Whether all ranks want it; else those but the first get ``None`` for a divided tensor.
    """
    if isinstance(state, DTensor):
        whole = state.full_tensor()  # one at a time: the device holds no second copy of all weights
        return whole.cpu() if everywhere or rank() == 0 else None
    if isinstance(state, Mapping):
        return {key: gathered(part, everywhere=everywhere) for key, part in state.items()}
    if isinstance(state, Sequence) and not isinstance(state, str):
        parts = [gathered(part, everywhere=everywhere) for part in state]
        return tuple(parts) if isinstance(state, tuple) else parts
    return state


def divided(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, divided as another one of its shape is; as it is where that is not divided."""
    if not isinstance(like, DTensor) or isinstance(value, DTensor) or value.shape != like.shape:
        return value
    # A copy, because the rank's rows alone would keep the memory of all.
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None).clone()


def divided_moments(optimizer: Optimizer, content: Mapping[str, Any]) -> dict[str, Any]:
    """The state of an optimizer of whole weights, for one of the same weights divided."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state = {
        number: {
            name: divided(value, weights[number]) if isinstance(value, Tensor) else value
            for name, value in moments.items()
        }
        for number, moments in content["state"].items()
    }
    return {**content, "state": state}


def mean_whole_gradients_(weights: Iterable[Tensor]) -> None:
    """Average over ranks the gradients of the weights that are not divided."""
    for weight in weights:
        if weight.grad is not None and not isinstance(weight, DTensor):
            sum_over_ranks_(weight.grad).div_(world_size())


def clip_(weights: Sequence[Tensor], most: float) -> Tensor:
    """Scale the gradients of some weights, divided or not, down to a norm; returns what the norm was."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    dtype = torch.promote_types(weights[0].dtype, torch.float32)
    squares = torch.zeros(2, dtype=dtype, device=weights[0].device)
    for place, kind in enumerate((True, False)):
        parts = [own_part(gradient) for gradient in gradients if isinstance(gradient, DTensor) == kind]
        squares[place] = get_total_norm(parts).square()
    sum_over_ranks_(squares[:1])
    norm = squares.sum().sqrt()
    factor = (most / (norm + 1e-6)).clamp(max=1.0)  # as torch.nn.utils.clip_grad_norm_ does
    for gradient in gradients:
        own_part(gradient).mul_(factor)
    return norm


def _spread(unit: nn.Module, device: torch.device) -> None:
    """Move what is not divided yet to the device, and overwrite it with what rank 0 has."""
    alike: dict[torch.dtype, list[Tensor]] = {}
    for value in (*unit.parameters(), *unit.buffers()):
        if not isinstance(value, DTensor):
            value.data = value.data.to(device).contiguous()
            alike.setdefault(value.dtype, []).append(value.data)
    for values in alike.values():
        joined = broadcast_(torch.cat([value.flatten() for value in values]))
        for value, own in zip(values, joined.split([value.numel() for value in values]), strict=True):
            value.copy_(own.view_as(value))


def _check_untied(module: nn.Module, blocks: Sequence[nn.Module], whole: set[nn.Parameter]) -> None:
    homes: dict[int, int | None] = {}
    inside = {id(part): place for place, block in enumerate(blocks) for part in block.modules()}
    for name, part in module.named_modules():
        for parameter in set(part.parameters(recurse=False)) - whole:
            home = inside.get(id(part))
            if homes.setdefault(id(parameter), home) != home:
                raise ValueError(_refusal(module, f"{name} shares a weight with another block or the rest"))


def _refusal(module: nn.Module, reason: str) -> str:
    return f"{type(module).__name__} cannot be sharded: {reason}; take sharding='none'"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
