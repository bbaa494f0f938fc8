"""A training step of an audio model beside the public layout, and a training that is killed five times.

    python -m benchmarks.audio_training                       # about five minutes of one core

The public layout is DAC's and VRVQ's: the generator of transformers' ``DacModel`` with weight norm and Snake in plain
operators, all levels quantized, stacked as (batch, levels, channels, frames) and masked; discriminators that also
collect gradients in the generator's step, and look at the real audio with a graph. Architecture, discriminators and
losses are the same on both sides, and the same code calls both: gradients to zero, backward, clip, AdamW. Every step is
of both optimizers.

The killed training is the ``smoke`` recipe with discriminators, on recordings of ``tests/fixtures``: the process gets
SIGKILL at random moments and is started again on its folder, where every seventh step left a checkpoint.
"""

import argparse
import hashlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DacConfig, DacModel

from benchmarks.record import alternate, median, write
from codeword.codecs.audio.training import AudioTask, AudioTraining, NumberedBatch
from codeword.data.audio_corpus import open_corpus
from codeword.functional.allocation import hard_gate, margins, smooth_gate, straight_gate
from codeword.losses.adversarial import discriminator_loss, feature_matching_loss, generator_loss
from codeword.losses.audio import mel_loss
from codeword.nn.activations import written_out
from codeword.nn.conv import add_weight_norm
from codeword.nn.discriminators import Discriminator, DiscriminatorConfig
from codeword.nn.importance import ImportanceNet
from codeword.recipes.audio import AudioRecipe, recipe
from codeword.training.logging import read_log
from codeword.training.loop import LOG, train

FIXTURES = Path(__file__).parent.parent / "tests" / "fixtures"
BATCH, SECONDS = 2, 0.38
STEPS, KILLS = 60, 5
CLIPS = (10.0, 1e3)


