"""Few labels: classifiers on pretrained encoders beside the same networks trained from nothing.

    python -m benchmarks.pretraining_probes --data SETS --variant residual     # trains the encoders
    python -m benchmarks.pretraining_few --data SETS                           # what is missing, then write
    python -m benchmarks.pretraining_few --data SETS --only image --seeds 1
    python -m benchmarks.pretraining_few --data SETS --report                  # write what is there

The recipe is ``small`` for both; the best validation loss chooses the weights, the test items are looked at once. One
and ten labels in a hundred, of every class one at least.
"""

import argparse
import json
import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch

from benchmarks.pretraining_probes import RECIPES, RUNS, listing, trained
from benchmarks.record import RESULTS, write
from codeword.pretraining.encoder import read_encoder, unlearned
from codeword.recipes.finetuning import finetune, recipe

CELLS = RESULTS / "pretraining_few.jsonl"
TASKS = {"image": ("fashion",), "audio": ("initials", "phones"), "video": ("garments",)}
SHARES = (0.01, 0.1)


def row(data: Path, kind: str, task: str, share: float, start: str, seed: int) -> dict[str, object]:
    """A classifier's figures on the test items."""
    encoder = read_encoder(trained(data, kind, "residual", seed))
    if start == "scratch":
        encoder = unlearned(encoder, seed)
    made = recipe("small")
    made = replace(made, config=replace(made.config, seed=seed), loop=replace(made.loop, seed=seed, progress=False))
    out = RUNS / f"few-{task}-{share}-{start}-{seed}"
    result = finetune(made, encoder, listing(data, task, kind), out, few=share)
    shutil.rmtree(out)
    test = result.test[0]
    return {"kind": kind, "task": task, "share": share, "start": start, "seed": seed, "accuracy": test.top1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=tuple(RECIPES), action="append")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--report", action="store_true", help="only write what is there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    known = [json.loads(line) for line in CELLS.read_text().splitlines()] if CELLS.is_file() else []
    for seed in range(0 if arguments.report else arguments.seeds):
        for kind in arguments.only or RECIPES:
            for task, share, start in product(TASKS[kind], SHARES, ("pretrained", "scratch")):
                name = {"task": task, "share": share, "start": start, "seed": seed}
                if any(name.items() <= cell.items() for cell in known):
                    continue
                known.append(row(arguments.data, kind, task, share, start, seed))
                with CELLS.open("a") as file:
                    file.write(json.dumps(known[-1]) + "\n")
                print(known[-1], flush=True)
    print(f"wrote {write('pretraining_few', known)}")


if __name__ == "__main__":
    main()
