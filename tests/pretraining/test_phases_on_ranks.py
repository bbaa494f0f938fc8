"""Two processes end where one process with the whole batch does, in every phase."""

from pathlib import Path

import pytest
import torch

from codeword.training.logging import read_log
from codeword.training.loop import LOG, train
from contracts.phases import FIVE, phases
from contracts.ranks import as_torchrun

PROGRAM = Path(__file__).parents[1] / "contracts" / "phases.py"
SUMS = 1e-5  # of float32 sums split over two processes, over 5 steps


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    as_torchrun(PROGRAM, str(folder))
    return folder


def effective(part, *values):
    """Without biases of keys, which have no effect: their gradient is rounding, which AdamW makes as large as any."""
    return [value.view(3, -1)[::2] for value in values] if part.endswith("qkv.bias") else values


@pytest.mark.parametrize("name", ["encoder", "tokenizer", "joint"])
def test_two_ranks_equal_one(together, tmp_path, name):
    first, second = (torch.load(together / f"rank{rank}.pt", weights_only=True)[name] for rank in (0, 1))
    for part, value in first.items():
        assert torch.equal(value, second[part]), f"{part} differs between the ranks"
    alone = phases()[name]
    train(alone, FIVE, tmp_path)
    logs = [read_log(folder / LOG) for folder in (tmp_path, together / name)]
    losses = [[line["loss"] for line in log if line["group"] == "train"] for log in logs]
    assert len(losses[0]) == 5
    torch.testing.assert_close(*losses, rtol=SUMS, atol=SUMS)
    state = alone.state_dict()
    tables = [part for part in state if part.endswith("codebook.table")]
    assert bool(tables) == (name != "encoder")
    for part, value in state.items():
        torch.testing.assert_close(*effective(part, first[part], value), rtol=10 * SUMS, atol=SUMS, msg=part)
