"""Two processes, as torchrun starts them: the same run as one process with the whole batch, and resumable."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from codeword.training.checkpoint import CheckpointError, load_checkpoint
from codeword.training.logging import read_log
from codeword.training.loop import CHECKPOINT, LOG, train
from contracts.tasks import NOISY, Noisy

PROGRAM = Path(__file__).parents[1] / "contracts" / "tasks.py"
SUMS = 1e-5  # of float32 sums split over two processes, over 6 steps


def two_ranks(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    shared["PYTHONPATH"] = str(PROGRAM.parents[1])
    processes = [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), str(folder), "ranks", "0"],
            env={**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
        )
        for rank in "01"
    ]
    errors = [process.communicate(timeout=120)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors[0][-2000:]


def test_two_ranks(tmp_path):
    two_ranks(tmp_path)  # trains 6 steps at once into "whole"; 4, then 2 more into "parts"
    whole, parts = (load_checkpoint(tmp_path / name / CHECKPOINT) for name in ("whole", "parts"))
    for name, value in whole["module"].items():
        assert torch.equal(value, parts["module"][name]), name
    states = torch.load(tmp_path / "rank1.pt", weights_only=True)
    for name, value in {**whole["module"], **whole["average"]}.items():  # a task ends with its averaged weights
        assert torch.equal(value, states[name]), f"{name} differs between the ranks"

    with pytest.raises(CheckpointError, match="trained by 2 processes, now there are 1"):
        train(Noisy(dropout=0.0), replace(NOISY, steps=8), tmp_path / "whole")

    alone = Noisy(dropout=0.0)
    train(alone, replace(NOISY, steps=6), tmp_path / "alone")
    lines = [read_log(tmp_path / name / LOG) for name in ("alone", "whole")]
    losses = [[line["loss"] for line in some if line["group"] == "train"] for some in lines]
    assert len(losses[0]) > 1
    torch.testing.assert_close(*losses, rtol=SUMS, atol=SUMS)
    torch.testing.assert_close(
        load_checkpoint(tmp_path / "alone" / CHECKPOINT)["module"], whole["module"], rtol=10 * SUMS, atol=SUMS
    )
