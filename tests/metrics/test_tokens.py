"""Counts of tokens against slow loops, against known distributions, and the leak test on tokenizers."""

import math
from collections import Counter

import pytest
import torch

from codeword.functional import usage
from codeword.metrics.codes import code_report
from codeword.metrics.tokens import TokenCounts
from codeword.nn.positions import sincos
from codeword.pretraining.tokenizer import ColdTokenizer, fit
from codeword.quantizers import ResidualQuantizer, VectorQuantizer
from codeword.training.run import EMConfig

BITS = 1e-9  # tolerance of an entropy
CHANCE = 0.02  # by how much a guess may be right more often than by chance, in 2000 samples of noise
SIZES, PATCHES = (5, 7, 3), 6


def drawn(count=90, seed=0, padded=True):
    """Codes of unequal frequencies, some of which depend on the level before, some on the place; some are absent."""
    generator = torch.Generator().manual_seed(seed)
    first = (torch.rand(count, PATCHES, generator=generator) ** 2 * SIZES[0]).long()
    second = (first + torch.randint(0, 2, first.shape, generator=generator)) % SIZES[1]
    third = torch.where(torch.rand(first.shape, generator=generator) < 0.7, torch.arange(PATCHES) % SIZES[2], 0)
    codes = torch.stack([first, second, third], dim=-1)
    if padded:
        codes[::4, 4:] = -1
        codes[1, 2, 1:] = codes[2, 1, 0] = -1
    return codes


def counted(codes, sizes=SIZES):
    counts = TokenCounts(sizes, codes.shape[1])
    for part in codes.split(13):
        counts.add(part)
    return counts.report()


def plain_entropy(things):
    counts = Counter(things)
    total = sum(counts.values())
    return -sum(count / total * math.log2(count / total) for count in counts.values())


def placed_codes(codes, level):
    """(sample, place, code) of all that are there."""
    rows = codes[..., level].tolist()
    return [(s, p, code) for s, row in enumerate(rows) for p, code in enumerate(row) if code >= 0]


def plain_guesses(codes, level):
    """The leak test in loops."""
    right = chance = total = 0
    for learned in (0, 1):
        mine = [row for row in placed_codes(codes, level) if row[0] % 2 == learned]
        other = [row for row in placed_codes(codes, level) if row[0] % 2 != learned]
        anywhere = Counter(code for _, _, code in mine)
        best = {}
        for place in range(PATCHES):
            here = Counter(code for _, p, code in mine if p == place)
            best[place] = max(anywhere, key=lambda code: (here[code], anywhere[code], -code))
        common = max(anywhere, key=lambda code: (anywhere[code], -code))
        right += sum(best[place] == code for _, place, code in other)
        chance += sum(common == code for _, _, code in other)
        total += len(other)
    return right / total, chance / total


def test_counts_in_parts_are_those_of_a_report_on_all_codes_at_once():
    codes = drawn()
    found, whole = counted(codes), code_report(codes, SIZES)
    assert found.samples == len(codes)
    assert (found.codes.num_vectors, found.codes.num_complete) == (whole.num_vectors, whole.num_complete)
    assert found.codes.joint_entropy == pytest.approx(whole.joint_entropy, abs=BITS)
    assert found.codes.total_correlation == pytest.approx(whole.total_correlation, abs=BITS)
    for mine, theirs in zip(found.codes.levels, whole.levels, strict=True):
        for name in ("size", "num_codes", "usage_rate", "perplexity", "effective_code_usage"):
            assert getattr(mine, name) == pytest.approx(getattr(theirs, name), abs=BITS), name
        for name in ("entropy", "conditional_entropy", "information"):
            assert getattr(mine, name) == pytest.approx(getattr(theirs, name), abs=BITS), name
    assert found.histograms[1] == tuple(usage.histogram(codes[..., 1], SIZES[1]).tolist())


@pytest.mark.parametrize("level", range(len(SIZES)))
def test_places_agree_with_loops(level):
    codes = drawn()
    place = counted(codes).places[level]
    rows = placed_codes(codes, level)
    both, places, own = ([row[part] for row in rows] for part in (slice(1, 3), 1, 2))
    assert place.entropy_given_place == pytest.approx(plain_entropy(both) - plain_entropy(places), abs=BITS)
    assert place.information == pytest.approx(plain_entropy(own) - place.entropy_given_place, abs=BITS)
    assert (place.guessed, place.chance) == pytest.approx(plain_guesses(codes, level), abs=BITS)
    assert place.leak == place.guessed - place.chance


