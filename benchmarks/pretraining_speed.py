"""Samples per CPU second of the encoder phase: cached tokens against tokens made anew and all positions decoded.

    python -m benchmarks.pretraining_speed

One core, a ViT of 4 blocks of 128, 64 patches of which 80 % are masked, four levels of 256 codewords from a trained
tokenizer of the same shape. The layout of the published code makes tokens in every step, from the whole input, and
applies decoder and head to all positions. Ours reads tokens of 4 fixed views, whose making is counted in, and predicts
a quarter of the masked patches, or all of them. Steps are measured in turn.
"""

from collections.abc import Iterator
from statistics import median
from time import process_time

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.record import write
from codeword.data.visual_augment import HorizontalFlip, RandomResizedCrop
from codeword.nn.vit import DecoderConfig, ViTConfig
from codeword.pretraining.kept_samples import KeptSamples
from codeword.pretraining.masking import RandomMask, thinned
from codeword.pretraining.predictor import Predictor
from codeword.pretraining.samples import Drawn, Inputs, Order, TensorSamples
from codeword.pretraining.tokenizer import TrainedTokenizer, fit
from codeword.quantizers import ResidualQuantizer, VectorQuantizer
from codeword.training.run import EMConfig

SAMPLES, BATCH, VIEWS, EPOCHS, TURNS = 512, 128, 4, 24, 12
VIT = ViTConfig(channels=3, size=(32, 32), patch=(4, 4), dim=128, depth=4, heads=4, cls_token=False)
DECODER = DecoderConfig(dim=128, depth=2, heads=4)
MASK = RandomMask(0.8)


class Run:
    """One way to train, a step at a time."""

    def __init__(self, *, predicted: float | None) -> None:
        torch.manual_seed(0)
        self.predicted = predicted
        stages = [VectorQuantizer(64, 256) for _ in range(4)]
        self.tokenizer = TrainedTokenizer(VIT, ResidualQuantizer(stages))
        fit(self.tokenizer, [(torch.randn(64, 3, 32, 32), None)], EMConfig(steps=2))
        self.tokenizer.eval()
        self.predictor = Predictor(VIT, DECODER, (256,) * 4)
        self.optimizer = torch.optim.AdamW(self.predictor.parameters(), lr=1e-4)
        pixels = torch.randint(0, 256, (SAMPLES, 3, 32, 32), dtype=torch.uint8)
        augment = (RandomResizedCrop(size=32), HorizontalFlip())
        samples = TensorSamples(pixels, VIT.patch, mean=0.5, deviation=0.3, augment=augment)
        self.samples = samples if predicted is None else KeptSamples(samples)
        self.order = Order(SAMPLES, VIEWS, BATCH, 0)
        self.tokens = torch.zeros(0)

    def fill(self) -> float:
        """Make the tokens of all views; CPU seconds."""
        begin = process_time()
        parts = []
        for start in range(0, SAMPLES, BATCH // VIEWS):
            numbers = [start + number for number in range(BATCH // VIEWS) for _ in range(VIEWS)]
            inputs = self.samples.inputs(numbers, list(range(VIEWS)) * (BATCH // VIEWS))
            parts.append(self.tokenizer.encode(inputs.values).unflatten(0, (-1, VIEWS)))
        self.tokens = torch.cat(parts)
        return process_time() - begin

    def step(self, number: int) -> float:
        """CPU seconds of a step, reading included."""
        begin = process_time()
        drawn = self.order.drawn(number)
        views = drawn.views if self.predicted is not None else [VIEWS + number * BATCH + row for row in range(BATCH)]
        inputs = self.samples.inputs(drawn.samples, views)
        loss = self._ours(drawn, inputs) if self.predicted is not None else self._published(drawn, inputs)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return process_time() - begin

    def _ours(self, drawn: Drawn, inputs: Inputs) -> Tensor:
        codes = self.tokens[drawn.samples, drawn.views]
        key = torch.tensor(drawn.number)
        masking = thinned(MASK.draw(VIT.grid, BATCH, key), self.predicted or 1.0, key)
        return self.predictor(inputs.values, codes, masking).loss

    def _published(self, drawn: Drawn, inputs: Inputs) -> Tensor:
        codes = self.tokenizer.encode(inputs.values)
        masking = MASK.draw(VIT.grid, BATCH, torch.tensor(drawn.number))
        seen = self.predictor.encoder(inputs.values, masking.visible).tokens
        decoder = self.predictor.decoder
        places, tokens = decoder.positions(VIT.grid), decoder.project(seen)
        whole = (decoder.mask + places).expand(BATCH, -1, -1)
        index = masking.visible.unsqueeze(-1).expand_as(tokens)
        whole = whole.scatter(1, index, tokens + places[masking.visible])
        scores = self.predictor.head(decoder.blocks(whole).tokens)
        hidden = torch.zeros(BATCH, 64, dtype=torch.bool).scatter(1, masking.masked, True)
        parts = zip(scores.split(self.predictor.sizes, -1), codes.unbind(-1), strict=True)
        return torch.stack([F.cross_entropy(level[hidden], wanted[hidden]) for level, wanted in parts]).mean()


def measured() -> Iterator[dict[str, object]]:
    """Rows of all ways."""
    ways = {"published layout": None, "cached, all masked": 1.0, "cached, a quarter": 0.25}
    runs = {name: Run(predicted=predicted) for name, predicted in ways.items()}
    caching = {name: run.fill() for name, run in runs.items() if ways[name] is not None}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(TURNS + 2):
        for name, run in runs.items():
            found = run.step(turn)
            if turn >= 2:
                seconds[name].append(found)
    base = median(seconds["published layout"]) / BATCH
    for name, found in seconds.items():
        each = median(found) / BATCH
        made = caching.get(name, 0.0) / SAMPLES
        whole = each + made / EPOCHS
        yield {
            "way": name,
            "samples_per_cpu_second_without_caching": 1 / each,
            "caching_cpu_ms_per_sample": 1e3 * made,
            "samples_per_cpu_second": 1 / whole,
            "ratio": base / whole,
        }


def main() -> None:
    torch.set_num_threads(1)
    rows = list(measured())
    for row in rows:
        print(row)
    print(f"wrote {write('pretraining_speed', rows, views=VIEWS, epochs=EPOCHS, batch=BATCH)}")


if __name__ == "__main__":
    main()
