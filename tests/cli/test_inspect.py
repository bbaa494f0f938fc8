"""``codeword inspect`` and ``codeword complexity``."""

import pytest

from codeword.training.checkpoint import save_checkpoint


@pytest.mark.parametrize("model", ["vector", "product", "optimized", "residual", "additive", "scalar", "binary"])
def test_models(run, place, model):
    ran = run(f"inspect {model}")
    assert (ran.code, ran.err) == (0, "")
    assert f"{model}: model for vectors of 8 features" in ran.out
    assert "bits per vector at fixed width, 256 as float32" in ran.out
    assert "intact: yes, the fingerprint is the one it was saved with" in ran.out
    size = sum(path.stat().st_size for path in (place / model).iterdir() if path.suffix in (".json", ".safetensors"))
    assert f"bytes: {size} " in ran.out


def test_codes(run, place):
    ran = run("inspect product.cw")
    size = (place / "product.cw").stat().st_size
    assert ran.code == 0
    assert "items: 300 in 1 chunk\n" in ran.out
    assert f"bytes: {size} " in ran.out
    assert f"{8 * size / 300:.3f} with headers and checksums" in ran.out
    assert "intact: yes" in ran.out


def test_damaged_codes_are_described_and_the_exit_code_tells(run, place):
    path = place / "product.cw"
    data = bytearray(path.read_bytes())
    data[data.index(b"CHNK") + 30] ^= 255
    path.write_bytes(data)
    ran = run("inspect product.cw")
    assert ran.code == 2
    assert "intact: no" in ran.out
    assert "problem: " in ran.out
    assert ran.err.count("\n") == 1


def test_indexes(run, place):
    flat, lists = run("inspect product.index"), run("inspect lists.index")
    for ran, name in ((flat, "product"), (lists, "lists")):
        assert ran.code == 0
        assert "vectors: 300 of 8 features" in ran.out
        assert f"bytes: {(place / f'{name}.index').stat().st_size}, " in ran.out
    assert "lists: 4" in lists.out


def test_checkpoints(run, place):
    save_checkpoint(place / "loop", {"step": 17, "weights": {}, "optimizer": None})
    out = run("inspect loop").out
    assert "loop: checkpoint of a training run" in out
    assert "step: 17" in out
    history = [("seed 0 / level 1", 3, 0.25, None)]
    save_checkpoint(place / "em", {"identity": "", "stages": {"a": {}}, "history": history})
    out = run("inspect em").out
    assert "interrupted training in closed form" in out
    assert "last step: seed 0 / level 1, step 3, squared error 0.25" in out


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing", "missing does not exist: give a model folder"),
        (".", "is a folder without config.json, not a model"),
        ("/dev/null", "is no regular file"),
        ("x.npy", "x.npy is no file of codeword, it starts with"),
        ("product/config.json", "is no file of codeword"),
        ("product/model.safetensors", "is a part of the model product: inspect the folder"),
    ],
)
def test_what_is_not_ours_is_one_line(refused, path, message):
    assert message in refused(f"inspect {path}")


def test_an_empty_file_is_one_line(refused, place):
    (place / "empty").touch()
    assert "it is empty" in refused("inspect empty")


def test_costs_of_all_families(run):
    ran = run("complexity --dim 64 --size 256 --levels 4")
    assert ran.code == 0
    assert [line.split("  ")[0] for line in ran.out.splitlines()[1:]] == [
        "product",
        "residual, greedy",
        "residual, beam 16",
        "additive",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--dim 0", "dim must be at least 1, got 0"),
        ("--size 0", "size must be at least 1"),
        ("--levels 0", "levels must be at least 1"),
        ("--beam 0", "beam must be at least 1"),
        ("--sweeps -1", "sweeps must be at least 0"),
        ("--dim 9 --levels 2", "9 dimensions do not split into 2 equal blocks"),
    ],
)
def test_impossible_costs_are_one_line(refused, options, message):
    assert message in refused(f"complexity {options}")
