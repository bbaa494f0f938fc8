"""Two processes, as torchrun starts them: the same run as one process with the whole batch, and resumable."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from codeword.training.checkpoint import CheckpointError, load_checkpoint
from codeword.training.logging import read_log
from codeword.training.loop import CHECKPOINT, LOG, train
from contracts.ranks import as_torchrun
from contracts.tasks import NOISY, Noisy

PROGRAM = Path(__file__).parents[1] / "contracts" / "tasks.py"
SUMS = 1e-5  # of float32 sums split over two processes, over 6 steps


def test_two_ranks(tmp_path):
    as_torchrun(
        PROGRAM, str(tmp_path), "ranks", "0"
    )  # trains 6 steps at once into "whole"; 4, then 2 more into "parts"
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
