from dataclasses import replace

import pytest

from codeword.nn.vit import DecoderConfig, ViTConfig
from codeword.pretraining.estimator import EstimatorConfig
from codeword.pretraining.identity import same_run
from codeword.pretraining.masking import TubeMask
from codeword.pretraining.phase import PhaseConfig
from codeword.pretraining.pipeline import Networks, Phase, PipelineConfig
from codeword.training.loop_config import LoopConfig

VIT = ViTConfig(channels=1, size=(8, 8), patch=(4, 4), dim=16, depth=1, heads=2)
NETWORKS = Networks(
    encoder=VIT, decoder=DecoderConfig(dim=16, depth=1, heads=2), tokenizer=VIT, estimator=EstimatorConfig()
)
PHASE = Phase(epochs=1.0)
CONFIG = PipelineConfig(networks=NETWORKS, encoder=PHASE, tokenizer=PHASE)
DATA = {"data": {"items": "abc", "augment": [{"type": "Crop", "scale": (0.5, 1.0)}]}}


def test_what_changes_no_number_may_change(tmp_path):
    same_run(tmp_path / "new" / "run", CONFIG, DATA)
    noted = (tmp_path / "new" / "run" / "run.json").read_text()
    phase = replace(
        PHASE, config=PhaseConfig(ahead=0, recompute=True), loop=LoopConfig(steps=9, progress=False, tensorboard=True)
    )
    same_run(tmp_path / "new" / "run", replace(CONFIG, iterations=5, encoder=phase), DATA)
    assert (tmp_path / "new" / "run" / "run.json").read_text() == noted


@pytest.mark.parametrize(
    ("config", "data", "said"),
    [
        (replace(CONFIG, networks=replace(NETWORKS, codebooks=(16,))), DATA, r"networks codebooks \(\[256, 256, "),
        (replace(CONFIG, seed=4), DATA, r"seed \(0, now 4\)"),
        (replace(CONFIG, encoder=replace(PHASE, config=PhaseConfig(mask=TubeMask()))), DATA, "encoder config mask"),
        (replace(CONFIG, tokenizer=replace(PHASE, epochs=2.0)), DATA, r"tokenizer epochs \(1.0, now 2.0\)"),
        (replace(CONFIG, encoder=replace(PHASE, loop=LoopConfig(steps=1, accumulate=2))), DATA, "loop accumulate"),
        (CONFIG, {"data": {**DATA["data"], "items": "abd"}}, r"data items \(abc, now abd\)"),
    ],
)
def test_another_run_is_refused(tmp_path, config, data, said):
    same_run(tmp_path, CONFIG, DATA)
    with pytest.raises(ValueError, match=said) as raised:
        same_run(tmp_path, config, data)
    assert "\n" not in str(raised.value)
    same_run(tmp_path, CONFIG, DATA)
