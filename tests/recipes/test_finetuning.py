"""What a recipe for fine-tuning becomes for a kind of data."""

from dataclasses import replace

import pytest
import torch

from codeword.data.audio_samples import AudioSampleConfig, MelStatistics
from codeword.functional.filterbank import MelConfig
from codeword.nn.vit import ViTConfig
from codeword.pretraining.encoder import Encoder
from codeword.pretraining.front_ends import AudioFrontEnd
from codeword.pretraining.label_mixing import CutMix, MelLabelMixup, Mixup
from codeword.recipes import finetuning
from codeword.recipes.finetuning import finetune, recipe
from contracts.audio_samples import signal, write

STATISTICS = MelStatistics(mean=-4.0, deviation=3.0)
FRONT_END = AudioFrontEnd(sample=AudioSampleConfig(frames=20, mel=MelConfig(bins=8)), statistics=STATISTICS)
VIT = ViTConfig(channels=1, size=(20, 8), patch=(5, 4), dim=16, depth=1, heads=2, cls_token=False)


@pytest.fixture
def sounds(tmp_path):
    for label, pitch in (("low", 1), ("high", 50)):
        (tmp_path / label).mkdir()
        for number in range(6):
            write(tmp_path / label / f"{number}.wav", signal(4000, 1, 16000, seed=pitch + number), 16000)
    return tmp_path


@pytest.mark.parametrize(
    ("mixing", "wanted"),
    [((), ()), ((Mixup(), CutMix()), (MelLabelMixup(statistics=STATISTICS),))],
)
def test_of_sounds_energies_are_mixed_and_only_if_anything_is(sounds, tmp_path, monkeypatch, mixing, wanted):
    seen = []
    real = finetuning.run
    monkeypatch.setattr(
        finetuning, "run", lambda task, *rest, **more: (seen.append(task), real(task, *rest, **more))[1]
    )
    base = recipe("small")
    torch.manual_seed(0)
    finetune(
        replace(base, config=replace(base.config, mixing=mixing)),
        Encoder(VIT, FRONT_END).eval(),
        sounds,
        tmp_path / "out",
        dry_run=True,
    )
    assert seen[0].config.mixing == wanted


@pytest.mark.parametrize("name", ["audioset-2m", "audioset-20k", "esc50", "small"])
def test_recipes_for_sounds_mix(name):
    assert recipe(name).config.mixing
