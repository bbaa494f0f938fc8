"""What a small pretraining is worth: probes of frozen encoders beside random ones, in three kinds of data.

    python -m benchmarks.pretraining_data --root ROOT --data SETS     # once
    python -m benchmarks.pretraining_probes --data SETS               # train what is missing, probe, write
    python -m benchmarks.pretraining_probes --data SETS --only image --seeds 1
    python -m benchmarks.pretraining_probes --data SETS --report      # write what is there
    python -m benchmarks.pretraining_probes --data SETS --again       # seed 0 from nothing, beside what is there

Recipes are ``small-image``, ``small-audio`` and ``small-video``; nothing of them was chosen on test items. Image:
Fashion-MNIST, pretrained on its training images. Audio: pretrained on the training part of the sounds, probed on drums
(folds without a common author), phones and Mandarin initials. Video: garments that glide over photos, probed on them
and on the harder sprites; the label is the motion. Every run is kept, so that an interrupted benchmark goes on.
"""

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

import torch

from benchmarks.record import RESULTS, write
from codeword.data.listing import Listing
from codeword.evaluation.data_check import open_listing, spread
from codeword.nn.pooling import Fixed
from codeword.pretraining.encoder import Encoder, read_encoder, unlearned
from codeword.pretraining.joint import JointConfig
from codeword.recipes.pretraining import Name, PretrainRecipe, pretrain, recipe, resume_folder
from codeword.recipes.probing import Pooled, probe

RUNS = Path("runs/pretraining")
AGAIN = Path("runs/pretraining-again")
CELLS = RESULTS / "pretraining_probes.jsonl"
RECIPES: dict[str, Name] = {"image": "small-image", "audio": "small-audio", "video": "small-video"}
LEARNED = {"image": "fashion", "audio": "sounds", "video": "garments"}
TASKS = {"image": ("fashion",), "audio": ("drums", "phones", "initials"), "video": ("garments", "sprites")}
POOLINGS: dict[str, tuple[Fixed, ...]] = {  # the mean alone where nothing is said
    "drums": ("mean", "quarters"),
    "phones": ("mean", "bands"),
    "initials": ("mean", "quarters"),
}
MOST = {"fashion": 12_000, "phones": 6_000}  # labelled items, evenly spread over every split
_NAMES = ("kind", "task", "variant", "pooling", "probe")
VARIANTS = ("residual", "vector", "published rule", "places", "joint", "joint fast")
# The tokenizer learns as fast as in a phase of its own, as in BRIDLE's script.
JOINT = {"joint": JointConfig(), "joint fast": JointConfig(learning_rate=2e-4)}


def varied(base: PretrainRecipe, variant: str, seed: int) -> PretrainRecipe:
    """The recipe of a variant; all have the same networks, samples and steps."""
    pipeline = base.pipeline
    networks = pipeline.networks
    if variant == "vector":
        networks = replace(networks, codebooks=(sum(networks.codebooks),))
    if variant == "published rule":
        networks = replace(networks, published_rule=True)
    phases = [
        replace(phase, config=replace(phase.config, seed=seed), loop=replace(phase.loop, seed=seed, progress=False))
        for phase in (pipeline.encoder, pipeline.tokenizer)
    ]
    made = replace(
        pipeline,
        networks=networks,
        encoder=phases[0],
        tokenizer=phases[1],
        seed=seed,
        cold_places=variant == "places",
        joint=JOINT.get(variant),
    )
    return replace(base, pipeline=made)


