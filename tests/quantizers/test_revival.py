import math

import pytest
import torch

import codeword
from codeword import Gradient, Keep, MovingAverage, ReplaceUnused, ReviveDead, SimVQ, Uniform, VectorQuantizer
from codeword.functional.random import row_uniform
from codeword.quantizers.revival import RevivalState
from contracts.steps import vectors
from reference.learning import replacement_parents

FAR = 50.0  # where no vector is near


def with_dead_rows(learning=None, revival=None, alive=4, dead=3, dim=3):
    table = torch.cat([vectors(alive, dim, seed=8), FAR + vectors(dead, dim, seed=9)])
    quantizer = VectorQuantizer(
        dim, alive + dead, learning=learning or MovingAverage(), revival=revival or ReviveDead()
    )
    quantizer.codebook.assign(table)
    return quantizer.train()


def feed(quantizer, total, batch, dim=3):
    for start in range(0, total, batch):
        quantizer(vectors(total, dim)[start : start + batch])
        codeword.update(quantizer)
    return quantizer


def test_the_verdict_does_not_depend_on_how_vectors_are_batched():
    revival = ReviveDead(hits=4.0, threshold=0.05)
    needed = -math.log(0.05) * 4 * 7  # vectors until an unused one of 7 codewords falls below the threshold: 83.9
    for batch in (3, 7, 12, 42):
        quantizer = feed(with_dead_rows(revival=revival), math.floor(needed / batch) * batch, batch)
        assert (quantizer.codebook.vectors[4:] > FAR / 2).all()
        feed(quantizer, batch, batch)
        assert (quantizer.codebook.vectors[4:] < FAR / 2).all()
    for quantizer in (feed(with_dead_rows(revival=Keep()), 80, batch) for batch in (1, 80)):
        assert torch.equal(quantizer.codebook.usage, torch.ones(7))  # who is kept is not watched


def test_usage_is_a_ratio_of_uniform_usage():
    for batch in (7, 70):
        quantizer = VectorQuantizer(1, 7, revival=ReviveDead(hits=2.0, threshold=0.0))
        quantizer.codebook.assign(torch.arange(7.0)[:, None])
        quantizer.train()
        x = torch.arange(7.0).repeat(20)[:, None]
        for part in x.split(batch):
            quantizer(part)
            codeword.update(quantizer)
        torch.testing.assert_close(quantizer.codebook.usage, torch.ones(7))
        for _ in range(20):  # from now on the last codeword takes half of all vectors, the first none
            quantizer(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.0, 6.0, 6.0, 6.0])[:, None])
            codeword.update(quantizer)
        torch.testing.assert_close(quantizer.codebook.usage[[1, 6]], torch.tensor([0.7, 3.5]), rtol=1e-3, atol=0)


@pytest.mark.parametrize("learning", [MovingAverage(), Gradient()])
def test_dead_rows_move_to_badly_served_vectors(learning):
    quantizer = with_dead_rows(learning, ReviveDead(hits=0.01, jitter=0.1))
    x = vectors(50, 3)
    x[7] = 12.0  # by far the worst served
    index = quantizer.encode(x)[:, 0]
    errors = (x - quantizer.codebook.vectors[index].detach()).norm(dim=1)
    quantizer(x)
    codeword.update(quantizer)
    book = quantizer.codebook
    assert book.moved.tolist() == [False] * 4 + [True] * 3
    rows = book.vectors[4:].detach()
    distance, place = torch.cdist(rows, x).min(1)
    assert len(set(place.tolist())) == 3
    assert 7 in place.tolist()
    # The jitter is a tenth of the cell in the root mean square.
    assert ((distance > 0) & (distance < 0.1 * errors[place] * 3)).all()
    assert torch.equal(book.usage[4:], torch.ones(3))


def test_averages_of_a_revived_row_start_anew():
    quantizer = with_dead_rows(revival=ReviveDead(hits=0.01))
    quantizer(vectors(50, 3))
    codeword.update(quantizer)
    book = quantizer.codebook
    torch.testing.assert_close(book.average_sums[4:] / book.average_counts[4:, None], book.vectors[4:])
    place = book.vectors[4].clone()
    for _ in range(3):
        quantizer((place + 0.1)[None])
        codeword.update(quantizer)
    assert (book.vectors[4] - place).norm() < 0.3  # near its new place, not on its way back to the old one


def moments_around_update(revival):
    """Adam's moments of the codebook before and after a step in which the dead rows move."""
    quantizer = with_dead_rows(Gradient(), revival)
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=1e-3)
    quantizer.codebook.vectors.sum().backward()
    optimizer.step()
    quantizer(vectors(50, 3))
    moments = optimizer.state[quantizer.codebook.table]
    before = {name: moments[name].clone() for name in ("exp_avg", "exp_avg_sq")}
    codeword.update(quantizer, optimizer)
    assert quantizer.codebook.moved.tolist() == [False] * 4 + [True] * 3
    return before, moments


def test_moments_of_a_revived_row_are_reset():
    before, after = moments_around_update(ReviveDead(hits=0.01))
    for name, value in before.items():
        assert (value != 0).all()
        assert (after[name][4:] == 0).all()
        assert torch.equal(after[name][:4], value[:4])


