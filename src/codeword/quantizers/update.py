"""What a training loop may call: ``seed`` before the first step, ``update`` after every optimizer step."""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from codeword.quantizers.codebook import Codebook
from codeword.quantizers.statistics import State, settle_all


def update(model: nn.Module, *optimizers: Optimizer) -> None:
    """Apply one optimizer step to every codebook of a model: moving averages and revival.

    Call it after ``optimizer.step()``. Pending statistics of all codebooks are summed over the ranks in one collective.
    Without a call codebooks still learn: what is pending is then applied at the start of the next training forward,
    which makes every forward a step of its own. Whether it has been called is no part of ``state_dict``: who
    accumulates several forwards per optimizer step calls it once after loading a checkpoint, as after ``seed``.

    Args:
        model: A quantizer, or anything that holds quantizers.
        optimizers: Those that hold codebooks as parameters: their moments of revived rows are reset.
    """
    books = codebooks_of(model)
    if not books:
        return
    with torch.no_grad():
        settle_all([State(*book._state()) for book in books], [book.settings for book in books])
        for book in books:
            book.managed = True
            for optimizer in optimizers if book.revival.resets_moments else ():
                _reset_moments(optimizer, book.table, book.moved > 0)


def seed(model: nn.Module, *batch: Tensor) -> None:
    """Give every codebook of a model its start, from one batch, before training.

    Who accumulates several forwards per optimizer step calls ``update`` after it: that tells the codebooks to wait.

    Args:
        model: A quantizer, or anything that holds quantizers; called once in training mode, without gradient.
        batch: What ``model`` takes.
    """
    modes = {module: module.training for module in model.modules()}
    model.train()
    try:
        with torch.no_grad():
            model(*batch)
    finally:
        for module, mode in modes.items():
            module.training = mode
    for book in codebooks_of(model):
        book.forget_pending()


def codebooks_of(model: nn.Module) -> list[Codebook]:
    """The codebooks of a model, each once, in the order of its modules."""
    return [module for module in model.modules() if isinstance(module, Codebook)]


def _reset_moments(optimizer: Optimizer, table: Tensor, moved: Tensor) -> None:
    state = optimizer.state.get(table, {})
    for value in state.values():
        if isinstance(value, Tensor) and value.shape == table.shape:
            value.masked_fill_(moved.unsqueeze(1), 0.0)
