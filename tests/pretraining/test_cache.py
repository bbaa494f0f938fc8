import re

import pytest
import torch

from codeword.pretraining.cache import TokenCache
from contracts.pretraining import Brighter, Unfiled, cold, samples


def test_cached_tokens_are_those_made_again(tmp_path):
    tokenizer, data = cold(), samples(20, augment=(Brighter(),))
    cache = TokenCache(tmp_path / "tokens", tokenizer, data, 3)
    assert cache.done == 0
    told = []
    cache.fill(batch=21, progress=lambda done, total: told.append((done, total)))
    assert told == [(7, 20), (14, 20), (20, 20)]
    numbers, views = [4, 19, 0, 4], [2, 0, 1, 1]
    inputs = data.inputs(numbers, views)
    assert torch.equal(cache.read(numbers, views), tokenizer.encode(inputs.values))
    again = TokenCache(tmp_path / "tokens", tokenizer, data, 3)
    assert again.done == 20
    assert torch.equal(again.read(numbers, views), cache.read(numbers, views))


def test_an_interrupted_fill_goes_on(tmp_path):
    tokenizer, data = cold(), samples(20)
    whole = TokenCache(tmp_path / "whole", tokenizer, data, 1)
    whole.fill()
    part = TokenCache(tmp_path / "part", tokenizer, data, 1)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        part.fill(batch=8, progress=stop)
    assert part.done == 8
    with pytest.raises(ValueError, match="has the tokens of 8 of 20 samples: fill it first"):
        part.read([8], [0])
    calls = []
    tokenizer_encode = tokenizer.encode
    tokenizer.encode = lambda x, valid: calls.append(len(x)) or tokenizer_encode(x, valid)
    again = TokenCache(tmp_path / "part", tokenizer, data, 1)
    again.fill(batch=8)
    assert calls == [8, 4]
    assert torch.equal(again.read(range(20), [0] * 20), whole.read(range(20), [0] * 20))


@pytest.mark.parametrize(
    ("tokenizer", "data", "views", "what"),
    [
        (1, {}, 2, "tokenizer"),
        (0, {"draws": 1}, 2, "data: seed"),
        (0, {"augment": (Brighter(),)}, 2, "data: augment"),
        (0, {}, 3, "shape"),
    ],
)
def test_tokens_of_something_else_are_refused(tmp_path, tokenizer, data, views, what):
    TokenCache(tmp_path, cold(), samples(8), 2).fill()
    before = (tmp_path / "tokens.npy").read_bytes()
    with pytest.raises(ValueError, match=f"tokens made with another {re.escape(what)}") as refused:
        TokenCache(tmp_path, cold(tokenizer), samples(8, **data), views)
    assert "\n" not in str(refused.value)
    assert (tmp_path / "tokens.npy").read_bytes() == before


def test_other_samples_are_refused(tmp_path):
    TokenCache(tmp_path, cold(), samples(8), 2).fill()
    with pytest.raises(ValueError, match="another data: values"):
        TokenCache(tmp_path, cold(), samples(8, seed=5), 2)


def test_padding_stays_padding(tmp_path):
    class Short(Unfiled):
        grid = (3, 2)

        def __len__(self):
            return 3

        def inputs(self, numbers, views):
            found = samples(3).inputs(numbers, views)
            return found._replace(valid=torch.arange(6).expand(len(numbers), -1) < 4)

        def configuration(self):
            return {}

    cache = TokenCache(tmp_path, cold(), Short(), 1)
    cache.fill()
    assert (cache.read([0, 1, 2], [0, 0, 0]) == -1).all(-1).sum() == 6
