import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.functional.tokens import delay_levels, flatten_levels, undelay_levels, unflatten_levels
from reference import tokens as slow

WIDE = 1 << 40


@st.composite
def sequences(draw):
    sizes = draw(st.lists(st.sampled_from([1, 2, 5, 1024, WIDE]), min_size=1, max_size=5))
    code = [st.sampled_from(sorted({-1, 0, size // 2, size - 1})) for size in sizes]
    rows = draw(st.lists(st.tuples(*code), max_size=6))
    return sizes, rows, torch.tensor(rows, dtype=torch.int64).reshape(-1, len(sizes))


orders, firsts = st.sampled_from(["vector", "level"]), st.sampled_from([0, 3])


@settings(max_examples=100, deadline=None)
@given(sequences(), orders, firsts)
def test_flatten_is_the_layout_and_unflatten_its_inverse(drawn, order, first):
    sizes, rows, codes = drawn
    tokens = flatten_levels(codes, sizes, order=order, first=first)
    assert tokens.tolist() == slow.flatten(rows, sizes, order, first)
    assert torch.equal(unflatten_levels(tokens, sizes, order=order, first=first), codes)
    assert (tokens < first + sum(sizes)).all()


@settings(max_examples=100, deadline=None)
@given(sequences(), st.integers(-2, 4000), st.data())
def test_delay_is_the_pattern_and_undelay_its_inverse(drawn, pad, data):
    _, rows, codes = drawn
    levels = codes.shape[1]
    delays = data.draw(st.none() | st.lists(st.integers(0, 7), min_size=levels, max_size=levels))
    delayed = delay_levels(codes, pad, delays=delays)
    assert delayed.tolist() == slow.delay(rows, pad, list(range(levels)) if delays is None else delays)
    assert torch.equal(undelay_levels(delayed, delays=delays), codes)


def test_the_pictures_of_the_module():
    codes = torch.tensor([[3, 1], [0, 3], [7, 0]])
    assert flatten_levels(codes, (8, 4)).tolist() == [3, 9, 0, 11, 7, 8]
    assert flatten_levels(codes, (8, 4), order="level").tolist() == [3, 0, 7, 9, 11, 8]
    assert delay_levels(codes, 99).tolist() == [[3, 99], [0, 1], [7, 3], [99, 0]]


@pytest.mark.parametrize("batch", [(), (2,), (2, 3), (0, 2)])
@pytest.mark.parametrize("order", ["vector", "level"])
def test_leading_axes_are_independent(batch, order):
    sizes = (5, 7, 3)
    generator = torch.Generator().manual_seed(0)
    codes = torch.stack([torch.randint(-1, size, (*batch, 4), generator=generator) for size in sizes], -1)
    tokens, delayed = flatten_levels(codes, sizes, order=order), delay_levels(codes, -1)
    assert tokens.shape == (*batch, 12)
    assert delayed.shape == (*batch, 6, 3)
    assert torch.equal(unflatten_levels(tokens, sizes, order=order), codes)
    assert torch.equal(undelay_levels(delayed), codes)
    for one, flat, late in zip(*(t.reshape(-1, *t.shape[len(batch) :]) for t in (codes, tokens, delayed)), strict=True):
        assert torch.equal(flatten_levels(one, sizes, order=order), flat)
        assert torch.equal(delay_levels(one, -1), late)


def test_small_integers_widen_for_tokens_and_stay_for_delays():
    codes = torch.tensor([[100, 100]], dtype=torch.int8)
    assert flatten_levels(codes, (127, 127)).tolist() == [100, 227]
    assert delay_levels(codes, -1).dtype == undelay_levels(codes, delays=(0, 0)).dtype == torch.int8


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: flatten_levels(torch.zeros(2, 3, dtype=torch.int64), (4, 4)),
        lambda: flatten_levels(torch.tensor([[4, 0]]), (4, 4)),
        lambda: flatten_levels(torch.tensor([[0, -2]]), (4, 4)),
        lambda: flatten_levels(torch.zeros(2, 0, dtype=torch.int64), ()),
        lambda: flatten_levels(torch.zeros(1, 1, dtype=torch.int64), (4,), first=-1),
        lambda: unflatten_levels(torch.tensor([0, 4, 1]), (4, 4)),
        lambda: unflatten_levels(torch.tensor([4, 0]), (4, 4)),
        lambda: unflatten_levels(torch.tensor([0, 3]), (4, 4)),
        lambda: unflatten_levels(torch.tensor([0, 8]), (4, 4)),
        lambda: unflatten_levels(torch.tensor([-2, 4]), (4, 4)),
        lambda: unflatten_levels(torch.tensor([1, 6]), (4, 4), first=2),
        lambda: undelay_levels(torch.zeros(1, 3, dtype=torch.int64)),
        lambda: delay_levels(torch.zeros(1, 3, dtype=torch.int64), 0, delays=(0, 1)),
        lambda: delay_levels(torch.zeros(1, 2, dtype=torch.int64), 0, delays=(0, -1)),
        lambda: delay_levels(torch.zeros(4, 0, dtype=torch.int64), 0),
        lambda: flatten_levels(torch.zeros(1, 2, dtype=torch.int64), (2**63, 2)),
    ],
)
def test_mistakes_are_named(mistake):
    with pytest.raises(ValueError) as error:
        mistake()
    assert "\n" not in str(error.value)


def test_a_misplaced_token_is_named():
    with pytest.raises(ValueError, match="token 3 stands where level 1 has the tokens 4 to 7"):
        unflatten_levels(torch.tensor([0, 4, 0, 3]), (4, 4))


def test_an_order_that_is_none():
    with pytest.raises((ValueError, TypeError), match="order"):  # the shape hook of the tests finds it first
        flatten_levels(torch.zeros(1, 1, dtype=torch.int64), (4,), order="time")
