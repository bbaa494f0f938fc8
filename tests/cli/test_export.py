"""What ``codeword export audio`` refuses, before any work is done; what it writes is tested with the codec."""

import pytest

from codeword.codecs.audio import onnx
from codeword.codecs.audio.codec import AudioCodec
from contracts.audio_models import model


@pytest.fixture
def net(place):
    AudioCodec(model("spectral", levels=1, size=8, kernels=None)).save_pretrained(place / "net")


def test_outputs_that_would_be_lost_are_refused(refused, net, place):
    (place / "made").mkdir()
    (place / "made" / "decoder.onnx").write_bytes(b"mine")
    assert "exists already: choose another name, or pass --overwrite" in refused("export audio net made")
    assert "x.npy is a file, and an export makes two" in refused("export audio net x.npy")
    assert "belongs to the input net" in refused("export audio net net")
    assert "does not exist: make it first" in refused("export audio net nowhere/deep")


def test_models_that_are_none_are_refused(refused, place):
    assert "there is no model absent" in refused("export audio absent made")
    assert "does not describe a codeword audio" in refused("export audio residual made")
    assert not (place / "made").exists()


def test_missing_packages_are_named(refused, net, monkeypatch):
    monkeypatch.setattr(onnx, "_PACKAGES", ("a_package_that_nobody_has",))
    assert "pip install 'codeword[onnx]'" in refused("export audio net made")