def test_the_published_replacement_lives_on_old_moments():
    before, after = moments_around_update(ReplaceUnused(period=1, threshold=0.5))
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_training_ends_undisturbed():
    quantizer = with_dead_rows(revival=ReviveDead(hits=0.5, last_step=1))
    for number in range(6):  # dead after the first step would be steps 2 to 6
        quantizer(vectors(5, 3, seed=number))
        codeword.update(quantizer)
    assert float(quantizer.codebook.usage[4:].max()) < 0.05
    assert (quantizer.codebook.vectors[4:] > FAR / 2).all()


def test_nothing_moves_where_every_vector_is_served_exactly():
    quantizer = with_dead_rows(revival=ReviveDead(hits=0.01))
    before = quantizer.codebook.vectors.clone()
    quantizer(before[:4].repeat(20, 1))
    codeword.update(quantizer)
    torch.testing.assert_close(quantizer.codebook.vectors, before)


def test_more_dead_rows_than_places_wait_for_the_next_step():
    quantizer = with_dead_rows(revival=ReviveDead(hits=1e-3, candidates=2), dead=5)
    gone = []
    for number in range(3):
        quantizer(vectors(50, 3, seed=number))
        codeword.update(quantizer)
        gone.append(int((quantizer.codebook.vectors[:, 0] < FAR / 2).sum()))
    assert gone[0] == 6
    assert gone[1] == 8
    assert gone[2] == 9


def test_places_are_drawn_in_proportion_to_the_squared_error():
    quantizer = VectorQuantizer(1, 1, learning=Gradient())
    quantizer.codebook.assign(torch.zeros(1, 1))
    quantizer.train()
    x = torch.tensor([1.0] * 5 + [math.sqrt(3)] * 5)[:, None]
    far, steps = 0, 300
    for _ in range(steps):
        quantizer(x)
        far += int(quantizer.codebook.places[0, 0] > 1.5)
        codeword.update(quantizer)
    assert abs(far / steps - 0.75) < 4 * math.sqrt(0.75 * 0.25 / steps)


def replacement_state(used_in, steps=10, size=None):
    size = size or len(used_in)
    return RevivalState(
        table=vectors(size, 2),
        usage=torch.ones(size),
        counts=torch.ones(size),
        batches=torch.tensor(used_in, dtype=torch.float32) - 1,
        steps=torch.tensor(steps),
        places=torch.zeros(0, 2),
        errors=torch.zeros(0),
    )


@pytest.mark.parametrize("used", [1, 2, 3, 5, 8, 10, 11])
def test_the_published_replacement_equals_loops(used):
    for seed in range(20):
        order = torch.randperm(11, generator=torch.Generator().manual_seed(seed))
        flags = torch.zeros(11, dtype=torch.bool).index_fill_(0, order[:used], True)
        state = replacement_state([3 if flag else 2 for flag in flags])
        before, key = state.table.clone(), torch.tensor(seed)
        moved = ReplaceUnused(period=10, threshold=0.3)(state, key)
        assert torch.equal(moved, ~flags)
        parents = replacement_parents(flags.tolist(), row_uniform(key, 11, 1)[:, 0].tolist())
        for row in range(11):
            torch.testing.assert_close(state.table[row], before[parents.get(row, row)], rtol=0, atol=1e-10)
        assert (state.batches == 0).all()


def test_the_published_replacement_without_any_used_codeword_moves_by_nothing_but_noise():
    state = replacement_state([1] * 5)
    before = state.table.clone()
    assert ReplaceUnused(period=10, threshold=0.3, noise=1e-3)(state, torch.tensor(1)).all()
    assert ((state.table - before).abs() > 0).all()
    assert ((state.table - before).abs() < 1e-2).all()


@pytest.mark.parametrize(
    ("steps", "last", "due"), [(9, None, False), (10, None, True), (20, 20, True), (30, 20, False)]
)
def test_the_published_replacement_keeps_its_schedule(steps, last, due):
    state = replacement_state([5, 1, 1], steps=steps)
    moved = ReplaceUnused(period=10, threshold=0.3, last_step=last)(state, torch.tensor(0))
    assert moved.tolist() == [False, due, due]
    assert (state.batches == 0).all() == due


def test_the_published_replacement_counts_batches_and_resets_averages():
    quantizer = with_dead_rows(revival=ReplaceUnused(period=4, threshold=0.5))
    feed(quantizer, 30, 10)
    assert quantizer.codebook.batches[:4].max() <= 3
    assert (quantizer.codebook.vectors[4:] > FAR / 2).all()
    feed(quantizer, 10, 10)
    book = quantizer.codebook
    torch.testing.assert_close(book.vectors[4:], torch.stack([book.vectors[:4][i] for i in nearest_of(book)]))
    torch.testing.assert_close(book.average_sums[4:] / book.average_counts[4:, None], book.vectors[4:])


def nearest_of(book):
    return torch.cdist(book.vectors[4:], book.vectors[:4]).argmin(1)


def test_a_table_that_never_moves_is_never_revived():
    quantizer = VectorQuantizer(3, 5, learning=SimVQ())
    assert isinstance(quantizer.codebook.revival, Keep)
    assert isinstance(quantizer.codebook.seeding, Uniform)
    with pytest.raises(ValueError, match="SimVQ"):
        VectorQuantizer(3, 5, learning=SimVQ(), revival=ReviveDead())


def test_keeping_keeps():
    quantizer = feed(with_dead_rows(revival=Keep()), 2000, 50)
    assert (quantizer.codebook.vectors[4:] > FAR / 2).all()
    assert not quantizer.codebook.moved.any()
