"""The runs of full size, setting by setting, beside what BRIDLE has published.

Table 5 of the paper where it says something, its scripts in brackets, or alone where it does not.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from codeword.pretraining.masking import BandMask, MaskRule, RandomMask, TubeMask
from codeword.pretraining.probes import STRENGTHS
from codeword.recipes.finetuning import FineTuneRecipe
from codeword.recipes.finetuning import Name as TuneName
from codeword.recipes.finetuning import recipe as tuning
from codeword.recipes.pretraining import Name as PretrainName
from codeword.recipes.pretraining import PretrainRecipe
from codeword.recipes.pretraining import recipe as pretraining


class Row(NamedTuple):
    """A setting of a run.

    Attributes:
        run: Which.
        setting: Of what.
        ours: In words.
        published: In words.
    """

    run: str
    setting: str
    ours: str
    published: str


def _mask(rule: MaskRule) -> str:
    match rule:
        case RandomMask(ratio):
            return f"random {ratio:g}"
        case TubeMask(ratio):
            return f"tube {ratio:g}"
        case BandMask(time, frequency):
            return f"time {time:g}, mel {frequency:g}"
        case _:
            return str(rule)


def _books(sizes: Sequence[int]) -> str:
    return f"{len(sizes)} x {sizes[0]}"


def _shape(config: object) -> str:
    return " x ".join(str(getattr(config, name)) for name in ("dim", "depth", "heads"))


def _epoch(recipe: FineTuneRecipe) -> str:
    sampling = recipe.config.sampling
    return "all" if sampling is None else f"{sampling.epoch}, weighted"


_PRETRAINING: Sequence[tuple[str, Callable[[PretrainRecipe], str]]] = (
    ("learning rate, encoder", lambda recipe: f"{recipe.pipeline.encoder.config.learning_rate:g}"),
    ("learning rate, tokenizer", lambda recipe: f"{recipe.pipeline.tokenizer.config.learning_rate:g}"),
    ("batch", lambda recipe: f"{recipe.pipeline.encoder.config.batch}"),
    ("epochs, encoder", lambda recipe: f"{recipe.pipeline.encoder.epochs:g}"),
    ("epochs, tokenizer", lambda recipe: f"{recipe.pipeline.tokenizer.epochs:g}"),
    ("warm-up, encoder", lambda recipe: f"{recipe.pipeline.encoder.warmup:g}"),
    ("warm-up, tokenizer", lambda recipe: f"{recipe.pipeline.tokenizer.warmup:g}"),
    ("mask", lambda recipe: _mask(recipe.pipeline.encoder.config.mask)),
    ("weight decay", lambda recipe: f"{recipe.pipeline.encoder.config.weight_decay:g}"),
    ("AdamW betas", lambda recipe: ", ".join(f"{beta:g}" for beta in recipe.pipeline.encoder.config.betas)),
    ("precision", lambda recipe: recipe.pipeline.encoder.loop.precision),
    ("codebooks", lambda recipe: _books(recipe.pipeline.networks.codebooks)),
    ("code dimension", lambda recipe: f"{recipe.pipeline.networks.code_dim}"),
    ("encoder", lambda recipe: _shape(recipe.pipeline.networks.encoder)),
    ("decoder", lambda recipe: f"{_shape(recipe.pipeline.networks.decoder)} {recipe.pipeline.networks.decoder.kind}"),
    ("input", lambda recipe: " x ".join(map(str, (recipe.front_end.channels, *recipe.front_end.size)))),
)
_PUBLISHED: Mapping[PretrainName, Sequence[str]] = {
    "audioset": (
        "5e-4", "2e-4", "1024", "130 (140)", "30 (31)", "10", "2", "random 0.8", "(1e-4)", "(0.9, 0.95)", "(fp32)",
        "4 x 256", "256", "768 x 12 x 12", "512 x 16 x 16 Swin", "1 x 1024 x 128",
    ),
    "imagenet": (
        "5e-4", "2e-4", "1024", "400 (200)", "100 (50)", "10", "2", "random 0.8", "(1e-4)", "(0.9, 0.95)", "(fp16)",
        "4 x 256", "256", "768 x 12 x 12", "512 x 16 x 16 Swin (plain)", "3 x 224 x 224",
    ),
    "kinetics": (
        "1.2e-3", "-", "2048", "800 (801)", "200", "40", "-", "tube 0.9", "(1e-4)", "(0.9, 0.95)", "(fp16)",
        "4 x 256", "256", "768 x 12 x 12", "384 x 4 x 6 plain", "3 x 16 x 224 x 224",
    ),
}  # fmt: skip
_TUNING: Sequence[tuple[str, Callable[[FineTuneRecipe], str]]] = (
    ("learning rate", lambda recipe: f"{recipe.config.learning_rate:g}"),
    ("batch", lambda recipe: f"{recipe.config.batch}"),
    ("epochs", lambda recipe: f"{recipe.epochs:g}"),
    ("warm-up", lambda recipe: f"{recipe.warmup:g}"),
    ("layer decay", lambda recipe: f"{recipe.config.layer_decay:g}"),
    ("drop path", lambda recipe: f"{recipe.config.drop_path:g}"),
    ("weight decay", lambda recipe: f"{recipe.config.weight_decay:g}"),
    ("label smoothing", lambda recipe: f"{recipe.config.smoothing:g}"),
    ("loss", lambda recipe: recipe.config.loss),
    ("mask", lambda recipe: "none" if recipe.config.mask is None else _mask(recipe.config.mask)),
    ("samples of an epoch", _epoch),
)
_TUNED: Mapping[TuneName, Sequence[str]] = {
    "audioset-2m": (
        "2e-4", "(256)", "120 (200)", "10", "(0.75)", "(0.1)", "(5e-4)", "(0.1, never used)", "(bce)",
        "time and mel 0.2 (never used)", "(200000, weighted)",
    ),
    "audioset-20k": (
        "4e-4", "(256)", "150 (150)", "10", "(0.75)", "(0.1)", "(5e-4)", "(0.1, never used)", "(bce)",
        "time and mel 0.2 (never used)", "all",
    ),
    "esc50": (
        "2e-3", "(64)", "300 (300)", "20", "(0.75)", "(0.1)", "(5e-4)", "(0.1, never used)", "(bce)",
        "random 0.2 (never used)", "all",
    ),
    "imagenet-1k": (
        "5e-4", "(1024)", "200 (200)", "5", "(0.75)", "(0.1)", "(5e-4)", "(0.1, never used)", "(bce)", "none", "all",
    ),
    "kinetics-400": (
        "7.5e-4", "(384)", "75 (75)", "5", "(0.75)", "(0.1)", "(5e-4)", "(0.1, never used)", "(ce)", "none", "all",
    ),
}  # fmt: skip
_PROBING: Sequence[tuple[str, str]] = (
    ("classifier", "logistic regression"),
    ("features", "cached, standardised"),
    ("learning rate", "none"),
    ("epochs", "to the minimum"),
    ("warm-up", "none"),
    ("regulariser", f"C {min(STRENGTHS):g} to {max(STRENGTHS):g}"),
    ("chosen by", "validation items"),
)
_LINEAR = "linear layer and norm by AdamW"
_ANEW = "(made anew in every step)"
_PROBED: Mapping[str, Sequence[str]] = {
    "audioset-2m": (_LINEAR, _ANEW, "4e-3", "250 (250)", "10", "-", "(test items)"),
    "audioset-20k": (_LINEAR, _ANEW, "5e-3", "400 (300)", "8", "-", "(test items)"),
    "imagenet-1k": (_LINEAR, _ANEW, "8e-3", "300 (200)", "10", "-", "(test items)"),
}


def rows() -> list[Row]:
    """All settings of all runs; ours are read off the recipes."""
    found: list[Row] = []
    for name, said in _PUBLISHED.items():
        made = pretraining(name)
        settings = zip(_PRETRAINING, said, strict=True)
        found += [Row(f"pretrain {name}", title, tell(made), word) for (title, tell), word in settings]
    for name, said in _TUNED.items():
        tuned = tuning(name)
        settings = zip(_TUNING, said, strict=True)
        found += [Row(f"finetune {name}", title, tell(tuned), word) for (title, tell), word in settings]
    for name, said in _PROBED.items():
        found += [Row(f"probe {name}", *ours, word) for ours, word in zip(_PROBING, said, strict=True)]
    return found


def markdown() -> str:
    """As a table."""
    lines = ["| run | setting | codeword | paper (scripts) |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows())])
