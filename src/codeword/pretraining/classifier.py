"""A vision transformer that says which classes an input has."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelHubMixin
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from codeword.metrics.classification import Figures, Labels, figures
from codeword.nn.pooling import Pooling, TokenPooling
from codeword.nn.vit import VisionTransformer, ViTConfig
from codeword.pretraining.front_ends import FrontEnd
from codeword.pretraining.samples import Inputs, Samples
from codeword.pretraining.storage import check_front_end, fingerprinted
from codeword.quantizers.config import register
from codeword.quantizers.storage import CONFIG, WEIGHTS, card, fetched, read_module, write_module

KIND = "classifier"
_LAST_NORM = "transformer.norm."
_HEAD_DEVIATION = 2e-5


_CARD = card(
    "A classifier",
    "A pretrained transformer with a head, fine-tuned and written by codeword. `config.json` has its classes and what "
    "makes its inputs of files.",
    "from codeword.pretraining.classifier import Classifier\n\n"
    'classifier = Classifier.from_pretrained("this folder")\nscores = classifier(inputs)',
)


@register
class Classifier(nn.Module, ModelHubMixin, library_name="codeword", model_card_template=_CARD):
    """Tokens pooled into one vector, a norm, and a linear head that starts at almost nothing.

    ::

        x ─ network without its last norm ─ pooling ─ norm ─ linear ──► scores (batch, classes)

    The norm is a new one, after pooling (AudioMAE, BRIDLE); with ``cls`` it goes on from the network's last, as in MAE.

    Args:
        vit: The shape of the network.
        classes: Their names.
        pooling: Of the tokens.
        front_end: What makes inputs of files; ``None`` where nobody has said.
    """

    def __init__(
        self,
        vit: ViTConfig,
        classes: Sequence[str],
        *,
        pooling: Pooling = "mean",
        front_end: FrontEnd | None = None,
    ):
        super().__init__()
        if not classes:
            raise ValueError("a classifier needs the names of its classes, got none")
        if front_end is not None and (front_end.channels, front_end.size) != (vit.channels, vit.size):
            raise ValueError(
                f"the front end makes {front_end.channels} x {front_end.size}, the network takes {vit.channels} x "
                f"{vit.size}: give both the same"
            )
        self.config, self.classes, self.pooling = replace(vit, final_norm=False), tuple(classes), pooling
        self.front_end = front_end
        self.network = VisionTransformer(self.config)
        self.pool = TokenPooling(pooling, vit.dim, vit.prefix, vit.heads)
        self.norm = nn.LayerNorm(vit.dim, eps=vit.norm_eps)
        self.head = nn.Linear(vit.dim, len(classes))
        nn.init.trunc_normal_(self.head.weight, std=_HEAD_DEVIATION, a=-2 * _HEAD_DEVIATION, b=2 * _HEAD_DEVIATION)
        nn.init.zeros_(self.head.bias)

    @classmethod
    def on(
        cls,
        network: VisionTransformer,
        classes: Sequence[str],
        *,
        pooling: Pooling = "mean",
        front_end: FrontEnd | None = None,
    ) -> "Classifier":
        """A classifier that starts from the weights of a pretrained network, of which it has a copy."""
        made = cls(network.config, classes, pooling=pooling, front_end=front_end)
        state: Mapping[str, Tensor] = network.state_dict()
        made.network.load_state_dict({name: v for name, v in state.items() if not name.startswith(_LAST_NORM)})
        if pooling == "cls" and network.config.final_norm:
            made.norm.load_state_dict(network.transformer.norm.state_dict())
        return made

    def forward(
        self,
        x: Float[Tensor, "batch channels *size"],
        valid: Bool[Tensor, "batch patches"] | None = None,
        visible: Int64[Tensor, "batch kept"] | None = None,
    ) -> Float[Tensor, "batch classes"]:
        """Scores of all classes, before any softmax.

        Args:
            x: Inputs.
            valid: Patches that are no padding, of the whole grid.
            visible: Numbers of the patches to look at; all unless given.
        """
        tokens = self.network(x, visible, valid).tokens
        seen = valid if valid is None or visible is None else valid.gather(1, visible)
        return self.head(self.norm(self.pool(tokens, seen)))

    @torch.no_grad()
    def scores(self, samples: Samples, *, batch: int = 64) -> Float[Tensor, "count classes"]:
        """Scores of all samples, view 0, in evaluation mode; on the processor.

        Args:
            samples: What to look at.
            batch: Samples at once.
        """
        training, device = self.training, self.head.weight.device
        self.eval()
        parts = []
        for x, valid in whole_batches(samples, batch):
            found = self(x.to(device), None if valid is None else valid.to(device))
            parts.append(found.float().cpu())
        self.train(training)
        return torch.cat(parts)

    def arguments(self) -> dict[str, object]:
        """The constructor's arguments by name, for the saved configuration."""
        return {
            "vit": self.config,
            "classes": self.classes,
            "pooling": self.pooling,
            "front_end": self.front_end,
        }

    def _save_pretrained(self, save_directory: Path) -> None:
        write_module(save_directory, self, KIND, notes=fingerprinted(self.front_end))

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> "Classifier":
        folder = fetched(model_id, [CONFIG, WEIGHTS], **options)
        model = read_module(folder, KIND)
        if not isinstance(model, Classifier):
            raise ValueError(f"{folder} holds a {type(model).__name__}, not a classifier")
        check_front_end(folder, model.front_end)
        return model


def evaluate(classifier: Classifier, samples: Samples, labels: Labels, *, batch: int = 64) -> Figures:
    """The figures of a finished classifier on test samples; choose nothing by them.

    Args:
        classifier: Looks at whole samples, without any augmentation.
        samples: View 0 of each.
        labels: Theirs.
        batch: Samples at once.
    """
    return figures(classifier.scores(samples, batch=batch), labels)


def whole_batches(samples: Samples, batch: int) -> Iterator[Inputs]:
    """View 0 of all samples in their order, read as it is asked for."""
    for start in range(0, len(samples), batch):
        numbers = range(start, min(start + batch, len(samples)))
        yield samples.inputs(list(numbers), [0] * len(numbers))
