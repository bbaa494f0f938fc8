"""Every quantizer under the contract."""

import torch

from codeword import (
    AdditiveQuantizer,
    Beam,
    Cosine,
    DepthDropout,
    Directional,
    DirectionAverage,
    FromData,
    Gradient,
    Keep,
    KMeans,
    MovingAverage,
    NoiseSubstitution,
    Normalized,
    ProductQuantizer,
    Projected,
    Refined,
    ReplaceUnused,
    ResidualQuantizer,
    ReviveDead,
    Rotated,
    Rotation,
    SimVQ,
    Uniform,
    UnitScale,
    VectorQuantizer,
)
from contracts.quantizer import QuantizerContract

THROUGH_OUTPUT = Gradient(codebook=0.0, commitment=0.0)


def levels(count, dim=6, size=11, **options):
    return [VectorQuantizer(dim, size + number % 2, **options) for number in range(count)]


class TestMovingAverage(QuantizerContract):
    def create(self, size=11):
        return VectorQuantizer(6, size, learning=MovingAverage(decay=0.9), revival=ReviveDead(hits=2.0))


class TestGradient(QuantizerContract):
    def create(self, size=11):
        return VectorQuantizer(6, size, learning=Gradient(), seeding=FromData(), revival=ReviveDead(hits=2.0))


class TestUniformStart(QuantizerContract):
    starts_at_data = False

    def create(self, size=11):
        return VectorQuantizer(6, size, seeding=Uniform(radius=1.0), revival=Keep())


class TestCosine(QuantizerContract):
    starts_at_data = False

    def create(self, size=11):
        return VectorQuantizer(6, size, geometry=Cosine(), seeding=KMeans(steps=3))


class TestSimVQ(QuantizerContract):
    starts_at_data = False

    def create(self, size=11):
        return VectorQuantizer(6, size, learning=SimVQ())


class TestPublishedReplacement(QuantizerContract):
    def create(self, size=11):
        return VectorQuantizer(6, size, revival=ReplaceUnused(period=2, threshold=0.9))


class TestNoiseSubstitution(QuantizerContract):
    exact = False

    def create(self, size=11):
        return VectorQuantizer(6, size, learning=THROUGH_OUTPUT, estimator=NoiseSubstitution())


class TestDirectional(QuantizerContract):
    exact = False

    def create(self, size=11):
        return VectorQuantizer(6, size, learning=THROUGH_OUTPUT, estimator=Directional())


class TestRotationEstimator(QuantizerContract):
    def create(self, size=11):
        return VectorQuantizer(6, size, estimator=Rotation())


class TestProduct(QuantizerContract):
    def create(self, size=11):
        return ProductQuantizer([VectorQuantizer(2, size), VectorQuantizer(3, size + 1), VectorQuantizer(1, size)])


class TestResidual(QuantizerContract):
    def create(self, size=11):
        return ResidualQuantizer(levels(3, size=size))


class TestResidualNoiseSubstitution(QuantizerContract):
    exact = False

    def create(self, size=11):
        return ResidualQuantizer(levels(3, size=size, learning=THROUGH_OUTPUT), estimator=NoiseSubstitution())


class TestResidualBeam(QuantizerContract):
    greedy = False

    def create(self, size=11):
        return ResidualQuantizer(levels(3, size=size, learning=Gradient()), search=Beam(4))


class TestResidualBeamMovingAverage(QuantizerContract):
    greedy = False

    def create(self, size=11):
        return ResidualQuantizer(levels(2, size=size), search=Beam(4))


class TestResidualDropout(QuantizerContract):
    whole = False

    def create(self, size=11):
        return ResidualQuantizer(levels(3, size=size), dropout=DepthDropout(probability=0.7, least=0))


class TestGroupsOfResiduals(QuantizerContract):
    def create(self, size=11):
        return ProductQuantizer(
            [ResidualQuantizer(levels(2, dim=2, size=size)), ResidualQuantizer(levels(2, dim=4, size=size))]
        )


class TestResidualsOfGroups(QuantizerContract):
    def create(self, size=11):
        stages = [ProductQuantizer(levels(2, dim=3, size=size)), *levels(1, size=size)]
        return ResidualQuantizer(stages)


class TestAdditive(QuantizerContract):
    greedy = False

    def create(self, size=11):
        return AdditiveQuantizer(levels(3, size=size), search=Refined(Beam(4), sweeps=2))


class TestAdditiveNoiseSubstitution(QuantizerContract):
    greedy = False
    exact = False

    def create(self, size=11):
        return AdditiveQuantizer(levels(2, size=size, learning=THROUGH_OUTPUT), estimator=NoiseSubstitution())


class TestProjected(QuantizerContract):
    projects = True

    def create(self, size=11):
        return Projected(VectorQuantizer(3, size), 6)


class TestResidualProjected(QuantizerContract):
    projects = True

    def create(self, size=11):
        return ResidualQuantizer([Projected(VectorQuantizer(3, size, geometry=Cosine()), 6) for _ in range(3)])


class TestProjectedResidual(QuantizerContract):
    projects = True

    def create(self, size=11):
        return Projected(ResidualQuantizer(levels(2, dim=3, size=size)), 6)


class TestRotated(QuantizerContract):
    projects = True

    def create(self, size=11):
        quantizer = Rotated(ProductQuantizer(levels(2, dim=3, size=size)))
        turn = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
        quantizer.rotation.copy_(torch.linalg.qr(turn).Q)
        return quantizer


class TestNormalized(QuantizerContract):
    def create(self, size=11):
        return Normalized(ResidualQuantizer(levels(2, size=size)))


class TestResidualUnitScale(QuantizerContract):
    starts_at_data = False

    def create(self, size=11):
        directions = levels(3, size=size, geometry=Cosine(), learning=DirectionAverage(decay=0.9))
        return ResidualQuantizer([UnitScale(level) for level in directions])
