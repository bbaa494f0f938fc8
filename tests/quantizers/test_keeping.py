"""What happens to quantizers outside of training: shared, averaged, damaged."""

import copy
import json
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

import codeword
from codeword import AdditiveQuantizer, Beam, Gradient, ProductQuantizer, ResidualQuantizer, VectorQuantizer
from codeword.quantizers.config import build, describe
from codeword.quantizers.update import codebooks_of
from contracts.steps import assert_same_state, train, vectors

DIM = 6


def saved(folder: Path) -> Path:
    train(VectorQuantizer(DIM, 16), vectors(50, DIM)).save_pretrained(folder)
    return folder


# --- one part in several places ---


@pytest.mark.parametrize("learning", [None, Gradient()])
@pytest.mark.parametrize(
    "compose",
    [
        lambda one, other: ResidualQuantizer([one, other, one, one]),
        lambda one, other: ResidualQuantizer([one, one, other], search=Beam(3)),
        lambda one, other: AdditiveQuantizer([one, other, one]),
        lambda one, other: ProductQuantizer([ResidualQuantizer([one, other]), one]),
    ],
)
def test_a_shared_codebook_is_learned_and_kept_once(compose, learning, tmp_path):
    torch.manual_seed(0)
    quantizer = compose(*(VectorQuantizer(DIM, 5, learning=learning) for _ in range(2)))
    x = vectors(60, quantizer.dim)
    train(quantizer, x).eval().save_pretrained(tmp_path)
    assert len(codebooks_of(quantizer)) == 2
    for same in (codeword.load(tmp_path), copy.deepcopy(quantizer)):
        assert len(codebooks_of(same)) == 2
        assert_same_state(same, quantizer)
        assert torch.equal(same.encode(x), quantizer.encode(x))
        assert describe(same) == describe(quantizer)
    assert sum(name.endswith("table") for name in load_file(tmp_path / "model.safetensors")) == 2


def test_a_reference_to_nothing_is_refused():
    config = describe(ResidualQuantizer([VectorQuantizer(2, 3)] * 2))
    config["stages"][1]["part"] = 1
    with pytest.raises(ValueError, match="refers to part 1, but has 1"):
        build(config)


def test_sizes_may_be_numpy_integers(tmp_path, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the shape hook of the tests speaks first
    quantizer = train(VectorQuantizer(np.int64(DIM), np.int32(7)), vectors(30, DIM)).eval()
    quantizer.save_pretrained(tmp_path)
    assert codeword.load(tmp_path).sizes == (7,)


# --- copies of buffers ---


def test_buffers_copied_one_by_one_bring_the_start_along():
    source = VectorQuantizer(DIM, 8)
    empty = copy.deepcopy(source)
    train(source, vectors(40, DIM))
    for own, other in zip(empty.state_dict().values(), source.state_dict().values(), strict=True):
        own.copy_(other)
    x = vectors(30, DIM, seed=1)
    assert torch.equal(empty.eval().encode(x), source.eval().encode(x))


def test_an_average_of_models_made_before_the_start_encodes():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(DIM, DIM), VectorQuantizer(DIM, 8)).train()
    average = AveragedModel(model, use_buffers=True)
    for step in range(3):
        model(vectors(40, DIM, seed=step))
        codeword.update(model)
        average.update_parameters(model)
    out = average.eval()(vectors(40, DIM))
    assert out.codes.unique().numel() > 4


# --- damage ---


@pytest.mark.parametrize("damage", [lambda b: b[:50], lambda b: b[:-7], lambda b: b"", lambda b: b"\xff" * 100])
def test_damaged_weights_are_named(damage, tmp_path):
    path = saved(tmp_path) / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="is damaged or does not fit") as error:
        codeword.load(tmp_path)
    assert "\n" not in str(error.value)


def change(**values):
    def changed(text: str) -> bytes:
        config = json.loads(text)
        config["quantizer"] |= values
        return json.dumps(config).encode()

    return changed


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: b"\xff\xfe{}",
        lambda text: text[:-9].encode(),
        lambda text: b"[]",
        lambda text: b"{}",
        change(size=17),
        change(size="16"),
        change(size=-1),
        change(size=None),
        change(sizes=3),
        change(type="KMeans"),
        change(type="Nonsense"),
        change(type="Again", part=0),
        change(seeding={"type": "VectorQuantizer", "dim": 2, "size": 3}),
    ],
)
def test_a_damaged_configuration_is_named(damage, tmp_path):
    path = saved(tmp_path) / "config.json"
    path.write_bytes(damage(path.read_text()))
    with pytest.raises(ValueError) as error:
        codeword.load(tmp_path)
    assert "\n" not in str(error.value)
