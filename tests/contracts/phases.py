"""A program of two processes that trains every phase of a pretraining."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from codeword.pretraining.mixing import AddedNoise
from codeword.training.loop import train
from contracts.pretraining import LOOP, PHASE, Padded, encoder_task, joint_task, samples, tokenizer_task
from contracts.ranks import leave

FIVE = replace(LOOP, steps=5, validate_every=5, checkpoint_every=5)


def phases():
    """All of them, with recordings of several lengths in a batch."""
    data = Padded(samples(20))
    mixing = replace(PHASE, mixing=(AddedNoise(),))
    return {
        "encoder": encoder_task(phase=mixing, data=data),
        "tokenizer": tokenizer_task(data=data),
        "joint": joint_task(mixing, data=data),
    }


def main(folder):
    torch.set_num_threads(1)
    tasks = phases()  # before there is a group: what is fitted in one is fitted to the data of all ranks
    for name, task in tasks.items():
        train(task, FIVE, folder / name)
    own = folder / f"rank{torch.distributed.get_rank()}.pt"
    torch.save({name: task.state_dict() for name, task in tasks.items()}, own.with_suffix(".part"))
    own.with_suffix(".part").rename(own)
    leave([folder / "rank0.pt", folder / "rank1.pt"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
