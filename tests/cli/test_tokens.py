"""The tokens of files on the command line, and how they use their codebooks."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from codeword.cli import main, parsing
from codeword.cli.tokens import EvaluateTokens, Tokens
from codeword.data.image_files import read_image
from codeword.pretraining.front_ends import ImageFrontEnd
from codeword.pretraining.storage import write_tokenizer
from codeword.pretraining.token_files import TokenFiles
from contracts.pretraining import cold

FRONT_END = ImageFrontEnd(channels=1, height=12, width=8, mean=(0.5,), deviation=(0.3,))
COUNT = 7


@pytest.fixture
def type_verb(monkeypatch, capsys):
    monkeypatch.setitem(parsing.VERBS, "tokens", Tokens)
    monkeypatch.setitem(parsing.VERBS, "evaluate tokens", EvaluateTokens)

    def typed(*words):
        try:
            main([str(word) for word in words])
            code = 0
        except SystemExit as stop:
            code = stop.code
        found = capsys.readouterr()
        return code, found.out, found.err

    return typed


@pytest.fixture
def things(tmp_path):
    """Two tokenizers, one without a front end, and a folder of pictures."""
    torch.manual_seed(0)
    write_tokenizer(tmp_path / "one", cold(), FRONT_END)
    write_tokenizer(tmp_path / "two", cold(seed=1), FRONT_END)
    write_tokenizer(tmp_path / "blind", cold(), None)
    (tmp_path / "data").mkdir()
    random = np.random.default_rng(0)
    for number in range(COUNT):
        pixels = random.integers(0, 255, (12, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "data" / f"{number}.png")
    return tmp_path


def test_tokens_of_a_folder_are_written_by_name(things, type_verb):
    code, out, err = type_verb("tokens", things / "one", things / "data", "--out", things / "t", "--shard", 3)
    assert (code, err) == (0, "")
    assert "tokens of 7 items in 3 shards, " in out
    assert "3 x 2 patches of 2 codes each, codebooks of 8, 8" in out
    tokenizer = cold()
    files = TokenFiles(things / "t", tokenizer=tokenizer.fingerprint())
    assert files.names == tuple(f"{number}.png" for number in range(COUNT))
    pixels = read_image(next(item for item in _items(things) if item.path.name == "4.png"), channels=1)
    values = FRONT_END.finish(pixels).values
    assert torch.equal(files.codes("4.png"), tokenizer.encode(values[None])[0])
    again = type_verb("tokens", things / "one", things / "data", "--out", things / "t", "--shard", 3)
    assert "3 shards, 3 of them kept" in again[1]
    code, _, err = type_verb("tokens", things / "two", things / "data", "--out", things / "t", "--shard", 3)
    assert code == 2
    assert "was made with another tokenizer" in err


def test_a_file_that_cannot_be_read_is_left_out_and_told(things, type_verb):
    (things / "data" / "3.png").write_bytes(b"no image")
    code, out, err = type_verb("tokens", things / "one", things / "data", "--out", things / "t")
    assert code == 2
    assert "3.png is damaged or no image" in out
    assert "1 files of" in err
    assert "the others are written" in err
    assert TokenFiles(things / "t").names == tuple(f"{number}.png" for number in range(COUNT) if number != 3)


def _items(things):
    from codeword.evaluation.data_check import open_listing

    return open_listing(things / "data", "image").items


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["blind", "data", "--out", "t"], "does not say what its inputs are made of"),
        (["one", "data", "--out", "t", "--shard", "0"], "--shard must be at least 1, got 0"),
        (["one", "data", "--out", "one/config.json"], "config.json is a file: give the name of a folder"),
        (["data", "data", "--out", "t"], "data"),
    ],
)
def test_what_a_user_got_wrong_is_one_line(things, type_verb, words, message):
    paths = [word if word.isdigit() or word.startswith("--") else things / word for word in words]
    code, out, err = type_verb("tokens", *paths)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_evaluation_prints_writes_and_draws(things, type_verb):
    options = ["--out", things / "r.json", "--usage", things / "u.png", "--picture", things / "p.png"]
    words = [things / "two", things / "data", "--beside", things / "one", "--items", 4, "--shown", 2, *options]
    code, out, err = type_verb("evaluate", "tokens", *words)
    assert (code, err) == (0, "")
    assert out.index(f"{things / 'one'}: tokens of 4 samples") < out.index(f"{things / 'two'}: tokens of 4 samples")
    assert list(json.loads((things / "r.json").read_text())) == [str(things / "one"), str(things / "two")]
    for name in ("u.png", "p.png"):
        with Image.open(things / name) as picture:
            assert picture.format == "PNG"
    code, _, err = type_verb("evaluate", "tokens", *words)
    assert code == 2
    assert "exists already" in err
