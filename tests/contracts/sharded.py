"""A program of two processes that divide the weights of several tasks among them."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn.functional import mse_loss

from codeword import Gradient, VectorQuantizer
from codeword.functional.ranks import rank
from codeword.nn.transformer import TransformerBlock
from codeword.training.loop import train
from codeword.training.stepper import Stepper
from contracts.phases import FIVE, phases
from contracts.tasks import NOISY, Noisy

SIX = replace(NOISY, steps=6, validate_every=6, checkpoint_every=6, log_every=1)
SHARDED = replace(SIX, sharding="full")
SHORT = replace(SIX, precision="bf16-mixed", steps=4)


class Several(Noisy):
    """Averaged codebooks, learned ones, a block, a weight of one row, one of five, and a single number."""

    def __init__(self):
        super().__init__(dropout=0.0)
        self.block = TransformerBlock(4, 2, bias="none")
        self.learned = VectorQuantizer(4, 12, learning=Gradient())
        self.narrow = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))
        self.gain = nn.Parameter(torch.ones(()))
        self.made = []

    def optimizers(self):
        self.made[:] = [torch.optim.AdamW(self.parameters(), lr=1e-2, foreach=True)]  # the default of accelerators
        return self.made

    def step(self, batch, phase):
        found = super().step(batch, phase)
        z = self.gain * self._latents(batch[1])
        learned = self.learned(z)
        error = mse_loss(self.decoder(learned.vectors) + self.narrow(z), batch[1])
        return found._replace(loss=found.loss + error + learned.loss)

    def validate(self):
        values = [super(Several, self).validate() for _ in range(1 + rank())]  # ranks may forward differently often
        self._latents(torch.ones(16, 6))
        return values[-1]

    def _latents(self, x):
        return self.block(self.encoder(x).view(-1, 4, 4)).flatten(0, 1)


class Early(Several):
    """Makes its optimizer of weights that are replaced."""

    def __init__(self):
        super().__init__()
        self.before = super().optimizers()

    def optimizers(self):
        return self.before


class Hidden(Several):
    """Reaches a part by a reference that is not its own."""

    def __init__(self):
        super().__init__()
        self.aside = [self.narrow]

    def step(self, batch, phase):
        found = super().step(batch, phase)
        return found._replace(loss=found.loss + self.aside[0](batch[1][:, :4]).mean())


class Tied(Several):
    """Has a weight in a block and elsewhere."""

    def __init__(self):
        super().__init__()
        self.other = nn.Linear(4, 4)
        self.other.weight = self.block.attention.out.weight


def _shares(task):
    """Numbers of weights and of their moments: here, in all, and of those that are whole here."""
    here, everywhere, whole = 0, 0, 0
    (optimizer,) = task.made
    for weight, moments in optimizer.state.items():
        for value in (weight, moments["exp_avg"]):
            if isinstance(value, DTensor):
                here, everywhere = here + value.to_local().numel(), everywhere + value.numel()
            else:
                whole += value.numel()
    return here, everywhere, whole


def _refused(task):
    try:
        train(task, replace(SHARDED, steps=2))
    except ValueError as error:
        return str(error)
    return ""


def _damaged():
    """What is told on each rank of a number that one of them has."""
    stepper = Stepper(Several(), SHARDED)
    if rank() == 1:
        with torch.no_grad():
            stepper.task.encoder.weight.to_local()[0, 0] = torch.nan
    return stepper.non_finite()


def work(folder):
    """Everything, in one start of two processes."""
    for part in ("encoder", "tokenizer"):
        task = phases()[part]
        train(task, replace(FIVE, sharding="full"), folder / part)
        yield part, task.state_dict()
    whole, resumed, crossed, short, dry = (Several() for _ in range(5))
    train(whole, SHARDED, folder / "whole")
    yield "whole", whole.state_dict()
    yield "shares", _shares(whole)
    yield "kinds", [type(value).__name__ for value in (whole.gain, whole.encoder.weight, whole.block)]
    train(Several(), replace(SHARDED, steps=4), folder / "parts")
    train(resumed, SHARDED, folder / "parts")
    yield "resumed", resumed.state_dict()
    train(Several(), replace(SHARDED, steps=2), folder / "crossed")
    train(Several(), replace(SIX, steps=4), folder / "crossed")
    train(crossed, SHARDED, folder / "crossed")
    yield "crossed", crossed.state_dict()
    train(short, replace(SHORT, sharding="full"))
    yield "short", short.state_dict()
    train(dry, SHARDED, dry_run=True)
    yield "dry", dry.state_dict()
    yield "damaged", _damaged()
    for task in (Early(), Hidden(), Tied()):
        yield type(task).__name__, _refused(task)


def main(folder):
    from contracts.ranks import leave

    torch.set_num_threads(1)
    results = dict(work(folder))
    own = folder / f"rank{os.environ['RANK']}.pt"
    torch.save(results, own.with_suffix(".part"))
    own.with_suffix(".part").rename(own)
    leave([folder / "rank0.pt", folder / "rank1.pt"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
