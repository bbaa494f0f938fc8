import numpy as np
import pytest
import torch

from codeword.functional.kmeans import cluster_sums, kmeans, lloyd_statistics, merge, moved, plus_plus
from codeword.functional.nearest import nearest
from reference import lloyd as slow

ROUNDING = 1e-5  # relative, of float32 sums


def vectors(count, dim, seed=0, clusters=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, dim, generator=generator)
    if clusters:
        x = 0.05 * x + 5 * torch.randn(clusters, dim, generator=generator)[torch.arange(count) % clusters]
    return x


def error(x, codebook):
    return float((x - codebook[nearest(x, codebook)]).double().square().sum(1).mean())


@pytest.mark.parametrize("count", [0, 1, 100, 40_000])
@pytest.mark.parametrize("weighted", [False, True])
def test_cluster_sums_equal_a_loop(count, weighted):
    x = vectors(count, 3) + 10
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(-1, 7, (count,), generator=generator)
    weights = torch.rand(count, generator=generator) if weighted else None
    counts, sums = cluster_sums(x, codes, 9, weights)
    ones = np.ones(count) if weights is None else weights.double().numpy()
    slow_counts, slow_sums = slow.partition_sums(x.numpy(), codes.numpy(), 9, ones)
    np.testing.assert_allclose(counts.numpy(), slow_counts, rtol=1e-12)
    np.testing.assert_allclose(sums.numpy(), slow_sums, rtol=ROUNDING)
    assert counts[8] == 0
    assert sums[8].abs().sum() == 0


def test_cluster_sums_add_up():
    x, codes = vectors(1000, 4), torch.arange(1000) % 6
    parts = [cluster_sums(x[part], codes[part], 6) for part in (slice(0, 17), slice(17, 1000))]
    whole = cluster_sums(x, codes, 6)
    assert torch.equal(parts[0].counts + parts[1].counts, whole.counts)
    torch.testing.assert_close(parts[0].sums + parts[1].sums, whole.sums, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_step_equals_the_slow_step(weighted):
    x = vectors(500, 5)
    weights = torch.rand(500, generator=torch.Generator().manual_seed(2)) if weighted else None
    codebook = x[:12].clone()
    halves = []
    for part in (slice(0, 200), slice(200, 500)):
        some = None if weights is None else weights[part]
        halves.append(lloyd_statistics(x[part], codebook, nearest(x[part], codebook), torch.Generator(), some))
    found = merge(*halves)
    ones = np.ones(500) if weights is None else weights.double().numpy()
    wanted, wanted_error = slow.lloyd_step(x.double().numpy(), codebook.double().numpy(), ones)
    np.testing.assert_allclose(moved(codebook, found).numpy(), wanted, rtol=1e-4, atol=1e-5)
    assert float(found.errors.sum()) / ones.sum() == pytest.approx(wanted_error, rel=ROUNDING)
    for cluster in range(12):
        mine = slow.assign(x.numpy(), codebook.numpy()) == cluster
        wanted_error = ones[mine] @ np.square(x.numpy()[mine] - codebook[cluster].numpy()).sum(1)
        assert float(found.errors[cluster]) == pytest.approx(wanted_error, rel=ROUNDING)


def test_idle_codewords_go_to_badly_served_vectors():
    x = torch.cat([vectors(50, 2) * 0.01, torch.tensor([[30.0, 40.0], [-50.0, 0.0]])])
    codebook = torch.cat([torch.zeros(1, 2), torch.full((2, 2), 1e4)])
    found = lloyd_statistics(x, codebook, nearest(x, codebook), torch.Generator().manual_seed(0))
    after = moved(codebook, found)
    assert {tuple(row) for row in after[1:].tolist()} == {(30.0, 40.0), (-50.0, 0.0)}


def test_idle_codewords_stay_where_all_vectors_are_represented():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).repeat(5, 1)
    codebook = torch.tensor([[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]])
    found = lloyd_statistics(x, codebook, nearest(x, codebook), torch.Generator().manual_seed(0))
    assert torch.equal(moved(codebook, found), codebook)


def test_the_start_finds_every_cluster():
    x = vectors(2000, 3, clusters=40)
    starts = plus_plus(x, 40, 0)
    assert error(x, kmeans(x, 40, steps=5)) < 0.02
    assert error(x, starts) < 0.5 * error(x, x[torch.randperm(2000, generator=torch.Generator().manual_seed(0))[:40]])


