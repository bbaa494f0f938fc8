"""Objects that say how a quantizer behaves refuse what makes no sense, where they are made."""

import pytest

from codeword import (
    Beam,
    Gradient,
    KMeans,
    MovingAverage,
    Refined,
    ResidualQuantizer,
    Rotation,
    SimVQ,
    Uniform,
    VectorQuantizer,
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gradient(codebook=-1.0), "the codebook of a Gradient must be at least 0, got -1.0"),
        (lambda: Gradient(commitment=float("nan")), "the commitment of a Gradient must be at least 0, got nan"),
        (lambda: SimVQ(codebook=-1.0), "the codebook of a SimVQ"),
        (lambda: MovingAverage(commitment=-0.1), "the commitment of a MovingAverage"),
        (lambda: MovingAverage(smoothing=-0.1), "the smoothing of a MovingAverage"),
        (lambda: MovingAverage(decay=1.0), "the decay of a MovingAverage must be in"),
        (lambda: KMeans(steps=-1), "the steps of KMeans must be at least 0, got -1"),
        (lambda: Uniform(radius=0.0), "the radius of Uniform must be positive"),
        (lambda: Refined(sweeps=-1), "the sweeps of Refined must be at least 0, got -1"),
        (lambda: Rotation(largest_scale=0.0), "the largest_scale of Rotation must be positive"),
    ],
)
def test_values_that_make_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_class_in_the_place_of_its_object_is_named():
    with pytest.raises(ValueError, match=r"takes objects, not classes: write MovingAverage\(\)"):
        VectorQuantizer(4, 8, learning=MovingAverage)
    with pytest.raises(ValueError, match=r"write Beam\(\)"):
        ResidualQuantizer([VectorQuantizer(4, 8)], search=Beam)