def listing(data: Path, name: str, kind: Any) -> Listing:
    """A data set; of a large one some items of every split."""
    whole = open_listing(data / name / "manifest.csv", kind)
    if name not in MOST or len(whole) <= MOST[name]:
        return whole
    chosen = []
    for split in sorted({item.split for item in whole.items}):
        own = [item for item in whole.items if item.split == split]
        chosen += [own[place] for place in spread(len(own), MOST[name] * len(own) // len(whole))]
    return replace(whole, items=tuple(chosen))


def trained(data: Path, kind: str, variant: str, seed: int, home: Path = RUNS) -> Path:
    """The folder of an encoder, trained if it is not there."""
    folder = home / f"{kind}-{variant.replace(' ', '-')}-{seed}"
    if not (folder / "config.json").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        learned = open_listing(data / LEARNED[kind] / "manifest.csv", kind)  # pyrefly: ignore[bad-argument-type]
        learned = replace(learned, items=tuple(item for item in learned.items if not item.split.startswith("fold")))
        if resume_folder(folder).is_dir():
            print(f"going on with {folder}", flush=True)
        pretrain(
            varied(recipe(RECIPES[kind]), variant, seed),
            learned,
            folder,
            told=lambda part: print(part.line(), flush=True),
        )
    return folder


def encoders(folder: Path) -> Iterator[tuple[str, Encoder]]:
    """Those of every iteration."""
    for home in sorted((folder / "iterations").iterdir()):
        yield f"iteration {home.name}", read_encoder(home)


def probed(data: Path, kind: str, folder: Path, seed: int) -> Iterator[dict[str, object]]:
    """A row for every task, encoder, pooling and probe."""
    for task, pooling in [(name, one) for name in TASKS[kind] for one in POOLINGS.get(name, ("mean",))]:
        earlier = dict(encoders(folder))
        last, encoder = earlier.popitem()
        found = probe(
            encoder,
            listing(data, task, kind),
            methods=("linear", "knn"),
            pooled=Pooled(pooling=pooling),
            beside={**earlier, "random": unlearned(encoder, seed)},
            seed=seed,
        )
        for row in found.rows:
            yield {
                "task": task,
                "encoder": last if row.encoder == "pretrained" else row.encoder,
                "pooling": pooling,
                "probe": row.method,
                "figure": row.figure,
                "validation": row.validation,
            }


def again(data: Path, kind: str) -> Iterator[dict[str, object]]:
    """Train the recipe itself once more: what it reaches beside what was found before, perhaps on another machine.

    The encoder is kept for the other benchmarks, unless they have one.
    """
    shutil.rmtree(AGAIN, ignore_errors=True)
    begin = process_time()
    folder = trained(data, kind, VARIANTS[0], 0, AGAIN)
    print(f"{RECIPES[kind]}: {(process_time() - begin) / 60:.1f} minutes of processor time", flush=True)
    before = [row for row in known() if (row["kind"], row["variant"], row["seed"]) == (kind, VARIANTS[0], 0)]
    for row in probed(data, kind, folder, 0):
        same = [one for one in before if all(one[key] == row[key] for key in ("task", "encoder", "pooling", "probe"))]
        recorded = same[0]["figure"] if same else None
        told = "not measured before" if recorded is None else f"{recorded:.4f} before"
        print(
            f"{row['task']}, {row['encoder']}, {row['pooling']}, {row['probe']}: {row['figure']:.4f} ({told})",
            flush=True,
        )
        yield {**{key: value for key, value in row.items() if key != "validation"}, "before": recorded}
    if not (kept := RUNS / folder.name).exists():
        RUNS.mkdir(parents=True, exist_ok=True)
        folder.rename(kept)
    shutil.rmtree(AGAIN)


def known() -> list[dict[str, Any]]:
    """Rows that are there."""
    return [json.loads(line) for line in CELLS.read_text().splitlines()] if CELLS.is_file() else []


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, object]]:
    """The figures of all seeds for every encoder, and what each seed gains over its random weights."""
    groups: dict[tuple[str, ...], dict[str, list[float]]] = {}
    for row in sorted(rows, key=lambda row: row["seed"]):
        group = groups.setdefault(tuple(row[name] for name in _NAMES), {})
        group.setdefault(row["encoder"], []).append(row["figure"])
    return [
        {
            **dict(zip(_NAMES, key, strict=True)),
            **figures,
            "gains": [last - chance for last, chance in zip(figures["iteration 2"], figures["random"], strict=True)],
        }
        for key, figures in sorted(groups.items())
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=tuple(RECIPES), action="append")
    parser.add_argument("--variant", choices=VARIANTS, action="append")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--again", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.again:
        rows = [row for kind in arguments.only or RECIPES for row in again(arguments.data, kind)]
        print(f"wrote {write('pretraining_again', rows)}")
        return
    for seed in range(arguments.seeds):
        for variant in arguments.variant or VARIANTS:
            for kind in arguments.only or RECIPES:
                name = {"kind": kind, "variant": variant, "seed": seed}
                if arguments.report or any(name.items() <= row.items() for row in known()):
                    continue
                folder = trained(arguments.data, kind, variant, seed)
                rows = [{**name, **row} for row in probed(arguments.data, kind, folder, seed)]
                with CELLS.open("a") as file:
                    file.writelines(json.dumps(row) + "\n" for row in rows)
                for row in rows:
                    print(row, flush=True)
    print(f"wrote {write('pretraining_probes', summary(known()))}")


if __name__ == "__main__":
    main()
