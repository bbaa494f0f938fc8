import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import ViTMAEConfig, ViTMAEModel

from codeword.nn.vit import ViTConfig
from codeword.pretraining.encoder import Encoder, read_encoder
from codeword.pretraining.front_ends import ImageFrontEnd
from codeword.pretraining.samples import Inputs

FRONT_END = ImageFrontEnd(channels=1, height=12, width=8, mean=(0.5,), deviation=(0.3,))
CONFIG = ViTConfig(channels=1, size=(12, 8), patch=(4, 4), dim=16, depth=3, heads=2)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Encoder(CONFIG, FRONT_END).eval()


def test_layers_and_pooling_are_those_of_the_network(encoder):
    x = torch.randn(2, 1, 12, 8)
    found = encoder.network(x, hidden=True)
    torch.testing.assert_close(encoder.extract(x), found.tokens[:, 1:])
    torch.testing.assert_close(encoder.extract(x, 0, norm=False), found.hidden[1][:, 1:])
    torch.testing.assert_close(encoder.extract(x, -3, norm=False), found.hidden[1][:, 1:])
    torch.testing.assert_close(encoder.extract(x, pooling="cls"), found.tokens[:, 0])
    torch.testing.assert_close(
        encoder.extract(x, 1, pooling="mean"), encoder.network.transformer.norm(found.hidden[2])[:, 1:].mean(1)
    )


def test_bands_lie_side_by_side():
    encoder = Encoder(CONFIG).eval()
    x = torch.randn(2, 1, 12, 8)
    valid = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])  # 3 of time, 2 bands
    rows = encoder.extract(Inputs(x, valid), pooling="bands")
    tokens = encoder.extract(Inputs(x, valid))
    torch.testing.assert_close(rows[0], torch.cat([tokens[0, [0, 2]].mean(0), tokens[0, [1, 3]].mean(0)]))
    torch.testing.assert_close(rows[1], torch.cat([tokens[1, ::2].mean(0), tokens[1, 1::2].mean(0)]))


@pytest.mark.parametrize(
    ("layer", "pooling", "said"),
    [(3, "mean", "layer 3 does not exist"), (0, "bands", "images have none"), (-1, "quarters", "images have none")],
)
def test_features_that_are_not_to_be_had_are_refused(encoder, layer, pooling, said):
    with pytest.raises(ValueError, match=said):
        encoder.extract(torch.randn(1, 1, 12, 8), layer, pooling=pooling)


def test_padding_counts_nowhere(encoder):
    x = torch.randn(2, 1, 12, 8)
    valid = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    louder = x.clone()
    louder[0, :, 8:] += 5
    first, second = (encoder.extract(Inputs(value, valid), pooling="mean") for value in (x, louder))
    torch.testing.assert_close(first, second)
    tokens = encoder.extract(Inputs(x, valid))
    torch.testing.assert_close(first[0], tokens[0, :4].mean(0))


def test_extracting_leaves_the_mode_and_needs_no_gradient(encoder):
    encoder.train()
    assert not encoder.extract(torch.randn(1, 1, 12, 8)).requires_grad
    assert encoder.training


@pytest.mark.parametrize(
    ("options", "message"), [({"layer": 3}, "0 to 2 or -3 to -1"), ({"pooling": "cls"}, "no cls token: pool by mean")]
)
def test_what_does_not_exist_is_refused(options, message):
    encoder = Encoder(ViTConfig(channels=1, size=(8, 8), patch=(4, 4), dim=16, depth=3, heads=2, cls_token=False))
    with pytest.raises(ValueError, match=message):
        encoder.extract(torch.randn(1, 1, 8, 8), **options)


def test_a_front_end_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"makes 3 x \(224, 224\), the network takes 1 x"):
        Encoder(CONFIG, ImageFrontEnd())


def test_a_saved_encoder_is_the_same(encoder, tmp_path):
    encoder.save_pretrained(tmp_path / "model")
    again = Encoder.from_pretrained(tmp_path / "model")
    assert again.front_end == FRONT_END
    assert not again.training
    x = torch.randn(2, 1, 12, 8)
    assert torch.equal(again.extract(x), encoder.extract(x))


def test_a_changed_front_end_is_refused(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["encoder"]["front_end"]["mean"] = [0.4]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="a front end of fingerprint"):
        read_encoder(tmp_path)


def test_weights_that_do_not_fit_are_named(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    state = encoder.state_dict()
    state.pop("network.transformer.norm.weight")
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"network\.transformer\.norm\.weight"):
        read_encoder(tmp_path)
    with pytest.raises(ValueError, match=r"is no encoder: it has no config\.json"):
        read_encoder(tmp_path / "gone")


def test_a_folder_of_transformers_is_read(tmp_path):
    torch.manual_seed(0)
    config = ViTMAEConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=16,
        patch_size=8,
        mask_ratio=0.0,
    )
    peer = ViTMAEModel(config).eval()
    peer.save_pretrained(tmp_path)
    encoder = Encoder.from_pretrained(tmp_path)
    assert encoder.front_end is None
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        theirs = peer(x, noise=torch.arange(4.0).expand(2, 4)).last_hidden_state
    torch.testing.assert_close(encoder.extract(x), theirs[:, 1:], atol=1e-5, rtol=0)


def test_a_saved_folder_says_what_it_is_and_how_to_load_it(encoder, tmp_path):
    encoder.save_pretrained(tmp_path / "it")
    page = (tmp_path / "it" / "README.md").read_text()
    assert "library_name: codeword" in page and "More Information Needed" not in page
    program = page.split("```python\n")[1].split("```")[0].replace("this folder", str(tmp_path / "it"))
    names = {"inputs": torch.randn(1, 1, 12, 8)}
    exec(program, names)
    assert torch.equal(names["features"], encoder.extract(names["inputs"], pooling="mean"))
