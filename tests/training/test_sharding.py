"""Two processes that divide weights among them end where one process with the whole batch does."""

from pathlib import Path

import pytest
import torch

from codeword.training.checkpoint import load_checkpoint
from codeword.training.logging import read_log
from codeword.training.loop import CHECKPOINT, LOG, train
from codeword.training.loop_config import LoopConfig
from contracts.phases import FIVE, phases
from contracts.ranks import as_torchrun
from contracts.sharded import SHORT, SIX, Several

PROGRAM = Path(__file__).parents[1] / "contracts" / "sharded.py"
SUMS = 1e-5  # of float32 sums split over two processes, over 6 steps
HALF = 2e-2  # of bfloat16 sums, over 4 steps


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    as_torchrun(PROGRAM, str(folder))
    first, second = (torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    return folder, first, second


def losses(folder):
    return [line["loss"] for line in read_log(folder / LOG)]


def effective(part, value):
    """Without biases of keys, which have no effect: their gradient is rounding, which AdamW makes as large as any."""
    return value.view(3, -1)[::2] if part.endswith("qkv.bias") else value


def assert_near(ours, theirs, relative, absolute):
    assert ours.keys() == theirs.keys()
    for part, value in ours.items():
        torch.testing.assert_close(
            effective(part, value), effective(part, theirs[part]), rtol=relative, atol=absolute, msg=part
        )


@pytest.mark.parametrize("name", ["encoder", "tokenizer", "whole", "resumed", "crossed", "short", "dry"])
def test_the_ranks_end_alike(together, name):
    _, first, second = together
    for part, value in first[name].items():
        assert torch.equal(value, second[name][part]), f"{part} differs between the ranks"


@pytest.mark.parametrize("name", ["encoder", "tokenizer"])
def test_a_phase_equals_one_process(together, tmp_path, name):
    folder, first, _ = together
    alone = phases()[name]
    train(alone, FIVE, tmp_path)
    assert len(losses(tmp_path)) == 6
    torch.testing.assert_close(losses(folder / name), losses(tmp_path), rtol=SUMS, atol=SUMS)
    assert_near(first[name], alone.state_dict(), 10 * SUMS, SUMS)


def test_all_kinds_of_weights_equal_one_process(together, tmp_path):
    folder, first, _ = together
    alone = Several()
    train(alone, SIX, tmp_path)
    norms, others = (
        [line.get("gradient_norm", 0.0) for line in read_log(part / LOG)] for part in (tmp_path, folder / "whole")
    )
    assert max(norms) > SIX.clip_norm, "nothing was clipped"
    torch.testing.assert_close(others, norms, rtol=SUMS, atol=SUMS)
    torch.testing.assert_close(losses(folder / "whole"), losses(tmp_path), rtol=SUMS, atol=SUMS)
    assert_near(first["whole"], alone.state_dict(), 10 * SUMS, SUMS)
    ours, theirs = (load_checkpoint(part / CHECKPOINT) for part in (folder / "whole", tmp_path))
    for name in ("module", "average"):
        assert_near(ours[name], theirs[name], 10 * SUMS, SUMS)
    assert ours.keys() == theirs.keys() and ours["settings"] == theirs["settings"]


def test_weights_and_moments_are_divided(together):
    """But codebooks and single numbers are not; rows that do not divide go to the first rank."""
    shares = [part["shares"] for part in together[1:]]
    (here, everywhere, whole), (there, again, other) = shares
    assert here + there == everywhere == again and whole == other == 2 * (2 * 12 * 4 + 1)
    assert everywhere / 2 <= here < 0.6 * everywhere


def test_afterwards_weights_are_ordinary(together):
    assert together[1]["kinds"] == ["Parameter", "Parameter", "TransformerBlock"]


def test_interrupted_equals_uninterrupted(together):
    folder, first, _ = together
    whole, parts = (load_checkpoint(folder / name / CHECKPOINT) for name in ("whole", "parts"))
    assert first["whole"].keys() == first["resumed"].keys()
    for name, value in first["whole"].items():
        assert torch.equal(value, first["resumed"][name]), name
    for number, moments in whole["optimizers"][0]["state"].items():
        for name, value in moments.items():
            assert torch.equal(value, parts["optimizers"][0]["state"][number][name]), (number, name)


def test_a_checkpoint_goes_on_under_the_other_sharding(together):
    _, first, _ = together
    assert_near(first["crossed"], first["whole"], 10 * SUMS, SUMS)


def test_bfloat16(together):
    alone = Several()
    start = {name: value.clone() for name, value in alone.state_dict().items()}
    train(alone, SHORT)
    found = together[1]["short"]
    weights = [name for name, _ in alone.named_parameters()]
    moved = torch.cat([(alone.state_dict()[name] - start[name]).flatten() for name in weights])
    apart = torch.cat([(alone.state_dict()[name] - found[name]).flatten() for name in weights])
    assert all(found[name].dtype == torch.float32 for name in weights)
    assert apart.norm() < 0.1 * moved.norm()


def test_a_dry_run_changes_nothing(together):
    start = Several().state_dict()
    for name, value in together[1]["dry"].items():
        torch.testing.assert_close(value, start[name], rtol=0, atol=0, equal_nan=True, msg=name)


def test_every_rank_hears_of_a_bad_number(together):
    assert [part["damaged"] for part in together[1:]] == ["encoder.weight"] * 2


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Early", "its optimizers"),
        ("Hidden", r"reaches narrow\.0\.weight by another way"),
        ("Tied", "shares a weight"),
    ],
)
def test_what_cannot_be_sharded_is_refused(together, name, reason):
    for part in together[1:]:
        with pytest.raises(ValueError, match=rf"^{name} cannot be sharded.*{reason}.*take sharding='none'"):
            raise ValueError(part[name])
        assert "\n" not in part[name]


def test_scaled_losses_are_refused():
    with pytest.raises(ValueError, match="take bf16-mixed"):
        LoopConfig(steps=1, sharding="full", precision="16-mixed")
