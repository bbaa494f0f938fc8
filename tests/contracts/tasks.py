"""Small tasks for the loop, and a program that trains one and kills itself on request."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import mse_loss

from codeword import Gradient, NoiseSubstitution, ReviveDead, VectorQuantizer
from codeword.training.loop import train
from codeword.training.loop_config import LoopConfig
from codeword.training.schedule import Cosine
from codeword.training.task import StepResult, Task

NOISY = LoopConfig(
    steps=40,
    accumulate=2,
    clip_norm=0.5,
    schedule=Cosine(steps=40, warmup=5),
    average_decay=0.9,
    validate_every=8,
    checkpoint_every=10,
    log_every=3,
    progress=False,
    accelerator="cpu",
)


def rows(number, count=32, dim=6):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(number)) @ torch.eye(dim).cumsum(0)


class Noisy(Task):
    """An autoencoder with everything in it that could make a resumed run differ.

    Dropout, noise substitution, k-means seeding, moving averages and revival.
    """

    def __init__(self, before_step=lambda number: None, dropout=0.2):
        super().__init__()
        torch.manual_seed(5)
        self.encoder, self.decoder = nn.Linear(6, 4), nn.Sequential(nn.Dropout(dropout), nn.Linear(4, 6))
        self.averaged = VectorQuantizer(4, 12, revival=ReviveDead(threshold=0.5, hits=2.0))
        self.noisy = VectorQuantizer(
            4,
            12,
            learning=Gradient(codebook=0.0, commitment=0.0),
            estimator=NoiseSubstitution(),
            revival=ReviveDead(hits=2.0),
        )
        self.before_step, self.seen = before_step, []

    def optimizers(self):
        return [torch.optim.AdamW(self.parameters(), lr=1e-2)]

    def batches(self, start, rank, world_size):
        number = start
        while True:
            yield number, rows(number).chunk(world_size)[rank]
            number += 1

    def step(self, batch, phase):
        number, x = batch
        self.seen.append(number)
        self.before_step(number)
        z = self.encoder(x)
        first, second = self.averaged(z), self.noisy(z)
        output = self.decoder(first.vectors + 0.1 * second.vectors)
        error = mse_loss(output, x)
        return StepResult(error + first.loss + second.loss, {"error": error})

    def validate(self):
        x = rows(-1, 64)
        return {"loss": float(mse_loss(self.decoder(self.averaged(self.encoder(x)).vectors), x))}


def ranks(folder):
    """The same 6 steps in one go and in two, without dropout, whose noise does not belong to rows."""
    from contracts.ranks import leave

    train(Noisy(dropout=0.0), replace(NOISY, steps=6), folder / "whole")
    train(Noisy(dropout=0.0), replace(NOISY, steps=4), folder / "parts")
    task = Noisy(dropout=0.0)
    train(task, replace(NOISY, steps=6), folder / "parts")
    own = folder / f"rank{torch.distributed.get_rank()}.pt"
    torch.save(task.state_dict(), own.with_suffix(".part"))
    own.with_suffix(".part").rename(own)
    leave([folder / "rank0.pt", folder / "rank1.pt"])


def main(folder, where, number):
    """Train the noisy task; die at a batch, or in the middle of a write; or share the work with another process."""
    torch.set_num_threads(1)
    if where == "ranks":
        ranks(Path(folder))
        return

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    task = Noisy(lambda batch: die() if where == "step" and batch == number else None)
    if where == "write":
        synced = []
        sync = os.fsync

        def fsync(descriptor):
            synced.append(descriptor)
            if len(synced) == number:
                die()
            sync(descriptor)

        os.fsync = fsync
    train(task, NOISY, Path(folder))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
