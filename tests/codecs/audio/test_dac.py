import re

import pytest
import torch

from codeword.codecs.audio.dac import from_dac, reference_decode, reference_encode
from codeword.codecs.audio.transform import AudioTransform

transformers = pytest.importorskip("transformers")
RATIOS = (2, 4, 5, 8)


@pytest.fixture(scope="module")
def peer():
    torch.manual_seed(0)
    config = transformers.DacConfig(
        encoder_hidden_size=8,
        decoder_hidden_size=64,
        downsampling_ratios=list(RATIOS),
        upsampling_ratios=list(RATIOS[::-1]),
        n_codebooks=5,
        codebook_size=128,
        hidden_size=128,
        sampling_rate=16000,
    )
    model = transformers.DacModel(config).eval()
    for name, value in model.named_parameters():
        if "alpha" in name:
            value.data.uniform_(0.3, 2.0)
        elif "codebook" in name:
            value.data.normal_()
        elif value.ndim > 1:
            value.data.normal_(0, (2 / value[0].numel()) ** 0.5)
    model.decoder.conv2.weight.data *= 1e-5  # what the layers before make of noise would be 1 or -1 everywhere
    return model


@pytest.fixture(scope="module")
def audio():
    return torch.randn(2, 1, 320 * 40, generator=torch.Generator().manual_seed(1)) * 0.3


LAYERS = ("snake1", "conv1", "snake2", "conv2")
OFFICIAL = (
    (r"^encoder\.(conv1|snake1|conv2)\.", lambda m: f"encoder.block.{ENDS[m[1]]}."),
    (r"^decoder\.(conv1|snake1|conv2)\.", lambda m: f"decoder.model.{ENDS[m[1]]}."),
    (r"res_unit(\d)\.(\w+?)\.", lambda m: f"unit.{int(m[1]) - 1}.block.{LAYERS.index(m[2])}."),
    (r"^encoder\.block\.(\d)\.unit\.(\d)", lambda m: f"encoder.block.{int(m[1]) + 1}.block.{m[2]}"),
    (r"^decoder\.block\.(\d)\.unit\.(\d)", lambda m: f"decoder.model.{int(m[1]) + 1}.block.{int(m[2]) + 2}"),
    (r"^encoder\.block\.(\d)\.(snake1|conv1)", lambda m: f"encoder.block.{int(m[1]) + 1}.block.{ENCODER[m[2]]}"),
    (r"^decoder\.block\.(\d)\.(snake1|conv_t1)", lambda m: f"decoder.model.{int(m[1]) + 1}.block.{DECODER[m[2]]}"),
)
ENDS = {"conv1": 0, "snake1": len(RATIOS) + 1, "conv2": len(RATIOS) + 2}
ENCODER, DECODER = {"snake1": 3, "conv1": 4}, {"snake1": 0, "conv_t1": 1}


def official(state):
    """The same weights under the authors' names, with weight norm."""
    renamed = {}
    for name, value in state.items():
        for pattern, other in OFFICIAL:
            name, count = re.subn(pattern, other, name)  # noqa: PLW2901
            if count and "unit" not in name:
                break
        if name.endswith("weight") and "codebook" not in name:
            length = torch.linalg.vector_norm(value.flatten(1), dim=1).view(-1, *[1] * (value.ndim - 1))
            renamed |= {f"{name}_v": value * 3.0, f"{name}_g": length}
        else:
            renamed[name] = value
    return renamed


def test_codes_and_audio_equal_the_peers_to_the_last_bit(peer, audio):
    model = from_dac(peer.state_dict(), 16000)
    with torch.no_grad():
        codes = peer.encode(audio).audio_codes
        wave = peer.decode(audio_codes=codes).audio_values
    mine = reference_encode(model, audio)
    assert torch.equal(mine.transpose(1, 2), codes)
    assert len(mine.unique()) > 64, "the test must use the codebooks"
    made = reference_decode(model, mine)
    assert torch.equal(made.squeeze(1), wave)
    assert wave.abs().max() > 0.05


def test_the_fast_path_agrees_but_for_ties(peer, audio):
    model = from_dac(peer.state_dict(), 16000)
    transform = AudioTransform(model)
    wanted = reference_encode(model, audio[:1])[0]
    (found,) = [part.codes[0] for part in transform.encode([audio[0]])]
    ties = 0
    for frame in (found != wanted).any(-1).nonzero().flatten().tolist():
        level = int((found[frame] != wanted[frame]).nonzero()[0])  # later levels see another residual
        with torch.no_grad():
            scores = model.quantizer.quantizer.scores(model.analyse(audio[:1]).latents[0, frame], level)
        best = scores.topk(2).values
        assert float(best[0] - best[1]) < 1e-6
        ties += 1
    assert ties <= 2, "of 40 frames"
    (wave,) = transform.decode([wanted.unsqueeze(0)])
    reference = reference_decode(model, wanted.unsqueeze(0))[0]
    torch.testing.assert_close(wave[..., : reference.shape[-1]], reference, atol=1e-4, rtol=0)


def test_the_authors_names_give_the_same_model(peer, audio):
    one, other = from_dac(peer.state_dict(), 16000), from_dac(official(peer.state_dict()), 16000)
    for (name, value), again in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(value, again, msg=name)


def test_other_models_are_refused(peer):
    state = peer.state_dict()
    with pytest.raises(ValueError, match="not the state dict of a DAC"):
        from_dac({"weight": torch.zeros(3)}, 16000)
    with pytest.raises(ValueError, match="more than a DAC: extra"):
        from_dac({**state, "extra.weight": torch.zeros(3)}, 16000)
    del state["decoder.conv2.bias"]
    with pytest.raises(ValueError, match="not the state dict of a DAC"):
        from_dac(state, 16000)
