"""What the folders are that pretraining and fine-tuning leave behind, in words."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from codeword.nn.vit import ViTConfig
from codeword.pretraining.classifier import KIND as CLASSIFIER
from codeword.pretraining.classifier import Classifier
from codeword.pretraining.encoder import KIND as ENCODER
from codeword.pretraining.encoder import read_encoder
from codeword.pretraining.front_ends import FrontEnd
from codeword.pretraining.storage import TOKENIZER, load_tokenizer

_CLASSES = 10  # that are named


def inspected_encoder(folder: Path) -> Iterator[str]:
    """An encoder."""
    encoder = read_encoder(folder)
    yield _title(folder, "encoder", encoder.front_end)
    yield from _network(encoder.config)
    yield from _front_end(encoder.front_end)
    if (folder / TOKENIZER).is_dir():
        yield f"  tokenizer: {folder / TOKENIZER}"
    if (folder / "iterations").is_dir():
        yield f"  iterations: {', '.join(sorted(path.name for path in (folder / 'iterations').iterdir()))}"


def inspected_tokenizer(folder: Path) -> Iterator[str]:
    """A tokenizer."""
    tokenizer, front_end = load_tokenizer(folder)
    sizes = tokenizer.quantizer.sizes
    yield _title(folder, "tokenizer", front_end)
    yield f"  made by: {type(tokenizer).__name__}, of patches of {' x '.join(map(str, tokenizer.patch))}"
    yield f"  codebooks: {', '.join(map(str, sizes))}, of {tokenizer.quantizer.dim} features"
    yield from _front_end(front_end)
    yield f"  fingerprint: {tokenizer.fingerprint()[:12]}"


def inspected_classifier(folder: Path) -> Iterator[str]:
    """A classifier."""
    classifier = Classifier.from_pretrained(folder)
    names = classifier.classes
    yield _title(folder, "classifier", classifier.front_end)
    yield f"  classes: {len(names)}: {', '.join(names[:_CLASSES])}{' ...' if len(names) > _CLASSES else ''}"
    yield from _network(classifier.config)
    yield f"  pooling: {classifier.pooling}"
    yield from _front_end(classifier.front_end)


INSPECTED: Mapping[str, Callable[[Path], Iterator[str]]] = {
    ENCODER: inspected_encoder,
    TOKENIZER: inspected_tokenizer,
    CLASSIFIER: inspected_classifier,
}


def _title(folder: Path, what: str, front_end: FrontEnd | None) -> str:
    return f"{folder}: {what}{'' if front_end is None else f' of {front_end.kind}'}"


def _network(config: ViTConfig) -> Iterator[str]:
    size, patch, grid = (" x ".join(map(str, part)) for part in (config.size, config.patch, config.grid))
    yield f"  inputs: {config.channels} x {size}, in {grid} patches of {patch}"
    yield f"  network: {config.depth} blocks of {config.dim} features, {config.heads} heads"


def _front_end(front_end: FrontEnd | None) -> Iterator[str]:
    if front_end is not None:
        yield f"  front end: {type(front_end).__name__}, fingerprint {front_end.fingerprint()[:12]}"
