"""The tokens of a corpus as shards: complete, resumable, by name, and never those of another tokenizer."""

import re
from pathlib import Path

import pytest
import torch

from codeword.data.listing import Item, Listing
from codeword.evaluation.inspection import inspect_path
from codeword.pretraining.samples import Inputs
from codeword.pretraining.token_files import TokenFiles, names_of, write_token_files
from contracts.pretraining import SIZES, Unfiled, cold, samples

COUNT = 11
NAMES = [f"{number}.png" for number in range(COUNT)]


class Padded(Unfiled):
    """Samples of which every third ends early."""

    def __init__(self):
        self.whole = samples(COUNT)
        self.grid = self.whole.grid

    def __len__(self):
        return COUNT

    def inputs(self, numbers, views):
        lengths = torch.tensor([[6 if number % 3 else 4] for number in numbers])
        return Inputs(self.whole.inputs(numbers, views).values, torch.arange(6) < lengths)

    def configuration(self):
        return self.whole.configuration()


@pytest.mark.parametrize("data", [samples(COUNT), Padded()], ids=["whole", "padded"])
def test_tokens_come_back_by_name(tmp_path, data):
    tokenizer, told = cold(), []
    done = write_token_files(
        tokenizer, data, NAMES, tmp_path / "t", shard=4, batch=3, progress=lambda *now: told.append(now)
    )
    expected = tokenizer.encode(*data.inputs(range(COUNT), [0] * COUNT))
    files = TokenFiles(tmp_path / "t", tokenizer=tokenizer.fingerprint())
    assert (len(files), files.grid, files.sizes, files.names) == (COUNT, (3, 2), SIZES, tuple(NAMES))
    for number in (0, 3, 4, 10, 7):
        assert torch.equal(files.codes(NAMES[number]), expected[number])
    streamed = list(files)
    assert [name for name, _ in streamed] == NAMES
    assert torch.equal(torch.stack([codes for _, codes in streamed]), expected)
    assert (done.shards, done.kept) == (3, 0)
    assert done.file_bytes == sum(path.stat().st_size for path in (tmp_path / "t").iterdir())
    assert told[-1] == (COUNT, COUNT)
    one = TokenFiles(tmp_path / "t" / "tokens-00001-of-00003.cw")
    assert one.names == tuple(NAMES[4:8])
    assert torch.equal(one.codes("5.png"), expected[5])
    with pytest.raises(ValueError, match=r"no sample 'x' among 11, the first is '0\.png'"):
        files.codes("x")


def test_an_interrupted_writing_leaves_whole_shards_and_goes_on(tmp_path):
    tokenizer, data = cold(), samples(COUNT)
    write_token_files(tokenizer, data, NAMES, tmp_path / "whole", shard=4)

    def stop(done, total):
        if done > 6:
            raise KeyboardInterrupt

    part = tmp_path / "part"
    with pytest.raises(KeyboardInterrupt):
        write_token_files(tokenizer, data, NAMES, part, shard=4, batch=1, progress=stop)
    assert [path.name for path in part.iterdir()] == ["tokens-00000-of-00003.cw"]
    with pytest.raises(ValueError, match=r"has 1 shards, the last is tokens-00000-of-00003\.cw: some are missing"):
        TokenFiles(part)
    before = (part / "tokens-00000-of-00003.cw").stat().st_mtime_ns
    assert write_token_files(tokenizer, data, NAMES, part, shard=4).kept == 1
    assert (part / "tokens-00000-of-00003.cw").stat().st_mtime_ns == before
    for path in part.iterdir():
        assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()


def test_a_damaged_shard_is_made_again_and_inspected(tmp_path):
    tokenizer, data = cold(), samples(COUNT)
    write_token_files(tokenizer, data, NAMES, tmp_path, shard=4, front_end="0" * 64)
    path = tmp_path / "tokens-00001-of-00003.cw"
    good = path.read_bytes()
    lines = "\n".join(inspect_path(path).lines)
    for words in (
        "kind tokens",
        "samples: 4, from number 4 of a data set on, each with its name",
        "patches: 3 x 2 = 6 of a sample\n",
        "levels: 2 x 8, 6 bits a patch at fixed width",
        f"tokenizer: {tokenizer.fingerprint()}",
        "front end: 00000",
        "intact: yes",
    ):
        assert words in lines
    path.write_bytes(good[:-40])
    assert not inspect_path(path).intact
    assert write_token_files(tokenizer, data, NAMES, tmp_path, shard=4, front_end="0" * 64).kept == 2
    assert path.read_bytes() == good
    path.write_bytes(b"\x89.cw" + good[4:20])
    with pytest.raises(ValueError, match=re.escape(f"{path}, header")):
        TokenFiles(tmp_path)


def test_tokens_of_something_else_are_refused(tmp_path):
    tokenizer, data = cold(), samples(COUNT)
    write_token_files(tokenizer, data, NAMES, tmp_path, shard=4)
    with pytest.raises(ValueError, match=f"tokens of the tokenizer {tokenizer.fingerprint()[:12]}, not of {'1' * 12}"):
        TokenFiles(tmp_path, tokenizer="1" * 64)
    with pytest.raises(ValueError, match="was made with another tokenizer"):
        write_token_files(cold(seed=1), data, NAMES, tmp_path, shard=4)
    with pytest.raises(ValueError, match="was made with another front_end"):
        write_token_files(tokenizer, data, NAMES, tmp_path, shard=4, front_end="0" * 64)
    with pytest.raises(ValueError, match="holds the tokens of other samples"):
        write_token_files(tokenizer, data, [*NAMES[1:], "z"], tmp_path, shard=4)
    with pytest.raises(ValueError, match=r"is no part of these 2 shards: remove it"):
        write_token_files(tokenizer, data, NAMES, tmp_path, shard=6)
    with pytest.raises(ValueError, match="11 samples need a name each, got 10 different names"):
        write_token_files(tokenizer, data, [*NAMES[1:], NAMES[1]], tmp_path / "new")


def test_shards_of_several_tokenizers_or_with_a_gap_are_refused(tmp_path):
    data = samples(COUNT)
    for seed in (0, 1):
        write_token_files(cold(seed=seed), data, NAMES, tmp_path / str(seed), shard=4)
    one, other = (tmp_path / "0" / "tokens-00001-of-00003.cw", tmp_path / "1" / "tokens-00001-of-00003.cw")
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    with pytest.raises(ValueError, match="holds tokens of another tokenizer or front end"):
        TokenFiles(tmp_path / "0")
    one.unlink()
    with pytest.raises(ValueError, match="begins with sample 8, expected 4: a shard is missing"):
        TokenFiles(tmp_path / "0")
    one.write_bytes(kept)
    assert len(TokenFiles(tmp_path / "0")) == COUNT
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match=r"holds no \.cw file"):
        TokenFiles(tmp_path / "none")


def test_items_have_different_names():
    items = (
        Item(path=Path("data/a/x.png")),
        Item(path=Path("data/s.tar"), place=512),
        Item(path=Path("data/s.tar"), place=2048),
        Item(path=Path("data/r.wav"), start=1.25, seconds=2.0),
        Item(path=Path("/else/y.png")),
    )
    listing = Listing("image", "a folder", items)
    assert names_of(listing, Path("data")) == ("a/x.png", "s.tar#512", "s.tar#2048", "r.wav@1.25", "/else/y.png")
