"""Run a test's work on several processes that share a process group."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

RANKS = 2
PATIENCE = 300  # seconds that a rank waits for another; on a busy machine imports alone take minutes


def on_ranks(work: Callable, folder: Path, *, prepare: Callable | None = None, ranks: int = RANKS) -> list:
    """What ``work(rank)`` returns on every rank, or ``work(rank, prepare())``, prepared before there is a group.

    Args:
        work: A function of a module, which new processes import; it returns tensors and plain values.
        folder: An empty folder or a new one, where the ranks meet and leave their results.
        prepare: Builds what belongs to the time before the process group.
        ranks: How many processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arguments = (work, prepare, str(folder), ranks)
    torch.multiprocessing.start_processes(_enter, arguments, nprocs=ranks, start_method="spawn")
    return [torch.load(_result(folder, rank), weights_only=True) for rank in range(ranks)]


def _enter(rank: int, work: Callable, prepare: Callable | None, folder: str, ranks: int) -> None:
    torch.set_num_threads(1)
    given = [] if prepare is None else [prepare()]
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=PATIENCE),
    )
    own = _result(folder, rank)
    torch.save(work(rank, *given), own.with_suffix(".part"))
    own.with_suffix(".part").rename(own)
    leave([_result(folder, other) for other in range(ranks)])


def _result(folder: Path | str, rank: int) -> Path:
    return Path(folder) / f"rank{rank}.pt"


def leave(results: Sequence[Path]) -> None:
    """End the process once nobody needs its connections any more.

    The threads of gloo may be torn down in an order that aborts the process, with its work long done, and a rank that
    goes early breaks the last collective of the other. So ranks wait for one another's files and leave at once.
    """
    end = time.monotonic() + PATIENCE
    while not all(result.exists() for result in results):
        if time.monotonic() > end:
            raise TimeoutError(f"another rank has not written its result after {PATIENCE} s")
        time.sleep(0.01)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def as_torchrun(program: Path, *arguments: str, ranks: int = RANKS) -> None:
    """Start a program as ``torchrun`` does, and wait until all its processes have ended well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": "test",
    }
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    shared["PYTHONPATH"] = str(program.parents[1])
    processes = [
        subprocess.Popen(
            [sys.executable, str(program), *arguments],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
        )
        for rank in range(ranks)
    ]
    try:
        errors = [process.communicate(timeout=PATIENCE)[1].decode() for process in processes]
    finally:
        for process in processes:
            process.kill()  # of one that has ended nothing is left to kill
    assert [process.returncode for process in processes] == [0] * ranks, errors[0][-2000:]
