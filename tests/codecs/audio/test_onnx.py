"""ONNX files give what the model gives. Run without the shape hook: ``pytest -o addopts= -m compile``.

PyTorch's exporter takes five seconds a file, so three layouts are tested always and the other two where time is.
"""

import pytest
import torch
import torch.nn.functional as F

from codeword.cli import main
from codeword.codecs.audio.codec import AudioCodec
from codeword.codecs.audio.layout import LappedLayout, SpectralLayout, WaveLayout
from codeword.codecs.audio.model import AudioModel
from codeword.codecs.audio.onnx import export_onnx
from codeword.codecs.audio.storage import fingerprint
from codeword.nn.importance import PAPER
from codeword.quantizers.update import codebooks_of
from contracts.audio_models import noise

CLOSE = 1e-5  # of full scale
HOP, LEVELS = 20, 2
LAYOUTS = {
    "wave": WaveLayout(width=4, strides=(4, 5), latent=8, decoder_width=16),
    "wave causal": WaveLayout(width=4, strides=(4, 5), latent=8, decoder_width=16, padding="causal"),
    "spectral": SpectralLayout(
        hop_length=HOP, length=60, dim=8, inner=16, encoder_blocks=1, decoder_blocks=1, latent=8
    ),
    "spectral causal": SpectralLayout(
        hop_length=HOP, length=60, dim=8, inner=16, encoder_blocks=1, decoder_blocks=1, latent=8, padding="causal"
    ),
    "lapped": LappedLayout(hop_length=HOP, dim=8, inner=16, encoder_blocks=1, decoder_blocks=1, latent=8),
}


def small(name, kernels):
    torch.manual_seed(0)
    net = AudioModel(8000, LAYOUTS[name], levels=LEVELS, size=16, code_dim=4, kernels=kernels)
    net.add_weight_norm()
    for number, book in enumerate(codebooks_of(net)):
        book.assign(torch.randn(book.table.shape, generator=torch.Generator().manual_seed(number)))
    return net


@pytest.mark.parametrize(
    ("name", "kernels"),
    [
        pytest.param("wave", None, marks=pytest.mark.compile),
        pytest.param("spectral causal", PAPER, marks=pytest.mark.compile),
        pytest.param("lapped", PAPER, marks=pytest.mark.compile),
        pytest.param("wave causal", PAPER, marks=pytest.mark.slow),
        pytest.param("spectral", None, marks=pytest.mark.slow),
    ],
)
def test_the_files_give_what_the_model_gives(name, kernels, tmp_path, capsys):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    net = small(name, kernels).train()
    if kernels is None:
        files = export_onnx(net, tmp_path / "made")
        assert net.training
    else:
        AudioCodec(net).save_pretrained(tmp_path / "model")
        main(["export", "audio", str(tmp_path / "model"), str(tmp_path / "made")])
        files = [tmp_path / "made" / "encoder.onnx", tmp_path / "made" / "decoder.onnx"]
        told = capsys.readouterr()
        assert told.out == "".join(f"{file}: {file.stat().st_size} bytes\n" for file in files)
        assert not told.err
    net.eval()
    for file in files:
        found = onnx.load(file)
        onnx.checker.check_model(found, full_check=True)
        about = {entry.key: entry.value for entry in found.metadata_props}
        assert about == {
            "codeword.sample_rate": "8000",
            "codeword.hop": "20",
            "codeword.levels": "2",
            "codeword.size": "16",
            "codeword.model": fingerprint(net),
        }
        assert b"site-packages" not in file.read_bytes()
    encoder, decoder = (onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]) for file in files)
    assert [(given.name, given.shape) for given in encoder.get_inputs()] == [("audio", ["batch", 1, "time"])]
    shapes = {made.name: made.shape for made in encoder.get_outputs()}
    assert shapes.pop("codes") == ["batch", "frames", LEVELS]
    assert shapes == ({} if kernels is None else {"importance": ["batch", "frames"]})
    for batch, samples in [(1, 1), (3, HOP), (1, HOP + 1), (2, 999), (1, 20_000)]:
        audio = noise(batch, samples).unsqueeze(1)
        with torch.no_grad():
            latents, importance = net.analyse(F.pad(audio, (0, -samples % HOP)))
            codes = net.quantizer.quantizer.encode(latents)
        found, *rest = encoder.run(["codes", *shapes], {"audio": audio.numpy()})
        assert torch.equal(torch.from_numpy(found), codes)  # with these weights and this noise nothing is near a tie
        if importance is not None:
            torch.testing.assert_close(torch.from_numpy(rest[0]), importance, atol=CLOSE, rtol=0)
        codes[torch.rand(codes.shape, generator=torch.Generator().manual_seed(5)).sort(-1).values > 0.6] = -1
        with torch.no_grad():
            wanted = net.synthesise(net.quantizer.quantizer.decode(codes))
        (made,) = decoder.run(["audio"], {"codes": codes.numpy()})
        torch.testing.assert_close(torch.from_numpy(made), wanted, atol=CLOSE * float(wanted.abs().max()), rtol=0)
