"""The recipe that trains quantizers of a matrix of vectors."""

import numpy as np
import pytest
import torch

from codeword import AdditiveQuantizer, ProductQuantizer, ResidualQuantizer, Rotated, VectorQuantizer
from codeword.codecs.vectors import VectorCodec
from codeword.entropy.tables import CodeTables
from codeword.recipes.vectors import Family, VectorsConfig, build, held_out, train

QUICK = {"levels": 2, "size": 8, "steps": 3, "beam": 2, "sweeps": 1}


@pytest.fixture
def data(tmp_path):
    x = np.random.default_rng(0).standard_normal((500, 6)) @ np.random.default_rng(1).standard_normal((6, 6))
    np.save(tmp_path / "x.npy", x)
    return tmp_path / "x.npy"


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        (Family.VECTOR, VectorQuantizer),
        (Family.PRODUCT, ProductQuantizer),
        (Family.OPTIMIZED, Rotated),
        (Family.RESIDUAL, ResidualQuantizer),
        (Family.ADDITIVE, AdditiveQuantizer),
    ],
)
def test_reported_errors_are_those_of_the_saved_model(family, kind, data, tmp_path):
    config = VectorsConfig(quantizer=family, **QUICK | ({"levels": 1} if family is Family.VECTOR else {}))
    result = train(config, data, tmp_path / "model")
    codec = VectorCodec.from_pretrained(tmp_path / "model")
    assert type(codec.quantizer) is kind
    assert result.bits_per_vector == 3 * config.levels
    x = torch.from_numpy(np.load(data)).float()
    errors = (x - codec.quantizer.decode(codec.quantizer.encode(x))).double().square().sum(1)
    parts = (result.training, result.validation)
    assert [part.num_vectors for part in parts] == [475, 25]
    mean = sum(part.squared_error * part.num_vectors for part in parts) / 500
    assert mean == pytest.approx(float(errors.mean()), rel=1e-5)
    assert result.training.relative_error < 1


def test_tables_count_the_training_vectors(data, tmp_path):
    config = VectorsConfig(quantizer=Family.PRODUCT, validation=0.2, **QUICK)
    train(config, data, tmp_path / "model")
    codec = VectorCodec.from_pretrained(tmp_path / "model")
    order = torch.randperm(500, generator=torch.Generator().manual_seed(0))
    learned = torch.from_numpy(np.load(data)).float()[order[100:]]
    expected = CodeTables.from_codes(codec.quantizer.encode(learned).numpy(), (8, 8))
    assert codec.tables.fingerprint() == expected.fingerprint()


def test_a_seed_gives_one_model_and_another_seed_another(data, tmp_path):
    prints = []
    for name, seed in {"a": 0, "b": 0, "c": 1}.items():
        train(VectorsConfig(quantizer=Family.PRODUCT, seed=seed, **QUICK), data, tmp_path / name)
        prints.append(VectorCodec.from_pretrained(tmp_path / name).fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_an_interrupted_training_goes_on_to_the_same_bits(data, tmp_path):
    """Stopped by its own progress, somewhere in the middle, and called again."""
    config = VectorsConfig(quantizer=Family.RESIDUAL, **QUICK)
    train(config, data, tmp_path / "whole")
    calls = []

    def stop(progress):
        calls.append(progress)
        if len(calls) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path / "model", progress=stop)
    assert not (tmp_path / "model").exists()
    train(config, data, tmp_path / "model")
    for name in ("model.safetensors", "tables.safetensors"):
        assert (tmp_path / "model" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (tmp_path / "model.resume").exists()


def test_progress_ends_where_it_said(data, tmp_path):
    seen = []
    train(VectorsConfig(quantizer=Family.RESIDUAL, **QUICK), data, tmp_path / "model", progress=seen.append)
    assert seen[-1].done == seen[-1].total
    assert all(one.done <= one.total for one in seen)
    assert [one.done for one in seen] == sorted(one.done for one in seen)
    totals = [one.total for one in seen]  # stages that end early make it less, and nothing more
    assert totals == sorted(totals, reverse=True)


@pytest.mark.parametrize(("dim", "levels", "widths"), [(10, 4, (3, 3, 2, 2)), (8, 4, (2, 2, 2, 2)), (3, 3, (1, 1, 1))])
def test_blocks_are_as_even_as_they_can_be(dim, levels, widths):
    product = build(VectorsConfig(quantizer=Family.PRODUCT, levels=levels, size=4), dim)
    assert tuple(product.widths) == widths


@pytest.mark.parametrize(
    ("share", "count", "size", "held"), [(0.05, 100, 8, 5), (0.05, 3, 2, 1), (0.5, 16, 8, 8), (0.999, 2, 1, 1)]
)
def test_the_share_held_out(share, count, size, held):
    assert held_out(VectorsConfig(validation=share, size=size), count) == held


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"levels": 0}, "levels must be at least 1, got 0"),
        ({"size": 0}, "size must be at least 1"),
        ({"beam": 0}, "beam must be at least 1"),
        ({"sweeps": -1}, "sweeps must be at least 0"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"seed": 1 << 62}, "seed must be below"),
        ({"levels": 4097}, "at most 4096 codes"),
        ({"validation": 0.0}, "between 0 and 1"),
        ({"validation": float("nan")}, "between 0 and 1"),
        ({"quantizer": Family.VECTOR, "levels": 2}, "one code per vector"),
    ],
)
def test_impossible_configurations(fields, message):
    with pytest.raises(ValueError, match=message):
        VectorsConfig(**fields)


def test_fewer_vectors_than_codewords():
    with pytest.raises(ValueError, match="9 vectors, 1 of them held out for validation: 9 codewords need at least 9"):
        held_out(VectorsConfig(size=9), 9)
    assert held_out(VectorsConfig(size=8), 9) == 1