class PublicTask(nn.Module):
    """The generator of DAC with VRVQ's quantizer, and the step of DAC's training script."""

    def __init__(self, config: AudioRecipe, discriminator: Discriminator):
        super().__init__()
        layout, training = config.layout, config.training
        self.dac = DacModel(
            DacConfig(
                encoder_hidden_size=layout.width,
                downsampling_ratios=list(layout.strides),
                upsampling_ratios=list(layout.strides[::-1]),
                decoder_hidden_size=layout.decoder_width,
                hidden_size=layout.latent,
                n_codebooks=config.levels,
                sampling_rate=config.sample_rate,
            )
        )
        self.dac.apply_weight_norm()
        self.importance = ImportanceNet(layout.width * 2 ** len(layout.strides))
        add_weight_norm(self.importance)
        self.discriminator, self.training_config, self.levels = discriminator, training, config.levels
        self.made: tuple[Tensor, Tensor] | None = None

    def generate(self, audio: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        encoder = self.dac.encoder
        x = encoder.conv1(audio)
        for block in encoder.block:
            x = block(x)
        with written_out():
            importance = self.importance(x)
        residual, found, losses = encoder.conv2(encoder.snake1(x)), [], []
        margin = margins(importance, scale.view(-1, 1), self.levels)
        mask = straight_gate(hard_gate(margin), smooth_gate(margin, 1.0)).permute(0, 2, 1)
        for level, quantizer in enumerate(self.dac.quantizer.quantizers):
            vectors, commitment, codebook, _, _ = quantizer(residual)
            residual = residual - vectors
            found.append(vectors)
            losses.append((0.25 * commitment + codebook) * mask[:, level].mean())
        quantized = (torch.stack(found, 1) * mask.unsqueeze(2)).sum(1)
        made = self.dac.decoder(quantized)
        made = made.view(len(audio), 1, -1)[..., : audio.shape[-1]]
        weights = self.training_config.weights
        mel = mel_loss(made, audio, self.training_config.mels)
        return made, weights.mel * mel + sum(losses) + weights.rate * importance.mean()

    def step(self, audio: Tensor, scale: Tensor, phase: int) -> Tensor:
        if phase == 0:
            self.made = self.generate(audio, scale)
            return discriminator_loss(self.discriminator(self.made[0].detach()), self.discriminator(audio))
        made, loss = self.made
        maps, real = self.discriminator(made), self.discriminator(audio)
        weights = self.training_config.weights
        kept = [[one.detach() for one in each] for each in real]
        return loss + weights.adversarial * generator_loss(maps) + weights.feature * feature_matching_loss(maps, kept)


def stepping(parts: list[nn.Module], loss: Callable[[int], Tensor], config: AudioTraining) -> Callable[[], None]:
    """A step of both optimizers."""
    optimizers = [torch.optim.AdamW(p.parameters(), lr=config.learning_rate, betas=config.betas) for p in parts]

    def step() -> None:
        for phase, (part, optimizer) in enumerate(zip(parts, optimizers, strict=True)):
            value = loss(phase)
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(part.parameters(), CLIPS[phase])
            optimizer.step()

    return step


def sides(audio: Tensor, config: AudioRecipe, *, adversarial: bool) -> list[tuple[Callable[[], None], int]]:
    """A step of ours and one of the public layout, and the parameters of the generator."""
    model, training = config.model().train(), config.training
    judges = training.discriminator if adversarial else None
    task = AudioTask(model, _Nothing(), replace(training, discriminator=judges), held=audio)
    torch.manual_seed(0)
    public = PublicTask(config, Discriminator(training.discriminator)).train()
    batch = NumberedBatch(0, audio)
    scale = task.spending(batch).scale
    generator = nn.ModuleList([public.dac, public.importance])
    if task.discriminator is not None:
        mine = stepping([task.discriminator, model], lambda phase: task.step(batch, phase).loss, training)
        theirs = stepping([public.discriminator, generator], lambda phase: public.step(audio, scale, phase), training)
    else:
        mine = stepping([model], lambda phase: task.step(batch, phase).loss, training)
        theirs = stepping([generator], lambda _: public.generate(audio, scale)[1], training)
    return [(mine, _count(model)), (theirs, _count(generator))]


def _count(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def speed(runs: int) -> list[dict[str, Any]]:
    config = recipe("small")
    frames = round(SECONDS * config.sample_rate / config.layout.hop)
    audio = 0.1 * torch.randn(BATCH, 1, frames * config.layout.hop, generator=torch.Generator().manual_seed(0))
    rows = []
    for name, adversarial in (("generator and discriminators", True), ("generator alone", False)):
        (mine, own), (theirs, others) = sides(audio, config, adversarial=adversarial)
        ours, peer = (median(times) for times in alternate(mine, theirs, runs))
        row = {
            "step": name,
            "items": BATCH,
            "seconds_of_an_item": audio.shape[-1] / config.sample_rate,
            "cpu_seconds": ours,
            "public_cpu_seconds": peer,
            "steps_per_cpu_second": 1 / ours,
            "public_steps_per_cpu_second": 1 / peer,
            "ratio": peer / ours,
            "parameters": own,
            "public_parameters": others,
        }
        print(row, flush=True)
        rows.append(row)
    return rows


class _Nothing:
    def batches(self, start: int, rank: int, world_size: int) -> Any:
        raise NotImplementedError


def killed_run(kills: int, seed: int) -> dict[str, Any]:
    """An uninterrupted training and one that is killed; every line of their logs, and their weights, compared."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as home:
        data = Path(home) / "data"
        data.mkdir()
        for name in ("ru_0001", "loop_amen", "ambi_choir", "perc_bell"):
            shutil.copy(FIXTURES / f"{name}.flac", data)
        folders = [Path(home) / name for name in ("whole", "killed")]
        digest = _finish(_start(data, folders[0]))
        points = [
            _kill(_start(data, folders[1]), folders[1] / LOG, step, draw.uniform(0.0, 0.3))
            for step in sorted(draw.sample(range(1, STEPS), kills))
        ]
        again = _finish(_start(data, folders[1]))
        logs = [[line for line in read_log(folder / LOG) if line["group"] == "train"] for folder in folders]
    return {
        "kills": len(points),
        "steps_logged_at_kills": points,
        "steps": STEPS,
        "lines_compared": len(logs[0]),
        "same_losses": logs[0] == logs[1],
        "same_weights": digest == again,
    }


def _start(data: Path, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.audio_training", "--child", str(data), str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _kill(process: subprocess.Popen[str], log: Path, step: int, delay: float) -> int:
    """Kill a training some time after it has logged a step, and tell the last one that it logged."""
    begin = time.time()
    while process.poll() is None:
        if log.exists() and log.stat().st_mtime > begin and _last(log) >= step:
            time.sleep(delay)
            process.kill()
            process.wait()
            return _last(log)
        time.sleep(0.01)
    raise RuntimeError(f"the training ended before step {step}: {process.stderr.read() if process.stderr else ''}")


def _last(log: Path) -> int:
    return max((int(line["step"]) for line in read_log(log)), default=0)


def _finish(process: subprocess.Popen[str]) -> str:
    out, problem = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the training of the benchmark failed: {problem.strip().splitlines()[-1]}")
    return out.split()[-1]


def child(data: Path, folder: Path) -> None:
    """Train in a folder, from its last checkpoint on, and print a digest of the weights."""
    config = recipe("smoke", steps=STEPS)
    judges = DiscriminatorConfig(periods=(2, 5), period_widths=(8, 16, 32), windows=(512,), spectral_width=8)
    training = replace(config.training, discriminator=judges)
    loop = replace(config.loop, checkpoint_every=7, validate_every=20, log_every=1, progress=False, accelerator="cpu")
    excerpts = config.excerpts(open_corpus(data), workers=1)
    task = AudioTask(config.model(), excerpts, training, held=excerpts.batch(0))
    train(task, loop, folder)
    digest = hashlib.sha256()
    for name, value in sorted(task.state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    print(digest.hexdigest())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.child:
        child(*arguments.child)
        return
    rows = speed(arguments.runs)
    found = killed_run(KILLS, seed=time.time_ns())
    print(found)
    print(write("audio_training", rows, killed=found))


if __name__ == "__main__":
    main()
