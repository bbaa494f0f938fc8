import pytest
import torch

from codeword.nn.fourier import FastFourier, MatrixFourier
from codeword.nn.importance import ImportanceNet
from codeword.nn.spectral import SpectralEncoder

CLOSE = 1e-6  # of the largest value


@pytest.mark.parametrize("length", [2, 10, 640, 1280, 2048])
def test_matrices_are_the_transforms(length):
    frames = torch.randn(2, 3, length, generator=torch.Generator().manual_seed(0))
    fast, written = FastFourier(length), MatrixFourier(length)
    spectrum, mine = fast(frames), written(frames)
    assert float((mine - spectrum).abs().max()) <= CLOSE * float(spectrum.abs().max())
    # The first and the last bin of any complex numbers have imaginary parts that must not count.
    others = torch.complex(spectrum.real, torch.randn(spectrum.shape, generator=torch.Generator().manual_seed(1)))
    back = fast.inverse(others)
    assert float((written.inverse(others) - back).abs().max()) <= CLOSE * float(back.abs().max())
    assert not written.state_dict()


@pytest.mark.parametrize(("hop", "length"), [(320, 600), (441, 1323), (320, 961)])
def test_frames_that_do_not_fit_are_refused(hop, length):
    with pytest.raises(ValueError, match="must cover their hop twice, both even numbers"):
        SpectralEncoder(hop, length, 8, 8, 1, 8)


def test_an_importance_net_of_too_few_convolutions_is_refused():
    with pytest.raises(ValueError, match=r"has 5 convolutions or more, got kernels \(3, 3\)"):
        ImportanceNet(64, (3, 3))
