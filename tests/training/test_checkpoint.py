import pickle
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from codeword.training.checkpoint import (
    CheckpointError,
    load_checkpoint,
    random_state,
    save_checkpoint,
    set_random_state,
)

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
TENSORS = st.tuples(
    st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.bool]),
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(0, 2**30),
).map(lambda t: torch.randint(2, t[1], generator=torch.Generator().manual_seed(t[2])).to(t[0]))
TREES = st.recursive(
    PLAIN | TENSORS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.integers() | st.text(), inner, max_size=3)
    ),
    max_leaves=12,
)


def same(first, second):
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and first.shape == second.shape and torch.equal(first, second)
    if type(first) is not type(second):
        return False
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


@settings(deadline=None, max_examples=60)
@given(state=st.dictionaries(st.text(), TREES, max_size=4))
def test_any_state_comes_back(tmp_path_factory, state):
    path = tmp_path_factory.mktemp("state") / "checkpoint.safetensors"
    save_checkpoint(path, state)
    assert same(load_checkpoint(path), state)


def test_optimizer_and_tied_tensors_come_back(tmp_path):
    model = torch.nn.Linear(3, 3)
    tied = {"a": model.weight, "b": model.weight[:1], "c": model.weight.t()}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, betas=(0.8, 0.95))
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    save_checkpoint(tmp_path / "c", {"tied": tied, "optimizer": optimizer.state_dict()})
    state = load_checkpoint(tmp_path / "c")
    assert all(torch.equal(state["tied"][name], value) for name, value in tied.items())
    assert same(state["optimizer"], optimizer.state_dict())


def test_generators_come_back(tmp_path):
    device = torch.device("cpu")
    random.random(), random.gauss(), torch.rand(3)
    save_checkpoint(tmp_path / "c", random_state(device))
    expected = (random.random(), random.gauss(), torch.rand(3).tolist())
    random.seed(3), torch.manual_seed(3)
    set_random_state(load_checkpoint(tmp_path / "c"), device)
    assert (random.random(), random.gauss(), torch.rand(3).tolist()) == expected


def test_what_cannot_be_written_is_named_and_spares_the_old_file(tmp_path):
    save_checkpoint(tmp_path / "c", {"step": 1})
    with pytest.raises(ValueError, match=r"state\.model\.1 is a set"):
        save_checkpoint(tmp_path / "c", {"model": [1, {2}]})
    assert load_checkpoint(tmp_path / "c") == {"step": 1}


class Trap:
    sprung = False

    def __reduce__(self):
        return (setattr, (Trap, "sprung", True))


def test_foreign_files_are_refused_and_pickles_never_opened(tmp_path):
    (tmp_path / "pickle").write_bytes(pickle.dumps(Trap()))
    torch.save({"trap": Trap()}, tmp_path / "torch")
    save_file({"weight": torch.ones(2)}, tmp_path / "weights")
    (tmp_path / "empty").touch()
    for name, message in (
        ("weights", "no checkpoint"),
        ("pickle", "damaged"),
        ("torch", "damaged"),
        ("empty", "damaged"),
    ):
        with pytest.raises(CheckpointError, match=f"{name} is .*{message}"):
            load_checkpoint(tmp_path / name)
    with pytest.raises(CheckpointError, match="does not exist"):
        load_checkpoint(tmp_path / "nothing")
    assert not Trap.sprung


def test_damage_is_reported(tmp_path):
    path = tmp_path / "c"
    save_checkpoint(path, {"a": torch.arange(9.0), "b": (1, [None, {"x": 2.5}])})
    data = path.read_bytes()
    for end in (0, 4, 8, 40, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:end])
        with pytest.raises(CheckpointError):
            load_checkpoint(path)
    path.write_bytes(data.replace(b'"version\\": 1', b'"version\\": 9'))
    with pytest.raises(CheckpointError, match="of version 9"):
        load_checkpoint(path)
    for place in range(0, len(data) - 36, 3):  # the last 36 bytes are the tensor's
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            load_checkpoint(path)
        except CheckpointError as error:
            assert "\n" not in str(error)
