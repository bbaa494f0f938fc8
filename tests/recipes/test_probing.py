"""Encoders side by side on one data set."""

import numpy as np
import pytest
import torch
from PIL import Image

from codeword.nn.vit import ViTConfig
from codeword.pretraining import front_ends
from codeword.pretraining.encoder import Encoder, unlearned
from codeword.pretraining.front_ends import ImageFrontEnd
from codeword.recipes.probing import probe

VIT = ViTConfig(channels=1, size=(8, 8), patch=(4, 4), dim=16, depth=1, heads=2, cls_token=False)
FRONT_END = ImageFrontEnd(channels=1, height=8, width=8, mean=(0.5,), deviation=(0.3,))


@pytest.fixture
def pictures(tmp_path):
    """Bright and dark ones."""
    random = np.random.default_rng(0)
    for label, level in (("bright", 150), ("dark", 50)):
        (tmp_path / label).mkdir()
        for number in range(30):
            pixels = level + random.integers(-40, 40, (8, 8))
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / label / f"{number}.png")
    return tmp_path


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Encoder(VIT, FRONT_END).eval()


def test_a_random_network_is_beside_unless_others_are(pictures, encoder):
    rows = probe(encoder, pictures).rows
    assert [(row.encoder, row.method) for row in rows] == [
        *(("pretrained", method) for method in ("linear", "knn")),
        *(("random", method) for method in ("linear", "knn")),
    ]
    assert {row.encoder for row in probe(encoder, pictures, beside={}).rows} == {"pretrained"}
    other = unlearned(encoder, 7)
    rows = probe(encoder, pictures, methods=("knn",), beside={"other": other, "same": encoder}).rows
    assert [row.encoder for row in rows] == ["pretrained", "other", "same"]
    assert rows[0].figure == rows[2].figure
    assert rows[1].figure == probe(other, pictures, methods=("knn",), beside={}).rows[0].figure


def test_random_weights_are_those_of_the_seed_and_draw_nothing_else(encoder):
    torch.manual_seed(1)
    before = torch.rand(())
    torch.manual_seed(1)
    first, second, third = (unlearned(encoder, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.rand(()), before)
    same, different = (
        all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
        for other in (second, third)
    )
    assert (same, different) == (True, False)


def test_files_are_read_once_for_all_encoders(pictures, encoder, monkeypatch):
    read: list[str] = []
    whole = front_ends.read_image
    monkeypatch.setattr(front_ends, "read_image", lambda item, **how: (read.append(item.path), whole(item, **how))[1])
    probe(encoder, pictures, methods=("knn",), beside={"a": unlearned(encoder, 1), "b": unlearned(encoder, 2)})
    assert len(read) == 2 * 60  # to see what is damaged, and to look at it
