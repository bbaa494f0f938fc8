import numpy as np
import pytest
import torch

from codeword.codecs.speech.envelope import Envelope
from codeword.functional.bands import (
    CELL,
    LEAST,
    MOST,
    NUM_CELLS,
    UNIT,
    Bands,
    cells,
    line_energies,
    middle_of,
    noise_signs,
    restored,
    rounded,
    step_exponents,
)
from codeword.functional.spectral import hertz_to_mel, mel_to_hertz

SMALL = Bands(edges=(0, 2, 6, 14))


def test_the_usual_bands_are_equally_wide_on_the_mel_scale():
    bands = Bands()
    assert (bands.count, bands.lines) == (16, 320)
    mels = np.linspace(0, float(hertz_to_mel(np.array([8000.0]), "htk")[0]), 17)
    assert bands.edges == tuple(np.rint(mel_to_hertz(mels, "htk") / 25).astype(int).tolist())


def test_lines_lie_between_the_middles_of_bands():
    # Middles at 1, 4 and 10; a line stands for its own middle.
    wanted = []
    for line in range(14):
        place = line + 0.5
        below = 0 if place < 4 else 1
        start, stop = ((1, 4), (4, 10))[below]
        wanted.append((below, round(256 * min(max((place - start) / (stop - start), 0), 1))))
    assert list(zip(SMALL.below.tolist(), SMALL.shares.tolist(), strict=True)) == wanted
    assert SMALL.of_lines.tolist() == [0] * 2 + [1] * 4 + [2] * 8


def test_energies_of_bands_are_logarithms_of_means():
    lines = torch.randn(3, 5, 14, dtype=torch.float32)
    found = Envelope(SMALL)(lines)
    for band, (start, stop) in enumerate(((0, 2), (2, 6), (6, 14))):
        wanted = (lines[..., start:stop].square().mean(-1) + 2.0**-30).log2()
        torch.testing.assert_close(found[..., band], wanted, atol=1e-5, rtol=1e-5)
    assert Envelope(SMALL)(torch.zeros(1, 14)).tolist() == [[-30.0] * 3]


def test_integers_follow_what_training_sees_to_a_64th():
    generator = torch.Generator().manual_seed(0)
    whole = torch.randint(-30 * UNIT, 12 * UNIT, (40, 16), generator=generator)
    lines = line_energies(whole.numpy(), Bands())
    smooth = UNIT * Envelope(Bands()).energies(whole.float() / UNIT).numpy()
    assert np.abs(lines + 0.5 - smooth).max() <= 0.5 + 1e-2
    assert lines.dtype == np.int64


def test_an_envelope_that_is_flat_is_flat_on_lines():
    assert (line_energies(np.full((2, 16), -77), Bands()) == -77).all()


def test_steps_follow_half_of_the_energy_and_cells_the_rest():
    energies = np.arange(-2000, 1500)
    exponents = step_exponents(energies, 100)
    assert (exponents == 100 + np.floor(0.5 * energies)).all()
    found = cells(energies, exponents)
    ratio = energies - exponents
    assert found.min() >= 0 and found.max() < NUM_CELLS
    inside = (ratio >= LEAST) & (ratio < MOST)
    assert inside.any()
    middles = np.array([middle_of(cell) for cell in found[inside].tolist()]) * UNIT
    assert np.abs(middles - ratio[inside]).max() <= CELL / 2
    assert cells(np.array([-(10**6), 10**6]), np.array([0, 0])).tolist() == [0, NUM_CELLS - 1]


def test_rounding_has_a_dead_zone_and_restoring_goes_back_nearly():
    lines = np.array([[0.0, 0.59, -0.59, 0.61, -0.61, 1.59, 1.61, -7.55, -7.65]])
    values = rounded(lines)
    assert values.tolist() == [[0, 0, 0, 1, -1, 1, 2, -7, -8]]
    found = restored(values.astype(np.int64), np.zeros((1, 9), dtype=np.int64), 0)
    assert np.abs(found - lines)[values != 0].max() <= 0.66
    assert found[0, 3:].tolist() == pytest.approx([0.95, -0.95, 0.95, 1.95, -6.95, -7.95])
    assert np.abs(found[0, :3]).tolist() == pytest.approx([0.1] * 3)
    quiet = restored(np.zeros((1, 9), dtype=np.int64), np.full((1, 9), -6 * UNIT), 0)
    assert np.abs(quiet[0]).tolist() == pytest.approx([0.25 / 8] * 9)


def test_signs_of_noise_follow_from_numbers_alone():
    whole = noise_signs(0, 1000, 320)
    assert np.array_equal(noise_signs(300, 50, 320), whole[300:350])
    assert set(np.unique(whole)) == {-1, 1}
    assert abs(whole.mean()) < 0.01
    # Neighbours in time and in frequency have nothing to do with one another.
    assert abs((whole[1:] * whole[:-1]).mean()) < 0.01 and abs((whole[:, 1:] * whole[:, :-1]).mean()) < 0.01
    for frame, line in [(0, 0), (7, 300), (999, 1), (123_456, 5)]:
        mixed = (frame * 2654435761 + line * 2246822519) % 2**32
        mixed = (mixed ^ mixed >> 15) * 739982445 % 2**32
        mixed ^= mixed >> 12
        assert noise_signs(frame, 1, line + 1)[0, line] == (1 if mixed % 2 else -1)


@pytest.mark.parametrize("edges", [(0, 5), (1, 5, 9), (0, 5, 5, 9)])
def test_edges_that_make_no_bands_are_refused(edges):
    with pytest.raises(ValueError, match="rise from 0 to the number of lines"):
        Bands(edges=edges)
