import copy

import pytest
import torch
from safetensors.torch import load_file

from codeword.nn.peers import from_ast, from_videomae, from_vitmae

transformers = pytest.importorskip("transformers")
vit_mae = pytest.importorskip("transformers.models.vit_mae.modeling_vit_mae")
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 80}
CLOSE = 1e-5


def stirred(model):
    """A peer none of whose weights is where it starts, positions aside."""
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            weight.data += (0.3 if "norm" in name or weight.ndim < 2 else 0.15) * torch.randn(
                weight.shape, generator=generator
            )
    return model.eval()


@pytest.fixture(scope="module")
def mae():
    config = transformers.ViTMAEConfig(
        **SMALL,
        image_size=32,
        patch_size=8,
        mask_ratio=0.5,
        decoder_hidden_size=16,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=32,
    )
    model = stirred(transformers.ViTMAEForPreTraining(config))
    # This version leaves the positions of a new model at zero; those of published ones have columns before rows.
    rows_first = vit_mae.build_2d_sinusoidal_position_embedding(4, 4, 32)
    model.vit.embeddings.position_embeddings.data[0, 1:] = torch.cat(rows_first.chunk(2, 1)[::-1], 1)
    return model


def videomae(**changes):
    config = transformers.VideoMAEConfig(**SMALL, image_size=32, patch_size=8, num_frames=6, **changes)
    return stirred(transformers.VideoMAEModel(config))


@pytest.fixture(scope="module")
def ast():
    shape = {"patch_size": 8, "max_length": 40, "num_mel_bins": 25, "frequency_stride": 5, "time_stride": 6}
    model = transformers.ASTForAudioClassification(transformers.ASTConfig(**SMALL, **shape))
    model = stirred(model)
    torch.nn.init.normal_(model.audio_spectrogram_transformer.embeddings.position_embeddings)
    return model


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_a_masked_autoencoder_keeps_its_outputs(mae):
    ours = from_vitmae(mae.state_dict(), mae.config.to_dict())
    x, order = noise(2, 3, 32, 32), noise(2, 16)
    theirs = mae.vit(x, noise=order, output_hidden_states=True)
    visible = order.argsort(1)[:, :8]
    found = ours.eval()(x, visible, hidden=True)
    torch.testing.assert_close(found.tokens, theirs.last_hidden_state, atol=CLOSE, rtol=CLOSE)
    torch.testing.assert_close(found.hidden[1], theirs.hidden_states[1], atol=CLOSE, rtol=CLOSE)
    assert ours.config.positions == "sincos"


@torch.no_grad()
def test_positions_that_are_not_ours_come_as_a_table(mae):
    encoder = copy.deepcopy(mae.vit)
    encoder.embeddings.position_embeddings.data += noise(17, 32)
    encoder.config.mask_ratio = 0.0
    ours = from_vitmae(encoder.state_dict(), encoder.config.to_dict()).eval()
    assert ours.config.positions == "table"
    x, order = noise(2, 3, 32, 32), torch.arange(16.0).expand(2, -1)
    torch.testing.assert_close(ours(x).tokens, encoder(x, noise=order).last_hidden_state, atol=CLOSE, rtol=CLOSE)
    larger = noise(2, 3, 48, 48)
    order = torch.arange(36.0).expand(2, -1)
    theirs = encoder(larger, noise=order, interpolate_pos_encoding=True).last_hidden_state
    torch.testing.assert_close(ours(larger).tokens, theirs, atol=CLOSE, rtol=CLOSE)


@pytest.mark.parametrize(("biased", "pooled"), [(True, True), (False, False)])
@torch.no_grad()
def test_a_video_autoencoder_keeps_its_outputs(biased, pooled):
    peer = videomae(qv_bias=biased, use_mean_pooling=pooled)
    ours = from_videomae(peer.state_dict(), peer.config.to_dict()).eval()
    x = noise(2, 6, 3, 32, 32)
    torch.testing.assert_close(ours(x.transpose(1, 2)).tokens, peer(x).last_hidden_state, atol=CLOSE, rtol=CLOSE)
    masked = torch.arange(48).expand(2, -1) % 3 > 0
    visible = (~masked).nonzero()[:, 1].view(2, -1)
    theirs = peer(x, bool_masked_pos=masked).last_hidden_state
    torch.testing.assert_close(ours(x.transpose(1, 2), visible).tokens, theirs, atol=CLOSE, rtol=CLOSE)


@torch.no_grad()
def test_a_spectrogram_transformer_keeps_its_outputs(ast):
    ours = from_ast(ast.state_dict(), ast.config.to_dict()).eval()
    x = noise(2, 40, 25)
    theirs = ast.audio_spectrogram_transformer(x).last_hidden_state
    found = ours(x.unsqueeze(1)).tokens
    assert ours.config.grid == (6, 4)
    torch.testing.assert_close(found[:, :2], theirs[:, :2], atol=CLOSE, rtol=CLOSE)
    by_mel = found[:, 2:].unflatten(1, (6, 4)).transpose(1, 2).flatten(1, 2)
    torch.testing.assert_close(by_mel, theirs[:, 2:], atol=CLOSE, rtol=CLOSE)


@torch.no_grad()
def test_published_files_have_older_names(mae, ast, tmp_path):
    for peer, mapped in ((mae, from_vitmae), (videomae(), from_videomae), (ast, from_ast)):
        folder = tmp_path / type(peer).__name__
        peer.save_pretrained(folder)
        published = load_file(folder / "model.safetensors")
        assert set(published) != set(peer.state_dict())
        one, other = (mapped(state, peer.config.to_dict()).state_dict() for state in (published, peer.state_dict()))
        assert all(torch.equal(one[name], other[name]) for name in other)


def test_what_cannot_be_mapped_is_said(mae, ast):
    state, config = mae.state_dict(), mae.config.to_dict()
    with pytest.raises(ValueError, match="cannot map hidden_act='relu'"):
        from_vitmae(state, {**config, "hidden_act": "relu"})
    with pytest.raises(ValueError, match=r"lack 'layers\.2\."):
        from_vitmae(state, {**config, "num_hidden_layers": 3})
    with pytest.raises(ValueError, match=r"cannot map layers\.1\..*layers\.1.*no counterpart"):
        from_vitmae(state, {**config, "num_hidden_layers": 1})
    with pytest.raises(ValueError, match=r"weights of shape \(32, 192\) do not fit"):
        from_vitmae(state, {**config, "patch_size": 16})
    with pytest.raises(ValueError, match="'num_channels' is needed, got None"):
        from_vitmae(state, {name: value for name, value in config.items() if name != "num_channels"})
    with pytest.raises(ValueError, match="patches are square"):
        from_ast(ast.state_dict(), {**ast.config.to_dict(), "patch_size": [8, 4]})
    with pytest.raises(ValueError, match="cannot map 26 positions"):
        from_ast(ast.state_dict(), {**ast.config.to_dict(), "max_length": 60})