def test_pairs_agree_with_loops():
    codes = drawn()
    rows = [tuple(row) for row in codes.flatten(0, 1).tolist()]
    pairs = {pair.levels: pair for pair in counted(codes).pairs}
    assert list(pairs) == [(0, 1), (0, 2), (1, 2)]
    for (first, second), pair in pairs.items():
        there = [(row[first], row[second]) for row in rows if row[first] >= 0 and row[second] >= 0]
        apart = [plain_entropy([row[part] for row in there]) for part in (0, 1)]
        assert pair.joint_entropy == pytest.approx(plain_entropy(there), abs=BITS)
        assert pair.information == pytest.approx(sum(apart) - plain_entropy(there), abs=BITS)
        kinds = [len(set(there)), *(len({row[part] for row in there}) for part in (0, 1))]
        bias = (kinds[0] - kinds[1] - kinds[2] + 1) / (2 * len(there) * math.log(2))
        assert pair.corrected == pytest.approx(max(pair.information - bias, 0), abs=BITS)


def test_the_floor_is_that_of_shuffled_codes_and_what_is_shared_lies_between_the_estimates():
    generator = torch.Generator().manual_seed(1)
    first = torch.randint(0, 64, (400, 16), generator=generator)
    noise = torch.randint(0, 64, first.shape, generator=generator)
    close = (first + torch.randint(0, 4, first.shape, generator=generator)) % 64
    alone, shared = (pair for pair in counted(torch.stack([first, noise, close], -1), (64, 64, 64)).pairs[:2])
    shuffled = float(usage.shuffled_information(first, noise))
    assert alone.information_floor == pytest.approx(shuffled, rel=0.05)
    assert alone.less_floor < 0.05 * alone.information_floor
    truth = 6 - 2  # bits: of 64 codes, 4 remain
    assert shared.less_floor < truth < shared.corrected + 0.02
    assert shared.corrected == pytest.approx(truth, abs=0.02)


def test_known_distributions():
    """Every code once at every place: all bits, none of them told by the place; then the place alone."""
    even = torch.arange(8).repeat_interleave(2).reshape(16, 1, 1).expand(16, 4, 1)
    report = counted(even, (8,))
    assert report.codes.levels[0].perplexity_share == pytest.approx(1, abs=BITS)
    assert (report.places[0].information, report.pairs, report.joint_bias > 0) == (0, (), True)
    told = counted(torch.arange(4).reshape(1, 4, 1).expand(10, 4, 1), (4,)).places[0]
    assert (told.entropy_given_place, told.guessed, told.chance) == (0, 1, 0.25)
    assert told.information == pytest.approx(2, abs=BITS)


def test_the_table_says_what_would_be_misread():
    table = counted(drawn()).table()
    for words in ("ECU", "SHRINKS as usage gets better", "leak", "read low by", "guessed", "of K"):
        assert words in table


def test_nothing_and_one_sample_are_no_leak():
    nothing = TokenCounts(SIZES, PATCHES).report()
    assert (nothing.samples, nothing.codes.joint_entropy, nothing.joint_bias) == (0, 0, 0)
    single = counted(drawn(1, padded=False))
    assert math.isnan(single.places[0].guessed)
    assert "nan" in single.table()


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.zeros(2, 5, 3, dtype=torch.int64), "a sample has 6 patches of 3 codes here, got codes of shape"),
        (torch.full((2, 6, 3), 3), "codes of level 2 lie in -1..2, got 3"),
        (torch.full((2, 6, 3), -2), "codes of level 0 lie in -1..4, got -2"),
    ],
)
def test_other_codes_are_refused(codes, message):
    with pytest.raises(ValueError, match=message):
        TokenCounts(SIZES, PATCHES).add(codes)


def test_tables_too_large_for_memory_are_refused():
    with pytest.raises(ValueError, match="need more than 134217728 counts: leave out levels"):
        TokenCounts((16384, 16384), 4)


class Placed(ColdTokenizer):
    """What the cold tokenizer must not be: positions are added to the patches before they are projected."""

    def project(self, x, valid):
        grid = tuple(size // side for size, side in zip(x.shape[2:], self.patch, strict=True))
        return super().project(x, valid) + 3 * sincos(grid, self.quantizer.dim)


@pytest.mark.parametrize("kind", [ColdTokenizer, Placed])
def test_a_cold_tokenizer_passes_the_leak_test_and_one_with_positions_fails_it(kind):
    tokenizer = kind(1, (4, 4), ResidualQuantizer([VectorQuantizer(12, 16), VectorQuantizer(12, 16)])).eval()
    noise = torch.randn(2000, 1, 12, 8, generator=torch.Generator().manual_seed(3))
    fit(tokenizer, [(noise[:400], None)], EMConfig(steps=3))
    place = counted(tokenizer.encode(noise), (16, 16)).places[0]
    if kind is ColdTokenizer:
        assert place.leak < CHANCE
        assert place.information < 2 * place.information_floor
    else:
        assert place.leak > 10 * CHANCE
        assert place.information > 10 * place.information_floor