def test_draws_follow_the_squared_distance():
    """One vector at 0 and two others at distances 1 and 3: the second codeword is the far one in 9 of 10 draws."""
    x = torch.tensor([[0.0]] * 500 + [[1.0], [3.0]])
    weights = torch.tensor([1.0] * 500 + [1e-6, 1e-6])
    second = [float(plus_plus(x, 2, seed, weights)[1]) for seed in range(200)]
    assert sum(value == 3.0 for value in second) / 200 == pytest.approx(0.9, abs=0.06)


def test_large_codebooks_hold_different_vectors():
    x = vectors(3000, 8)
    codebook = plus_plus(x, 1000, 3)
    assert len(codebook.unique(dim=0)) == 1000
    assert torch.equal(codebook, plus_plus(x, 1000, 3))
    assert not torch.equal(codebook, plus_plus(x, 1000, 4))


def test_error_falls_and_repeats_exactly():
    x = vectors(3000, 6)
    errors = [error(x, kmeans(x, 32, steps=steps, seed=5)) for steps in (0, 1, 3, 10)]
    assert errors == sorted(errors, reverse=True)
    assert torch.equal(kmeans(x, 32, seed=5), kmeans(x, 32, seed=5))


def test_weights_equal_repetition():
    x = vectors(300, 4)
    times = torch.arange(300) % 4
    codebook = x[:8].clone()
    many = x.repeat_interleave(times, dim=0)
    by_weight = lloyd_statistics(x, codebook, nearest(x, codebook), torch.Generator(), times.float())
    by_copy = lloyd_statistics(many, codebook, nearest(many, codebook), torch.Generator())
    torch.testing.assert_close(by_weight.sums, by_copy.sums, rtol=ROUNDING, atol=ROUNDING)
    assert torch.equal(by_weight.counts, by_copy.counts)


@pytest.mark.parametrize("count", [1, 5, 16])
def test_fewer_vectors_than_codewords(count):
    x = vectors(count, 4) * 7 + 3
    codebook = kmeans(x, 16)
    assert codebook.shape == (16, 4)
    assert torch.isfinite(codebook).all()
    assert len(codebook.unique(dim=0)) == 16
    assert error(x, codebook) == 0


def test_a_level_after_exact_representation_is_not_zero():
    x = vectors(16, 4)
    rest, norms = x, []
    for _ in range(4):
        codebook = kmeans(rest, 16, spread=1.0)
        norms.append(float(codebook.norm()))
        rest = rest - codebook[nearest(rest, codebook)]
    assert all(norm > 0 for norm in norms)


@pytest.mark.parametrize("value", [0.0, 2.5, -1e4])
def test_constant_data(value):
    codebook = kmeans(torch.full((50, 3), value), 4)
    assert torch.isfinite(codebook).all()
    assert torch.equal(codebook[0], torch.full((3,), value))
    assert len(codebook.unique(dim=0)) == 4


def test_far_from_the_origin():
    x = vectors(2000, 4, clusters=8)
    near, far = kmeans(x, 8, seed=1), kmeans(x + 5000, 8, seed=1)
    rounding = 2e-3  # of float32 at 5000
    torch.testing.assert_close(near.sort(0).values, (far - 5000).sort(0).values, rtol=0, atol=rounding)


def test_spherical_codewords_have_length_one():
    x = vectors(800, 5) * torch.linspace(0.1, 50, 800).unsqueeze(1)
    codebook = kmeans(x, 10, spherical=True)
    torch.testing.assert_close(codebook.norm(dim=1), torch.ones(10))
    cosine = torch.nn.functional.normalize(x, dim=1) @ codebook.t()
    start = torch.nn.functional.normalize(plus_plus(torch.nn.functional.normalize(x, dim=1), 10, 0), dim=1)
    assert cosine.amax(1).mean() > (torch.nn.functional.normalize(x, dim=1) @ start.t()).amax(1).mean()


def test_one_codeword_is_the_mean():
    x = vectors(100, 3)
    torch.testing.assert_close(kmeans(x, 1)[0], x.mean(0))
    torch.testing.assert_close(kmeans(x[:1], 1), x[:1])


def test_no_vectors_are_refused():
    with pytest.raises(ValueError, match="at least one vector to place 3 codewords"):
        kmeans(torch.empty(0, 2), 3)
